// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.CMResult;
import org.apache.rocketmq.remoting.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.remoting.protocol.body.ProducerTableInfo;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What operators do with clients that are running, and requests that other clients reply to. */
final class Operating {
    private Operating() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("operate_reset_by_time", Operating::reset);
        scenarios.put("operate_clients_are_asked", Operating::asked);
        scenarios.put("operate_offsets_are_cloned", Operating::cloned);
        scenarios.put("request_gets_its_reply", Operating::request);
    }

    static DefaultMQAdminExt admin(Context context) throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(10_000);
        admin.setNamesrvAddr(context.namesrv());
        admin.setInstanceName(context.instance());
        admin.setAdminExtGroup(context.name("admin"));
        admin.start();
        return context.closing(admin, admin::shutdown);
    }

    private static void reset(Context context) throws Exception {
        String topic = context.topic("reset", 4);
        Set<String> sent = new HashSet<>();
        for (int i = 0; i < 40; i++) {
            sent.add("reset-" + i);
            context.producer().send(Sending.message(topic, "reset-" + i));
        }
        String group = context.name("reset_group");
        Push push = Push.all(context, group, topic);
        context.check("all came", push.inbox.awaitBodies(60, sent), "got", push.inbox.size());
        context.check("all consumed", push.awaitConsumed(30, topic, 40));
        push.consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        DefaultMQAdminExt admin = admin(context);
        push.inbox.clear();
        Map<MessageQueue, Long> moved = admin.resetOffsetByTimestamp(topic, group, 0, true);
        context.equal("four queues are reset", 4, moved.size());
        context.check("to their beginning", moved.values().stream().allMatch(offset -> offset == 0), "moved", moved.toString());
        context.check("the running consumer gets all again", push.inbox.awaitBodies(90, sent), "got", push.inbox.size());
        context.check("all consumed again", push.awaitConsumed(60, topic, 40));
        push.shutdown();

        // While the group is away; the new member begins where it was moved to.
        Map<MessageQueue, Long> offline = admin.resetOffsetByTimestamp(topic, group, 0, true);
        context.equal("reset while away", 4, offline.size());
        Push later = Push.all(context, group, topic);
        context.check("the next consumer gets all", later.inbox.awaitBodies(90, sent), "got", later.inbox.size());
        admin.resetOffsetByTimestamp(topic, group, -1, true);
    }

    private static void asked(Context context) throws Exception {
        String topic = context.topic("asked", 2);
        String group = context.name("asked_group");
        Push push = Push.all(context, group, topic);
        String id = context.producer().send(Sending.message(topic, "asked")).getMsgId();
        context.check("it came", push.inbox.awaitBodies(60, List.of("asked")));
        context.check("consumed", push.awaitConsumed(30, topic, 1));
        DefaultMQAdminExt admin = admin(context);
        String client = push.consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        ConsumerRunningInfo info = admin.getConsumerRunningInfo(group, client, true);
        context.equal("two queues", 2, (int) info.getMqTable().keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count());
        context.check("stacks", info.getJstack() != null && info.getJstack().contains("aerobee"));

        MessageExt message = push.inbox.all().get(0);
        push.inbox.clear();
        ConsumeMessageDirectlyResult result = admin.consumeMessageDirectly(group, client, topic, ((MessageClientExt) message).getOffsetMsgId());
        context.equal("consumed directly", CMResult.CR_SUCCESS, result.getConsumeResult());
        context.equal("the same message", id, push.inbox.all().get(0).getMsgId());

        push.consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        Map<String, Map<MessageQueue, Long>> status = admin.getConsumeStatus(topic, group, client);
        context.equal("offsets of the client", 1L, status.get(client).values().stream().mapToLong(Long::longValue).sum());
        String brokerName = context.producer().fetchPublishMessageQueues(topic).get(0).getBrokerName();
        String broker = context.producer().getDefaultMQProducerImpl().getMqClientFactory().findBrokerAddressInPublish(brokerName);
        // Producers make themselves known with a heartbeat.
        boolean listed = false;
        for (int i = 0; i < 60 && !listed; i++) {
            ProducerTableInfo producers = admin.getAllProducerInfo(broker);
            listed = producers.getData().containsKey(context.name("producer"));
            TimeUnit.MILLISECONDS.sleep(listed ? 0 : 1000);
        }
        context.check("the producer is listed", listed);
    }

    /** A group goes on where another one is, with each topic that it is given. */
    private static void cloned(Context context) throws Exception {
        String topic = context.topic("cloned", 4);
        String left = context.topic("cloned_left", 2);
        String source = context.name("cloned_source");
        List<String> old = Sending.sendAll(context.producer(), topic, "old", 40);
        List<String> oldLeft = Sending.sendAll(context.producer(), left, "left", 10);
        Push push = Push.of(context, source).subscribe(topic, "*").subscribe(left, "*").start();
        context.check("the source gets all", push.inbox.awaitBodies(60, old) && push.inbox.awaitBodies(60, oldLeft));
        context.check("and consumes all", push.awaitConsumed(30, topic, 40) && push.awaitConsumed(30, left, 10));
        push.shutdown();

        // Apache's broker takes the offsets of one topic only, so each is named.
        DefaultMQAdminExt admin = admin(context);
        String target = context.name("cloned_target");
        admin.cloneGroupOffset(source, target, topic, true);
        Push after = Push.all(context, target, topic);
        List<String> fresh = Sending.sendAll(context.producer(), topic, "fresh", 40);
        context.check("the clone goes on", after.inbox.awaitBodies(60, fresh), "got", after.inbox.size());
        context.equal("and gets nothing old", new HashSet<>(fresh), new HashSet<>(after.inbox.bodies()));

        // A source that is there and has left a topic behind gives no offset of it, unless it is said to be away.
        Push back = Push.all(context, source, topic);
        context.check("the source is back", back.inbox.awaitBodies(60, fresh), "got", back.inbox.size());
        String none = context.name("cloned_none");
        admin.cloneGroupOffset(source, none, left, false);
        Push all = Push.all(context, none, left);
        context.check("nothing was cloned", all.inbox.awaitBodies(60, oldLeft), "got", all.inbox.size());
        String forced = context.name("cloned_forced");
        admin.cloneGroupOffset(source, forced, left, true);
        Push rest = Push.all(context, forced, left);
        List<String> freshLeft = Sending.sendAll(context.producer(), left, "freshleft", 10);
        context.check("its clone goes on", rest.inbox.awaitBodies(60, freshLeft), "got", rest.inbox.size());
        context.equal("with nothing old", new HashSet<>(freshLeft), new HashSet<>(rest.inbox.bodies()));
    }

    /** A producer asks, a consumer replies; what nobody replies to times out. */
    private static void request(Context context) throws Exception {
        String topic = context.topic("request", 1);
        DefaultMQProducer replier = context.freshProducer("replier");
        replier.start();
        context.closing(replier, replier::shutdown);
        DefaultMQPushConsumer consumer = Push.of(context, context.name("request_group")).subscribe(topic, "*").consumer;
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            for (MessageExt message : messages) {
                try {
                    if (!Inbox.body(message).startsWith("silent")) {
                        byte[] body = ("re:" + Inbox.body(message)).getBytes(java.nio.charset.StandardCharsets.UTF_8);
                        replier.send(MessageUtil.createReplyMessage(message, body), 10_000);
                    }
                } catch (Exception failed) {
                    context.step("reply failed", "error", String.valueOf(failed));
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        context.closing(consumer, consumer::shutdown);
        DefaultMQProducer asker = context.freshProducer("asker");
        asker.start();
        context.closing(asker, asker::shutdown);
        String large = "x".repeat(10_000);
        for (String text : List.of("one", "two", large)) {
            Message reply = asker.request(Sending.message(topic, text), 60_000);
            context.equal("reply", "re:" + text, new String(reply.getBody(), java.nio.charset.StandardCharsets.UTF_8));
        }
        boolean timedOut = false;
        try {
            asker.request(Sending.message(topic, "silent"), 2000);
        } catch (RequestTimeoutException expected) {
            timedOut = true;
        }
        context.check("what nobody replies to times out", timedOut);
    }
}
