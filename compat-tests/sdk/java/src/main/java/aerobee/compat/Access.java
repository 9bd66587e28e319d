// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * A user (the parameters {@code access_key} and {@code secret_key}) who may use {@code topic} and {@code group}, and not
 * {@code forbidden}.
 */
final class Access {
    private static final int COUNT = 5;
    private static final int NO_PERMISSION = 16;

    private Access() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("access", Access::remoting);
        scenarios.put("grpc_access", Access::grpc);
    }

    private static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    private static void remoting(Context context) throws Exception {
        DefaultMQProducer producer = context.producer();
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < COUNT; i++) {
            String body = context.name("body" + i);
            context.equal("sent", SendStatus.SEND_OK, producer.send(message(context.get("topic"), body)).getSendStatus());
            bodies.add(body);
        }
        int code = 0;
        try {
            producer.send(message(context.get("forbidden"), "x"));
        } catch (MQBrokerException refused) {
            code = refused.getResponseCode();
        } catch (MQClientException refused) {
            code = refused.getResponseCode();
        }
        context.equal("forbidden", NO_PERMISSION, code);
        Set<String> got = new ConcurrentSkipListSet<>();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(context.get("group"), context.hook());
        consumer.setNamesrvAddr(context.namesrv());
        consumer.setInstanceName(context.instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(context.get("topic"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, queue) -> {
            messages.forEach(one -> got.add(new String(one.getBody(), StandardCharsets.UTF_8)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        context.closing(consumer, consumer::shutdown);
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
        while (!got.containsAll(bodies) && System.nanoTime() < deadline) {
            TimeUnit.MILLISECONDS.sleep(50);
        }
        context.check("all came", got.containsAll(bodies), "got", got.toString());
    }

    private static void grpc(Context context) throws Exception {
        String topic = context.get("topic");
        Producer producer = Grpc.producer(context, topic);
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < COUNT; i++) {
            String body = context.name("body" + i);
            producer.send(grpcMessage(topic, body));
            bodies.add(body);
        }
        String refusal = "";
        try {
            Grpc.producer(context, context.get("forbidden")).send(grpcMessage(context.get("forbidden"), "x"));
        } catch (Throwable refused) {
            java.io.StringWriter trace = new java.io.StringWriter();
            refused.printStackTrace(new java.io.PrintWriter(trace));
            refusal = trace.toString();
        }
        context.check("forbidden", refusal.contains("has no permission to access Topic:"), "refusal", refusal);
        SimpleConsumer consumer = Grpc.simple(context, context.get("group"), topic);
        Set<String> got = new TreeSet<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
        while (!got.containsAll(bodies) && System.nanoTime() < deadline) {
            for (MessageView one : consumer.receive(16, Duration.ofSeconds(30))) {
                got.add(StandardCharsets.UTF_8.decode(one.getBody()).toString());
                consumer.ack(one);
            }
        }
        context.check("all came", got.containsAll(bodies), "got", got.toString());
    }

    private static org.apache.rocketmq.client.apis.message.Message grpcMessage(String topic, String body) {
        return ClientServiceProvider.loadService().newMessageBuilder().setTopic(topic)
            .setBody(body.getBytes(StandardCharsets.UTF_8)).build();
    }
}
