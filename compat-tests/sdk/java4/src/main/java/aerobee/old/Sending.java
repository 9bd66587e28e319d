// SPDX-License-Identifier: Apache-2.0
package aerobee.old;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Ways to send. */
final class Sending {
    private Sending() {
    }

    static void list(Map<String, Main.Scenario> scenarios) {
        scenarios.put("send_sync", Sending::sync);
        scenarios.put("send_async", Sending::async);
        scenarios.put("send_batch", Sending::batch);
        scenarios.put("delay_by_level", Sending::delay);
        scenarios.put("transaction_commit_rollback_and_check_back", Sending::transaction);
    }

    static List<String> sendAll(Context context, String topic, String word, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String body = word + "-" + i;
            SendResult result = context.producer().send(Context.message(topic, body));
            if (result.getSendStatus() != SendStatus.SEND_OK) {
                throw new IllegalStateException(body + " answered " + result.getSendStatus());
            }
            bodies.add(body);
        }
        return bodies;
    }

    private static void sync(Context context) throws Exception {
        String topic = context.topic("sync", 2);
        Message sent = new Message(topic, "tag", "key1 key2", "grüße 世界".getBytes(StandardCharsets.UTF_8));
        sent.putUserProperty("ключ", "значение");
        SendResult result = context.producer().send(sent);
        context.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        MessageExt viewed = context.producer().viewMessage(topic, result.getOffsetMsgId());
        context.equal("body", "grüße 世界", Context.body(viewed));
        context.equal("tags", "tag", viewed.getTags());
        context.equal("property", "значение", viewed.getUserProperty("ключ"));
        List<MessageExt> found = new ArrayList<>();
        context.check("found by key", Context.await(30, () -> {
            try {
                found.addAll(context.producer().queryMessage(topic, "key2", 8, 0, Long.MAX_VALUE).getMessageList());
            } catch (org.apache.rocketmq.client.exception.MQClientException notYet) {
                return false;
            }
            return !found.isEmpty();
        }), found);
        context.equal("the same", result.getMsgId(), found.get(0).getMsgId());
    }

    private static void async(Context context) throws Exception {
        String topic = context.topic("async", 4);
        ConcurrentLinkedQueue<Object> outcomes = new ConcurrentLinkedQueue<>();
        for (int i = 0; i < 100; i++) {
            context.producer().send(Context.message(topic, "async-" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    outcomes.add(result.getMessageQueue().getQueueId() + "@" + result.getQueueOffset());
                }

                @Override
                public void onException(Throwable failure) {
                    outcomes.add(failure);
                }
            });
        }
        context.check("all answered", Context.await(60, () -> outcomes.size() >= 100), outcomes.size());
        context.equal("places", 100, new HashSet<>(outcomes).size());
        context.check("no failure", outcomes.stream().noneMatch(outcome -> outcome instanceof Throwable), outcomes);
    }

    private static void batch(Context context) throws Exception {
        String topic = context.topic("batch", 1);
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            messages.add(Context.message(topic, "batch-" + i));
        }
        SendResult result = context.producer().send(messages);
        context.equal("status", SendStatus.SEND_OK, result.getSendStatus());
        context.equal("first", 0L, result.getQueueOffset());
        context.equal("next", 20L, context.producer().send(Context.message(topic, "after")).getQueueOffset());
        String last = result.getOffsetMsgId().split(",")[19];
        context.equal("the last", "batch-19", Context.body(context.producer().viewMessage(topic, last)));
    }

    private static void delay(Context context) throws Exception {
        String topic = context.topic("levels", 1);
        List<MessageExt> got = Context.inbox();
        DefaultMQPushConsumer consumer = context.consumer("levels_group", topic);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            got.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        long sent = System.currentTimeMillis();
        Message message = Context.message(topic, "later");
        message.setDelayTimeLevel(2);
        context.producer().send(message);
        context.check("it comes", Context.await(60, () -> !got.isEmpty()), got);
        context.check("not early", got.get(0).getStoreTimestamp() >= sent + 5000, got.get(0).getStoreTimestamp() - sent);
        context.equal("under its topic", topic, got.get(0).getTopic());
    }

    private static void transaction(Context context) throws Exception {
        String topic = context.topic("transaction", 2);
        List<MessageExt> got = Context.inbox();
        DefaultMQPushConsumer consumer = context.consumer("transaction_group", topic);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, at) -> {
            got.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Set<String> asked = ConcurrentHashMap.newKeySet();
        TransactionMQProducer producer = new TransactionMQProducer(context.name("transaction_producer"));
        producer.setNamesrvAddr(context.namesrv());
        producer.setInstanceName(context.instance());
        producer.setSendMsgTimeout(10_000);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return switch (message.getTags()) {
                    case "commit" -> LocalTransactionState.COMMIT_MESSAGE;
                    case "rollback" -> LocalTransactionState.ROLLBACK_MESSAGE;
                    default -> LocalTransactionState.UNKNOW;
                };
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                asked.add(message.getTags());
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        producer.start();
        context.closing(producer::shutdown);
        for (String tag : List.of("commit", "rollback", "later")) {
            for (int i = 0; i < 5; i++) {
                Message message = new Message(topic, tag, (tag + i).getBytes(StandardCharsets.UTF_8));
                producer.sendMessageInTransaction(message, null);
            }
        }
        context.check("committed ones come", Context.await(120, () -> got.size() >= 10), got.size());
        Thread.sleep(2000);
        context.equal("each once", 10, got.size());
        context.check("none of the others", got.stream().noneMatch(message -> message.getTags().equals("rollback")), got);
        context.equal("asked", Set.of("later"), asked);
    }
}
