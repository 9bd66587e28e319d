// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Traces that clients write, and what can be asked of them. */
final class Tracing {
    private static final char FIELD = (char) 1;

    private Tracing() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("trace_to_the_system_topic", context -> trace(context, null));
        scenarios.put("trace_to_a_topic_of_ones_own", context -> trace(context, context.topic("traces", 1)));
    }

    private static void trace(Context context, String custom) throws Exception {
        String topic = context.topic("traced", 1);
        DefaultMQProducer producer = new DefaultMQProducer(context.name("traced_producer"), null, true, custom);
        producer.setNamesrvAddr(context.namesrv());
        producer.setInstanceName(context.instance());
        producer.start();
        context.closing(producer, producer::shutdown);
        String group = context.name("traced_group");
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group, null,
            new org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely(), true, custom);
        consumer.setNamesrvAddr(context.namesrv());
        consumer.setInstanceName(context.instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        consumer.start();
        context.closing(consumer, consumer::shutdown);
        org.apache.rocketmq.common.message.Message message = Sending.message(topic, "traced");
        message.setKeys("key-of-the-traced");
        SendResult sent = producer.send(message);
        String traces = custom == null ? "RMQ_SYS_TRACE_TOPIC" : custom;
        List<String> kinds = List.of("Pub", "SubBefore", "SubAfter");
        List<String> found = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
        while (!found.containsAll(kinds) && System.nanoTime() < deadline) {
            found.clear();
            for (MessageExt trace : query(context, traces, sent.getMsgId())) {
                for (String line : Inbox.body(trace).split(String.valueOf((char) 2))) {
                    if (line.contains(sent.getMsgId())) {
                        found.add(line.substring(0, line.indexOf(FIELD)));
                    }
                }
            }
            TimeUnit.MILLISECONDS.sleep(200);
        }
        context.check("all steps are traced", found.containsAll(kinds), "found", found);
        context.check("found by the message's key", !query(context, traces, "key-of-the-traced").isEmpty());
        MessageExt trace = query(context, traces, sent.getMsgId()).get(0);
        context.equal("in the topic", traces, trace.getTopic());
    }

    private static List<MessageExt> query(Context context, String topic, String key) throws Exception {
        try {
            long now = System.currentTimeMillis();
            return context.producer().queryMessage(topic, key, 64, now - 600_000, now + 60_000).getMessageList();
        } catch (MQClientException notYet) {
            return List.of();
        }
    }
}
