// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/** A push consumer that puts what it gets into an inbox. */
final class Push {
    final DefaultMQPushConsumer consumer;
    final Inbox inbox = new Inbox();
    private boolean running;

    private Push(DefaultMQPushConsumer consumer) {
        this.consumer = consumer;
    }

    /** From the first offset, all tags, not started. */
    static Push of(Context context, String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(context.namesrv());
        consumer.setInstanceName(context.instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // A rebalance renews the subscription's version, which brokers learn from the next heartbeat only: until then
        // they refuse the pulls (25). By default that takes up to 30 s.
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        Push push = new Push(consumer);
        return context.closing(push, push::shutdown);
    }

    Push subscribe(String topic, String expression) throws Exception {
        consumer.subscribe(topic, expression);
        return this;
    }

    Push start() throws Exception {
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            inbox.add(List.copyOf(messages));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return run();
    }

    Push startOrderly() throws Exception {
        consumer.registerMessageListener((MessageListenerOrderly) (messages, at) -> {
            inbox.add(List.copyOf(messages));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        return run();
    }

    Push run() throws Exception {
        running = true;
        consumer.start();
        return this;
    }

    /** Waits until that many messages are consumed, which is a little after they came; only then a restart repeats none. */
    boolean awaitConsumed(int seconds, String topic, long count) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        long consumed;
        do {
            TimeUnit.MILLISECONDS.sleep(10);
            consumed = consumer.getDefaultMQPushConsumerImpl().getOffsetStore().cloneOffsetTable(topic).values().stream()
                .mapToLong(Long::longValue).sum();
        } while (consumed < count && System.nanoTime() < deadline);
        return consumed == count;
    }

    synchronized void shutdown() {
        if (running) {
            running = false;
            consumer.shutdown();
        }
    }

    static Push all(Context context, String group, String topic) throws Exception {
        return of(context, group).subscribe(topic, "*").start();
    }
}
