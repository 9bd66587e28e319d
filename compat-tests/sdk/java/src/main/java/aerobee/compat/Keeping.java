// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Parts that the tests put together: messages of every form, and all that a client sees of what is kept. */
final class Keeping {
    /** What the client puts into a message that it has got. */
    private static final List<String> OWN = List.of(MessageConst.PROPERTY_MIN_OFFSET, MessageConst.PROPERTY_MAX_OFFSET);

    /** Sends that are under way at once. */
    private static final int FILLING = 64;

    private Keeping() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("fill", Keeping::fill);
        scenarios.put("fill_queues", Keeping::fillQueues);
        scenarios.put("look", Keeping::look);
    }

    /** Parameters: topic, word, rounds. Single messages and batches; short, long, compressed; every kind of property. */
    private static void fill(Context context) throws Exception {
        DefaultMQProducer producer = context.producer();
        String topic = context.get("topic");
        String word = context.get("word");
        for (int round = 0; round < context.number("rounds", 10); round++) {
            String at = word + round;
            Message tagged = Sending.message(topic, at + " tagged");
            tagged.setTags("tag" + round % 3);
            tagged.setKeys(List.of("key-" + at, "schlüssel-" + round));
            tagged.setFlag(round);
            tagged.putUserProperty("farbe", "grün 緑 " + round);
            sent(context, producer.send(tagged));
            sent(context, producer.send(Sending.message(topic, "ünï¢öðé 消息 " + at)));
            // Above 4 KiB the client compresses.
            sent(context, producer.send(Sending.message(topic, (at + " compressed ").repeat(1000))));
            Message binary = new Message(topic, new byte[] {0, 1, 2, (byte) 0xFF, (byte) round});
            binary.setDelayTimeLevel(0);
            sent(context, producer.send(binary));
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 5; i++) {
                Message one = Sending.message(topic, at + " batch " + i);
                one.setTags("batch");
                one.setKeys(at + "-" + i);
                batch.add(one);
            }
            sent(context, producer.send(batch));
        }
        context.check("filled", true);
    }

    /** Parameters: topic, word. One message to each queue of the topic; tells the place of each that is acknowledged. */
    private static void fillQueues(Context context) throws Exception {
        DefaultMQProducer producer = context.producer();
        String topic = context.get("topic");
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(topic);
        // Many at a time, so that thousands are there before a broker has written what they change.
        Semaphore underWay = new Semaphore(FILLING);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        for (MessageQueue queue : queues) {
            String body = context.get("word") + ":" + queue.getQueueId();
            underWay.acquire();
            producer.send(Sending.message(topic, body), queue, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    context.step(result.getSendStatus() == SendStatus.SEND_OK ? "acked" : "unsure", "body", body,
                        "queue", result.getMessageQueue().getQueueId(), "offset", result.getQueueOffset());
                    underWay.release();
                }

                @Override
                public void onException(Throwable failed) {
                    failure.set(failed);
                    underWay.release();
                }
            });
        }
        underWay.acquire(FILLING);
        context.check("filled", failure.get() == null, "failure", String.valueOf(failure.get()));
    }

    private static void sent(Context context, SendResult result) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            throw new CheckFailed("a message was answered " + result.getSendStatus());
        }
    }

    /**
     * Parameters: topic, group. Each message of each queue with all its parts, the queue's bounds, and how far the group is; one step
     * each, the same whoever keeps them.
     */
    private static void look(Context context) throws Exception {
        DefaultMQPullConsumer reader = Reading.reader(context);
        context.closing(reader, reader::shutdown);
        String group = context.get("group", "");
        DefaultMQPullConsumer member = new DefaultMQPullConsumer(group.isEmpty() ? context.name("nobody") : group);
        member.setNamesrvAddr(context.namesrv());
        member.setInstanceName(context.instance());
        if (!group.isEmpty()) {
            member.start();
            context.closing(member, member::shutdown);
        }
        List<MessageQueue> queues = new ArrayList<>(reader.fetchSubscribeMessageQueues(context.get("topic")));
        queues.sort(Comparator.comparingInt(MessageQueue::getQueueId));
        for (MessageQueue queue : queues) {
            long committed = group.isEmpty() ? -1 : member.fetchConsumeOffset(queue, true);
            seen(context, queue.getQueueId() + " bounds " + reader.minOffset(queue) + " " + reader.maxOffset(queue)
                + " committed " + committed);
            for (MessageExt message : Reading.queue(reader, queue)) {
                seen(context, describe(message));
            }
        }
    }

    private static void seen(Context context, String what) {
        context.step("seen", "what", what);
    }

    private static String describe(MessageExt message) throws Exception {
        Map<String, String> properties = new TreeMap<>(message.getProperties());
        OWN.forEach(properties::remove);
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(message.getBody());
        // The identifier tells address and position in the log.
        String id = MessageDecoder.createMessageId(message.getStoreHost(), message.getCommitLogOffset());
        return String.join("|", "" + message.getQueueId(), "" + message.getQueueOffset(), id, "" + message.getFlag(),
            "" + message.getSysFlag(), "" + message.getBornTimestamp(), "" + message.getBornHost(), "" + message.getStoreTimestamp(),
            "" + message.getReconsumeTimes(), "" + message.getBodyCRC(), "" + message.getPreparedTransactionOffset(),
            HexFormat.of().formatHex(digest), new String(properties.toString().getBytes(StandardCharsets.UTF_8), StandardCharsets.UTF_8));
    }
}
