// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.constant.ConsumeInitMode;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Parts for the tests that pop and acknowledge message by message, with the SDK's own requests. */
final class PopByHand {
    private static final int TIMEOUT = 5000;

    private PopByHand() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("pop", PopByHand::pop);
    }

    /**
     * Parameters: topic, group, count (how many different messages, 0 for until told), invisible_ms, order (false), acks: {@code all}, {@code none}, {@code even} (by
     * the number behind the colon of the body), or {@code late}: when told to stop. Ends when that many have come, or after {@code seconds}; says "got" and "done" for
     * each message, the latter when its acknowledgement is answered with success.
     */
    private static void pop(Context context) throws Exception {
        MQClientInstance client = context.producer().getDefaultMQProducerImpl().getMqClientFactory();
        String topic = context.get("topic");
        client.updateTopicRouteInfoFromNameServer(topic);
        String broker = context.producer().fetchPublishMessageQueues(topic).get(0).getBrokerName();
        String address = client.findBrokerAddressInPublish(broker);
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(context.get("group"));
        group.setConsumeMessageOrderly(context.get("order", "false").equals("true"));
        client.getMQClientAPIImpl().createSubscriptionGroup(address, group, TIMEOUT);
        int count = context.number("count", 0);
        String acks = context.get("acks", "all");
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(context.number("seconds", 60));
        Set<String> bodies = new HashSet<>();
        List<MessageExt> late = new ArrayList<>();
        context.step("started");
        while (!context.isStopped() && (count == 0 || bodies.size() < count) && System.nanoTime() < deadline) {
            int most = count == 0 ? 32 : Math.min(32, count - bodies.size());
            for (MessageExt message : take(context, client, broker, address, most)) {
                String body = Inbox.body(message).trim();
                bodies.add(body);
                context.step("got", "body", body, "queue", message.getQueueId(), "offset", message.getQueueOffset(), "times", message.getReconsumeTimes());
                boolean even = Integer.parseInt(body.substring(body.indexOf(':') + 1)) % 2 == 0;
                if (acks.equals("all") || acks.equals("even") && even) {
                    acknowledge(context, client, address, message);
                } else {
                    late.add(message);
                }
            }
        }
        context.step("popped");
        if (acks.equals("late")) {
            context.awaitStop();
            for (MessageExt message : late) {
                acknowledge(context, client, address, message);
            }
        }
    }

    private static List<MessageExt> take(Context context, MQClientInstance client, String broker, String address, int most) throws Exception {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(context.get("group"));
        header.setTopic(context.get("topic"));
        header.setQueueId(-1);
        header.setMaxMsgNums(most);
        header.setInvisibleTime(context.number("invisible_ms", 60_000));
        header.setPollTime(1000);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(ConsumeInitMode.MIN);
        header.setExpType("TAG");
        header.setExp("*");
        header.setOrder(context.get("order", "false").equals("true"));
        CompletableFuture<PopResult> answer = new CompletableFuture<>();
        client.getMQClientAPIImpl().popMessageAsync(broker, address, header, 3 * TIMEOUT, new PopCallback() {
            @Override
            public void onSuccess(PopResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        });
        List<MessageExt> found = answer.get().getMsgFoundList();
        return found == null ? List.of() : found;
    }

    private static void acknowledge(Context context, MQClientInstance client, String address, MessageExt message) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] parts = ExtraInfoUtil.split(handle);
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(context.get("group"));
        header.setTopic(ExtraInfoUtil.getRealTopic(parts, context.get("topic"), context.get("group")));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle);
        CompletableFuture<AckResult> answer = new CompletableFuture<>();
        client.getMQClientAPIImpl().ackMessageAsync(address, TIMEOUT, new AckCallback() {
            @Override
            public void onSuccess(AckResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        }, header);
        context.step("done", "body", Inbox.body(message).trim(), "status", String.valueOf(answer.get().getStatus()));
    }
}
