// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.constant.ConsumeInitMode;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Parts for the tests that pop and acknowledge message by message, with the SDK's own requests. */
final class PopByHand {
    private static final int TIMEOUT = 5000;

    private PopByHand() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("pop", PopByHand::pop);
        scenarios.put("pop_topic_of_batches", PopByHand::batches);
        scenarios.put("pop_higher_priority_comes_first", PopByHand::priority);
    }

    /** A batch of so many messages. */
    static List<Message> batch(String topic, int count) {
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            batch.add(Sending.message(topic, "batch-" + i));
        }
        return batch;
    }

    /**
     * Single messages of a topic whose batches stay whole are popped like others. A batch comes as one message, whoever the broker is: only what is pulled does the SDK
     * take apart.
     */
    private static void batches(Context context) throws Exception {
        String topic = context.name("batches");
        context.createTopic(topic, 1, Map.of("+queue.type", "BatchCQ"));
        MessageQueue queue = context.producer().fetchPublishMessageQueues(topic).get(0);
        DefaultMQPullConsumer reader = Reading.reader(context);
        context.closing(reader, reader::shutdown);
        context.equal("the bounds of an empty queue", "-1 0", reader.minOffset(queue) + " " + reader.maxOffset(queue));
        context.equal("a pull of an empty queue", "NO_NEW_MSG -1 0", bounds(reader.pull(queue, "*", 0, 32)));
        List<String> sent = Sending.sendAll(context.producer(), topic, "single", 20);
        context.equal("the bounds of the queue", "0 20", reader.minOffset(queue) + " " + reader.maxOffset(queue));
        Target target = target(context, topic, context.name("group"));
        Set<String> bodies = new HashSet<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (bodies.size() < sent.size() && System.nanoTime() < deadline) {
            for (MessageExt message : take(context, target, 32)) {
                bodies.add(Inbox.body(message));
                context.equal("the acknowledgement", AckStatus.OK, acknowledge(target, message).getStatus());
            }
        }
        context.equal("bodies", new HashSet<>(sent), bodies);
        context.equal("the offset of a batch", 20L, context.producer().send(batch(topic, 3)).getQueueOffset());
        context.equal("the bounds behind it", "0 23", reader.minOffset(queue) + " " + reader.maxOffset(queue));
        context.equal("messages that the SDK makes of a batch", 1, take(context, target, 32).size());
    }

    /** The priority of a message is its queue, and pops begin at the highest. */
    private static void priority(Context context) throws Exception {
        String topic = context.name("priority");
        context.createTopic(topic, 3, Map.of("+message.type", "PRIORITY"));
        for (int round = 0; round < 3; round++) {
            for (int priority : new int[] {0, 7, 1, 2}) {
                Message message = Sending.message(topic, priority + "-" + round);
                message.setPriority(priority);
                SendResult sent = context.producer().send(message);
                context.equal("the queue of " + priority, Math.min(priority, 2), sent.getMessageQueue().getQueueId());
            }
        }
        // One that waits is of another kind: it has no priority.
        Message delayed = Sending.message(topic, "delayed");
        delayed.setPriority(2);
        delayed.setDelayTimeLevel(1);
        context.producer().send(delayed);
        Target target = target(context, topic, context.name("priority_group"));
        List<Integer> queues = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (queues.size() < 12 && System.nanoTime() < deadline) {
            for (MessageExt message : take(context, target, 1)) {
                if (!Inbox.body(message).equals("delayed")) {
                    queues.add(message.getQueueId());
                    int priority = Integer.parseInt(Inbox.body(message).substring(0, 1));
                    context.equal("priority of " + Inbox.body(message), priority, message.getPriority());
                }
                context.equal("the acknowledgement", AckStatus.OK, acknowledge(target, message).getStatus());
            }
        }
        context.equal("highest first", List.of(2, 2, 2, 2, 2, 2, 1, 1, 1, 0, 0, 0), queues);
        // A group that pulls gets all of them, too.
        Push push = Push.all(context, context.name("priority_pull"), topic);
        context.check("pulled", push.inbox.await(60, got -> got.size() >= 13), "got", push.inbox.size());
        MessageExt plain = push.inbox.all().stream().filter(message -> Inbox.body(message).equals("delayed")).findFirst().orElseThrow();
        context.equal("no priority", -1, plain.getPriority());
    }

    private static Target target(Context context, String topic, String group) throws Exception {
        MQClientInstance client = context.producer().getDefaultMQProducerImpl().getMqClientFactory();
        String broker = context.producer().fetchPublishMessageQueues(topic).get(0).getBrokerName();
        String address = client.findBrokerAddressInPublish(broker);
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        client.getMQClientAPIImpl().createSubscriptionGroup(address, config, TIMEOUT);
        return new Target(client, broker, address, topic, group);
    }

    private static String bounds(PullResult result) {
        return result.getPullStatus() + " " + result.getMinOffset() + " " + result.getMaxOffset();
    }

    /** Who pops what, and where. */
    private record Target(MQClientInstance client, String broker, String address, String topic, String group) {
    }

    /**
     * Parameters: topic, group, count (how many different messages, 0 for until told), invisible_ms, order (false), acks: {@code all}, {@code none}, {@code even} (by
     * the number behind the colon of the body), or {@code late}: when told to stop. Ends when that many have come, or after {@code seconds}; says "got" and "done" for
     * each message, the latter when its acknowledgement is answered with success.
     */
    private static void pop(Context context) throws Exception {
        MQClientInstance client = context.producer().getDefaultMQProducerImpl().getMqClientFactory();
        String topic = context.get("topic");
        client.updateTopicRouteInfoFromNameServer(topic);
        String broker = context.producer().fetchPublishMessageQueues(topic).get(0).getBrokerName();
        String address = client.findBrokerAddressInPublish(broker);
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(context.get("group"));
        group.setConsumeMessageOrderly(context.get("order", "false").equals("true"));
        client.getMQClientAPIImpl().createSubscriptionGroup(address, group, TIMEOUT);
        int count = context.number("count", 0);
        String acks = context.get("acks", "all");
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(context.number("seconds", 60));
        Set<String> bodies = new HashSet<>();
        List<MessageExt> late = new ArrayList<>();
        Target target = new Target(client, broker, address, topic, context.get("group"));
        context.step("started");
        while (!context.isStopped() && (count == 0 || bodies.size() < count) && System.nanoTime() < deadline) {
            int most = count == 0 ? 32 : Math.min(32, count - bodies.size());
            for (MessageExt message : take(context, target, most)) {
                String body = Inbox.body(message).trim();
                bodies.add(body);
                context.step("got", "body", body, "queue", message.getQueueId(), "offset", message.getQueueOffset(), "times", message.getReconsumeTimes());
                boolean even = Integer.parseInt(body.substring(body.indexOf(':') + 1)) % 2 == 0;
                if (acks.equals("all") || acks.equals("even") && even) {
                    done(context, target, message);
                } else {
                    late.add(message);
                }
            }
        }
        context.step("popped");
        if (acks.equals("late")) {
            context.awaitStop();
            for (MessageExt message : late) {
                done(context, target, message);
            }
        }
    }

    private static List<MessageExt> take(Context context, Target target, int most) throws Exception {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(target.group);
        header.setTopic(target.topic);
        header.setQueueId(-1);
        header.setMaxMsgNums(most);
        header.setInvisibleTime(context.number("invisible_ms", 60_000));
        header.setPollTime(1000);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(ConsumeInitMode.MIN);
        header.setExpType("TAG");
        header.setExp("*");
        header.setOrder(context.get("order", "false").equals("true"));
        CompletableFuture<PopResult> answer = new CompletableFuture<>();
        target.client.getMQClientAPIImpl().popMessageAsync(target.broker, target.address, header, 3 * TIMEOUT, new PopCallback() {
            @Override
            public void onSuccess(PopResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        });
        List<MessageExt> found = answer.get().getMsgFoundList();
        return found == null ? List.of() : found;
    }

    private static void done(Context context, Target target, MessageExt message) throws Exception {
        AckResult answer = acknowledge(target, message);
        context.step("done", "body", Inbox.body(message).trim(), "status", String.valueOf(answer.getStatus()));
    }

    private static AckResult acknowledge(Target target, MessageExt message) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] parts = ExtraInfoUtil.split(handle);
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(target.group);
        header.setTopic(ExtraInfoUtil.getRealTopic(parts, target.topic, target.group));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle);
        CompletableFuture<AckResult> answer = new CompletableFuture<>();
        target.client.getMQClientAPIImpl().ackMessageAsync(target.address, TIMEOUT, new AckCallback() {
            @Override
            public void onSuccess(AckResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        }, header);
        return answer.get();
    }
}
