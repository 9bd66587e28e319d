// SPDX-License-Identifier: Apache-2.0
package aerobee.old;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Ways to consume. */
final class Consuming {
    private Consuming() {
    }

    static void list(Map<String, Main.Scenario> scenarios) {
        scenarios.put("push_members_share_a_backlog", Consuming::push);
        scenarios.put("push_orderly_keeps_queue_order", Consuming::orderly);
        scenarios.put("pull_from_any_offset_and_commit", Consuming::pull);
        scenarios.put("litepull_subscribe", Consuming::litePull);
        scenarios.put("retry_until_dead_letter", Consuming::retry);
    }

    private static void push(Context context) throws Exception {
        String topic = context.topic("push", 4);
        List<String> sent = Sending.sendAll(context, topic, "m", 200);
        List<MessageExt> got = Context.inbox();
        for (int member = 0; member < 2; member++) {
            DefaultMQPushConsumer consumer = context.consumer("push_group", topic);
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
                got.addAll(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
        }
        context.check("all come", Context.await(90, () -> bodies(got).containsAll(sent)), got.size());
        sent.addAll(Sending.sendAll(context, topic, "more", 40));
        context.check("and what follows", Context.await(60, () -> bodies(got).containsAll(sent)), got.size());
    }

    private static HashSet<String> bodies(List<MessageExt> messages) {
        HashSet<String> bodies = new HashSet<>();
        messages.forEach(message -> bodies.add(Context.body(message)));
        return bodies;
    }

    private static void orderly(Context context) throws Exception {
        String topic = context.topic("orderly", 3);
        List<String> sent = Sending.sendAll(context, topic, "m", 150);
        Map<Integer, List<Long>> got = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = context.consumer("orderly_group", topic);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, at) -> {
            messages.forEach(message ->
                got.computeIfAbsent(message.getQueueId(), queue -> new CopyOnWriteArrayList<>()).add(message.getQueueOffset()));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        boolean all = Context.await(90, () -> got.values().stream().mapToInt(List::size).sum() >= sent.size());
        context.check("all come", all, got);
        got.forEach((queue, offsets) -> {
            for (int i = 0; i < offsets.size(); i++) {
                context.equal("order of queue " + queue, (long) i, offsets.get(i));
            }
        });
    }

    private static void pull(Context context) throws Exception {
        String topic = context.topic("pull", 1);
        List<String> sent = Sending.sendAll(context, topic, "m", 50);
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(context.name("pull_group"));
        consumer.setNamesrvAddr(context.namesrv());
        consumer.setInstanceName(context.instance());
        consumer.start();
        context.closing(consumer::shutdown);
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        context.equal("first", 0L, consumer.minOffset(queue));
        context.equal("end", 50L, consumer.maxOffset(queue));
        List<String> got = new ArrayList<>();
        long next = 10;
        while (next < 50) {
            PullResult result = consumer.pull(queue, "*", next, 16);
            context.equal("status at " + next, PullStatus.FOUND, result.getPullStatus());
            result.getMsgFoundList().forEach(message -> got.add(Context.body(message)));
            next = result.getNextBeginOffset();
        }
        context.equal("bodies", sent.subList(10, 50), got);
        context.equal("nothing more", PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 50, 16).getPullStatus());
        consumer.updateConsumeOffset(queue, 42);
        consumer.getOffsetStore().persist(queue);
        context.check("committed", Context.await(30, () -> consumer.fetchConsumeOffset(queue, true) == 42),
            consumer.fetchConsumeOffset(queue, true));
    }

    private static void litePull(Context context) throws Exception {
        String topic = context.topic("litepull", 2);
        List<String> sent = Sending.sendAll(context, topic, "m", 60);
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(context.name("litepull_group"));
        consumer.setNamesrvAddr(context.namesrv());
        consumer.setInstanceName(context.instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.start();
        context.closing(consumer::shutdown);
        List<MessageExt> got = Context.inbox();
        context.check("all come", Context.await(90, () -> {
            got.addAll(consumer.poll(500));
            return got.size() >= sent.size();
        }), got.size());
        context.equal("each once", new HashSet<>(sent), bodies(got));
        context.equal("as many", sent.size(), got.size());
        consumer.commitSync();
    }

    private static void retry(Context context) throws Exception {
        String topic = context.topic("retried", 1);
        List<MessageExt> got = Context.inbox();
        DefaultMQPushConsumer consumer = context.consumer("retried_group", topic);
        consumer.setMaxReconsumeTimes(2);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            got.addAll(messages);
            at.setDelayLevelWhenNextConsume(1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        context.producer().send(Context.message(topic, "bad"));
        context.check("tried three times", Context.await(120, () -> got.size() >= 3), got.size());
        for (int i = 0; i < 3; i++) {
            context.equal("attempt", i, got.get(i).getReconsumeTimes());
            context.equal("topic", topic, got.get(i).getTopic());
        }
        MessageQueue dead = new MessageQueue("%DLQ%" + context.name("retried_group"),
            context.producer().fetchPublishMessageQueues(topic).get(0).getBrokerName(), 0);
        context.check("a dead letter", Context.await(60, () -> {
            try {
                return context.producer().maxOffset(dead) == 1;
            } catch (org.apache.rocketmq.client.exception.MQClientException notYet) {
                return false;
            }
        }), dead);
        context.equal("no fourth time", 3, got.size());
    }
}
