// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.header.SendMessageRequestHeader;

/** How topics come to be, and which may not. */
final class Topics {
    private Topics() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("topic_created_by_request", Topics::created);
        scenarios.put("topic_created_by_first_send", Topics::automatic);
        scenarios.put("topic_with_illegal_name_is_refused", Topics::illegal);
        scenarios.put("topic_unknown_has_no_route", Topics::unknown);
        scenarios.put("topics_by_the_hundred", Topics::many);
    }

    private static void created(Context context) throws Exception {
        String topic = context.topic("created", 6);
        Push push = Push.all(context, context.name("created_group"), topic);
        List<String> sent = Sending.sendAll(context.producer(), topic, "created", 12);
        context.check("all came", push.inbox.awaitBodies(40, sent));
        context.equal("in all queues", 6, push.inbox.queues().size());
        Context.createTopic(context.producer(), topic, 9);
        context.equal("enlarged", 9, context.producer().fetchPublishMessageQueues(topic).size());
    }

    private static void automatic(Context context) throws Exception {
        String topic = context.name("automatic");
        context.equal("first send", SendStatus.SEND_OK, context.producer().send(Sending.message(topic, "first")).getSendStatus());
        int queues = 0;
        for (int i = 0; i < 200 && queues == 0; i++) {
            try {
                queues = fetch(context, topic);
            } catch (MQClientException notYet) {
                TimeUnit.MILLISECONDS.sleep(50);
            }
        }
        context.equal("queues as the producer asks for", 4, queues);
        Push push = Push.all(context, context.name("automatic_group"), topic);
        context.check("the first message is there", push.inbox.awaitBodies(40, List.of("first")));
    }

    private static int fetch(Context context, String topic) throws Exception {
        return Reading.reader(context).fetchSubscribeMessageQueues(topic).size();
    }

    /** The SDK refuses these itself, so the broker is asked below it. */
    private static void illegal(Context context) throws Exception {
        String good = context.topic("legal", 1);
        DefaultMQProducer producer = context.producer();
        MessageQueue queue = producer.send(Sending.message(good, "x")).getMessageQueue();
        MQClientInstance factory = producer.getDefaultMQProducerImpl().getMqClientFactory();
        String broker = factory.findBrokerAddressInPublish(queue.getBrokerName());
        MQClientAPIImpl wire = factory.getMQClientAPIImpl();
        // The compact encoding cannot tell an empty text from a missing one, on which Apache's broker stumbles.
        if (!"ROCKETMQ".equals(System.getProperty("rocketmq.serialize.type"))) {
            refused(context, wire.getRemotingClient().invokeSync(broker, send(""), 5000), "", 29, "The specified topic");
        }
        for (String name : List.of(" ", "a/b", "../up", "sp ace", "a.b", "ünicode", "a\u0000b", "x".repeat(128))) {
            refused(context, wire.getRemotingClient().invokeSync(broker, send(name), 5000), name, 29, "The specified topic");
        }
        for (String name : List.of("SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "SELF_TEST_TOPIC")) {
            refused(context, wire.getRemotingClient().invokeSync(broker, send(name), 5000), name, 16, "Sending message to topic");
        }
        int refused = 0;
        try {
            producer.send(Sending.message("a/b", "x"));
        } catch (MQClientException known) {
            refused = 1;
        }
        context.equal("refused by the SDK too", 1, refused);
        context.equal("the connection serves on", SendStatus.SEND_OK, producer.send(Sending.message(good, "x")).getSendStatus());
    }

    private static void refused(Context context, RemotingCommand answer, String name, int code, String words) {
        boolean held = answer.getCode() == code && String.valueOf(answer.getRemark()).startsWith(words);
        context.check("topic '" + name + "'", held, "code", answer.getCode(), "wanted", code, "remark", answer.getRemark());
    }

    private static RemotingCommand send(String topic) {
        SendMessageRequestHeader header = new SendMessageRequestHeader();
        header.setProducerGroup("illegal");
        header.setTopic(topic);
        header.setDefaultTopic("TBW102");
        header.setDefaultTopicQueueNums(4);
        header.setQueueId(0);
        header.setSysFlag(0);
        header.setBornTimestamp(System.currentTimeMillis());
        header.setFlag(0);
        header.setProperties("");
        header.setReconsumeTimes(0);
        header.setUnitMode(false);
        header.setBatch(false);
        RemotingCommand command = RemotingCommand.createRequestCommand(RequestCode.SEND_MESSAGE, header);
        command.setBody(new byte[] {'x'});
        return command;
    }

    private static void unknown(Context context) throws Exception {
        DefaultMQProducer producer = context.freshProducer("strict");
        producer.setCreateTopicKey(context.name("no_such_template"));
        producer.start();
        context.closing(producer, producer::shutdown);
        int code = 0;
        try {
            producer.send(new Message(context.name("unknown"), new byte[] {1}));
        } catch (MQClientException refused) {
            code = refused.getResponseCode();
        }
        context.equal("no route", 17, code);
    }

    private static void many(Context context) throws Exception {
        long start = System.nanoTime();
        int count = 200;
        List<String> topics = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String topic = context.name("many_" + i);
            context.producer().createTopic("TBW102", topic, 2, Map.of());
            topics.add(topic);
        }
        for (String topic : topics) {
            Context.createTopic(context.producer(), topic, 2);
            SendStatus status = context.producer().send(Sending.message(topic, topic)).getSendStatus();
            context.check(topic, status == SendStatus.SEND_OK);
        }
        var reader = Reading.reader(context);
        context.closing(reader, reader::shutdown);
        HashSet<String> read = new HashSet<>();
        for (String topic : topics) {
            for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
                for (MessageExt message : Reading.queue(reader, queue)) {
                    read.add(Inbox.body(message));
                }
            }
        }
        long seconds = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - start);
        context.equal("all read back", new HashSet<>(topics), read);
        context.check("in a minute", seconds < 60, "seconds", seconds);
    }
}
