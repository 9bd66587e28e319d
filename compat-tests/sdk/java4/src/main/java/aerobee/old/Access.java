// SPDX-License-Identifier: Apache-2.0
package aerobee.old;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.remoting.RPCHook;

/** A user who may use {@code topic} and {@code group}, and not {@code forbidden}. */
final class Access {
    private static final int NO_PERMISSION = 16;

    private Access() {
    }

    static void list(Map<String, Main.Scenario> scenarios) {
        scenarios.put("access", Access::run);
    }

    private static void run(Context context) throws Exception {
        RPCHook hook = new AclClientRPCHook(new SessionCredentials(context.get("access_key"), context.get("secret_key")));
        DefaultMQProducer producer = new DefaultMQProducer(context.name("producer"), hook);
        producer.setNamesrvAddr(context.namesrv());
        producer.setInstanceName(context.instance());
        producer.setSendMsgTimeout(10_000);
        producer.start();
        context.closing(producer::shutdown);
        Set<String> bodies = new TreeSet<>();
        for (int i = 0; i < 5; i++) {
            String body = context.name("body" + i);
            context.equal("sent", SendStatus.SEND_OK,
                producer.send(Context.message(context.get("topic"), body)).getSendStatus());
            bodies.add(body);
        }
        int code = 0;
        try {
            producer.send(Context.message(context.get("forbidden"), "x"));
        } catch (MQBrokerException refused) {
            code = refused.getResponseCode();
        } catch (MQClientException refused) {
            code = refused.getResponseCode();
        }
        context.equal("forbidden", NO_PERMISSION, code);
        Set<String> got = new ConcurrentSkipListSet<>();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(context.get("group"), hook, new AllocateMessageQueueAveragely());
        consumer.setNamesrvAddr(context.namesrv());
        consumer.setInstanceName(context.instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(context.get("topic"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, queue) -> {
            messages.forEach(one -> got.add(Context.body(one)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        context.closing(consumer::shutdown);
        context.check("all came", Context.await(90, () -> got.containsAll(bodies)), got);
    }
}
