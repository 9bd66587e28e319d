// SPDX-License-Identifier: Apache-2.0
'use strict';

const { isDeepStrictEqual } = require('node:util');
const { setTimeout: sleep } = require('node:timers/promises');
const { FilterExpression, LitePushConsumerBuilder, Producer, PushConsumer, SimpleConsumer } = require('rocketmq-client-nodejs');

/** Something that should hold did not. */
class CheckFailed extends Error {}

/** What the SDK logs is not of interest; its own logger would keep files open. */
const silent = { debug() {}, info() {}, warn() {}, error() {}, close() {} };

/** One run of a scenario: its parameters, its output, and the clients to close after it. */
class Context {
  #id;
  #given;
  #begin = Date.now();
  #closings = [];
  stopped = false;

  constructor(id, given) {
    this.#id = id;
    this.#given = given;
  }

  get(key, absent) {
    const value = this.#given[key] ?? absent;
    if (value === undefined) {
      throw new CheckFailed(`the parameter '${key}' is missing`);
    }
    return value;
  }

  /** A name of this run's own, for a topic or a group. */
  name(suffix) {
    return `${this.get('prefix')}_${suffix}`;
  }

  step(step, more = {}) {
    this.#say({ id: this.#id, step, ms: Date.now() - this.#begin, ...more });
  }

  check(step, held, more = {}) {
    this.step(step, { ok: Boolean(held), ...more });
    if (!held) {
      throw new CheckFailed(step);
    }
  }

  equal(step, expected, actual) {
    if (isDeepStrictEqual(expected, actual)) {
      this.check(step, true);
    } else {
      const shortened = value => String(JSON.stringify(value)).slice(0, 600);
      this.check(step, false, { expected: shortened(expected), actual: shortened(actual) });
    }
  }

  done(error) {
    this.#say({ id: this.#id, done: true, ok: error === undefined, ...(error === undefined ? {} : { error }) });
  }

  #say(line) {
    process.stdout.write(JSON.stringify(line) + '\n');
  }

  stop() {
    this.stopped = true;
  }

  /** Closes the clients, last first, and returns the first error. */
  async close() {
    let error;
    for (const client of this.#closings.reverse()) {
      try {
        await client.shutdown();
      } catch (failed) {
        error ??= `shutdown: ${failed?.stack ?? failed}`;
      }
    }
    return error;
  }

  async within(seconds, held) {
    const deadline = Date.now() + seconds * 1000;
    while (!held()) {
      if (Date.now() > deadline) {
        return false;
      }
      await sleep(20);
    }
    return true;
  }

  #options(more) {
    const accessKey = this.get('access_key', '');
    const sessionCredentials = accessKey ? { accessKey, accessSecret: this.get('secret_key') } : undefined;
    return {
      sessionCredentials,
      endpoints: this.get('endpoints'), namespace: '', sslEnabled: this.get('ssl', 'false') === 'true',
      requestTimeout: 10_000, logger: silent, ...more,
    };
  }

  async #start(client) {
    await client.startup();
    this.#closings.push(client);
    return client;
  }

  producer(topic, checker) {
    return this.#start(new Producer(this.#options({ topic, checker })));
  }

  simple(consumerGroup, topic, filter = FilterExpression.SUB_ALL) {
    return this.#start(new SimpleConsumer(this.#options({
      consumerGroup, subscriptions: new Map([ [ topic, filter ] ]), awaitDuration: 5000,
    })));
  }

  push(consumerGroup, topic, consume) {
    return this.#start(new PushConsumer(this.#options({
      consumerGroup, subscriptions: new Map([ [ topic, FilterExpression.SUB_ALL ] ]), messageListener: { consume },
    })));
  }

  async litePush(consumerGroup, parent, consume) {
    const consumer = await new LitePushConsumerBuilder().setClientConfiguration(this.#options({}))
      .setConsumerGroup(consumerGroup).bindTopic(parent).setMessageListener({ consume }).build();
    this.#closings.push(consumer);
    return consumer;
  }

  /** Receives and acknowledges until so many came or the time is over. */
  async take(consumer, count, seconds) {
    const all = [];
    const deadline = Date.now() + seconds * 1000;
    while (all.length < count && Date.now() < deadline) {
      for (const message of await receive(consumer, 16)) {
        await consumer.ack(message);
        all.push(message);
      }
    }
    return all;
  }
}

function receive(consumer, most) {
  return consumer.receive(most, 30_000);
}

function bodies(messages) {
  return messages.map(message => message.body.toString()).sort();
}

module.exports = { CheckFailed, Context, bodies, receive };
