// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.subscription.CustomizedRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.ExponentialRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicyType;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Messages that come later: delay levels, times, recalls, retries and dead letters. */
final class Delaying {
    /** How late a message may be on a busy machine. */
    private static final long LATE_MS = 2_500;

    private Delaying() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("delay_by_level", Delaying::byLevel);
        scenarios.put("delay_by_time", Delaying::byTime);
        scenarios.put("delay_too_long_is_refused", Delaying::tooLong);
        scenarios.put("delay_recalled", Delaying::recalled);
        scenarios.put("retry_until_dead_letter", Delaying::retry);
        scenarios.put("retry_straight_to_dead_letters", Delaying::deadLetter);
        scenarios.put("retry_by_level_whatever_the_policy", Delaying::policies);
    }

    /** When each body came. */
    private static final class Arrivals {
        private final Map<String, Long> times = new ConcurrentHashMap<>();

        static Arrivals of(Context context, String topic) throws Exception {
            Arrivals arrivals = new Arrivals();
            Push push = Push.of(context, context.name("delayed_group")).subscribe(topic, "*");
            push.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
                long now = System.currentTimeMillis();
                messages.forEach(message -> arrivals.times.putIfAbsent(Inbox.body(message), now));
                push.inbox.add(List.copyOf(messages));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.consumer.start();
            arrivals.push = push;
            return arrivals;
        }

        private Push push;

        /** Checks that a message came at its time and was there once. */
        void check(Context context, String body, long due) throws Exception {
            boolean came = push.inbox.awaitBodies(60, List.of(body));
            context.check(body + " came", came);
            long late = times.get(body) - due;
            context.check(body + " in time", late >= 0 && late <= LATE_MS, "late", late);
        }
    }

    private static void byLevel(Context context) throws Exception {
        String topic = context.topic("levels", 2);
        Arrivals arrivals = Arrivals.of(context, topic);
        // The consumer has its queues when this one has come.
        context.producer().send(Sending.message(topic, "at once"));
        context.check("ready", arrivals.push.inbox.awaitBodies(60, List.of("at once")));
        long now = System.currentTimeMillis();
        for (int level : new int[] {2, 1}) {
            Message message = Sending.message(topic, "level " + level);
            message.setTags("red");
            message.setDelayTimeLevel(level);
            context.equal("sent " + level, SendStatus.SEND_OK, context.producer().send(message).getSendStatus());
        }
        arrivals.check(context, "level 1", now + 1_000);
        arrivals.check(context, "level 2", now + 5_000);
        for (MessageExt message : arrivals.push.inbox.all()) {
            context.equal("topic", topic, message.getTopic());
        }
        context.equal("each once", 3, arrivals.push.inbox.size());
    }

    private static void byTime(Context context) throws Exception {
        String topic = context.topic("times", 2);
        Arrivals arrivals = Arrivals.of(context, topic);
        context.producer().send(Sending.message(topic, "at once"));
        context.check("ready", arrivals.push.inbox.awaitBodies(60, List.of("at once")));
        long now = System.currentTimeMillis();
        Message seconds = Sending.message(topic, "seconds");
        seconds.setDelayTimeSec(3);
        Message millis = Sending.message(topic, "millis");
        millis.setDelayTimeMs(2_300);
        Message absolute = Sending.message(topic, "absolute");
        absolute.setDeliverTimeMs(now + 4_100);
        Message past = Sending.message(topic, "past");
        past.setDeliverTimeMs(now - 10_000);
        for (Message message : List.of(seconds, millis, absolute, past)) {
            SendResult result = context.producer().send(message);
            context.equal("sent", SendStatus.SEND_OK, result.getSendStatus());
            boolean waits = message != past;
            context.equal("has a handle", waits, result.getRecallHandle() != null);
        }
        arrivals.check(context, "past", now - 1);
        arrivals.check(context, "millis", now + 2_300);
        arrivals.check(context, "seconds", now + 3_000);
        arrivals.check(context, "absolute", now + 4_100);
        context.equal("each once", 5, arrivals.push.inbox.size());
    }

    private static void tooLong(Context context) throws Exception {
        String topic = context.topic("too_long", 1);
        Message message = Sending.message(topic, "x");
        message.setDelayTimeSec(TimeUnit.DAYS.toSeconds(4));
        try {
            context.producer().send(message);
            context.check("refused", false);
        } catch (MQBrokerException refused) {
            context.equal("code", 13, refused.getResponseCode());
            context.check("remark", refused.getErrorMessage().startsWith("timer message illegal"), "is", refused.getErrorMessage());
        }
    }

    private static void recalled(Context context) throws Exception {
        String topic = context.topic("recalled", 1);
        Arrivals arrivals = Arrivals.of(context, topic);
        context.producer().send(Sending.message(topic, "at once"));
        context.check("ready", arrivals.push.inbox.awaitBodies(60, List.of("at once")));
        long due = System.currentTimeMillis() + 5_000;
        Message gone = Sending.message(topic, "gone");
        gone.setDeliverTimeMs(due);
        Message kept = Sending.message(topic, "kept");
        kept.setDeliverTimeMs(due);
        SendResult result = context.producer().send(gone);
        context.producer().send(kept);
        String id = context.producer().recallMessage(topic, result.getRecallHandle());
        context.equal("the recalled message", result.getMsgId(), id);
        arrivals.check(context, "kept", due);
        TimeUnit.MILLISECONDS.sleep(1_500);
        context.equal("no more", 2, arrivals.push.inbox.size());
        try {
            context.producer().recallMessage(topic, result.getRecallHandle());
            context.check("a late recall is refused", false);
        } catch (MQBrokerException refused) {
            context.equal("code", 604, refused.getResponseCode());
        }
    }

    /** Retried twice after a second each, then a dead letter. */
    private static void retry(Context context) throws Exception {
        String topic = context.topic("retried", 2);
        String group = context.name("retried_group");
        Push push = Push.of(context, group).subscribe(topic, "*");
        push.consumer.setMaxReconsumeTimes(2);
        push.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            push.inbox.add(List.copyOf(messages));
            at.setDelayLevelWhenNextConsume(1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        push.consumer.start();
        Message message = Sending.message(topic, "bad");
        message.setTags("red");
        message.setKeys("k1");
        SendResult sent = context.producer().send(message);
        context.check("tried three times", push.inbox.await(90, got -> got.size() >= 3), "got", push.inbox.size());
        List<MessageExt> all = push.inbox.all();
        for (int i = 0; i < 3; i++) {
            MessageExt got = all.get(i);
            context.equal("reconsume times", i, got.getReconsumeTimes());
            context.equal("topic", topic, got.getTopic());
            context.equal("tags", "red", got.getTags());
            context.equal("unique key", sent.getMsgId(), got.getMsgId());
            if (i > 0) {
                context.equal("origin", sent.getOffsetMsgId(), got.getProperty("ORIGIN_MESSAGE_ID"));
                long pause = got.getStoreTimestamp() - all.get(i - 1).getStoreTimestamp();
                context.check("after its delay", pause >= 1_000, "ms", pause);
            }
        }
        checkDead(context, group, topic, "bad", 3);
        context.equal("no fourth time", 3, push.inbox.size());
    }

    /**
     * The retry policy of a group is for clients of the proxy. What a remoting consumer gives back waits for its level, be the policy's wait
     * shorter or longer; but the broker keeps the policy as it was given.
     */
    private static void policies(Context context) throws Exception {
        String topic = context.topic("policies", 1);
        GroupRetryPolicy growing = new GroupRetryPolicy();
        growing.setType(GroupRetryPolicyType.EXPONENTIAL);
        growing.setExponentialRetryPolicy(new ExponentialRetryPolicy(1_000, 2_000, 2));
        GroupRetryPolicy listed = new GroupRetryPolicy();
        listed.setType(GroupRetryPolicyType.CUSTOMIZED);
        listed.setCustomizedRetryPolicy(new CustomizedRetryPolicy(new long[] {3_600_000, 7_200_000}));
        DefaultMQAdminExt admin = Operating.admin(context);
        String broker = context.get("broker");
        Map<String, Push> pushes = new LinkedHashMap<>();
        for (Map.Entry<String, GroupRetryPolicy> policy : Map.of("growing", growing, "listed", listed).entrySet()) {
            String group = context.name("policy_" + policy.getKey());
            SubscriptionGroupConfig config = new SubscriptionGroupConfig();
            config.setGroupName(group);
            config.setGroupRetryPolicy(policy.getValue());
            admin.createAndUpdateSubscriptionGroupConfig(broker, config);
            GroupRetryPolicy kept = admin.examineSubscriptionGroupConfig(broker, group).getGroupRetryPolicy();
            context.equal("the policy is kept", policy.getValue().toString(), kept.toString());
            Push push = Push.of(context, group).subscribe(topic, "*");
            push.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
                push.inbox.add(List.copyOf(messages));
                return messages.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.consumer.start();
            pushes.put(policy.getKey(), push);
        }
        context.producer().send(Sending.message(topic, "again"));
        for (Map.Entry<String, Push> push : pushes.entrySet()) {
            Inbox inbox = push.getValue().inbox;
            context.check(push.getKey() + " came again", inbox.await(120, got -> got.size() >= 2), "got", inbox.size());
            List<MessageExt> all = inbox.all();
            context.equal("attempts", 1, all.get(1).getReconsumeTimes());
            // The third level, of 10 s, is that of the first retry.
            long pause = all.get(1).getStoreTimestamp() - all.get(0).getStoreTimestamp();
            context.check("after its level", pause >= 10_000, "ms", pause);
        }
    }

    /** The dead letters of a group, once there are any. */
    static List<String> deadLetters(Context context, String group) throws Exception {
        List<String> bodies = List.of();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
        while (bodies.isEmpty() && System.nanoTime() < deadline) {
            TimeUnit.MILLISECONDS.sleep(200);
            try {
                bodies = Reading.bodies(context, "%DLQ%" + group);
            } catch (org.apache.rocketmq.client.exception.MQClientException notYet) {
                // The name server does not know the topic yet.
            }
        }
        return bodies;
    }

    private static void checkDead(Context context, String group, String topic, String body, int times) throws Exception {
        String dead = "%DLQ%" + group;
        List<String> bodies = deadLetters(context, group);
        context.equal("dead letters", List.of(body), bodies);
        MessageQueue queue = new MessageQueue(dead, brokerOf(context, topic), 0);
        MessageExt letter = Reading.one(context, queue, 0);
        context.equal("origin of the dead letter", topic, letter.getProperty("RETRY_TOPIC"));
        context.equal("attempts of the dead letter", times, letter.getReconsumeTimes());
    }

    private static String brokerOf(Context context, String topic) throws Exception {
        return context.producer().fetchPublishMessageQueues(topic).get(0).getBrokerName();
    }

    private static void deadLetter(Context context) throws Exception {
        String topic = context.topic("dead", 1);
        String group = context.name("dead_group");
        Push push = Push.of(context, group).subscribe(topic, "*");
        push.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            push.inbox.add(List.copyOf(messages));
            at.setDelayLevelWhenNextConsume(-1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        push.consumer.start();
        context.producer().send(Sending.message(topic, "hopeless"));
        context.check("tried", push.inbox.await(60, got -> !got.isEmpty()));
        checkDead(context, group, topic, "hopeless", 1);
        context.equal("tried once", 1, push.inbox.size());
    }
}
