// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.remoting.protocol.body.CMResult;
import org.apache.rocketmq.remoting.protocol.body.Connection;
import org.apache.rocketmq.remoting.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What servers ask of clients of the 5.x SDK over their telemetry streams. */
final class GrpcOperating {
    private GrpcOperating() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("grpc_push_consumer_is_asked", GrpcOperating::asked);
        scenarios.put("grpc_consume", GrpcOperating::consume);
    }

    /** An operator wants a consumer's stacks, and has it consume one message, which goes back and forth by its stream. */
    private static void asked(Context context) throws Exception {
        String topic = Grpc.topic(context, "asked", "NORMAL", 1);
        String group = Grpc.group(context, "asked_group", false, 16);
        ConcurrentLinkedQueue<String> got = new ConcurrentLinkedQueue<>();
        Grpc.push(context, group, topic, view -> {
            got.add(Grpc.body(view));
            return Grpc.body(view).startsWith("bad") ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
        });
        SendResult sent = context.producer().send(Sending.message(topic, "asked"));
        context.check("it came", Grpc.until(60, () -> got.contains("asked")));
        DefaultMQAdminExt admin = Operating.admin(context);
        String client = member(admin, group);
        context.check("the broker knows the consumer", client != null);

        ConsumerRunningInfo info = admin.getConsumerRunningInfo(group, client, true);
        context.check("stacks", info.getJstack() != null && info.getJstack().contains("org.apache.rocketmq.client.java"),
            "jstack", String.valueOf(info.getJstack()).substring(0, Math.min(300, String.valueOf(info.getJstack()).length())));

        got.clear();
        ConsumeMessageDirectlyResult result = admin.consumeMessageDirectly(group, client, topic, sent.getOffsetMsgId());
        context.equal("consumed directly", CMResult.CR_SUCCESS, result.getConsumeResult());
        context.equal("the same message", List.of("asked"), List.copyOf(got));

        SendResult bad = context.producer().send(Sending.message(topic, "bad"));
        context.equal("how it went is told", CMResult.CR_LATER,
            admin.consumeMessageDirectly(group, client, topic, bad.getOffsetMsgId()).getConsumeResult());
    }

    /** By which name the broker knows the only member of a group. */
    private static String member(DefaultMQAdminExt admin, String group) throws Exception {
        for (int i = 0; i < 300; i++) {
            try {
                Set<Connection> members = admin.examineConsumerConnectionInfo(group).getConnectionSet();
                if (!members.isEmpty()) {
                    return members.iterator().next().getClientId();
                }
            } catch (MQBrokerException notYet) {
                // Asked again.
            }
            TimeUnit.MILLISECONDS.sleep(100);
        }
        return null;
    }

    /** Parameters topic, group; until told to stop. What fails is told and tried again: a proxy may be away meanwhile. */
    private static void consume(Context context) throws Exception {
        SimpleConsumer consumer = Grpc.simple(context, context.get("group"), context.get("topic"));
        context.step("ready");
        Set<String> told = new HashSet<>();
        while (!context.isStopped()) {
            try {
                for (MessageView view : consumer.receive(16, Duration.ofSeconds(10))) {
                    if (told.add(Grpc.body(view))) {
                        context.step("message", "body", Grpc.body(view), "msg", view.getMessageId().toString());
                    }
                    consumer.ack(view);
                }
            } catch (ClientException | RuntimeException away) {
                // The SDK lets exceptions of gRPC through as they are.
                context.step("away", "error", String.valueOf(away));
                TimeUnit.MILLISECONDS.sleep(200);
            }
        }
    }
}
