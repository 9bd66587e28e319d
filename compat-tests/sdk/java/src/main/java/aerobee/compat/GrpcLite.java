// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.LitePushConsumer;
import org.apache.rocketmq.client.apis.consumer.MessageListener;
import org.apache.rocketmq.client.apis.consumer.OffsetOption;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.java.exception.LiteSubscriptionQuotaExceededException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Lite topics by the 5.x SDK. */
final class GrpcLite {
    private static final ClientServiceProvider PROVIDER = ClientServiceProvider.loadService();

    private GrpcLite() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("grpc_lite_push_keeps_order_and_retries", GrpcLite::push);
        scenarios.put("grpc_lite_subscribers_come_and_go", GrpcLite::comeAndGo);
        scenarios.put("grpc_lite_exclusive_goes_to_the_last", GrpcLite::exclusive);
        scenarios.put("grpc_lite_quotas_and_names", GrpcLite::quotas);
        scenarios.put("grpc_lite_topics_by_the_hundred", GrpcLite::many);
    }

    private static ClientConfiguration configuration(Context context) {
        return ClientConfiguration.newBuilder()
            .setEndpoints(context.get("endpoints"))
            .enableSsl(Boolean.parseBoolean(context.get("ssl", "true")))
            .setRequestTimeout(Duration.ofSeconds(10))
            .build();
    }

    private static String parent(Context context) throws Exception {
        String topic = context.name("lite_parent");
        TopicConfig config = new TopicConfig(topic, 4, 4, 6);
        config.setAttributes(new HashMap<>(Map.of("+message.type", "LITE", "+lite.topic.expiration", "60")));
        context.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl()
            .createTopic(context.get("broker"), "TBW102", config, 10_000);
        context.check("route", until(15, () -> {
            try {
                return context.producer().fetchPublishMessageQueues(topic).size() == 4;
            } catch (Exception notYet) {
                return false;
            }
        }));
        return topic;
    }

    private static String group(Context context, String suffix, String parent, Map<String, String> more) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(context.name(suffix));
        config.setConsumeMessageOrderly(!suffix.contains("standard"));
        Map<String, String> attributes = new HashMap<>(more);
        attributes.put("+lite.bind.topic", parent);
        config.setAttributes(attributes);
        context.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl()
            .createSubscriptionGroup(context.get("broker"), config, 10_000);
        return config.getGroupName();
    }

    private static Producer producer(Context context, String topic) throws Exception {
        Producer producer = PROVIDER.newProducerBuilder()
            .setClientConfiguration(configuration(context)).setTopics(topic).build();
        return context.closing(producer, producer::close);
    }

    private static LitePushConsumer push(Context context, String group, String parent, MessageListener listener) throws Exception {
        LitePushConsumer consumer = PROVIDER.newLitePushConsumerBuilder().setClientConfiguration(configuration(context))
            .setConsumerGroup(group).bindTopic(parent).setConsumptionThreadCount(4).setMessageListener(listener).build();
        return context.closing(consumer, consumer::close);
    }

    private static void send(Producer producer, String parent, String lite, String body) throws ClientException {
        producer.send(PROVIDER.newMessageBuilder().setTopic(parent).setLiteTopic(lite)
            .setBody(body.getBytes(StandardCharsets.UTF_8)).build());
    }

    private static String body(MessageView view) {
        ByteBuffer body = view.getBody();
        byte[] bytes = new byte[body.remaining()];
        body.get(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static boolean until(int seconds, BooleanSupplier held) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!held.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                return false;
            }
            TimeUnit.MILLISECONDS.sleep(20);
        }
        return true;
    }

    private static void push(Context context) throws Exception {
        String parent = parent(context);
        Producer producer = producer(context, parent);
        for (String kind : List.of("fifo", "standard")) {
            String group = group(context, "lite_" + kind, parent, Map.of());
            Map<String, List<Integer>> got = new ConcurrentHashMap<>();
            AtomicInteger count = new AtomicInteger();
            AtomicInteger refused = new AtomicInteger();
            LitePushConsumer consumer = push(context, group, parent, view -> {
                int number = Integer.parseInt(body(view));
                if (number == 3 && refused.getAndIncrement() == 0) {
                    return ConsumeResult.FAILURE;
                }
                synchronized (got) {
                    List<Integer> list = got.computeIfAbsent(view.getLiteTopic().orElse("?"), key -> new ArrayList<>());
                    if (!list.contains(number)) {
                        list.add(number);
                        count.incrementAndGet();
                    }
                }
                return ConsumeResult.SUCCESS;
            });
            for (int lite = 0; lite < 10; lite++) {
                consumer.subscribeLite(kind + lite);
            }
            context.equal("set", 10, consumer.getLiteTopicSet().size());
            for (int i = 0; i < 50; i++) {
                send(producer, parent, kind + i % 10, String.valueOf(i / 10));
            }
            context.check("all came " + kind, until(90, () -> count.get() >= 50), "got", count.get());
            context.check("one came again", refused.get() >= 2, "times", refused.get());
            for (int lite = 0; lite < 10; lite++) {
                List<Integer> all = got.get(kind + lite);
                if (kind.equals("standard")) {
                    all = new ArrayList<>(new TreeSet<>(all));
                }
                context.equal("order of " + kind + lite, List.of(0, 1, 2, 3, 4), all);
            }
        }
    }

    private static void comeAndGo(Context context) throws Exception {
        String parent = parent(context);
        String group = group(context, "lite_readers", parent, Map.of());
        Producer producer = producer(context, parent);
        Set<String> got = ConcurrentHashMap.newKeySet();
        LitePushConsumer consumer = push(context, group, parent, view -> {
            got.add(view.getLiteTopic().orElse("?") + ":" + body(view));
            return ConsumeResult.SUCCESS;
        });
        consumer.subscribeLite("a");
        consumer.subscribeLite("b");
        for (String lite : List.of("a", "b", "nobody")) {
            send(producer, parent, lite, lite);
        }
        context.check("what is subscribed to", until(60, () -> got.equals(Set.of("a:a", "b:b"))), "got", got.toString());
        consumer.unsubscribeLite("b");
        send(producer, parent, "b", "b2");
        send(producer, parent, "a", "a2");
        context.check("what is left", until(60, () -> got.contains("a:a2")));
        context.equal("nothing of the other", false, got.contains("b:b2"));
        for (int i = 0; i < 5; i++) {
            send(producer, parent, "c", String.valueOf(i));
        }
        consumer.subscribeLite("c", OffsetOption.ofOffset(3));
        context.check("from an offset", until(60, () -> got.containsAll(Set.of("c:3", "c:4"))));
        context.equal("not before it", false, got.contains("c:2"));
        consumer.close();
        Set<String> others = ConcurrentHashMap.newKeySet();
        LitePushConsumer other = push(context, group(context, "lite_other", parent, Map.of()), parent, view -> {
            others.add(view.getLiteTopic().orElse("?") + ":" + body(view));
            return ConsumeResult.SUCCESS;
        });
        other.subscribeLite("a", OffsetOption.MIN_OFFSET);
        context.check("another group from the start", until(60, () -> others.equals(Set.of("a:a", "a:a2"))), "got", others.toString());
    }

    private static void exclusive(Context context) throws Exception {
        String parent = parent(context);
        String group = group(context, "lite_alone", parent, Map.of("+lite.sub.model", "Exclusive"));
        Producer producer = producer(context, parent);
        Set<String> first = ConcurrentHashMap.newKeySet();
        Set<String> second = ConcurrentHashMap.newKeySet();
        LitePushConsumer one = push(context, group, parent, view -> {
            first.add(body(view));
            return ConsumeResult.SUCCESS;
        });
        one.subscribeLite("seat");
        one.subscribeLite("kept");
        send(producer, parent, "seat", "m1");
        context.check("to the first", until(60, () -> first.contains("m1")));
        LitePushConsumer other = push(context, group, parent, view -> {
            second.add(body(view));
            return ConsumeResult.SUCCESS;
        });
        other.subscribeLite("seat");
        context.check("the first hears of it", until(60, () -> one.getLiteTopicSet().equals(Set.of("kept"))));
        for (int i = 0; i < 5; i++) {
            send(producer, parent, "seat", "n" + i);
        }
        context.check("to the second", until(60, () -> second.size() >= 5), "got", second.size());
        context.equal("nothing more to the first", Set.of("m1"), first);
    }

    private static void quotas(Context context) throws Exception {
        String parent = parent(context);
        String group = group(context, "lite_few", parent, Map.of("+lite.sub.client.quota", "3"));
        LitePushConsumer consumer = push(context, group, parent, view -> ConsumeResult.SUCCESS);
        for (int i = 0; i < 3; i++) {
            consumer.subscribeLite("l" + i);
        }
        boolean exceeded = false;
        try {
            consumer.subscribeLite("l3");
        } catch (LiteSubscriptionQuotaExceededException expected) {
            exceeded = true;
        }
        context.check("no fourth", exceeded);
        consumer.unsubscribeLite("l0");
        boolean illegal = false;
        try {
            consumer.subscribeLite("not a name");
        } catch (ClientException expected) {
            illegal = true;
        }
        context.check("no such name", illegal);
        consumer.subscribeLite("l3");
        boolean refused = false;
        try {
            push(context, context.name("nobody_made_it"), parent, view -> ConsumeResult.SUCCESS).subscribeLite("a");
        } catch (Exception expected) {
            refused = true;
        }
        context.check("no such group", refused);
    }

    private static void many(Context context) throws Exception {
        String parent = parent(context);
        String group = group(context, "lite_many", parent, Map.of());
        Producer producer = producer(context, parent);
        Set<String> got = ConcurrentHashMap.newKeySet();
        LitePushConsumer consumer = push(context, group, parent, view -> {
            got.add(view.getLiteTopic().orElse("?"));
            return ConsumeResult.SUCCESS;
        });
        int topics = context.number("topics", 500);
        for (int i = 0; i < topics; i++) {
            consumer.subscribeLite("m" + i);
        }
        for (int i = 0; i < topics; i++) {
            send(producer, parent, "m" + i, "x");
        }
        context.check("all came", until(120, () -> got.size() >= topics), "got", got.size());
    }
}
