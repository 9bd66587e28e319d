// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Parts that the tests put together: producers and consumers that go on until told, and print what was acknowledged
 * and what came, one line for each message.
 */
final class Load {
    private Load() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("create", Load::create);
        scenarios.put("produce", Load::produce);
        scenarios.put("consume", Load::consume);
        scenarios.put("read", Load::read);
        scenarios.put("query", Load::query);
    }

    /** Parameters: topic, queues, the kind of its queues (queue_type). */
    private static void create(Context context) throws Exception {
        String kind = context.get("queue_type", "");
        Map<String, String> attributes = kind.isEmpty() ? Map.of() : Map.of("+queue.type", kind);
        context.createTopic(context.get("topic"), context.number("queues", 4), attributes);
        context.check("created", true);
    }

    /**
     * Parameters: topic, word, threads, how many messages of each thread are to be acknowledged (count, 0 for until told), the size of the
     * padding that follows the number (padding), the pause after each message (pause_ms), a delay level (level) or the time to wait (deliver_in_ms). A message that is not acknowledged is not sent again: the
     * next number follows.
     */
    private static void produce(Context context) throws Exception {
        DefaultMQProducer producer = context.freshProducer("load");
        producer.setSendMsgTimeout(context.number("count", 0) > 0 ? 30_000 : 3000);
        producer.setRetryTimesWhenSendFailed(0);
        producer.setPollNameServerInterval(500);
        producer.start();
        context.closing(producer, producer::shutdown);
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < context.number("threads", 1); i++) {
            String word = context.get("word") + i;
            Thread thread = new Thread(() -> produce(context, producer, word));
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private static void produce(Context context, DefaultMQProducer producer, String word) {
        int count = context.number("count", 0);
        String padding = " ".repeat(context.number("padding", 0));
        int acknowledged = 0;
        for (int i = 0; !context.isStopped() && (count == 0 || acknowledged < count && i < 2 * count); i++) {
            Message message = Sending.message(context.get("topic"), word + ":" + i + padding);
            message.setTags(i % 2 == 0 ? "even" : "odd");
            message.setKeys(word + i);
            message.setDelayTimeLevel(context.number("level", 0));
            if (context.number("deliver_in_ms", 0) > 0) {
                message.setDeliverTimeMs(System.currentTimeMillis() + context.number("deliver_in_ms", 0));
            }
            try {
                SendResult result = producer.send(message);
                boolean ok = result.getSendStatus() == SendStatus.SEND_OK;
                acknowledged += ok ? 1 : 0;
                context.step(ok ? "acked" : "unsure", "body", word + ":" + i, "queue", result.getMessageQueue().getQueueId(),
                    "broker", result.getMessageQueue().getBrokerName(), "offset", result.getQueueOffset());
                pause(context.number("pause_ms", 0));
            } catch (Exception failed) {
                context.step("failed", "body", word + ":" + i, "error", String.valueOf(failed.getMessage()).lines().findFirst().orElse(""));
                pause(context.isStopped() ? 0 : 100);
            }
        }
    }

    private static void pause(int millis) {
        try {
            TimeUnit.MILLISECONDS.sleep(millis);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Parameters: topic, group, orderly (false), expression (*). Goes on until told. */
    private static void consume(Context context) throws Exception {
        Push push = Push.of(context, context.get("group")).subscribe(context.get("topic"), context.get("expression", "*"));
        push.consumer.setPollNameServerInterval(500);
        if (context.get("orderly", "false").equals("true")) {
            push.consumer.registerMessageListener((MessageListenerOrderly) (messages, at) -> {
                messages.forEach(message -> got(context, message));
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            push.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
                messages.forEach(message -> got(context, message));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        push.consumer.start();
        context.step("started");
        context.awaitStop();
        push.consumer.shutdown();
    }

    private static void got(Context context, MessageExt message) {
        context.step("got", "body", Inbox.body(message).trim(), "queue", message.getQueueId(), "offset", message.getQueueOffset(),
            "tag", message.getTags(), "keys", message.getKeys());
    }

    /**
     * Parameters: topic, words (of earlier "produce", separated by commas). Looks the first and a later message of each up by its key, by its unique
     * key, and in a stretch of time in which nothing was stored.
     */
    private static void query(Context context) throws Exception {
        DefaultMQProducer producer = context.producer();
        String topic = context.get("topic");
        for (String word : context.get("words").split(",")) {
            for (int i : new int[] {0, 7, 150}) {
                String key = word + "0" + i;
                List<MessageExt> found = producer.queryMessage(topic, key, 32, 0, System.currentTimeMillis() + 60_000).getMessageList();
                List<String> bodies = found.stream().map(message -> Inbox.body(message).trim()).toList();
                context.check("key", bodies.equals(List.of(word + "0:" + i)), "key", key, "bodies", bodies);
                MessageExt viewed = producer.viewMessage(topic, found.get(0).getMsgId());
                context.check("unique", Inbox.body(viewed).trim().equals(word + "0:" + i), "id", found.get(0).getMsgId());
                String early = "";
                try {
                    early = String.valueOf(producer.queryMessage(topic, key, 32, 0, 1_000_000).getMessageList().size());
                } catch (MQClientException none) {
                    early = "none";
                }
                context.check("early", early.equals("none"), "found", early);
            }
        }
    }

    /** Parameters: topic. Every queue from its first to its last message, without holes. */
    private static void read(Context context) throws Exception {
        DefaultMQPullConsumer reader = Reading.reader(context);
        context.closing(reader, reader::shutdown);
        List<MessageQueue> queues = new ArrayList<>(reader.fetchSubscribeMessageQueues(context.get("topic")));
        queues.sort(Comparator.comparingInt(MessageQueue::getQueueId));
        for (MessageQueue queue : queues) {
            for (MessageExt message : Reading.queue(reader, queue)) {
                got(context, message);
            }
        }
    }
}
