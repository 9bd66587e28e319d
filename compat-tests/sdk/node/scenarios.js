// SPDX-License-Identifier: Apache-2.0

// The scenarios. The topics PREFIX_normal, _fifo, _delay and _transaction and the groups PREFIX_group, _group2 and
// _fifo_group are there before one begins.
'use strict';

const { ConsumeResult, FilterExpression } = require('rocketmq-client-nodejs');
const { FilterType, TransactionResolution } = require('rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb');
const { bodies, receive } = require('./context.js');

async function sendAndReceive(c) {
  const topic = c.name('normal');
  const producer = await c.producer(topic);
  const ids = new Map();
  for (let i = 0; i < 30; i++) {
    const body = `größe-消息-${String(i).padStart(2, '0')}`;
    const receipt = await producer.send({
      topic, body: Buffer.from(body), tag: 'tag', keys: [ `k${i}`, 'all' ],
      properties: new Map([ [ 'number', String(i) ], [ 'städte', 'Zürich 東京' ] ]),
    });
    ids.set(body, receipt.messageId);
  }
  const consumer = await c.simple(c.name('group'), topic);
  const got = await c.take(consumer, 30, 60);
  c.equal('bodies', [ ...ids.keys() ].sort(), bodies(got));
  for (const one of got) {
    const number = one.properties.get('number');
    c.equal('tag', 'tag', one.tag);
    c.equal('keys', [ `k${number}`, 'all' ], one.keys);
    c.equal('body and property', `größe-消息-${number.padStart(2, '0')}`, one.body.toString());
    c.equal('property', 'Zürich 東京', one.properties.get('städte'));
    c.equal('properties', 2, one.properties.size);
    c.equal('attempt', 1, one.deliveryAttempt);
    c.equal('id', ids.get(one.body.toString()), one.messageId);
    c.equal('topic', topic, one.topic);
    c.check('whole', !one.corrupted && one.bornHost);
  }
  c.equal('nothing more', 0, (await receive(consumer, 16)).length);
}

async function fifo(c) {
  const topic = c.name('fifo');
  const producer = await c.producer(topic);
  const expected = { g0: [], g1: [], g2: [] };
  const got = { g0: [], g1: [], g2: [] };
  for (let i = 0; i < 30; i++) {
    const messageGroup = `g${i % 3}`;
    await producer.send({ topic, body: Buffer.from(String(i)), messageGroup });
    expected[messageGroup].push(i);
  }
  let count = 0;
  await c.push(c.name('fifo_group'), topic, async one => {
    got[one.messageGroup].push(Number(one.body.toString()));
    count += 1;
    return ConsumeResult.SUCCESS;
  });
  c.check('all came', await c.within(90, () => count >= 30));
  c.equal('order', expected, got);
}

async function delay(c) {
  const topic = c.name('delay');
  const producer = await c.producer(topic);
  const consumer = await c.simple(c.name('group'), topic);
  const due = Date.now() + 4000;
  await producer.send({ topic, body: Buffer.from('later'), deliveryTimestamp: new Date(due) });
  const got = await c.take(consumer, 1, 60);
  const late = Date.now() - due;
  c.equal('came', [ 'later' ], bodies(got));
  c.check('not before its time', late > -1500, { late });
}

async function recall(c) {
  const topic = c.name('delay');
  const producer = await c.producer(topic);
  const later = body => producer.send({ topic, body: Buffer.from(body), delay: 8000 });
  const recalled = await later('recalled');
  await later('stays');
  const answer = await producer.recallMessage(topic, recalled.recallHandle);
  c.equal('id', recalled.messageId, answer.messageId);
  const consumer = await c.simple(c.name('group'), topic);
  c.equal('only the other', [ 'stays' ], bodies(await c.take(consumer, 1, 60)));
  c.equal('nothing more', 0, (await receive(consumer, 16)).length);
}

async function transactions(c) {
  const topic = c.name('transaction');
  const asked = new Set();
  const checker = {
    async check(one) {
      asked.add(one.body.toString());
      return TransactionResolution.COMMIT;
    },
  };
  const producer = await c.producer(topic, checker);
  const open = {};
  for (const body of [ 'committed', 'rolled back', 'checked' ]) {
    open[body] = producer.beginTransaction();
    await producer.send({ topic, body: Buffer.from(body) }, open[body]);
  }
  const consumer = await c.simple(c.name('group'), topic);
  await open.committed.commit();
  await open['rolled back'].rollback();
  c.equal('committed', [ 'committed' ], bodies(await c.take(consumer, 1, 60)));
  c.equal('checked', [ 'checked' ], bodies(await c.take(consumer, 1, 150)));
  c.equal('asked about', [ 'checked' ], [ ...asked ]);
}

async function invisible(c) {
  const topic = c.name('normal');
  await (await c.producer(topic)).send({ topic, body: Buffer.from('again') });
  const consumer = await c.simple(c.name('group'), topic);
  let first;
  for (const deadline = Date.now() + 60_000; !first && Date.now() < deadline;) {
    [ first ] = await receive(consumer, 1);
  }
  c.check('came', first);
  const before = first.receiptHandle;
  const changed = Date.now();
  await consumer.changeInvisibleDuration(first, 4000);
  c.check('another receipt', first.receiptHandle !== before);
  const again = await c.take(consumer, 1, 60);
  const waited = Date.now() - changed;
  c.equal('came again', [ 'again' ], bodies(again));
  c.check('after its time', waited > 3000, { waited });
  c.equal('counted', 2, again[0].deliveryAttempt);
  c.equal('the same', first.messageId, again[0].messageId);
  c.equal('gone', 0, (await receive(consumer, 16)).length);
}

async function push(c) {
  const topic = c.name('normal');
  const producer = await c.producer(topic);
  const attempts = new Map();
  const done = new Set();
  await c.push(c.name('group'), topic, async one => {
    const body = one.body.toString();
    const tries = [ ...(attempts.get(body) ?? []), one.deliveryAttempt ];
    attempts.set(body, tries);
    if (body === 'm7' && tries.length === 1) {
      return ConsumeResult.FAILURE;
    }
    done.add(body);
    return ConsumeResult.SUCCESS;
  });
  for (let i = 0; i < 30; i++) {
    await producer.send({ topic, body: Buffer.from(`m${i}`) });
  }
  c.check('all came', await c.within(120, () => done.size >= 30));
  c.equal('the failed one twice', [ 1, 2 ], attempts.get('m7'));
  c.equal('each other once', 29, [ ...attempts.values() ].filter(tries => tries.length === 1).length);
}

async function filters(c) {
  const topic = c.name('normal');
  const producer = await c.producer(topic);
  for (let i = 0; i < 12; i++) {
    const properties = new Map([ [ 'n', String(i) ] ]);
    await producer.send({ topic, body: Buffer.from(`m${i}`), tag: `t${i % 3}`, properties });
  }
  const tags = await c.simple(c.name('group'), topic, new FilterExpression('t0 || t2'));
  c.equal('by tag', [ 'm0', 'm11', 'm2', 'm3', 'm5', 'm6', 'm8', 'm9' ], bodies(await c.take(tags, 8, 60)));
  if (c.get('sql', 'true') === 'true') {
    const filter = new FilterExpression('n IS NOT NULL AND n > 8', FilterType.SQL);
    const sql = await c.simple(c.name('group2'), topic, filter);
    c.equal('by SQL', [ 'm10', 'm11', 'm9' ], bodies(await c.take(sql, 3, 60)));
  }
}

async function wrongType(c) {
  const topic = c.name('normal');
  const producer = await c.producer(topic);
  const body = Buffer.from('x');
  for (const [ step, one ] of [
    [ 'refused', { topic, body, messageGroup: 'g' } ],
    [ 'unknown topic', { topic: c.name('nowhere'), body } ],
  ]) {
    let why = '';
    await producer.send(one).catch(failed => {
      why = String(failed);
    });
    c.check(step, why, { why });
  }
  await producer.send({ topic, body: Buffer.from('fine') });
}

async function priority(c) {
  const topic = c.name('priority');
  const producer = await c.producer(topic);
  // The SDK takes 0 for no priority.
  for (const level of [ 1, 2 ]) {
    await producer.send({ topic, body: Buffer.from(String(level)), priority: level });
  }
  const consumer = await c.simple(c.name('group'), topic);
  const order = [];
  for (const deadline = Date.now() + 60_000; order.length < 2 && Date.now() < deadline;) {
    for (const one of await receive(consumer, 1)) {
      await consumer.ack(one);
      order.push(one.body.toString());
    }
  }
  c.equal('order', [ '2', '1' ], order);
}

async function litePush(c) {
  const parent = c.name('lite');
  const producer = await c.producer(parent);
  const send = (liteTopic, body) => producer.send({ topic: parent, liteTopic, body: Buffer.from(body) });
  const got = {};
  let count = 0;
  let refused = 0;
  const consumer = await c.litePush(c.name('lite_group'), parent, async one => {
    const body = one.body.toString();
    if (body === 'a3' && refused++ === 0) {
      return ConsumeResult.FAILURE;
    }
    (got[one.liteTopic] ??= []).push(body);
    count += 1;
    return ConsumeResult.SUCCESS;
  });
  await consumer.subscribeLite('a');
  await consumer.subscribeLite('b');
  const inOrder = { a: [], b: [] };
  for (let i = 0; i < 5; i++) {
    for (const lite of [ 'a', 'b', 'nobody' ]) {
      await send(lite, `${lite}${i}`);
      inOrder[lite]?.push(`${lite}${i}`);
    }
  }
  c.check('all came', await c.within(90, () => count >= 10));
  c.equal('in order, without what nobody wants', inOrder, got);
  c.equal('one came again', 2, refused);
  await consumer.unsubscribeLite('b');
  await send('b', 'b5');
  await send('a', 'a5');
  c.check('what is left', await c.within(60, () => got.a.includes('a5')));
  c.equal('nothing of the other', inOrder.b, got.b);
}

/** Parameters topic, word, count, and type: normal, fifo or delay. */
async function produce(c) {
  const [ topic, word, type ] = [ c.get('topic'), c.get('word'), c.get('type', 'normal') ];
  const producer = await c.producer(topic);
  for (let i = 0; i < Number(c.get('count', '1')); i++) {
    const body = `${word}:${i}`;
    const receipt = await producer.send({
      topic, body: Buffer.from(body), tag: [ 'even', 'odd' ][i % 2], keys: [ `${word}${i}`, 'all' ],
      properties: new Map([ [ 'from', word ] ]),
      ...(type === 'fifo' ? { messageGroup: 'one' } : {}),
      ...(type === 'delay' ? { delay: 3000 } : {}),
    });
    c.step('sent', { body, msg: receipt.messageId });
  }
}

/** Parameters topic, group; until told to stop. */
async function consume(c) {
  const consumer = await c.simple(c.get('group'), c.get('topic'));
  c.step('ready');
  while (!c.stopped) {
    for (const one of await receive(consumer, 16)) {
      c.step('message', {
        body: one.body.toString(), tag: one.tag ?? '', keys: one.keys.join(' '),
        from: one.properties.get('from') ?? '', msg: one.messageId,
      });
      await consumer.ack(one);
    }
  }
}

/** A user (access_key, secret_key) who may use topic and group, and not forbidden. */
async function access(c) {
  const topic = c.get('topic');
  const forbidden = c.get('forbidden');
  const producer = await c.producer(topic);
  const sent = [ 0, 1, 2, 3, 4 ].map(i => c.name(`body${i}`));
  for (const body of sent) {
    await producer.send({ topic, body: Buffer.from(body) });
  }
  let refusal = '';
  try {
    await (await c.producer(forbidden)).send({ topic: forbidden, body: Buffer.from('x') });
  } catch (refused) {
    refusal = String(refused);
  }
  // The SDK tells that the route could not be fetched, and not why.
  c.check('forbidden', refusal, { refusal });
  const consumer = await c.simple(c.get('group'), topic);
  const got = new Set();
  const deadline = Date.now() + 90_000;
  while (!sent.every(body => got.has(body)) && Date.now() < deadline) {
    for (const body of bodies(await c.take(consumer, 1, 10))) {
      got.add(body);
    }
  }
  c.check('all came', sent.every(body => got.has(body)), { got: [ ...got ] });
}

const scenarios = {
  grpc_access: access,
  grpc_consume: consume,
  grpc_delayed_message_comes_in_time: delay,
  grpc_fifo_keeps_order: fifo,
  grpc_higher_priority_comes_first: priority,
  grpc_invisible_duration_changes: invisible,
  grpc_lite_push_subscribes_and_unsubscribes: litePush,
  grpc_produce: produce,
  grpc_push_consumes_and_retries: push,
  grpc_recalled_message_never_comes: recall,
  grpc_send_and_receive: sendAndReceive,
  grpc_tags_and_sql_filter: filters,
  grpc_transactions_commit_rollback_and_check: transactions,
  grpc_wrong_type_is_refused: wrongType,
};

module.exports = { scenarios };
