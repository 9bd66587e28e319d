// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.sysflag.MessageSysFlag;

/** Every way to send, each read back. */
final class Sending {
    private Sending() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("send_sync", Sending::sync);
        scenarios.put("send_async", Sending::async);
        scenarios.put("send_oneway", Sending::oneway);
        scenarios.put("send_batch", Sending::batch);
        scenarios.put("send_batched_by_the_client", Sending::autoBatch);
        scenarios.put("send_bodies_of_all_sizes", Sending::bodies);
        scenarios.put("send_compressed_in_each_way", Sending::compressed);
        scenarios.put("send_too_large_is_refused", Sending::tooLarge);
        scenarios.put("send_to_one_queue_keeps_order", Sending::oneQueue);
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    /** Sends one message to each body and returns the bodies. */
    static List<String> sendAll(DefaultMQProducer producer, String topic, String word, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String body = word + "-" + i;
            SendResult result = producer.send(message(topic, body));
            if (result.getSendStatus() != SendStatus.SEND_OK) {
                throw new CheckFailed(body + " answered " + result.getSendStatus());
            }
            bodies.add(body);
        }
        return bodies;
    }

    private static void sync(Context context) throws Exception {
        String topic = context.topic("sync", 4);
        Message sent = new Message(topic, "tag-ü", "key-1 key-2", "grüße, 世界 \uD83D\uDC1D".getBytes(StandardCharsets.UTF_8));
        sent.putUserProperty("plain", "value");
        sent.putUserProperty("ключ", "значение=x;\"quoted\" \\ {json}");
        sent.setFlag(77);
        SendResult result = context.producer().send(sent);
        context.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        context.equal("region", "DefaultRegion", result.getRegionId());
        context.equal("trace on", true, result.isTraceOn());
        context.equal("first offset of the queue", 0L, result.getQueueOffset());
        MessageQueue queue = result.getMessageQueue();

        MessageExt got = Reading.one(context, queue, 0);
        context.equal("body", "grüße, 世界 \uD83D\uDC1D", Inbox.body(got));
        context.equal("tag", "tag-ü", got.getTags());
        context.equal("keys", "key-1 key-2", got.getKeys());
        context.equal("property", "value", got.getUserProperty("plain"));
        context.equal("unicode property", "значение=x;\"quoted\" \\ {json}", got.getUserProperty("ключ"));
        context.equal("flag", 77, got.getFlag());
        context.equal("queue", queue.getQueueId(), got.getQueueId());
        context.equal("queue offset", 0L, got.getQueueOffset());
        context.equal("reconsume times", 0, got.getReconsumeTimes());
        context.equal("message id", result.getMsgId(), got.getMsgId());
        context.check("stored after birth", got.getStoreTimestamp() >= got.getBornTimestamp() - 1000,
            "born", got.getBornTimestamp(), "stored", got.getStoreTimestamp());
        MessageExt viewed = Reading.view(context, topic, result.getOffsetMsgId());
        context.equal("view by offset id", Inbox.body(got), Inbox.body(viewed));
        context.equal("physical offset", got.getCommitLogOffset(), viewed.getCommitLogOffset());
        context.equal("size stored", got.getStoreSize(), viewed.getStoreSize());
    }

    private static void async(Context context) throws Exception {
        String topic = context.topic("async", 4);
        int count = 100;
        CountDownLatch answered = new CountDownLatch(count);
        ConcurrentLinkedQueue<SendResult> results = new ConcurrentLinkedQueue<>();
        ConcurrentLinkedQueue<Throwable> failures = new ConcurrentLinkedQueue<>();
        for (int i = 0; i < count; i++) {
            context.producer().send(message(topic, "async-" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    results.add(result);
                    answered.countDown();
                }

                @Override
                public void onException(Throwable failure) {
                    failures.add(failure);
                    answered.countDown();
                }
            });
        }
        context.check("all answered", answered.await(30, TimeUnit.SECONDS), "missing", answered.getCount());
        context.equal("no failure", List.of(), List.copyOf(failures));
        Set<String> places = new HashSet<>();
        for (SendResult result : results) {
            context.check(result.getMsgId(), result.getSendStatus() == SendStatus.SEND_OK);
            places.add(result.getMessageQueue().getQueueId() + "@" + result.getQueueOffset());
        }
        context.equal("places are different", count, places.size());
        Set<String> bodies = new TreeSet<>(Reading.bodies(context, topic));
        context.equal("read back", count, bodies.size());
    }

    private static void oneway(Context context) throws Exception {
        String topic = context.topic("oneway", 2);
        for (int i = 0; i < 20; i++) {
            context.producer().sendOneway(message(topic, "oneway-" + i));
        }
        Push push = Push.all(context, context.name("oneway_group"), topic);
        context.check("all came", push.inbox.await(30, got -> got.size() >= 20), "got", push.inbox.bodies());
        context.equal("each once", 20, new HashSet<>(push.inbox.bodies()).size());
    }

    private static void batch(Context context) throws Exception {
        String topic = context.topic("batch", 1);
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            Message message = new Message(topic, i % 2 == 0 ? "even" : "odd", "key" + i, ("batch-" + i).getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("number", String.valueOf(i));
            messages.add(message);
        }
        SendResult result = context.producer().send(messages);
        context.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        context.equal("offset of the first", 0L, result.getQueueOffset());
        context.equal("an id for each", 50, result.getMsgId().split(",").length);
        context.equal("an offset id for each", 50, result.getOffsetMsgId().split(",").length);
        List<MessageExt> got = Reading.queue(context, result.getMessageQueue());
        context.equal("all stored", 50, got.size());
        for (int i = 0; i < 50; i++) {
            MessageExt message = got.get(i);
            boolean same = message.getQueueOffset() == i && Inbox.body(message).equals("batch-" + i)
                && message.getTags().equals(i % 2 == 0 ? "even" : "odd")
                && message.getUserProperty("number").equals(String.valueOf(i));
            context.check("message " + i, same, "got", message.toString());
        }
        SendResult next = context.producer().send(message(topic, "after"));
        context.equal("offset after the batch", 50L, next.getQueueOffset());
        MessageExt viewed = Reading.view(context, topic, result.getOffsetMsgId().split(",")[49]);
        context.equal("view the last of the batch", "batch-49", Inbox.body(viewed));
    }

    /** The client puts messages together by itself. */
    private static void autoBatch(Context context) throws Exception {
        String topic = context.topic("auto_batch", 2);
        DefaultMQProducer producer = context.freshProducer("auto_batch_producer");
        producer.setAutoBatch(true);
        producer.batchMaxDelayMs(50);
        producer.start();
        context.closing(producer, producer::shutdown);
        int count = 300;
        CountDownLatch answered = new CountDownLatch(count);
        ConcurrentLinkedQueue<Throwable> failures = new ConcurrentLinkedQueue<>();
        Set<String> sent = new TreeSet<>();
        for (int i = 0; i < count; i++) {
            sent.add("auto-" + i);
            Message message = message(topic, "auto-" + i);
            message.setTags("tag");
            producer.send(message, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    if (result.getSendStatus() != SendStatus.SEND_OK) {
                        failures.add(new IllegalStateException(result.toString()));
                    }
                    answered.countDown();
                }

                @Override
                public void onException(Throwable failure) {
                    failures.add(failure);
                    answered.countDown();
                }
            });
        }
        context.check("all answered", answered.await(60, TimeUnit.SECONDS), "missing", answered.getCount());
        context.equal("no failure", List.of(), List.copyOf(failures));
        List<String> read = Reading.bodies(context, topic);
        context.equal("each once", count, read.size());
        context.equal("all", sent, new TreeSet<>(read));
        Push push = Push.of(context, context.name("auto_batch_group")).subscribe(topic, "tag").start();
        context.check("consumed by tag", push.inbox.awaitBodies(60, sent), "got", push.inbox.size());
    }

    /** Above 4 KiB the SDK compresses; random bytes stay large all the same. */
    private static void bodies(Context context) throws Exception {
        String topic = context.topic("bodies", 1);
        int limit = 4 * 1024 * 1024;
        int[] sizes = {1, 2, 127, 128, 4095, 4096, 4097, 65_536, 1_000_000, limit - 4096};
        Random random = new Random(7);
        List<byte[]> bodies = new ArrayList<>();
        for (int size : sizes) {
            byte[] noise = new byte[size];
            random.nextBytes(noise);
            bodies.add(noise);
            byte[] text = new byte[size];
            for (int i = 0; i < size; i++) {
                text[i] = (byte) ('a' + i % 23);
            }
            bodies.add(text);
        }
        bodies.add(new byte[4097]);
        MessageQueue queue = null;
        for (byte[] body : bodies) {
            SendResult result = context.producer().send(new Message(topic, body), 30_000);
            queue = result.getMessageQueue();
            context.equal("send " + body.length, SendStatus.SEND_OK, result.getSendStatus());
        }
        List<MessageExt> got = Reading.queue(context, queue);
        context.equal("all stored", bodies.size(), got.size());
        for (int i = 0; i < bodies.size(); i++) {
            context.check("body " + i + " of " + bodies.get(i).length, Arrays.equals(bodies.get(i), got.get(i).getBody()),
                "length", got.get(i).getBody().length);
        }
    }

    /** The broker keeps what the client has compressed as it is, and says how in the flag; the client unpacks it. */
    private static void compressed(Context context) throws Exception {
        String topic = context.topic("compressed", 1);
        Push push = Push.all(context, context.name("compressed_group"), topic);
        String body = "0123456789".repeat(10_000);
        for (CompressionType kind : CompressionType.values()) {
            DefaultMQProducer producer = new DefaultMQProducer(context.name("compressed_" + kind));
            producer.setNamesrvAddr(context.namesrv());
            producer.setInstanceName(context.instance());
            producer.setCompressType(kind);
            context.closing(producer, producer::shutdown).start();
            producer.send(message(topic, kind + body));
        }
        int kinds = CompressionType.values().length;
        context.check("all came", push.inbox.await(40, got -> got.size() >= kinds), "got", push.inbox.size());
        for (MessageExt got : push.inbox.all()) {
            String text = Inbox.body(got);
            CompressionType kind = CompressionType.of(text.substring(0, text.indexOf('0')));
            context.equal(kind + " unpacked", kind + body, text);
            context.equal(kind + " in the flag", kind, MessageSysFlag.getCompressionType(got.getSysFlag()));
            context.check(kind + " stored small", got.getStoreSize() < body.length() / 10, "bytes", got.getStoreSize());
        }
    }

    private static void tooLarge(Context context) throws Exception {
        String topic = context.topic("too_large", 1);
        byte[] noise = new byte[4 * 1024 * 1024 + 1];
        new Random(9).nextBytes(noise);
        int byClient = 0;
        try {
            context.producer().send(new Message(topic, noise));
        } catch (MQClientException refused) {
            byClient = refused.getResponseCode();
        }
        context.equal("refused by the SDK", 13, byClient);
        DefaultMQProducer generous = context.freshProducer("generous");
        generous.setMaxMessageSize(8 * 1024 * 1024);
        generous.setRetryTimesWhenSendFailed(0);
        generous.start();
        context.closing(generous, generous::shutdown);
        int byBroker = 0;
        String words = "";
        try {
            generous.send(new Message(topic, noise), 30_000);
        } catch (MQBrokerException refused) {
            byBroker = refused.getResponseCode();
            words = refused.getErrorMessage();
        }
        context.equal("refused by the broker: " + words, 13, byBroker);
        context.equal("and the connection serves on", SendStatus.SEND_OK, generous.send(message(topic, "small")).getSendStatus());
    }

    private static void oneQueue(Context context) throws Exception {
        String topic = context.topic("one_queue", 8);
        for (int i = 0; i < 100; i++) {
            SendResult result = context.producer().send(message(topic, "order-" + i),
                (queues, message, number) -> queues.get((Integer) number % queues.size()), 5);
            context.check("message " + i, result.getMessageQueue().getQueueId() == 5 && result.getQueueOffset() == i,
                "result", result.toString());
        }
        List<MessageQueue> queues = context.producer().fetchPublishMessageQueues(topic);
        for (MessageQueue queue : queues) {
            List<MessageExt> got = Reading.queue(context, queue);
            context.equal("count of queue " + queue.getQueueId(), queue.getQueueId() == 5 ? 100 : 0, got.size());
            for (int i = 0; i < got.size(); i++) {
                context.check("order " + i, Inbox.body(got.get(i)).equals("order-" + i));
            }
        }
    }
}
