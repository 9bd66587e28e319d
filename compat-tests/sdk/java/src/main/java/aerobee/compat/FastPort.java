// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.TopicStatsTable;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Clients with {@code vipChannelEnabled}: what they do at the broker's fast port, two below its own, and what they still do at its own. */
final class FastPort {
    private FastPort() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("fast_port_takes_all_sends", FastPort::sends);
        scenarios.put("fast_port_serves_groups_and_their_offsets", FastPort::groups);
        scenarios.put("fast_port_answers_questions_and_operators", FastPort::questions);
    }

    private static String fast(Context context) {
        String broker = context.get("broker");
        int colon = broker.lastIndexOf(':');
        return broker.substring(0, colon) + ":" + (Integer.parseInt(broker.substring(colon + 1)) - 2);
    }

    /** Whether this client has a connection to the fast port. */
    private static boolean isConnected(Context context, MQClientInstance client) throws Exception {
        Object remoting = client.getMQClientAPIImpl().getRemotingClient();
        var channels = remoting.getClass().getDeclaredField("channelTables");
        channels.setAccessible(true);
        return ((Map<?, ?>) channels.get(remoting)).containsKey(fast(context));
    }

    private static DefaultMQProducer producer(Context context) throws Exception {
        DefaultMQProducer producer = context.freshProducer("fast_producer");
        producer.setVipChannelEnabled(true);
        producer.start();
        return context.closing(producer, producer::shutdown);
    }

    private static void sends(Context context) throws Exception {
        DefaultMQProducer producer = producer(context);
        String topic = context.name("fast");
        Context.createTopic(producer, topic, 4);
        Set<String> wanted = new HashSet<>(Sending.sendAll(producer, topic, "sync", 10));
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            batch.add(Sending.message(topic, "batch-" + i));
            wanted.add("batch-" + i);
        }
        context.equal("batch", SendStatus.SEND_OK, producer.send(batch).getSendStatus());
        producer.sendOneway(Sending.message(topic, "oneway"), (queues, message, n) -> queues.get((Integer) n), 3);
        wanted.add("oneway");
        CountDownLatch answered = new CountDownLatch(1);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        producer.send(Sending.message(topic, "async"), new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                answered.countDown();
            }

            @Override
            public void onException(Throwable failed) {
                failure.set(failed);
                answered.countDown();
            }
        });
        wanted.add("async");
        context.check("async answered", answered.await(30, TimeUnit.SECONDS) && failure.get() == null, "failure", String.valueOf(failure.get()));
        Message delayed = Sending.message(topic, "delayed");
        delayed.setDelayTimeLevel(1);
        context.equal("delayed", SendStatus.SEND_OK, producer.send(delayed).getSendStatus());
        wanted.add("delayed");

        TransactionMQProducer transactional = new TransactionMQProducer(context.name("fast_transactional"));
        transactional.setNamesrvAddr(context.namesrv());
        transactional.setInstanceName(context.instance());
        transactional.setVipChannelEnabled(true);
        transactional.setSendMsgTimeout(10_000);
        transactional.setHeartbeatBrokerInterval(1000);
        transactional.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return (LocalTransactionState) argument;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        transactional.start();
        context.closing(transactional, transactional::shutdown);
        for (LocalTransactionState state : LocalTransactionState.values()) {
            transactional.sendMessageInTransaction(Sending.message(topic, state.name()), state);
        }
        wanted.add(LocalTransactionState.COMMIT_MESSAGE.name());
        // The check after it comes by the connection of the heartbeats.
        wanted.add(LocalTransactionState.UNKNOW.name());
        Push push = Push.all(context, context.name("fast_reader"), topic);
        context.check("all came", push.inbox.awaitBodies(120, wanted), "got", push.inbox.bodies());
        context.equal("each once", wanted.size(), push.inbox.size());
        context.check("by the fast port", isConnected(context, producer.getDefaultMQProducerImpl().getMqClientFactory()));
    }

    private static Push push(Context context, String group, String topic) throws Exception {
        Push push = Push.of(context, group).subscribe(topic, "*");
        push.consumer.setVipChannelEnabled(true);
        return push;
    }

    /** Locks of an orderly group, offsets of both kinds, members, and messages that are given back. */
    private static void groups(Context context) throws Exception {
        DefaultMQProducer producer = producer(context);
        String topic = context.name("fast_groups");
        Context.createTopic(producer, topic, 4);
        for (boolean orderly : new boolean[] {true, false}) {
            String group = context.name("fast_group_" + orderly);
            Push first = push(context, group, topic);
            List<String> sent = Sending.sendAll(producer, topic, "first " + orderly, 40);
            if (orderly) {
                first.startOrderly();
            } else {
                first.start();
            }
            context.check("the first gets all", first.inbox.awaitBodies(60, sent), "got", first.inbox.size());
            long count = Reading.bodies(context, topic).size();
            context.check("and consumes it", first.awaitConsumed(30, topic, count));
            context.check("by the fast port", isConnected(context, first.consumer.getDefaultMQPushConsumerImpl().getmQClientFactory()));
            first.shutdown();
            List<String> more = Sending.sendAll(producer, topic, "second " + orderly, 40);
            Push second = push(context, group, topic);
            if (orderly) {
                second.startOrderly();
            } else {
                second.start();
            }
            context.check("the second goes on", second.inbox.awaitBodies(60, more), "got", second.inbox.size());
            context.equal("nothing twice", 40, second.inbox.size());
        }
        Push failing = push(context, context.name("fast_failing"), topic);
        failing.consumer.subscribe(topic, MessageSelector.byTag("fails"));
        failing.consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            at.setDelayLevelWhenNextConsume(1);
            failing.inbox.add(List.copyOf(messages));
            return messages.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        failing.run();
        Message message = Sending.message(topic, "fails");
        message.setTags("fails");
        producer.send(message);
        context.check("given back and there again", failing.inbox.await(60, got -> got.size() == 2), "got", failing.inbox.size());
    }

    /** What is read without pulling, and what operators ask and change. */
    private static void questions(Context context) throws Exception {
        DefaultMQProducer producer = producer(context);
        String topic = context.name("fast_questions");
        Context.createTopic(producer, topic, 1);
        Message sent = Sending.message(topic, "asked");
        sent.setKeys("fast-key");
        SendResult result = producer.send(sent);
        DefaultMQPullConsumer reader = new DefaultMQPullConsumer(context.name("fast_reader"));
        reader.setNamesrvAddr(context.namesrv());
        reader.setInstanceName(context.instance());
        reader.setVipChannelEnabled(true);
        reader.start();
        context.closing(reader, reader::shutdown);
        MessageQueue queue = result.getMessageQueue();
        context.equal("max", 1L, reader.maxOffset(queue));
        context.equal("min", 0L, reader.minOffset(queue));
        MessageExt read = reader.pull(queue, "*", 0, 1).getMsgFoundList().get(0);
        context.equal("by time", 0L, reader.searchOffset(queue, read.getStoreTimestamp()));
        context.equal("time of the earliest", read.getStoreTimestamp(), reader.earliestMsgStoreTime(queue));
        context.equal("by id", "asked", Inbox.body(reader.viewMessage(topic, result.getOffsetMsgId())));
        List<MessageExt> found = reader.queryMessage(topic, "fast-key", 10, 0, System.currentTimeMillis() + 60_000).getMessageList();
        context.equal("by key", List.of("asked"), found.stream().map(Inbox::body).toList());
        context.check("by the fast port", isConnected(context,
            reader.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory()));

        String group = context.name("fast_operated");
        Push push = push(context, group, topic).start();
        context.check("came", push.inbox.awaitBodies(60, List.of("asked")));
        context.check("consumed", push.awaitConsumed(30, topic, 1));
        push.consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        DefaultMQAdminExt admin = new DefaultMQAdminExt(10_000);
        admin.setNamesrvAddr(context.namesrv());
        admin.setInstanceName(context.instance());
        admin.setAdminExtGroup(context.name("fast_admin"));
        admin.setVipChannelEnabled(true);
        admin.start();
        context.closing(admin, admin::shutdown);
        TopicStatsTable stats = admin.examineTopicStats(topic);
        context.equal("end of the queue", 1L, stats.getOffsetTable().get(queue).getMaxOffset());
        context.equal("one member", 1, admin.examineConsumerConnectionInfo(group).getConnectionSet().size());
        long committed = -1;
        for (int i = 0; i < 100 && committed != 1; i++) {
            var offsets = admin.examineConsumeStats(group, topic).getOffsetTable().get(queue);
            committed = offsets == null ? -1 : offsets.getConsumerOffset();
            TimeUnit.MILLISECONDS.sleep(100);
        }
        context.equal("committed", 1L, committed);
        String client = push.consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        context.check("a client is asked", admin.getConsumerRunningInfo(group, client, false).getMqTable().containsKey(queue));
        push.inbox.clear();
        admin.resetOffsetByTimestamp(topic, group, 0, true);
        context.check("moved back", push.inbox.awaitBodies(90, List.of("asked")), "got", push.inbox.bodies());
        admin.deleteTopicInBroker(Set.of(context.get("broker")), topic);
        context.equal("sends by the fast port to what is deleted make it anew", SendStatus.SEND_OK,
            producer.send(Sending.message(topic, "again")).getSendStatus());
    }
}
