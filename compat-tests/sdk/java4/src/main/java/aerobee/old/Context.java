// SPDX-License-Identifier: Apache-2.0
package aerobee.old;

import com.alibaba.fastjson.JSON;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** One run of a scenario: its parameters, its output, and the clients to close after it. */
final class Context {
    private static final AtomicLong INSTANCES = new AtomicLong();

    private final long id;
    private final Map<String, String> with;
    private final Deque<Runnable> closings = new ArrayDeque<>();
    private DefaultMQProducer producer;

    Context(long id, Map<String, String> with) {
        this.id = id;
        this.with = with;
    }

    /** A name of this run's own, for a topic or a group. */
    String name(String suffix) {
        return with.get("prefix") + "_" + suffix;
    }

    String get(String key) {
        return with.get(key);
    }

    String namesrv() {
        return with.get("namesrv");
    }

    /** An instance name that no other client of the process has. */
    String instance() {
        return "o" + ProcessHandle.current().pid() + "x" + INSTANCES.incrementAndGet();
    }

    void closing(Runnable closing) {
        closings.push(closing);
    }

    void close() {
        closings.forEach(Runnable::run);
    }

    void check(String step, boolean held, Object more) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("id", id);
        line.put("step", step);
        line.put("ok", held);
        if (!held) {
            line.put("got", String.valueOf(more));
        }
        print(line);
        if (!held) {
            throw new IllegalStateException(step + ": " + more);
        }
    }

    void equal(String step, Object expected, Object actual) {
        check(step, Objects.equals(expected, actual), actual + ", not " + expected);
    }

    void done(String error) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("id", id);
        line.put("done", true);
        line.put("ok", error == null);
        if (error != null) {
            line.put("error", error);
        }
        print(line);
    }

    private static void print(Map<String, Object> line) {
        synchronized (System.out) {
            System.out.println(JSON.toJSONString(line));
            System.out.flush();
        }
    }

    DefaultMQProducer producer() throws MQClientException {
        if (producer == null) {
            producer = new DefaultMQProducer(name("producer"));
            producer.setNamesrvAddr(namesrv());
            producer.setInstanceName(instance());
            producer.setSendMsgTimeout(10_000);
            producer.start();
            closing(producer::shutdown);
        }
        return producer;
    }

    /** A new topic with that many queues. */
    String topic(String suffix, int queues) throws Exception {
        String topic = name(suffix);
        producer().createTopic("TBW102", topic, queues);
        await(30, () -> {
            try {
                return producer.fetchPublishMessageQueues(topic).size() == queues;
            } catch (MQClientException notYet) {
                return false;
            }
        });
        return topic;
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** A push consumer from the first offset on, without a listener. */
    DefaultMQPushConsumer consumer(String group, String topic) throws MQClientException {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(name(group));
        consumer.setNamesrvAddr(namesrv());
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        consumer.subscribe(topic, "*");
        closing(consumer::shutdown);
        return consumer;
    }

    /** Messages as they come. */
    static List<MessageExt> inbox() {
        return new CopyOnWriteArrayList<>();
    }

    /** What is waited for. */
    interface Condition {
        boolean holds() throws Exception;
    }

    /** Whether the condition holds within so many seconds. */
    static boolean await(int seconds, Condition condition) throws Exception {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.holds()) {
            if (System.nanoTime() > deadline) {
                return false;
            }
            Thread.sleep(20);
        }
        return true;
    }
}
