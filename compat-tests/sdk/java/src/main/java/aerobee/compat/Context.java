// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONWriter;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;

/** One run of a scenario: its parameters, its output, and the clients to close after it. */
final class Context implements AutoCloseable {
    private static final AtomicLong INSTANCES = new AtomicLong();

    private final long id;
    private final Map<String, String> with;
    private final long start = System.nanoTime();
    private final CountDownLatch stopped = new CountDownLatch(1);
    private final Deque<Closing> clients = new ArrayDeque<>();
    private DefaultMQProducer producer;

    Context(long id, Map<String, String> with) {
        this.id = id;
        this.with = with;
    }

    /** What ends a client. */
    @FunctionalInterface
    interface Closing {
        void close() throws Exception;
    }

    String get(String key) {
        String value = with.get(key);
        if (value == null) {
            throw new CheckFailed("the parameter '" + key + "' is missing");
        }
        return value;
    }

    String get(String key, String absent) {
        return with.getOrDefault(key, absent);
    }

    int number(String key, int absent) {
        return Integer.parseInt(get(key, String.valueOf(absent)));
    }

    String namesrv() {
        return get("namesrv");
    }

    /** A name of this run's own, for a topic or a group. */
    String name(String suffix) {
        return get("prefix") + "_" + suffix;
    }

    /** An instance name that no other client of the process has, so that clients share no connection. */
    String instance() {
        return "i" + ProcessHandle.current().pid() + "x" + INSTANCES.incrementAndGet();
    }

    void step(String step, Object... pairs) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("id", id);
        line.put("ms", TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start));
        line.put("step", step);
        for (int i = 0; i < pairs.length; i += 2) {
            line.put((String) pairs[i], pairs[i + 1]);
        }
        print(line);
    }

    void check(String step, boolean held, Object... pairs) {
        Object[] all = new Object[pairs.length + 2];
        all[0] = "ok";
        all[1] = held;
        System.arraycopy(pairs, 0, all, 2, pairs.length);
        step(step, all);
        if (!held) {
            throw new CheckFailed(step);
        }
    }

    void equal(String step, Object expected, Object actual) {
        if (Objects.equals(expected, actual)) {
            check(step, true);
        } else {
            check(step, false, "expected", shortened(expected), "actual", shortened(actual));
        }
    }

    private static String shortened(Object value) {
        String text = String.valueOf(value);
        return text.length() > 600 ? text.substring(0, 600) + "..." : text;
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
        String text = JSON.toJSONString(line, JSONWriter.Feature.WriteNulls);
        synchronized (System.out) {
            System.out.println(text);
            System.out.flush();
        }
    }

    void stop() {
        stopped.countDown();
    }

    boolean isStopped() {
        return stopped.getCount() == 0;
    }

    void awaitStop() throws InterruptedException {
        stopped.await();
    }

    /** Remembers a client to close at the end of the scenario, last first. */
    <T> T closing(T client, Closing closing) {
        synchronized (clients) {
            clients.push(closing);
        }
        return client;
    }

    @Override
    public void close() throws Exception {
        while (true) {
            Closing closing;
            synchronized (clients) {
                closing = clients.poll();
            }
            if (closing == null) {
                return;
            }
            closing.close();
        }
    }

    /** What signs requests, where the parameters have keys to sign with. */
    RPCHook hook() {
        if (!with.containsKey("access_key")) {
            return null;
        }
        return new AclClientRPCHook(new SessionCredentials(get("access_key"), get("secret_key")));
    }

    /** A producer as the SDK makes it, not yet started. */
    DefaultMQProducer freshProducer(String group) {
        DefaultMQProducer fresh = new DefaultMQProducer(name(group), hook());
        fresh.setNamesrvAddr(namesrv());
        fresh.setInstanceName(instance());
        fresh.setSendMsgTimeout(10_000);
        return fresh;
    }

    /** The producer of this scenario, started. */
    synchronized DefaultMQProducer producer() throws Exception {
        if (producer == null) {
            producer = freshProducer("producer");
            producer.start();
            closing(producer, producer::shutdown);
        }
        return producer;
    }

    /** A new topic with that many queues, and its name once the name server tells its route. */
    String topic(String suffix, int queues) throws Exception {
        String topic = name(suffix);
        createTopic(producer(), topic, queues);
        return topic;
    }

    static void createTopic(DefaultMQProducer producer, String topic, int queues) throws Exception {
        producer.createTopic("TBW102", topic, queues, Map.of());
        awaitRoute(producer, topic, queues);
    }

    /** A topic with attributes, such as {@code +queue.type}: the producer's own method drops them. */
    void createTopic(String topic, int queues, Map<String, String> attributes) throws Exception {
        TopicConfig config = new TopicConfig(topic, queues, queues, 6);
        config.setAttributes(new HashMap<>(attributes));
        producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl()
            .createTopic(get("broker"), "TBW102", config, 10_000);
        awaitRoute(producer(), topic, queues);
    }

    private static void awaitRoute(DefaultMQProducer producer, String topic, int queues) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(15);
        int seen = 0;
        while (System.nanoTime() < deadline) {
            try {
                List<MessageQueue> found = producer.fetchPublishMessageQueues(topic);
                seen = found.size();
                if (seen == queues) {
                    return;
                }
            } catch (org.apache.rocketmq.client.exception.MQClientException notYet) {
                seen = 0;
            }
            TimeUnit.MILLISECONDS.sleep(50);
        }
        throw new CheckFailed("the route of " + topic + " has " + seen + " queues, not " + queues);
    }
}
