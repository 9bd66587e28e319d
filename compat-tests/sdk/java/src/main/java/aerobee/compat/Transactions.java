// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Transactional producers. */
final class Transactions {
    private Transactions() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("transaction_commit_rollback_and_check_back", Transactions::decided);
        scenarios.put("transact", Transactions::transact);
    }

    private static TransactionMQProducer producer(Context context, String group, TransactionListener listener) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setNamesrvAddr(context.namesrv());
        producer.setInstanceName(context.instance());
        producer.setSendMsgTimeout(10_000);
        producer.setPollNameServerInterval(500);
        producer.setHeartbeatBrokerInterval(1000);
        producer.setTransactionListener(listener);
        producer.start();
        return context.closing(producer, producer::shutdown);
    }

    private static void decided(Context context) throws Exception {
        String topic = context.topic("transaction", 4);
        Decider decider = new Decider(Inbox::body);
        TransactionMQProducer producer = producer(context, context.name("transaction_producer"), decider);
        Push push = Push.all(context, context.name("transaction_group"), topic);
        for (String tag : List.of("commit", "rollback", "later_commit", "later_rollback")) {
            for (int i = 0; i < 20; i++) {
                Message message = new Message(topic, tag, "key-" + i, (tag + ":" + i).getBytes(java.nio.charset.StandardCharsets.UTF_8));
                message.setFlag(7);
                message.putUserProperty("number", String.valueOf(i));
                TransactionSendResult result = producer.sendMessageInTransaction(message, null);
                if (i == 0) {
                    context.equal("sent " + tag, SendStatus.SEND_OK, result.getSendStatus());
                    context.equal("transaction id of " + tag, result.getMsgId(), result.getTransactionId());
                }
            }
        }
        // By default open transactions are looked at every 30 s.
        context.check("all that are committed came", push.inbox.await(120, got -> got.size() >= 40), "got", push.inbox.size());
        context.equal("each once", 40, push.inbox.size());
        for (MessageExt message : push.inbox.all()) {
            String body = Inbox.body(message);
            // What Apache's broker writes again for a check has lost its flag.
            boolean asked = body.startsWith("later_commit:");
            boolean right = (asked || body.startsWith("commit:") && message.getFlag() == 7)
                && body.endsWith(":" + message.getUserProperty("number")) && message.getTransactionId() != null;
            if (!right) {
                context.check("message", false, "got", message.toString());
            }
        }
        context.equal("asked about", true, decider.checked.stream().allMatch(body -> body.startsWith("later_")));
        context.check("nothing else came", !push.inbox.await(5, got -> got.size() > 40), "got", push.inbox.size());
    }

    /**
     * Parameters: topic, group, word, count, what each send says (says: commit, rollback, unknown), what each check says
     * (checks, the same words). Goes on until told, answering checks.
     */
    private static void transact(Context context) throws Exception {
        LocalTransactionState says = state(context.get("says", "unknown"));
        LocalTransactionState checks = state(context.get("checks", "unknown"));
        TransactionMQProducer producer = producer(context, context.get("group"), new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return says;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                context.step("asked", "body", Inbox.body(message));
                return checks;
            }
        });
        for (int i = 0; i < context.number("count", 0); i++) {
            String body = context.get("word") + ":" + i;
            try {
                TransactionSendResult result = producer.sendMessageInTransaction(Sending.message(context.get("topic"), body), null);
                context.step(result.getSendStatus() == SendStatus.SEND_OK ? "sent" : "unsure", "body", body);
            } catch (Exception failed) {
                context.step("failed", "body", body, "error", String.valueOf(failed.getMessage()));
            }
        }
        // Without having sent anything it is known as a member of its group when it beats to the brokers of a route.
        producer.getDefaultMQProducerImpl().getMqClientFactory().updateTopicRouteInfoFromNameServer(context.get("topic"));
        producer.getDefaultMQProducerImpl().getMqClientFactory().sendHeartbeatToAllBrokerWithLock();
        context.step("started");
        context.awaitStop();
    }

    private static LocalTransactionState state(String word) {
        return switch (word) {
            case "commit" -> LocalTransactionState.COMMIT_MESSAGE;
            case "rollback" -> LocalTransactionState.ROLLBACK_MESSAGE;
            default -> LocalTransactionState.UNKNOW;
        };
    }
}
