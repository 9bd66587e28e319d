// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Light queues, which a broker has only with {@code enableLmq} and {@code enableMultiDispatch}. */
final class Light {
    private Light() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("light_queues_get_what_is_dispatched_to_them", Light::dispatched);
    }

    private static Message message(String topic, String body, String queues) {
        Message message = Sending.message(topic, body);
        MessageAccessor.putProperty(message, MessageConst.PROPERTY_INNER_MULTI_DISPATCH, queues);
        return message;
    }

    /** One message in its topic and in the queues that it names; each has offsets, bounds and committed offsets of its own. */
    private static void dispatched(Context context) throws Exception {
        String topic = context.topic("light", 2);
        String one = "%LMQ%" + context.name("one");
        String two = "%LMQ%" + context.name("two");
        List<String> toBoth = new ArrayList<>();
        List<String> toTwo = new ArrayList<>();
        String broker = null;
        for (int i = 0; i < 10; i++) {
            SendResult sent = context.producer().send(message(topic, "both-" + i, one + "," + two));
            broker = sent.getMessageQueue().getBrokerName();
            toBoth.add("both-" + i);
            toTwo.add("both-" + i);
        }
        for (int i = 0; i < 5; i++) {
            context.producer().send(message(topic, "two-" + i, two));
            toTwo.add("two-" + i);
        }
        DefaultMQPullConsumer reader = Reading.reader(context);
        context.closing(reader, reader::shutdown);
        context.equal("once in the topic", 15, Reading.bodies(context, topic).size());
        // Name servers know nothing of light queues: the client learns from the topic where the broker is.
        reader.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().updateTopicRouteInfoFromNameServer(topic);
        check(context, reader, new MessageQueue(one, broker, 0), toBoth);
        check(context, reader, new MessageQueue(two, broker, 0), toTwo);
        PullResult none = reader.pull(new MessageQueue("%LMQ%" + context.name("none"), broker, 0), "*", 0, 32);
        context.equal("a queue that nobody names", PullStatus.NO_NEW_MSG, none.getPullStatus());

        MessageQueue queue = new MessageQueue(two, broker, 0);
        long seen = -1;
        for (int i = 0; i < 200 && seen != 12; i++) {
            reader.updateConsumeOffset(queue, 12);
            reader.getOffsetStore().persist(queue);
            seen = reader.getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_STORE);
            TimeUnit.MILLISECONDS.sleep(20);
        }
        context.equal("the committed offset", 12L, seen);

        // A waiting reader is served by the next message that names its queue.
        Thread sender = new Thread(() -> {
            try {
                TimeUnit.MILLISECONDS.sleep(500);
                context.producer().send(message(topic, "late", one));
            } catch (Exception failed) {
                context.step("send failed", "error", String.valueOf(failed));
            }
        });
        sender.start();
        PullResult late = reader.pullBlockIfNotFound(new MessageQueue(one, broker, 0), "*", 10, 32);
        sender.join();
        context.equal("waited for", PullStatus.FOUND, late.getPullStatus());
        context.equal("the message that came", "late", Inbox.body(late.getMsgFoundList().get(0)));
    }

    private static void check(Context context, DefaultMQPullConsumer reader, MessageQueue queue, List<String> bodies) throws Exception {
        context.equal("first", 0L, reader.minOffset(queue));
        context.equal("last", (long) bodies.size(), reader.maxOffset(queue));
        PullResult found = reader.pull(queue, "*", 0, 32);
        context.equal("found", PullStatus.FOUND, found.getPullStatus());
        context.equal("bodies", bodies, found.getMsgFoundList().stream().map(Inbox::body).toList());
        context.equal("where to go on", (long) bodies.size(), found.getNextBeginOffset());
        int place = 0;
        for (MessageExt message : found.getMsgFoundList()) {
            String[] names = message.getProperty(MessageConst.PROPERTY_INNER_MULTI_DISPATCH).split(",");
            String[] offsets = message.getProperty(MessageConst.PROPERTY_INNER_MULTI_QUEUE_OFFSET).split(",");
            int index = List.of(names).indexOf(queue.getTopic());
            context.equal("its offset there", String.valueOf(place), offsets[index]);
            place++;
        }
        PullResult part = reader.pull(queue, "*", bodies.size() - 2, 32);
        context.equal("from an offset", bodies.subList(bodies.size() - 2, bodies.size()), part.getMsgFoundList().stream().map(Inbox::body).toList());
        context.equal("beyond the end", PullStatus.OFFSET_ILLEGAL, reader.pull(queue, "*", 1000, 32).getPullStatus());
    }
}
