// SPDX-License-Identifier: Apache-2.0

// Scenarios on the official Node.js SDK, which speaks gRPC to a proxy.
//
//   run SCENARIO key=value...   one scenario; exit code 0 when every step held
//   serve                       scenarios asked for on standard input, many at a time, until it ends
//   list                        the names of the scenarios
//
// The lines asked for and answered are those of the Java program beside this one.
'use strict';

const readline = require('node:readline');
const { CheckFailed, Context } = require('./context.js');
const { scenarios } = require('./scenarios.js');

async function perform(name, context) {
  let error;
  try {
    if (!scenarios[name]) {
      throw new CheckFailed(`no scenario '${name}'; known: ${Object.keys(scenarios)}`);
    }
    await scenarios[name](context);
  } catch (failed) {
    error = failed instanceof CheckFailed ? failed.message : String(failed?.stack ?? failed);
  }
  const closing = await context.close();
  context.done(error ?? closing);
  return !(error ?? closing);
}

function serve() {
  const running = new Map();
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', line => {
    const asked = JSON.parse(line);
    if (asked.stop !== undefined) {
      running.get(asked.stop)?.stop();
      return;
    }
    const context = new Context(asked.id, asked.with);
    running.set(asked.id, context);
    perform(asked.scenario, context).finally(() => running.delete(asked.id));
  });
  lines.on('close', () => process.exit(0));
}

async function run(words) {
  const given = { prefix: `p${Date.now()}` };
  for (const word of words.slice(1)) {
    const cut = word.indexOf('=');
    given[word.slice(0, cut)] = word.slice(cut + 1);
  }
  const context = new Context(0, given);
  process.stdin.once('data', () => context.stop());
  process.stdin.once('end', () => context.stop());
  process.exit(await perform(words[0] ?? '', context) ? 0 : 1);
}

const [ command, ...words ] = process.argv.slice(2);
if (command === 'list') {
  console.log(Object.keys(scenarios).sort().join('\n'));
} else if (command === 'serve') {
  serve();
} else if (command === 'run') {
  run(words);
} else {
  console.error('usage: run SCENARIO endpoints=HOST:PORT [prefix=WORD] [ssl=true] [key=value...] | serve | list');
  process.exit(2);
}
