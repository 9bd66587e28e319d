// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientConfigurationBuilder;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.StaticSessionCredentialsProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.MessageListener;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.RecallReceipt;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionChecker;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.subscription.CustomizedRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.ExponentialRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicy;
import org.apache.rocketmq.remoting.protocol.subscription.GroupRetryPolicyType;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** The 5.x SDK, which speaks gRPC to a proxy: the parameter {@code endpoints}, with {@code ssl} true or false. */
final class Grpc {
    private static final ClientServiceProvider PROVIDER = ClientServiceProvider.loadService();

    private Grpc() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("grpc_send_and_receive", Grpc::sendAndReceive);
        scenarios.put("grpc_fifo_keeps_order", Grpc::fifo);
        scenarios.put("grpc_delayed_message_comes_in_time", Grpc::delay);
        scenarios.put("grpc_transactions_commit_rollback_and_check", Grpc::transaction);
        scenarios.put("grpc_push_consumes_and_retries", Grpc::push);
        scenarios.put("grpc_failed_messages_become_dead_letters", Grpc::deadLetter);
        scenarios.put("grpc_retries_wait_as_the_groups_policy_says", Grpc::policies);
        scenarios.put("grpc_invisible_duration_changes", Grpc::invisible);
        scenarios.put("grpc_recalled_message_never_comes", Grpc::recall);
        scenarios.put("grpc_tags_and_sql_filter", Grpc::filters);
        scenarios.put("grpc_and_remoting_meet", Grpc::meet);
        scenarios.put("grpc_waiting_consumer_gets_message_at_once", Grpc::atOnce);
        scenarios.put("grpc_higher_priority_comes_first", Grpc::priority);
        scenarios.put("grpc_wrong_type_is_refused", Grpc::wrongType);
        scenarios.put("grpc_topic_of_batches", Grpc::batches);
    }

    private static ClientConfiguration configuration(Context context) {
        ClientConfigurationBuilder builder = ClientConfiguration.newBuilder()
            .setEndpoints(context.get("endpoints"))
            .enableSsl(Boolean.parseBoolean(context.get("ssl", "true")))
            .setRequestTimeout(Duration.ofSeconds(10));
        String key = context.get("access_key", "");
        if (!key.isEmpty()) {
            builder.setCredentialProvider(new StaticSessionCredentialsProvider(key, context.get("secret_key")));
        }
        return builder.build();
    }

    /** A topic whose messages are of one type, made by the remoting SDK. */
    static String topic(Context context, String suffix, String type, int queues) throws Exception {
        String topic = context.name(suffix);
        context.createTopic(topic, queues, Map.of("+message.type", type));
        return topic;
    }

    /** A group, set up by the remoting SDK. */
    static String group(Context context, String suffix, boolean orderly, int retries) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(context.name(suffix));
        config.setConsumeMessageOrderly(orderly);
        config.setRetryMaxTimes(retries);
        context.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl()
            .createSubscriptionGroup(context.get("broker"), config, 10_000);
        return config.getGroupName();
    }

    static Producer producer(Context context, String... topics) throws Exception {
        Producer producer = PROVIDER.newProducerBuilder()
            .setClientConfiguration(configuration(context)).setTopics(topics).build();
        return context.closing(producer, producer::close);
    }

    private static SimpleConsumer simple(Context context, String group, String topic, FilterExpression filter) throws Exception {
        SimpleConsumer consumer = PROVIDER.newSimpleConsumerBuilder()
            .setClientConfiguration(configuration(context)).setConsumerGroup(group)
            .setAwaitDuration(Duration.ofSeconds(3)).setSubscriptionExpressions(Map.of(topic, filter)).build();
        return context.closing(consumer, consumer::close);
    }

    static SimpleConsumer simple(Context context, String group, String topic) throws Exception {
        return simple(context, group, topic, FilterExpression.SUB_ALL);
    }

    static PushConsumer push(Context context, String group, String topic, MessageListener listener) throws Exception {
        PushConsumer consumer = PROVIDER.newPushConsumerBuilder()
            .setClientConfiguration(configuration(context)).setConsumerGroup(group)
            .setSubscriptionExpressions(Map.of(topic, FilterExpression.SUB_ALL))
            .setConsumptionThreadCount(4).setMessageListener(listener).build();
        return context.closing(consumer, consumer::close);
    }

    private static MessageBuilder message(String topic, String body) {
        return PROVIDER.newMessageBuilder().setTopic(topic).setBody(body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(MessageView view) {
        ByteBuffer body = view.getBody();
        byte[] bytes = new byte[body.remaining()];
        body.get(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    static boolean until(int seconds, BooleanSupplier held) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!held.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                return false;
            }
            TimeUnit.MILLISECONDS.sleep(20);
        }
        return true;
    }

    /** Receives and acknowledges until so many came, or the time is over. */
    private static List<MessageView> take(SimpleConsumer consumer, int count, int seconds) throws Exception {
        List<MessageView> all = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (all.size() < count && System.nanoTime() < deadline) {
            for (MessageView view : consumer.receive(16, Duration.ofSeconds(30))) {
                consumer.ack(view);
                all.add(view);
            }
        }
        return all;
    }

    private static Set<String> bodies(List<MessageView> views) {
        Set<String> bodies = new TreeSet<>();
        views.forEach(view -> bodies.add(body(view)));
        return bodies;
    }

    private static void sendAndReceive(Context context) throws Exception {
        String topic = topic(context, "normal", "NORMAL", 4);
        String group = group(context, "simple", false, 16);
        Producer producer = producer(context, topic);
        Set<String> sent = new TreeSet<>();
        Set<String> ids = new HashSet<>();
        for (int i = 0; i < 40; i++) {
            Message message = message(topic, "größe-" + i).setTag("tag").setKeys("k" + i, "all")
                .addProperty("number", String.valueOf(i)).build();
            SendReceipt receipt = producer.send(message);
            ids.add(receipt.getMessageId().toString());
            sent.add("größe-" + i);
        }
        context.equal("an id each", 40, ids.size());
        SimpleConsumer consumer = simple(context, group, topic);
        List<MessageView> got = take(consumer, 40, 60);
        context.equal("bodies", sent, bodies(got));
        MessageView one = got.get(0);
        context.equal("tag", "tag", one.getTag().orElse(null));
        context.equal("keys", 2, one.getKeys().size());
        context.equal("properties", Set.of("number"), one.getProperties().keySet());
        context.equal("attempt", 1, one.getDeliveryAttempt());
        context.equal("topic", topic, one.getTopic());
        Set<String> gotIds = new HashSet<>();
        got.forEach(view -> gotIds.add(view.getMessageId().toString()));
        context.equal("ids", ids, gotIds);
        context.equal("nothing more", 0, consumer.receive(16, Duration.ofSeconds(30)).size());
    }

    /** Messages of a topic whose batches stay whole come like others; a batch comes as one message: nobody takes it apart. */
    private static void batches(Context context) throws Exception {
        String topic = context.name("batches");
        context.createTopic(topic, 1, Map.of("+message.type", "NORMAL", "+queue.type", "BatchCQ"));
        String group = group(context, "batches_group", false, 16);
        Producer producer = producer(context, topic);
        Set<String> sent = new TreeSet<>();
        for (int i = 0; i < 20; i++) {
            producer.send(message(topic, "single-" + i).build());
            sent.add("single-" + i);
        }
        SimpleConsumer consumer = simple(context, group, topic);
        context.equal("bodies", sent, bodies(take(consumer, 20, 60)));
        context.producer().send(PopByHand.batch(topic, 3));
        context.equal("messages made of a batch", 1, take(consumer, 1, 60).size());
    }

    private static void fifo(Context context) throws Exception {
        String topic = topic(context, "fifo", "FIFO", 4);
        String group = group(context, "fifo_group", true, 16);
        Producer producer = producer(context, topic);
        for (int i = 0; i < 60; i++) {
            producer.send(message(topic, String.valueOf(i)).setMessageGroup("g" + i % 3).build());
        }
        Map<String, List<Integer>> got = new ConcurrentHashMap<>();
        AtomicInteger count = new AtomicInteger();
        push(context, group, topic, view -> {
            synchronized (got) {
                got.computeIfAbsent(view.getMessageGroup().orElse(""), key -> new ArrayList<>()).add(Integer.parseInt(body(view)));
            }
            count.incrementAndGet();
            return ConsumeResult.SUCCESS;
        });
        context.check("all came", until(90, () -> count.get() >= 60), "got", count.get());
        for (int g = 0; g < 3; g++) {
            List<Integer> expected = new ArrayList<>();
            for (int i = g; i < 60; i += 3) {
                expected.add(i);
            }
            context.equal("order of group " + g, expected, got.get("g" + g));
        }
    }

    private static void delay(Context context) throws Exception {
        String topic = topic(context, "delay", "DELAY", 2);
        String group = group(context, "delay_group", false, 16);
        Producer producer = producer(context, topic);
        Map<String, Long> arrived = new ConcurrentHashMap<>();
        push(context, group, topic, view -> {
            arrived.put(body(view), System.currentTimeMillis());
            return ConsumeResult.SUCCESS;
        });
        long due = System.currentTimeMillis() + 5000;
        producer.send(message(topic, "later").setDeliveryTimestamp(due).build());
        context.check("came", until(60, () -> arrived.containsKey("later")));
        long late = arrived.get("later") - due;
        context.check("in time", late > -1500 && late < 6000, "late", late);
    }

    private static void transaction(Context context) throws Exception {
        String topic = topic(context, "transaction", "TRANSACTION", 2);
        String group = group(context, "transaction_group", false, 16);
        Set<String> checked = ConcurrentHashMap.newKeySet();
        TransactionChecker checker = view -> {
            checked.add(body(view));
            return body(view).equals("checked") ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
        };
        Producer producer = PROVIDER.newProducerBuilder().setClientConfiguration(configuration(context))
            .setTopics(topic).setTransactionChecker(checker).build();
        context.closing(producer, producer::close);
        Transaction committed = producer.beginTransaction();
        producer.send(message(topic, "committed").build(), committed);
        Transaction rolledBack = producer.beginTransaction();
        producer.send(message(topic, "rolled back").build(), rolledBack);
        Transaction open = producer.beginTransaction();
        producer.send(message(topic, "checked").build(), open);
        SimpleConsumer consumer = simple(context, group, topic);
        context.equal("nothing before", 0, consumer.receive(16, Duration.ofSeconds(30)).size());
        committed.commit();
        rolledBack.rollback();
        context.equal("committed", Set.of("committed"), bodies(take(consumer, 1, 30)));
        context.equal("checked", Set.of("checked"), bodies(take(consumer, 1, 120)));
        context.equal("asked about", Set.of("checked"), checked);
        context.equal("nothing after", 0, consumer.receive(16, Duration.ofSeconds(30)).size());
    }

    private static void push(Context context) throws Exception {
        String topic = topic(context, "push", "NORMAL", 4);
        String group = group(context, "push_group", false, 16);
        Producer producer = producer(context, topic);
        Map<String, Integer> attempts = new ConcurrentHashMap<>();
        ConcurrentLinkedQueue<String> done = new ConcurrentLinkedQueue<>();
        push(context, group, topic, view -> {
            int attempt = attempts.merge(body(view), 1, Integer::sum);
            if (body(view).equals("m7") && attempt == 1) {
                return ConsumeResult.FAILURE;
            }
            done.add(body(view));
            return ConsumeResult.SUCCESS;
        });
        for (int i = 0; i < 50; i++) {
            producer.send(message(topic, "m" + i).build());
        }
        context.check("all came", until(90, () -> new HashSet<>(done).size() >= 50), "got", new HashSet<>(done).size());
        context.equal("each once", 50, done.size());
        context.equal("the failed one twice", 2, attempts.get("m7"));
    }

    private static void deadLetter(Context context) throws Exception {
        String topic = topic(context, "dead", "FIFO", 1);
        String group = group(context, "dead_group", true, 1);
        Producer producer = producer(context, topic);
        AtomicInteger tries = new AtomicInteger();
        push(context, group, topic, view -> {
            if (body(view).equals("bad")) {
                tries.incrementAndGet();
                return ConsumeResult.FAILURE;
            }
            return ConsumeResult.SUCCESS;
        });
        producer.send(message(topic, "bad").setMessageGroup("g").build());
        String letters = "%DLQ%" + group;
        List<MessageExt> got = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
        while (got.isEmpty() && System.nanoTime() < deadline) {
            TimeUnit.MILLISECONDS.sleep(500);
            try {
                for (var queue : context.producer().fetchPublishMessageQueues(letters)) {
                    got.addAll(Reading.queue(context, queue));
                }
            } catch (org.apache.rocketmq.client.exception.MQClientException notYet) {
                // The topic comes with its first message.
            }
        }
        context.equal("one dead letter", 1, got.size());
        context.equal("its body", "bad", Inbox.body(got.get(0)));
        context.equal("tries", 2, tries.get());
    }

    private static void invisible(Context context) throws Exception {
        String topic = topic(context, "invisible", "NORMAL", 1);
        String group = group(context, "invisible_group", false, 16);
        producer(context, topic).send(message(topic, "again").build());
        SimpleConsumer consumer = simple(context, group, topic);
        MessageView first = first(consumer, 30);
        long changed = System.nanoTime();
        consumer.changeInvisibleDuration(first, Duration.ofSeconds(5));
        MessageView second = first(consumer, 60);
        long waited = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - changed);
        context.check("came after its time", waited >= 3500 && waited < 30_000, "waited", waited);
        context.equal("the same", first.getMessageId().toString(), second.getMessageId().toString());
        context.check("counted", second.getDeliveryAttempt() == 2, "attempt", second.getDeliveryAttempt());
        consumer.ack(second);
        context.equal("gone", 0, consumer.receive(16, Duration.ofSeconds(30)).size());
    }

    private static MessageView first(SimpleConsumer consumer, int seconds) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (System.nanoTime() < deadline) {
            List<MessageView> got = consumer.receive(1, Duration.ofSeconds(30));
            if (!got.isEmpty()) {
                return got.get(0);
            }
        }
        throw new CheckFailed("no message came in " + seconds + " s");
    }

    private static void recall(Context context) throws Exception {
        String topic = topic(context, "recall", "DELAY", 1);
        String group = group(context, "recall_group", false, 16);
        Producer producer = producer(context, topic);
        long due = System.currentTimeMillis() + 6000;
        SendReceipt recalled = producer.send(message(topic, "recalled").setDeliveryTimestamp(due).build());
        producer.send(message(topic, "stays").setDeliveryTimestamp(due).build());
        RecallReceipt receipt = producer.recallMessage(topic, recalled.getRecallHandle());
        context.equal("id", recalled.getMessageId().toString(), receipt.getMessageId().toString());
        SimpleConsumer consumer = simple(context, group, topic);
        context.equal("only the other", Set.of("stays"), bodies(take(consumer, 1, 60)));
        context.equal("nothing more", 0, consumer.receive(16, Duration.ofSeconds(30)).size());
    }

    private static void filters(Context context) throws Exception {
        String topic = topic(context, "filters", "NORMAL", 2);
        Producer producer = producer(context, topic);
        for (int i = 0; i < 12; i++) {
            producer.send(message(topic, "m" + i).setTag("t" + i % 3).addProperty("n", String.valueOf(i)).build());
        }
        SimpleConsumer tags = simple(context, group(context, "tags", false, 16), topic,
            new FilterExpression("t0 || t2", FilterExpressionType.TAG));
        Set<String> expected = new TreeSet<>(Set.of("m0", "m2", "m3", "m5", "m6", "m8", "m9", "m11"));
        context.equal("by tag", expected, bodies(take(tags, 8, 30)));
        if (Boolean.parseBoolean(context.get("sql", "true"))) {
            SimpleConsumer sql = simple(context, group(context, "sql", false, 16), topic,
                new FilterExpression("n IS NOT NULL AND n > 8", FilterExpressionType.SQL92));
            context.equal("by SQL", new TreeSet<>(Set.of("m9", "m10", "m11")), bodies(take(sql, 3, 30)));
        }
    }

    /** Messages cross between the two SDKs, both ways. */
    private static void meet(Context context) throws Exception {
        String topic = topic(context, "meet", "NORMAL", 2);
        SimpleConsumer consumer = simple(context, group(context, "meet_grpc", false, 16), topic);
        byte[] large = "large and compressed ".repeat(1000).getBytes(StandardCharsets.UTF_8);
        org.apache.rocketmq.common.message.Message message =
            new org.apache.rocketmq.common.message.Message(topic, "tag", "key", large);
        message.putUserProperty("from", "remoting");
        context.producer().send(message);
        List<MessageView> got = take(consumer, 1, 30);
        context.equal("one came", 1, got.size());
        context.equal("body", new String(large, StandardCharsets.UTF_8), body(got.get(0)));
        context.equal("property", "remoting", got.get(0).getProperties().get("from"));
        producer(context, topic).send(message(topic, "from gRPC").setTag("g").addProperty("from", "grpc").build());
        Push push = Push.all(context, context.name("meet_remoting"), topic);
        context.check("both came", push.inbox.await(30, all -> all.size() >= 2), "got", push.inbox.bodies());
        context.check("the other way", push.inbox.bodies().contains("from gRPC"));
    }

    private static void atOnce(Context context) throws Exception {
        String topic = topic(context, "at_once", "NORMAL", 1);
        Producer producer = producer(context, topic);
        Map<String, Long> arrived = new ConcurrentHashMap<>();
        push(context, group(context, "at_once_group", false, 16), topic, view -> {
            arrived.put(body(view), System.nanoTime());
            return ConsumeResult.SUCCESS;
        });
        producer.send(message(topic, "warm").build());
        context.check("warm", until(60, () -> arrived.containsKey("warm")));
        List<Long> waits = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            String body = "m" + i;
            TimeUnit.MILLISECONDS.sleep(50);
            producer.send(message(topic, body).build());
            long sent = System.nanoTime();
            context.check(body, until(30, () -> arrived.containsKey(body)));
            waits.add(TimeUnit.NANOSECONDS.toMillis(arrived.get(body) - sent));
        }
        waits.sort(null);
        long median = waits.get(waits.size() / 2);
        context.check("median wait", median < 500, "waits", waits);
        context.step("waits", "median", median, "max", waits.get(waits.size() - 1));
    }

    private static void priority(Context context) throws Exception {
        String topic = topic(context, "priority", "PRIORITY", 3);
        Producer producer = producer(context, topic);
        for (int priority = 1; priority <= 2; priority++) {
            producer.send(message(topic, "priority " + priority).setPriority(priority).build());
        }
        SimpleConsumer consumer = simple(context, group(context, "priority_group", false, 16), topic);
        for (int priority = 2; priority >= 1; priority--) {
            MessageView view = first(consumer, 60);
            context.equal("body", "priority " + priority, body(view));
            context.equal("priority", priority, view.getPriority().orElse(-1));
            consumer.ack(view);
        }
    }

    /** Two policies whose waits are longer than those of the levels, which are 1 s and 5 s for the first two retries. */
    private static void policies(Context context) throws Exception {
        String topic = topic(context, "policies", "NORMAL", 1);
        GroupRetryPolicy listed = new GroupRetryPolicy();
        listed.setType(GroupRetryPolicyType.CUSTOMIZED);
        listed.setCustomizedRetryPolicy(new CustomizedRetryPolicy(new long[] {6_000, 8_000, 1_000}));
        GroupRetryPolicy growing = new GroupRetryPolicy();
        growing.setType(GroupRetryPolicyType.EXPONENTIAL);
        growing.setExponentialRetryPolicy(new ExponentialRetryPolicy(4_000, 60_000, 2));
        Map<String, GroupRetryPolicy> policies = Map.of("listed", listed, "growing", growing);
        Map<String, long[]> waits = Map.of("listed", new long[] {6_000, 8_000}, "growing", new long[] {4_000, 8_000});
        Map<String, List<Long>> arrivals = new HashMap<>();
        for (String name : policies.keySet()) {
            SubscriptionGroupConfig config = new SubscriptionGroupConfig();
            config.setGroupName(context.name("policy_" + name));
            config.setRetryMaxTimes(16);
            config.setGroupRetryPolicy(policies.get(name));
            context.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl()
                .createSubscriptionGroup(context.get("broker"), config, 10_000);
            List<Long> times = new CopyOnWriteArrayList<>();
            arrivals.put(name, times);
            push(context, config.getGroupName(), topic, view -> {
                times.add(System.nanoTime());
                return view.getDeliveryAttempt() < 3 ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
            });
        }
        producer(context, topic).send(message(topic, "again").build());
        for (String name : policies.keySet()) {
            List<Long> times = arrivals.get(name);
            context.check(name + " came three times", until(120, () -> times.size() >= 3), "times", times.size());
            for (int retry = 0; retry < 2; retry++) {
                long pause = TimeUnit.NANOSECONDS.toMillis(times.get(retry + 1) - times.get(retry));
                // The consumer's own way to the broker and back is in it.
                context.check(name + ", retry " + (retry + 1), pause >= waits.get(name)[retry] - 500, "ms", pause);
            }
        }
    }

    private static void wrongType(Context context) throws Exception {
        String topic = topic(context, "wrong", "NORMAL", 1);
        Producer producer = producer(context, topic);
        String refused = "";
        try {
            producer.send(message(topic, "x").setMessageGroup("g").build());
        } catch (Exception failure) {
            refused = String.valueOf(failure.getMessage());
        }
        context.check("refused", !refused.isEmpty(), "why", refused);
        String unknown = "";
        try {
            producer(context, context.name("unknown"));
        } catch (Exception failure) {
            unknown = String.valueOf(failure);
        }
        context.check("unknown topic", !unknown.isEmpty(), "why", unknown);
    }
}
