// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.sysflag.PullSysFlag;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.RequestSource;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.PullMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** What one push consumer gets: filters, models, first positions, latency. */
final class Subscribing {
    private Subscribing() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("push_tag_filter", Subscribing::tagFilter);
        scenarios.put("push_sql_filter", Subscribing::sqlFilter);
        scenarios.put("push_broadcast_reaches_all", Subscribing::broadcast);
        scenarios.put("push_broadcast_offsets_are_known_to_the_broker", Subscribing::broadcastOffsets);
        scenarios.put("push_broadcast_moves_between_broker_and_proxy", Subscribing::broadcastMoves);
        scenarios.put("push_from_first_last_timestamp", Subscribing::fromWhere);
        scenarios.put("push_orderly_keeps_queue_order", Subscribing::orderly);
        scenarios.put("push_waiting_consumer_gets_message_at_once", Subscribing::latency);
        scenarios.put("push_subscribes_many_topics", Subscribing::manyTopics);
        scenarios.put("push_concurrent_backlog", Subscribing::backlog);
    }

    private static void tagFilter(Context context) throws Exception {
        String topic = context.topic("tags", 4);
        Push some = Push.of(context, context.name("tags_some")).subscribe(topic, "a || b").start();
        Push all = Push.all(context, context.name("tags_all"), topic);
        // "AaBB" and "BBBB" have one Java hash code: the broker filters by it, the SDK by the text.
        Push twin = Push.of(context, context.name("tags_twin")).subscribe(topic, "AaBB").start();
        String[] tags = {"a", "b", "c", null, "AaBB", "BBBB"};
        for (int i = 0; i < 60; i++) {
            String tag = tags[i % tags.length];
            context.producer().send(new Message(topic, tag, (tag + "-" + i).getBytes()));
        }
        context.check("all tags", all.inbox.await(40, got -> got.size() >= 60), "got", all.inbox.size());
        context.check("a || b", some.inbox.await(20, got -> got.size() >= 20), "got", some.inbox.size());
        context.check("equal hash codes", twin.inbox.await(20, got -> got.size() >= 10), "got", twin.inbox.size());
        context.equal("only a and b", List.of("a", "b"), tagsOf(some));
        context.equal("only the text", List.of("AaBB"), tagsOf(twin));
        context.equal("no more", 20, some.inbox.size());
    }

    private static void sqlFilter(Context context) throws Exception {
        String topic = context.topic("sql", 4);
        Map<String, List<Integer>> wanted = new LinkedHashMap<>();
        wanted.put("a > 5 AND b = 'x'", List.of(6, 8));
        wanted.put("a BETWEEN 2 AND 4 OR TAGS = 'odd' AND a >= 9", List.of(2, 3, 4, 9));
        wanted.put("b IS NULL", List.of(1, 3, 5, 7, 9));
        wanted.put("a NOT IN ('1') AND b IN ('x', 'y')", List.of(0, 2, 4, 6, 8));
        Map<String, Push> pushes = new LinkedHashMap<>();
        for (String expression : wanted.keySet()) {
            Push push = Push.of(context, context.name("sql_" + pushes.size()));
            push.consumer.subscribe(topic, MessageSelector.bySql(expression));
            pushes.put(expression, push.start());
        }
        Push all = Push.all(context, context.name("sql_all"), topic);
        for (int i = 0; i < 10; i++) {
            Message message = new Message(topic, i % 2 == 0 ? "even" : "odd", String.valueOf(i).getBytes());
            message.putUserProperty("a", String.valueOf(i));
            if (i % 2 == 0) {
                message.putUserProperty("b", "x");
            }
            context.producer().send(message);
        }
        context.check("all came", all.inbox.await(40, got -> got.size() >= 10), "got", all.inbox.size());
        for (Map.Entry<String, List<Integer>> one : wanted.entrySet()) {
            Push push = pushes.get(one.getKey());
            push.inbox.await(20, got -> got.size() >= one.getValue().size());
            List<Integer> got = push.inbox.bodies().stream().map(Integer::valueOf).sorted().collect(Collectors.toList());
            context.equal(one.getKey(), one.getValue(), got);
        }
        Push broken = Push.of(context, context.name("sql_broken"));
        broken.consumer.subscribe(topic, MessageSelector.bySql("a >"));
        int code = 0;
        try {
            broken.start();
        } catch (MQClientException refused) {
            code = refused.getResponseCode();
        }
        context.equal("what cannot compile is refused at the start", ResponseCode.SUBSCRIPTION_PARSE_FAILED, code);
    }

    private static List<String> tagsOf(Push push) {
        return push.inbox.all().stream().map(MessageExt::getTags).distinct().sorted().collect(Collectors.toList());
    }

    private static void broadcast(Context context) throws Exception {
        String topic = context.topic("broadcast", 4);
        List<Push> both = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            Push push = Push.of(context, context.name("broadcast_group")).subscribe(topic, "*");
            push.consumer.setMessageModel(MessageModel.BROADCASTING);
            both.add(push.start());
        }
        List<String> sent = Sending.sendAll(context.producer(), topic, "broadcast", 40);
        for (Push push : both) {
            context.check("one gets all", push.inbox.awaitBodies(40, sent), "got", push.inbox.size());
        }
    }

    /**
     * The broker knows how far each client of a broadcasting group has pulled: one that comes by a proxy goes on where it was, and one that is
     * new there begins where the slowest is. The requests of a proxy are made by hand.
     */
    private static void broadcastOffsets(Context context) throws Exception {
        String topic = context.topic("broadcast_offsets", 2);
        String group = context.name("broadcast_offsets_group");
        List<Push> both = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            Push push = Push.of(context, group).subscribe(topic, "*");
            push.consumer.setMessageModel(MessageModel.BROADCASTING);
            both.add(push.start());
        }
        List<String> sent = Sending.sendAll(context.producer(), topic, "broadcast", 20);
        for (Push push : both) {
            context.check("one gets all", push.inbox.awaitBodies(60, sent), "got", push.inbox.size());
        }
        MessageQueue queue = context.producer().fetchPublishMessageQueues(topic).get(0);
        long end = context.producer().maxOffset(queue);
        context.check("the queue has messages", end > 0, "end", end);
        long known = -1;
        for (int i = 0; i < 600 && known != end; i++) {
            TimeUnit.MILLISECONDS.sleep(100);
            known = committed(context, group + "@broadcast", queue);
        }
        context.equal("where the slowest is", end, known);
        String client = both.get(0).consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        both.forEach(Push::shutdown);
        List<String> more = Sending.sendAll(context.producer(), topic, "later", 20);
        long later = context.producer().maxOffset(queue);
        context.check("more came", later > end && !more.isEmpty());
        moved(context, "new at the proxy", byProxy(context, group, queue, -1, "a new client"), end);
        moved(context, "new at the proxy, known to the broker", byProxy(context, group, queue, 0, client), end);
        RemotingCommand found = byProxy(context, group, queue, end, client);
        context.equal("goes on", 0, found.getCode());
        context.equal("to the end", String.valueOf(later), found.getExtFields().get("nextBeginOffset"));
        // As it asks for the next, it has been given those.
        context.equal("nothing new", ResponseCode.PULL_NOT_FOUND, byProxy(context, group, queue, later, client).getCode());
        moved(context, "again without an offset", byProxy(context, group, queue, -1, client), later);
    }

    /**
     * Parameters: proxy (where its remoting clients are served). A broadcasting client keeps to itself how far it is; whether it is at the broker
     * or at the proxy, it goes on there. One without that file begins where it wants to.
     */
    private static void broadcastMoves(Context context) throws Exception {
        String topic = context.topic("broadcast_moves", 4);
        String group = context.name("broadcast_moves_group");
        String instance = context.instance();
        List<String> all = new ArrayList<>();
        for (String at : List.of("broker", "proxy", "broker", "proxy")) {
            List<String> before = Sending.sendAll(context.producer(), topic, "before" + all.size() + at, 20);
            Push push = broadcasting(context, group, topic, instance, at);
            context.check("goes on at the " + at, push.inbox.awaitBodies(60, before), "got", push.inbox.size());
            List<String> live = Sending.sendAll(context.producer(), topic, "live" + all.size() + at, 20);
            context.check("and gets what comes", push.inbox.awaitBodies(60, live), "got", push.inbox.size());
            all.addAll(before);
            all.addAll(live);
            context.check("consumed at the " + at, push.awaitConsumed(30, topic, all.size()));
            context.equal("nothing twice", 40, push.inbox.size());
            push.shutdown();
        }
        for (String at : List.of("proxy", "broker")) {
            Push push = broadcasting(context, group, topic, context.instance(), at);
            context.check("a new one at the " + at + " gets all", push.inbox.awaitBodies(60, all), "got", push.inbox.size());
            context.equal("once", all.size(), push.inbox.size());
        }
    }

    private static Push broadcasting(Context context, String group, String topic, String instance, String at) throws Exception {
        Push push = Push.of(context, group).subscribe(topic, "*");
        push.consumer.setInstanceName(instance);
        push.consumer.setMessageModel(MessageModel.BROADCASTING);
        if (at.equals("proxy")) {
            push.consumer.setNamesrvAddr(context.get("proxy"));
        }
        return push.start();
    }

    private static void moved(Context context, String step, RemotingCommand answer, long offset) {
        context.equal(step + ", code", ResponseCode.PULL_OFFSET_MOVED, answer.getCode());
        context.equal(step + ", offset", String.valueOf(offset), answer.getExtFields().get("nextBeginOffset"));
    }

    private static RemotingCommand byProxy(Context context, String group, MessageQueue queue, long offset, String client) throws Exception {
        PullMessageRequestHeader header = new PullMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(queue.getTopic());
        header.setQueueId(queue.getQueueId());
        header.setQueueOffset(offset);
        header.setMaxMsgNums(32);
        header.setSysFlag(PullSysFlag.buildSysFlag(false, false, true, false));
        header.setCommitOffset(0L);
        header.setSuspendTimeoutMillis(0L);
        header.setSubscription("*");
        header.setSubVersion(0L);
        header.setExpressionType("TAG");
        header.setRequestSource(RequestSource.PROXY_FOR_BROADCAST.getValue());
        header.setProxyFrowardClientId(client);
        RemotingCommand request = RemotingCommand.createRequestCommand(RequestCode.PULL_MESSAGE, header);
        return context.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl()
            .getRemotingClient().invokeSync(context.get("broker"), request, 10_000);
    }

    private static long committed(Context context, String group, MessageQueue queue) throws Exception {
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(queue.getTopic());
        header.setQueueId(queue.getQueueId());
        header.setSetZeroIfNotFound(false);
        try {
            return context.producer().getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl()
                .queryConsumerOffset(context.get("broker"), header, 10_000);
        } catch (MQBrokerException unknown) {
            return -1;
        }
    }

    /** On a queue that still holds its offset 0 Apache's broker answers 0 to every new group, wherever it wants to begin. */
    private static void fromWhere(Context context) throws Exception {
        String topic = context.topic("from", 2);
        List<String> old = Sending.sendAll(context.producer(), topic, "old", 10);
        List<Push> pushes = new ArrayList<>();
        for (ConsumeFromWhere where : new ConsumeFromWhere[] {ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET,
            ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP}) {
            Push push = Push.of(context, context.name("from_" + where.name())).subscribe(topic, "*");
            push.consumer.setConsumeFromWhere(where);
            pushes.add(push.start());
        }
        List<String> all = new ArrayList<>(old);
        all.addAll(Sending.sendAll(context.producer(), topic, "new", 10));
        for (Push push : pushes) {
            context.check(push.consumer.getConsumeFromWhere().name(), push.inbox.awaitBodies(40, all), "got", push.inbox.bodies());
        }
    }

    private static void orderly(Context context) throws Exception {
        String topic = context.topic("orderly", 4);
        String group = context.name("orderly_group");
        Push first = Push.of(context, group).subscribe(topic, "*").startOrderly();
        Push second = Push.of(context, group).subscribe(topic, "*").startOrderly();
        for (int i = 0; i < 200; i++) {
            context.producer().send(Sending.message(topic, String.valueOf(i)), (queues, message, n) -> queues.get((Integer) n % 4), i);
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
        while (distinct(first, second) < 200 && System.nanoTime() < deadline) {
            TimeUnit.MILLISECONDS.sleep(50);
        }
        context.equal("all came", 200, distinct(first, second));
        for (Push push : List.of(first, second)) {
            int[] last = {-1, -1, -1, -1};
            boolean rising = true;
            for (MessageExt message : push.inbox.all()) {
                int number = Integer.parseInt(Inbox.body(message));
                rising &= number > last[message.getQueueId()];
                last[message.getQueueId()] = number;
            }
            context.check("in queue order", rising, "last", Arrays.toString(last));
        }
    }

    private static int distinct(Push first, Push second) {
        HashSet<String> bodies = new HashSet<>(first.inbox.bodies());
        bodies.addAll(second.inbox.bodies());
        return bodies.size();
    }

    /** Only the order of magnitude: a held pull must be answered by the arrival, not by a timer of seconds. */
    private static void latency(Context context) throws Exception {
        String topic = context.topic("latency", 1);
        Push push = Push.all(context, context.name("latency_group"), topic);
        Sending.sendAll(context.producer(), topic, "warm", 1);
        context.check("warm", push.inbox.await(40, got -> got.size() == 1));
        List<Long> micros = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            int count = i + 2;
            long start = System.nanoTime();
            Sending.sendAll(context.producer(), topic, "at-" + i, 1);
            context.check("came " + i, push.inbox.await(40, got -> got.size() >= count));
            micros.add(TimeUnit.NANOSECONDS.toMicros(System.nanoTime() - start));
        }
        micros.sort(null);
        long median = micros.get(micros.size() / 2);
        context.check("median under a second", median < 1_000_000, "median_us", median, "worst_us", micros.get(micros.size() - 1));
    }

    private static void manyTopics(Context context) throws Exception {
        Push push = Push.of(context, context.name("topics_group"));
        List<String> topics = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            topics.add(context.topic("subscribed_" + i, 1));
            push.subscribe(topics.get(i), "*");
        }
        push.start();
        for (String topic : topics) {
            Sending.sendAll(context.producer(), topic, topic, 3);
        }
        context.check("all came", push.inbox.await(40, got -> got.size() >= 30), "got", push.inbox.size());
        context.equal("of each topic", 10L, push.inbox.all().stream().map(MessageExt::getTopic).distinct().count());
    }

    /** More messages than one pull or one threshold takes. */
    private static void backlog(Context context) throws Exception {
        String topic = context.topic("backlog", 4);
        List<Message> batch = new ArrayList<>();
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 4000; i++) {
            bodies.add("backlog-" + i);
            batch.add(Sending.message(topic, bodies.get(i)));
            if (batch.size() == 200) {
                context.producer().send(batch);
                batch = new ArrayList<>();
            }
        }
        Push push = Push.all(context, context.name("backlog_group"), topic);
        context.check("all came", push.inbox.await(60, got -> got.size() >= 4000), "got", push.inbox.size());
        context.equal("each", new HashSet<>(bodies), new HashSet<>(push.inbox.bodies()));
    }
}
