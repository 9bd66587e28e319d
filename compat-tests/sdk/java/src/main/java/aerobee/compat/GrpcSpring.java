// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.annotation.RocketMQMessageListener;
import org.apache.rocketmq.client.annotation.RocketMQTransactionListener;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;
import org.apache.rocketmq.client.autoconfigure.RocketMQAutoConfiguration;
import org.apache.rocketmq.client.core.RocketMQClientTemplate;
import org.apache.rocketmq.client.core.RocketMQListener;
import org.apache.rocketmq.client.core.RocketMQTransactionChecker;
import org.springframework.boot.autoconfigure.ImportAutoConfiguration;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;

/** An application of {@code rocketmq-v5-client-spring-boot-starter}, which speaks gRPC. */
final class GrpcSpring {
    private GrpcSpring() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("grpc_spring_template_and_listeners", GrpcSpring::application);
    }

    @Configuration(proxyBeanMethods = false)
    @ImportAutoConfiguration(RocketMQAutoConfiguration.class)
    @Import({Fifo.class, Paid.class, Checker.class})
    static class Application {
    }

    /** The bodies of what came; always over TLS, for the annotation of listeners has no choice. */
    abstract static class Listener implements RocketMQListener {
        final List<String> bodies = new CopyOnWriteArrayList<>();

        @Override
        public ConsumeResult consume(MessageView message) {
            bodies.add(body(message));
            return ConsumeResult.SUCCESS;
        }
    }

    @RocketMQMessageListener(endpoints = "${endpoints}", topic = "${prefix}_fifo", consumerGroup = "${prefix}_fifo_group", tag = "*", requestTimeout = 10)
    static class Fifo extends Listener {
    }

    @RocketMQMessageListener(endpoints = "${endpoints}", topic = "${prefix}_paid", consumerGroup = "${prefix}_paid_group", tag = "*", requestTimeout = 10)
    static class Paid extends Listener {
    }

    @RocketMQTransactionListener
    static class Checker implements RocketMQTransactionChecker {
        final Set<String> checked = new java.util.concurrent.ConcurrentSkipListSet<>();

        @Override
        public TransactionResolution check(MessageView message) {
            checked.add(body(message));
            return TransactionResolution.COMMIT;
        }
    }

    static String body(MessageView message) {
        return StandardCharsets.UTF_8.decode(message.getBody()).toString();
    }

    private static void application(Context context) throws Exception {
        Grpc.topic(context, "normal", "NORMAL", 2);
        Grpc.topic(context, "fifo", "FIFO", 2);
        Grpc.topic(context, "delay", "DELAY", 2);
        Grpc.topic(context, "paid", "TRANSACTION", 2);
        Grpc.group(context, "fifo_group", true, 16);
        Grpc.group(context, "normal_group", false, 16);
        Grpc.group(context, "paid_group", false, 16);
        boolean tls = Boolean.parseBoolean(context.get("ssl", "true"));
        String endpoints = context.get("endpoints");
        ConfigurableApplicationContext started = Spring.start(context, Application.class, Map.ofEntries(
            Map.entry("endpoints", endpoints),
            Map.entry("rocketmq.producer.endpoints", endpoints),
            // Who does not name a topic beforehand is not asked about its transactions before the next settings.
            Map.entry("rocketmq.producer.topic", context.name("paid")),
            Map.entry("rocketmq.producer.ssl-enabled", tls),
            Map.entry("rocketmq.producer.request-timeout", "10"),
            Map.entry("rocketmq.simple-consumer.endpoints", endpoints),
            Map.entry("rocketmq.simple-consumer.ssl-enabled", tls),
            Map.entry("rocketmq.simple-consumer.request-timeout", "10"),
            Map.entry("rocketmq.simple-consumer.consumer-group", context.name("normal_group")),
            Map.entry("rocketmq.simple-consumer.topic", context.name("normal")),
            Map.entry("rocketmq.simple-consumer.tag", "a")));
        RocketMQClientTemplate template = started.getBean(RocketMQClientTemplate.class);
        normal(context, template);
        fifo(context, template, started.getBean(Fifo.class));
        SendReceipt delayed = template.syncSendDelayMessage(context.name("delay"), "later", Duration.ofSeconds(1));
        context.check("delayed", delayed.getMessageId() != null);
        transactions(context, template, started);
    }

    /** Texts, bytes and objects, taken by the template's simple consumer of one tag. */
    private static void normal(Context context, RocketMQClientTemplate template) throws Exception {
        String topic = context.name("normal");
        template.syncSendNormalMessage(topic + ":a", "text");
        template.syncSendNormalMessage(topic + ":b", "filtered out");
        template.syncSendNormalMessage(topic + ":a", "bytes".getBytes(StandardCharsets.UTF_8));
        template.syncSendNormalMessage(topic + ":a", Spring.Order.of(7));
        // The starter completes the future that it returns, not the one that it takes.
        template.asyncSendNormalMessage(topic + ":a", "async", new CompletableFuture<>()).get(30, TimeUnit.SECONDS);
        Set<String> wanted = Set.of("text", "bytes", "async", "{\"number\":7,\"item\":\"item 7\"}");
        List<String> got = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!got.containsAll(wanted) && System.nanoTime() < deadline) {
            for (MessageView message : template.receive(16, Duration.ofSeconds(60))) {
                got.add(body(message));
                template.ack(message);
            }
        }
        context.equal("the template receives its tag", new TreeSet<>(wanted), new TreeSet<>(got));
    }

    private static void fifo(Context context, RocketMQClientTemplate template, Fifo fifo) throws Exception {
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            template.syncSendFifoMessage(context.name("fifo"), "turn " + i, "one customer");
            wanted.add("turn " + i);
        }
        Spring.await(() -> fifo.bodies.size() >= wanted.size());
        context.equal("the listener gets the group in order", wanted, fifo.bodies);
    }

    private static void transactions(Context context, RocketMQClientTemplate template, ConfigurableApplicationContext started) throws Exception {
        String topic = context.name("paid");
        template.sendMessageInTransaction(topic, "rollback").getTransaction().rollback();
        template.sendMessageInTransaction(topic, "commit").getTransaction().commit();
        template.sendMessageInTransaction(topic, "check");
        Paid paid = started.getBean(Paid.class);
        Set<String> wanted = Set.of("commit", "check");
        Spring.await(() -> paid.bodies.containsAll(wanted));
        context.equal("transactions", new TreeSet<>(wanted), new TreeSet<>(paid.bodies));
        context.equal("one of them after a check", Set.of("check"), started.getBean(Checker.class).checked);
    }
}
