// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Push consumers that pop, because the broker says so: the client leaves the sharing of queues to it. */
final class Popping {
    private static final int TIMEOUT = 5000;

    private Popping() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("pop_members_get_each_message_once", Popping::once);
        scenarios.put("pop_failed_messages_come_again", Popping::again);
        scenarios.put("pop_waiting_consumer_gets_message_at_once", Popping::atOnce);
        scenarios.put("pop_and_push_retry_what_sql_selects", Popping::selected);
    }

    /** A group whose mode for the topic is to pop. */
    private static String popping(Context context, String topic, String suffix) throws Exception {
        String group = context.name(suffix);
        DefaultMQProducer producer = context.producer();
        MQClientInstance client = producer.getDefaultMQProducerImpl().getMqClientFactory();
        client.updateTopicRouteInfoFromNameServer(topic);
        Set<String> brokers = new HashSet<>();
        producer.fetchPublishMessageQueues(topic).forEach(queue -> brokers.add(queue.getBrokerName()));
        for (String broker : brokers) {
            String address = client.findBrokerAddressInPublish(broker);
            SubscriptionGroupConfig config = new SubscriptionGroupConfig();
            config.setGroupName(group);
            client.getMQClientAPIImpl().createSubscriptionGroup(address, config, TIMEOUT);
            client.getMQClientAPIImpl().setMessageRequestMode(address, topic, group, MessageRequestMode.POP, 0, TIMEOUT);
        }
        return group;
    }

    private static Push member(Context context, String group, String topic) throws Exception {
        Push push = Push.of(context, group).subscribe(topic, "*");
        push.consumer.setClientRebalance(false);
        return push;
    }

    private static void once(Context context) throws Exception {
        String topic = context.topic("pop", 4);
        String group = popping(context, topic, "pop_group");
        Push first = member(context, group, topic).start();
        Push second = member(context, group, topic).start();
        List<String> sent = Sending.sendAll(context.producer(), topic, "pop", 400);
        Set<String> missing = new HashSet<>(sent);
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (!missing.isEmpty() && System.nanoTime() < deadline) {
            missing.removeAll(first.inbox.bodies());
            missing.removeAll(second.inbox.bodies());
            Thread.sleep(20);
        }
        context.check("all come", missing.isEmpty(), "missing", missing.size());
        boolean popped = first.inbox.all().stream().allMatch(message -> message.getProperty("POP_CK") != null);
        context.check("popped, not pulled", popped);
        Thread.sleep(2000);
        context.equal("each once", 400, first.inbox.size() + second.inbox.size());
    }

    private static void again(Context context) throws Exception {
        String topic = context.topic("popagain", 2);
        String group = popping(context, topic, "popagain_group");
        Push push = member(context, group, topic);
        Set<String> failed = ConcurrentHashMap.newKeySet();
        push.consumer.setConsumeMessageBatchMaxSize(1);
        push.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            MessageExt message = messages.get(0);
            boolean fails = Inbox.body(message).endsWith("3") && failed.add(Inbox.body(message));
            if (!fails) {
                push.inbox.add(List.copyOf(messages));
            }
            return fails ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        push.run();
        List<String> sent = Sending.sendAll(context.producer(), topic, "again", 20);
        context.check("all come in the end", push.inbox.awaitBodies(90, sent), "got", push.inbox.size());
        for (MessageExt message : push.inbox.all()) {
            boolean wasFailed = failed.contains(Inbox.body(message));
            context.equal("counted " + Inbox.body(message), wasFailed ? 1 : 0, message.getReconsumeTimes());
            context.equal("under its topic", topic, message.getTopic());
        }
        context.equal("each once", 20, push.inbox.size());
    }

    /** What an expression selects comes, fails, and comes again, popped or pulled; what it does not select never does. */
    private static void selected(Context context) throws Exception {
        String topic = context.topic("popsql", 2);
        String group = popping(context, topic, "popsql_group");
        String expression = "a BETWEEN 4 AND 7 AND b = 'x' OR TAGS = 'last'";
        Push popping = Push.of(context, group);
        popping.consumer.setClientRebalance(false);
        Push pulling = Push.of(context, context.name("pullsql_group"));
        for (Push push : List.of(popping, pulling)) {
            push.consumer.subscribe(topic, MessageSelector.bySql(expression));
            push.consumer.setConsumeMessageBatchMaxSize(1);
            push.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
                push.inbox.add(List.copyOf(messages));
                at.setDelayLevelWhenNextConsume(1);
                return messages.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.run();
        }
        Push all = Push.all(context, context.name("popsql_all"), topic);
        Set<String> wanted = new HashSet<>(List.of("4", "6", "11"));
        for (int i = 0; i < 12; i++) {
            Message message = new Message(topic, i == 11 ? "last" : "tag", String.valueOf(i).getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("a", String.valueOf(i));
            message.putUserProperty("b", i % 2 == 0 ? "x" : "y");
            context.producer().send(message);
        }
        context.check("all came to whoever wants all", all.inbox.await(60, got -> got.size() >= 12), "got", all.inbox.size());
        for (Push push : List.of(popping, pulling)) {
            String how = push == popping ? "popped" : "pulled";
            context.check(how + " twice", push.inbox.await(120, got -> got.size() >= 6), "got", push.inbox.bodies());
            for (int times = 0; times < 2; times++) {
                int attempt = times;
                Set<String> bodies = new HashSet<>();
                push.inbox.all().stream().filter(message -> message.getReconsumeTimes() == attempt).forEach(message -> bodies.add(Inbox.body(message)));
                context.equal(how + ", attempt " + attempt, wanted, bodies);
            }
            context.equal(how + ", nothing else", 6, push.inbox.size());
            boolean isPopped = push.inbox.all().stream().allMatch(message -> message.getProperty("POP_CK") != null);
            context.equal(how + " by its mode", push == popping, isPopped);
        }
    }

    private static void atOnce(Context context) throws Exception {
        String topic = context.topic("popwait", 4);
        String group = popping(context, topic, "popwait_group");
        Push push = member(context, group, topic).start();
        List<String> first = Sending.sendAll(context.producer(), topic, "warm", 8);
        context.check("it consumes", push.inbox.awaitBodies(60, first));
        for (int round = 0; round < 5; round++) {
            Thread.sleep(300);
            long start = System.nanoTime();
            List<String> sent = Sending.sendAll(context.producer(), topic, "wait" + round, 1);
            context.check("it comes", push.inbox.awaitBodies(10, sent));
            long millis = (System.nanoTime() - start) / 1_000_000;
            context.check("at once", millis < 2000, "ms", millis);
        }
    }
}
