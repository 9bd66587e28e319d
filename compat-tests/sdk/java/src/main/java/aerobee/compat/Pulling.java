// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The pull consumer and the lite pull consumer. */
final class Pulling {
    private Pulling() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("pull_statuses_and_limits", Pulling::statuses);
        scenarios.put("pull_waits_for_a_message", Pulling::waits);
        scenarios.put("pull_offsets_are_kept", Pulling::offsets);
        scenarios.put("litepull_subscribe_and_continue", Pulling::liteSubscribe);
        scenarios.put("litepull_assign_and_seek", Pulling::liteAssign);
        scenarios.put("offsets_min_max_search", Pulling::search);
        scenarios.put("view_of_a_foreign_id_is_refused", Pulling::viewNothing);
    }

    private static DefaultMQPullConsumer pull(Context context) throws Exception {
        DefaultMQPullConsumer reader = Reading.reader(context);
        return context.closing(reader, reader::shutdown);
    }

    private static MessageQueue only(DefaultMQPullConsumer reader, String topic) throws Exception {
        return reader.fetchSubscribeMessageQueues(topic).iterator().next();
    }

    private static void statuses(Context context) throws Exception {
        String topic = context.topic("statuses", 1);
        for (int i = 0; i < 40; i++) {
            context.producer().send(new Message(topic, i % 4 == 0 ? "four" : "other", ("m" + i).getBytes()));
        }
        DefaultMQPullConsumer reader = pull(context);
        MessageQueue queue = only(reader, topic);
        PullResult found = reader.pull(queue, "*", 0, 10);
        context.equal("found", PullStatus.FOUND, found.getPullStatus());
        context.equal("as many as asked for", 10, found.getMsgFoundList().size());
        context.equal("next", 10L, found.getNextBeginOffset());
        context.equal("min", 0L, found.getMinOffset());
        context.equal("max", 40L, found.getMaxOffset());
        PullResult tail = reader.pull(queue, "*", 35, 32);
        context.equal("the rest", 5, tail.getMsgFoundList().size());
        PullResult tagged = reader.pull(queue, "four", 0, 32);
        context.equal("by tag", 10, tagged.getMsgFoundList().size());
        context.equal("after the tagged", 40L, tagged.getNextBeginOffset());
        PullResult none = reader.pull(queue, "nothing", 0, 32);
        context.equal("no match", PullStatus.NO_MATCHED_MSG, none.getPullStatus());
        context.equal("no match goes on", 40L, none.getNextBeginOffset());
        PullResult end = reader.pull(queue, "*", 40, 32);
        context.equal("at the end", PullStatus.NO_NEW_MSG, end.getPullStatus());
        PullResult beyond = reader.pull(queue, "*", 1000, 32);
        context.equal("beyond the end", PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        context.equal("beyond corrected", 40L, beyond.getNextBeginOffset());
        MessageQueue foreign = new MessageQueue(topic, queue.getBrokerName(), 9);
        int code = 0;
        try {
            reader.pull(foreign, "*", 0, 1);
        } catch (MQBrokerException refused) {
            code = refused.getResponseCode();
        }
        context.equal("a queue that the topic has not", 29, code);
    }

    private static void waits(Context context) throws Exception {
        String topic = context.topic("waits", 1);
        DefaultMQPullConsumer reader = pull(context);
        MessageQueue queue = only(reader, topic);
        Inbox inbox = new Inbox();
        Thread waiting = new Thread(() -> {
            try {
                PullResult result = reader.pullBlockIfNotFound(queue, "*", 0, 32);
                inbox.add(result.getMsgFoundList());
            } catch (Exception failed) {
                context.step("pull failed", "error", failed.toString());
            }
        });
        waiting.start();
        TimeUnit.MILLISECONDS.sleep(1500);
        context.equal("held", 0, inbox.size());
        Sending.sendAll(context.producer(), topic, "woken", 1);
        context.check("woken", inbox.await(10, got -> got.size() == 1));
    }

    private static void offsets(Context context) throws Exception {
        String topic = context.topic("kept", 1);
        Sending.sendAll(context.producer(), topic, "kept", 10);
        DefaultMQPullConsumer reader = pull(context);
        MessageQueue queue = only(reader, topic);
        // A queue that still holds its first message answers 0 to a group it does not know.
        context.equal("unknown group", 0L, reader.fetchConsumeOffset(queue, true));
        awaitOffset(context, reader, queue, 7);
        DefaultMQPullConsumer another = pull(context);
        context.equal("seen by another consumer", 7L, another.getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_STORE));
    }

    /**
     * The SDK sends the offset one-way, so it may arrive after a question sent later on another thread; and a broker
     * drops it while it has not yet seen the group's first heartbeat. The SDK therefore repeats it all the time.
     */
    private static void awaitOffset(Context context, DefaultMQPullConsumer reader, MessageQueue queue, long wanted) throws Exception {
        long seen = -1;
        for (int i = 0; i < 200 && seen != wanted; i++) {
            reader.updateConsumeOffset(queue, wanted);
            reader.getOffsetStore().persist(queue);
            seen = reader.getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_STORE);
            TimeUnit.MILLISECONDS.sleep(20);
        }
        context.equal("kept offset", wanted, seen);
    }

    private static DefaultLitePullConsumer lite(Context context, String group) {
        DefaultLitePullConsumer lite = new DefaultLitePullConsumer(group);
        lite.setNamesrvAddr(context.namesrv());
        lite.setInstanceName(context.instance());
        lite.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        lite.setHeartbeatBrokerInterval(1000);
        // A thread waits with its pull: fewer than queues would let some wait behind the long polls of others.
        lite.setPullThreadNums(8);
        return lite;
    }

    private static List<MessageExt> poll(DefaultLitePullConsumer lite, int count) {
        List<MessageExt> all = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
        while (all.size() < count && System.nanoTime() < deadline) {
            all.addAll(lite.poll(500));
        }
        return all;
    }

    private static void liteSubscribe(Context context) throws Exception {
        String topic = context.topic("lite", 4);
        String group = context.name("lite_group");
        Sending.sendAll(context.producer(), topic, "first", 50);
        DefaultLitePullConsumer one = lite(context, group);
        one.subscribe(topic, "*");
        one.setAutoCommit(false);
        one.start();
        List<MessageExt> got = poll(one, 50);
        context.equal("all polled", 50, new HashSet<>(got.stream().map(Inbox::body).toList()).size());
        one.commit();
        one.shutdown();
        List<String> more = Sending.sendAll(context.producer(), topic, "second", 50);
        DefaultLitePullConsumer two = lite(context, group);
        two.subscribe(topic, "*");
        two.start();
        context.closing(two, two::shutdown);
        List<String> bodies = poll(two, 50).stream().map(Inbox::body).toList();
        context.equal("goes on where the other ended", new HashSet<>(more), new HashSet<>(bodies));
    }

    private static void liteAssign(Context context) throws Exception {
        String topic = context.topic("assigned", 2);
        for (int i = 0; i < 40; i++) {
            context.producer().send(Sending.message(topic, "m" + i), (queues, message, n) -> queues.get((Integer) n % 2), i);
        }
        DefaultLitePullConsumer lite = lite(context, context.name("assigned_group"));
        lite.setAutoCommit(false);
        lite.start();
        context.closing(lite, lite::shutdown);
        List<MessageQueue> queues = new ArrayList<>(lite.fetchMessageQueues(topic));
        queues.sort(Comparator.comparingInt(MessageQueue::getQueueId));
        context.equal("queues", 2, queues.size());
        MessageQueue queue = queues.get(0);
        lite.assign(List.of(queue));
        // Only an idle consumer is sent elsewhere: a pull under way at the old place may still deliver.
        context.equal("all of the queue", 20, poll(lite, 20).size());
        lite.seek(queue, 15);
        List<MessageExt> tail = poll(lite, 5);
        context.equal("from the offset sought", List.of(15L, 16L, 17L, 18L, 19L), tail.stream().map(MessageExt::getQueueOffset).toList());
        lite.seekToBegin(queue);
        context.equal("from the beginning", 20, poll(lite, 20).size());
        lite.seekToEnd(queue);
        context.producer().send(Sending.message(topic, "new"), queue);
        context.equal("from the end", List.of("new"), poll(lite, 1).stream().map(Inbox::body).toList());
        lite.commitSync();
        long committed = -1;
        for (int i = 0; i < 200 && committed != 21; i++) {
            committed = lite.committed(queue);
            TimeUnit.MILLISECONDS.sleep(20);
        }
        context.equal("committed", 21L, committed);
        context.equal("offset by time", 0L, (long) lite.offsetForTimestamp(queue, 0L));
    }

    private static void search(Context context) throws Exception {
        String topic = context.topic("search", 1);
        DefaultMQPullConsumer reader = pull(context);
        MessageQueue queue = only(reader, topic);
        context.equal("max of an empty queue", 0L, reader.maxOffset(queue));
        context.equal("min of an empty queue", 0L, reader.minOffset(queue));
        context.equal("time in an empty queue", 0L, reader.searchOffset(queue, System.currentTimeMillis()));
        for (int i = 0; i < 10; i++) {
            Sending.sendAll(context.producer(), topic, "search" + i, 1);
            TimeUnit.MILLISECONDS.sleep(15);
        }
        List<MessageExt> all = Reading.queue(reader, queue);
        context.equal("max", 10L, reader.maxOffset(queue));
        context.equal("min", 0L, reader.minOffset(queue));
        for (MessageExt message : all) {
            context.equal("by exact time of " + message.getQueueOffset(), message.getQueueOffset(),
                reader.searchOffset(queue, message.getStoreTimestamp()));
        }
        context.equal("between two", 4L, reader.searchOffset(queue, all.get(3).getStoreTimestamp() + 1));
        context.equal("before the first", 0L, reader.searchOffset(queue, all.get(0).getStoreTimestamp() - 1000));
        context.equal("long after the last", 10L, reader.searchOffset(queue, System.currentTimeMillis() + 3_600_000));
        context.equal("time of the earliest", all.get(0).getStoreTimestamp(), reader.earliestMsgStoreTime(queue));
    }

    private static void viewNothing(Context context) throws Exception {
        String topic = context.topic("view", 1);
        String id = context.producer().send(Sending.message(topic, "view me")).getOffsetMsgId();
        DefaultMQPullConsumer reader = pull(context);
        context.equal("there", "view me", Inbox.body(reader.viewMessage(topic, id)));
        String beyond = id.substring(0, 16) + "00007FFFFFFFFFFF";
        int code = 0;
        try {
            // The SDK turns a refusal into a search by unique key, so the broker is asked below it.
            reader.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().getMQClientAPIImpl()
                .viewMessage(address(id), topic, Long.parseLong(beyond.substring(16), 16), 5000);
        } catch (MQBrokerException refused) {
            code = refused.getResponseCode();
        }
        context.equal("an offset beyond the log", 1, code);
    }

    private static String address(String id) throws Exception {
        java.net.InetSocketAddress at = (java.net.InetSocketAddress)
            org.apache.rocketmq.common.message.MessageDecoder.decodeMessageId(id).getAddress();
        return at.getAddress().getHostAddress() + ":" + at.getPort();
    }
}
