// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.spring.annotation.ConsumeMode;
import org.apache.rocketmq.spring.annotation.RocketMQMessageListener;
import org.apache.rocketmq.spring.annotation.RocketMQTransactionListener;
import org.apache.rocketmq.spring.autoconfigure.RocketMQAutoConfiguration;
import org.apache.rocketmq.spring.core.RocketMQListener;
import org.apache.rocketmq.spring.core.RocketMQLocalTransactionListener;
import org.apache.rocketmq.spring.core.RocketMQLocalTransactionState;
import org.apache.rocketmq.spring.core.RocketMQReplyListener;
import org.apache.rocketmq.spring.core.RocketMQTemplate;
import org.apache.rocketmq.spring.support.RocketMQHeaders;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.ImportAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.logging.LoggingSystem;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.messaging.Message;
import org.springframework.messaging.support.MessageBuilder;
import org.springframework.stereotype.Component;

/** An application of {@code rocketmq-spring-boot-starter}: its template sends, its listeners get. */
final class Spring {
    private Spring() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("spring_template_and_listeners", Spring::application);
    }

    /** An object that travels as JSON. */
    public static final class Order {
        public int number;
        public String item;

        static Order of(int number) {
            Order order = new Order();
            order.number = number;
            order.item = "item " + number;
            return order;
        }
    }

    @Configuration(proxyBeanMethods = false)
    @ImportAutoConfiguration(RocketMQAutoConfiguration.class)
    @Import({Texts.class, Orders.class, Answers.class, Stubborn.class, Paid.class, Decider.class})
    static class Application {
    }

    /** Two tags of three. */
    @Component
    @RocketMQMessageListener(topic = "${prefix}_texts", consumerGroup = "${prefix}_texts_group", selectorExpression = "a || b")
    static class Texts implements RocketMQListener<MessageExt> {
        final Inbox inbox = new Inbox();

        @Override
        public void onMessage(MessageExt message) {
            inbox.add(List.of(message));
        }
    }

    @Component
    @RocketMQMessageListener(topic = "${prefix}_orders", consumerGroup = "${prefix}_orders_group", consumeMode = ConsumeMode.ORDERLY)
    static class Orders implements RocketMQListener<Order> {
        final List<Integer> numbers = new CopyOnWriteArrayList<>();

        @Override
        public void onMessage(Order order) {
            numbers.add(order.item.equals("item " + order.number) ? order.number : -1);
        }
    }

    @Component
    @RocketMQMessageListener(topic = "${prefix}_requests", consumerGroup = "${prefix}_requests_group")
    static class Answers implements RocketMQReplyListener<String, String> {
        @Override
        public String onMessage(String question) {
            return "answer to " + question;
        }
    }

    /** Fails the first time. */
    @Component
    @RocketMQMessageListener(topic = "${prefix}_stubborn", consumerGroup = "${prefix}_stubborn_group", delayLevelWhenNextConsume = 1)
    static class Stubborn implements RocketMQListener<MessageExt> {
        final List<Integer> times = new CopyOnWriteArrayList<>();

        @Override
        public void onMessage(MessageExt message) {
            times.add(message.getReconsumeTimes());
            if (message.getReconsumeTimes() == 0) {
                throw new IllegalStateException("meant to fail once");
            }
        }
    }

    @Component
    @RocketMQMessageListener(topic = "${prefix}_paid", consumerGroup = "${prefix}_paid_group")
    static class Paid implements RocketMQListener<String> {
        final Set<String> bodies = new ConcurrentSkipListSet<>();

        @Override
        public void onMessage(String body) {
            bodies.add(body);
        }
    }

    /** What the body says; a check commits. */
    @RocketMQTransactionListener
    static class Decider implements RocketMQLocalTransactionListener {
        final AtomicInteger checks = new AtomicInteger();

        private static String body(Message<?> message) {
            return new String((byte[]) message.getPayload(), java.nio.charset.StandardCharsets.UTF_8);
        }

        @Override
        @SuppressWarnings("rawtypes")
        public RocketMQLocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return switch (body(message)) {
                case "commit" -> RocketMQLocalTransactionState.COMMIT;
                case "rollback" -> RocketMQLocalTransactionState.ROLLBACK;
                default -> RocketMQLocalTransactionState.UNKNOWN;
            };
        }

        @Override
        @SuppressWarnings("rawtypes")
        public RocketMQLocalTransactionState checkLocalTransaction(Message message) {
            checks.incrementAndGet();
            return RocketMQLocalTransactionState.COMMIT;
        }
    }

    /** Starts an application that ends with the scenario. Standard output is for steps, so it prints no banner and no log there. */
    static ConfigurableApplicationContext start(Context context, Class<?> application, Map<String, Object> properties) {
        System.setProperty(LoggingSystem.SYSTEM_PROPERTY, LoggingSystem.NONE);
        Map<String, Object> all = new HashMap<>(properties);
        all.put("prefix", context.get("prefix"));
        all.put("spring.main.banner-mode", "off");
        all.put("spring.jmx.enabled", "false");
        ConfigurableApplicationContext started = new SpringApplicationBuilder(application)
            .web(WebApplicationType.NONE).registerShutdownHook(false).properties(all).run();
        return context.closing(started, started::close);
    }

    static boolean await(BooleanSupplier condition) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                return false;
            }
            TimeUnit.MILLISECONDS.sleep(20);
        }
        return true;
    }

    private static void application(Context context) throws Exception {
        for (String suffix : List.of("texts", "orders", "requests", "stubborn", "paid", "pulled")) {
            context.topic(suffix, 2);
        }
        // Else the listener learns of it when it next asks for routes, half a minute later.
        Context.createTopic(context.producer(), "%RETRY%" + context.name("stubborn_group"), 1);
        ConfigurableApplicationContext started = start(context, Application.class, Map.of(
            "rocketmq.name-server", context.namesrv(),
            "rocketmq.producer.group", context.name("producer"),
            "rocketmq.producer.send-message-timeout", "10000",
            "rocketmq.pull-consumer.group", context.name("pulled_group"),
            "rocketmq.pull-consumer.topic", context.name("pulled")));
        RocketMQTemplate template = started.getBean(RocketMQTemplate.class);
        sends(context, template, started.getBean(Texts.class));
        orders(context, template, started.getBean(Orders.class));
        String answer = template.sendAndReceive(context.name("requests"), "a question", String.class, 30_000);
        context.equal("a request gets its reply", "answer to a question", answer);
        Stubborn stubborn = started.getBean(Stubborn.class);
        template.convertAndSend(context.name("stubborn"), "again");
        context.check("what failed comes again", await(() -> stubborn.times.equals(List.of(0, 1))), "times", stubborn.times);
        pull(context, template);
        transactions(context, template, started);
    }

    private static void sends(Context context, RocketMQTemplate template, Texts texts) throws Exception {
        String topic = context.name("texts");
        Message<String> keyed = MessageBuilder.withPayload("sync").setHeader(RocketMQHeaders.KEYS, "a key").setHeader("colour", "blue").build();
        context.equal("sync", SendStatus.SEND_OK, template.syncSend(topic + ":a", keyed).getSendStatus());
        CompletableFuture<SendStatus> async = new CompletableFuture<>();
        template.asyncSend(topic + ":b", "async", new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                async.complete(result.getSendStatus());
            }

            @Override
            public void onException(Throwable failure) {
                async.completeExceptionally(failure);
            }
        });
        context.equal("async", SendStatus.SEND_OK, async.get(30, TimeUnit.SECONDS));
        template.sendOneWay(topic + ":a", "oneway");
        template.convertAndSend(topic + ":c", "filtered out");
        List<Message<String>> batch = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            batch.add(MessageBuilder.withPayload("batch " + i).build());
        }
        context.equal("batch", SendStatus.SEND_OK, template.syncSend(topic + ":b", batch).getSendStatus());
        Message<String> later = MessageBuilder.withPayload("later").build();
        context.equal("delayed", SendStatus.SEND_OK, template.syncSend(topic + ":a", later, 10_000, 1).getSendStatus());
        Set<String> wanted = new TreeSet<>(List.of("sync", "async", "oneway", "later", "batch 0", "batch 1", "batch 2", "batch 3", "batch 4"));
        texts.inbox.awaitBodies(60, wanted);
        context.equal("the listener gets its tags", wanted, new TreeSet<>(texts.inbox.bodies()));
        MessageExt sync = texts.inbox.all().stream().filter(message -> Inbox.body(message).equals("sync")).findFirst().orElseThrow();
        context.equal("keys and headers", "a key, blue", sync.getKeys() + ", " + sync.getUserProperty("colour"));
    }

    private static void orders(Context context, RocketMQTemplate template, Orders orders) throws Exception {
        List<Integer> wanted = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            template.syncSendOrderly(context.name("orders"), Order.of(i), "one customer");
            wanted.add(i);
        }
        await(() -> orders.numbers.size() >= wanted.size());
        context.equal("objects come in order", wanted, orders.numbers);
    }

    private static void pull(Context context, RocketMQTemplate template) throws Exception {
        template.convertAndSend(context.name("pulled"), "pulled");
        List<String> got = new ArrayList<>();
        await(() -> got.addAll(template.receive(String.class, Duration.ofSeconds(1).toMillis())) && !got.isEmpty());
        context.equal("the template pulls", List.of("pulled"), got);
    }

    private static void transactions(Context context, RocketMQTemplate template, ConfigurableApplicationContext started) throws Exception {
        for (String body : List.of("rollback", "commit", "check")) {
            template.sendMessageInTransaction(context.name("paid"), MessageBuilder.withPayload(body).build(), null);
        }
        Paid paid = started.getBean(Paid.class);
        Set<String> wanted = Set.of("commit", "check");
        await(() -> paid.bodies.containsAll(wanted));
        context.equal("transactions", new TreeSet<>(wanted), new TreeSet<>(paid.bodies));
        context.check("one of them after a check", started.getBean(Decider.class).checks.get() > 0);
    }
}
