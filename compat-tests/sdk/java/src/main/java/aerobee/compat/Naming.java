// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.sysflag.TopicSysFlag;
import org.apache.rocketmq.remoting.protocol.body.Connection;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Namespaces before the names of topics and groups, and units: what clients add to names. */
final class Naming {
    private Naming() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("namespaces_do_not_see_each_other", Naming::namespaces);
        scenarios.put("namespace_has_transactions_of_its_own", Naming::transactions);
        scenarios.put("namespace_of_version_two_changes_no_name", Naming::versionTwo);
        scenarios.put("unit_mode_is_seen_in_topics", Naming::unitMode);
        scenarios.put("unit_names_tell_clients_apart", Naming::unitNames);
    }

    /** How a client says in which namespace it is. */
    @FunctionalInterface
    private interface Space {
        void set(ClientConfig client, String name);
    }

    private static DefaultMQProducer producer(Context context, Space space, String name) throws Exception {
        DefaultMQProducer producer = context.freshProducer("spaced_producer");
        space.set(producer, name);
        producer.start();
        return context.closing(producer, producer::shutdown);
    }

    /**
     * A group that gives each message back which says so: once, or each time, and then it becomes a dead letter. The bodies of the inbox are
     * those of messages that it consumed.
     */
    private static Push returning(Context context, Space space, String name, String group, String topic) throws Exception {
        Push push = Push.of(context, group);
        space.set(push.consumer, name);
        push.subscribe(topic, "*");
        push.consumer.setMaxReconsumeTimes(1);
        push.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            at.setDelayLevelWhenNextConsume(1);
            boolean again = messages.stream().anyMatch(message -> Inbox.body(message).startsWith("never")
                || Inbox.body(message).startsWith("again") && message.getReconsumeTimes() == 0);
            if (again) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            push.inbox.add(List.copyOf(messages));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return push.run();
    }

    /** Two namespaces with a topic and a group of the same name each, and clients that name them in full. */
    @SuppressWarnings("deprecation")
    private static void namespaces(Context context) throws Exception {
        String topic = context.name("spaced");
        String group = context.name("spaced_group");
        Map<String, Push> pushes = new LinkedHashMap<>();
        for (String word : List.of("one", "two")) {
            String space = context.name(word);
            DefaultMQProducer producer = producer(context, ClientConfig::setNamespace, space);
            Context.createTopic(producer, topic, 4);
            for (String body : List.of("plain", "again", "never")) {
                Message message = Sending.message(topic, body + " " + word);
                message.setKeys("key");
                context.equal("sent " + body, SendStatus.SEND_OK, producer.send(message).getSendStatus());
            }
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                batch.add(Sending.message(topic, "batch" + i + " " + word));
            }
            context.equal("batch", SendStatus.SEND_OK, producer.send(batch).getSendStatus());
            pushes.put(word, returning(context, ClientConfig::setNamespace, space, group, topic));
            context.equal("found by key in one namespace", 3,
                producer.queryMessage(topic, "key", 32, 0, System.currentTimeMillis() + 60_000).getMessageList().size());
        }
        Push plain = Push.all(context, group, context.topic("spaced", 4));
        Push full = Push.all(context, context.name("full_group"), context.name("one") + "%" + topic);
        context.producer().send(Sending.message(topic, "without"));
        for (Map.Entry<String, Push> one : pushes.entrySet()) {
            String word = one.getKey();
            Push push = one.getValue();
            Set<String> wanted = Set.of("plain " + word, "again " + word, "batch0 " + word, "batch1 " + word, "batch2 " + word);
            context.check("all of " + word, push.inbox.awaitBodies(60, wanted), "got", push.inbox.bodies());
            context.equal("topics without the namespace", Set.of(topic),
                push.inbox.all().stream().map(MessageExt::getTopic).collect(Collectors.toSet()));
            MessageExt again = push.inbox.all().stream().filter(message -> Inbox.body(message).startsWith("again")).findFirst().get();
            context.equal("given back once", 1, again.getReconsumeTimes());
            context.equal("dead letters of " + word, List.of("never " + word), Delaying.deadLetters(context, context.name(word) + "%" + group));
            context.equal("nothing else in " + word, wanted, new HashSet<>(push.inbox.bodies()));
        }
        context.check("without a namespace", plain.inbox.awaitBodies(60, List.of("without")), "got", plain.inbox.bodies());
        context.equal("nothing of the namespaces", List.of("without"), plain.inbox.bodies());
        context.check("by its full name", full.inbox.await(60, got -> got.size() >= 6), "got", full.inbox.bodies());
        context.check("of one namespace", full.inbox.bodies().stream().allMatch(body -> body.endsWith("one")), "got", full.inbox.bodies());
    }

    /** Of two namespaces each producer is asked after its own transactions, although topic and group have the same names. */
    @SuppressWarnings("deprecation")
    private static void transactions(Context context) throws Exception {
        String topic = context.name("spaced_transaction");
        Map<String, Decider> deciders = new LinkedHashMap<>();
        Map<String, Push> pushes = new LinkedHashMap<>();
        for (String word : List.of("one", "two")) {
            Decider decider = new Decider(message -> message.getTopic() + " " + Inbox.body(message));
            TransactionMQProducer producer = new TransactionMQProducer(context.name("spaced_transaction_producer"));
            producer.setNamesrvAddr(context.namesrv());
            producer.setInstanceName(context.instance());
            producer.setNamespace(context.name(word));
            producer.setSendMsgTimeout(10_000);
            producer.setHeartbeatBrokerInterval(1000);
            producer.setTransactionListener(decider);
            producer.start();
            context.closing(producer, producer::shutdown);
            Context.createTopic(producer, topic, 2);
            for (String tag : List.of("commit", "rollback", "later")) {
                Message message = new Message(topic, tag, (tag + " " + word).getBytes(java.nio.charset.StandardCharsets.UTF_8));
                context.equal("sent " + tag, SendStatus.SEND_OK, producer.sendMessageInTransaction(message, null).getSendStatus());
            }
            Push push = Push.of(context, context.name("spaced_transaction_group"));
            push.consumer.setNamespace(context.name(word));
            pushes.put(word, push.subscribe(topic, "*").start());
            deciders.put(word, decider);
        }
        for (String word : List.of("one", "two")) {
            Push push = pushes.get(word);
            Set<String> wanted = Set.of("commit " + word, "later " + word);
            context.check("committed in " + word, push.inbox.awaitBodies(120, wanted), "got", push.inbox.bodies());
            context.equal("nothing else in " + word, wanted, new HashSet<>(push.inbox.bodies()));
            context.equal("each once", 2, push.inbox.size());
            // A check shows the topic as the producer names it.
            context.equal("asked about", Set.of(topic + " later " + word), deciders.get(word).checked);
        }
    }

    /**
     * The namespace of version two goes along with each request, for servers in front of the broker; names stay as they are, and Apache's broker
     * looks at none of it.
     */
    private static void versionTwo(Context context) throws Exception {
        String topic = context.name("second");
        String group = context.name("second_group");
        DefaultMQProducer producer = producer(context, ClientConfig::setNamespaceV2, context.name("one"));
        Context.createTopic(producer, topic, 4);
        Push push = returning(context, ClientConfig::setNamespaceV2, context.name("one"), group, topic);
        Push other = returning(context, ClientConfig::setNamespaceV2, context.name("two"), context.name("second_other"), topic);
        Push plain = Push.all(context, context.name("second_plain"), topic);
        for (String body : List.of("plain", "again", "never")) {
            context.equal("sent " + body, SendStatus.SEND_OK, producer.send(Sending.message(topic, body)).getSendStatus());
        }
        for (Push one : List.of(push, other)) {
            context.check("came", one.inbox.awaitBodies(60, List.of("plain", "again")), "got", one.inbox.bodies());
            context.equal("the topic", Set.of(topic), one.inbox.all().stream().map(MessageExt::getTopic).collect(Collectors.toSet()));
        }
        context.check("without a namespace", plain.inbox.awaitBodies(60, List.of("plain", "again", "never")), "got", plain.inbox.bodies());
        context.equal("dead letters", List.of("never"), Delaying.deadLetters(context, group));
    }

    /** What is made by clients of a unit is flagged: topics by their producers, retry topics by their consumers. */
    private static void unitMode(Context context) throws Exception {
        String topic = context.name("unit");
        String group = context.name("unit_group");
        DefaultMQProducer producer = context.freshProducer("unit_producer");
        producer.setUnitMode(true);
        producer.start();
        context.closing(producer, producer::shutdown);
        context.equal("sent", SendStatus.SEND_OK, producer.send(Sending.message(topic, "unit")).getSendStatus());
        context.equal("sent without", SendStatus.SEND_OK, context.producer().send(Sending.message(context.name("no_unit"), "none")).getSendStatus());
        Push push = Push.of(context, group).subscribe(topic, "*");
        push.consumer.setUnitMode(true);
        push.start();
        Push none = Push.all(context, context.name("no_unit_group"), topic);
        context.check("came", push.inbox.awaitBodies(60, List.of("unit")) && none.inbox.awaitBodies(60, List.of("unit")));
        DefaultMQAdminExt admin = Operating.admin(context);
        String broker = context.get("broker");
        context.equal("the topic", TopicSysFlag.buildSysFlag(true, false), admin.examineTopicConfig(broker, topic).getTopicSysFlag());
        context.equal("another topic", 0, admin.examineTopicConfig(broker, context.name("no_unit")).getTopicSysFlag());
        context.equal("the retry topic", TopicSysFlag.buildSysFlag(false, true),
            admin.examineTopicConfig(broker, "%RETRY%" + group).getTopicSysFlag());
        context.equal("another retry topic", 0, admin.examineTopicConfig(broker, "%RETRY%" + context.name("no_unit_group")).getTopicSysFlag());

        MQClientAPIImpl wire = producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
        String retry = "%RETRY%" + group;
        // The name server hears of a changed topic at once, and of all with the next registration.
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!wire.getHasUnitSubTopicList(true, 5000).getTopicList().contains(retry) && System.nanoTime() < deadline) {
            TimeUnit.MILLISECONDS.sleep(100);
        }
        context.equal("of a unit", Set.of(topic), own(context, wire.getUnitTopicList(true, 5000).getTopicList()));
        context.equal("consumed by a unit", Set.of(retry), own(context, wire.getHasUnitSubTopicList(true, 5000).getTopicList()));
        context.equal("without retry topics", Set.of(), own(context, wire.getHasUnitSubTopicList(false, 5000).getTopicList()));
        context.equal("consumed by a unit, and of none", Set.of(retry),
            own(context, wire.getHasUnitSubUnUnitTopicList(true, 5000).getTopicList()));
    }

    private static Set<String> own(Context context, Set<String> topics) {
        return topics.stream().filter(topic -> topic.contains(context.name(""))).collect(Collectors.toCollection(TreeSet::new));
    }

    /** Two consumers of one process and one instance name, told apart by their units alone. */
    private static void unitNames(Context context) throws Exception {
        String topic = context.topic("units", 4);
        String group = context.name("units_group");
        String instance = context.instance();
        List<Push> pushes = new ArrayList<>();
        for (String unit : List.of("north", "south")) {
            Push push = Push.of(context, group).subscribe(topic, "*");
            push.consumer.setInstanceName(instance);
            push.consumer.setUnitName(unit);
            pushes.add(push.start());
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
        boolean split = false;
        for (int round = 0; !split && System.nanoTime() < deadline; round++) {
            pushes.forEach(push -> push.inbox.clear());
            Set<String> missing = new HashSet<>(Sending.sendAll(context.producer(), topic, "round" + round, 16));
            while (!missing.isEmpty() && System.nanoTime() < deadline) {
                TimeUnit.MILLISECONDS.sleep(20);
                pushes.forEach(push -> missing.removeAll(push.inbox.bodies()));
            }
            split = pushes.stream().allMatch(push -> push.inbox.queues().size() == 2);
        }
        context.check("two queues each", split, "first", pushes.get(0).inbox.queues(), "second", pushes.get(1).inbox.queues());
        Set<String> clients = Operating.admin(context).examineConsumerConnectionInfo(group).getConnectionSet().stream()
            .map(Connection::getClientId).collect(Collectors.toSet());
        Set<String> ends = clients.stream().map(client -> client.substring(client.indexOf('@') + 1)).collect(Collectors.toSet());
        context.equal("clients", Set.of(instance + "@north", instance + "@south"), ends);
        for (String client : clients) {
            // Each answers for its own queues.
            int queues = (int) Operating.admin(context).getConsumerRunningInfo(group, client, false).getMqTable().keySet().stream()
                .filter(queue -> queue.getTopic().equals(topic)).count();
            context.equal("queues of " + client, 2, queues);
        }
    }
}
