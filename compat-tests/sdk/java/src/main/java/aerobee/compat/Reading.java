// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Reads queues from front to end, without a group that others share. */
final class Reading {
    private Reading() {
    }

    static DefaultMQPullConsumer reader(Context context) throws Exception {
        DefaultMQPullConsumer reader = new DefaultMQPullConsumer(context.name("reader"));
        reader.setNamesrvAddr(context.namesrv());
        reader.setInstanceName(context.instance());
        reader.start();
        return reader;
    }

    static MessageExt one(Context context, MessageQueue queue, long offset) throws Exception {
        DefaultMQPullConsumer reader = reader(context);
        try {
            PullResult result = reader.pull(queue, "*", offset, 1);
            context.equal("pull status", PullStatus.FOUND, result.getPullStatus());
            return result.getMsgFoundList().get(0);
        } finally {
            reader.shutdown();
        }
    }

    static MessageExt view(Context context, String topic, String id) throws Exception {
        DefaultMQPullConsumer reader = reader(context);
        try {
            return reader.viewMessage(topic, id);
        } finally {
            reader.shutdown();
        }
    }

    static List<MessageExt> queue(Context context, MessageQueue queue) throws Exception {
        DefaultMQPullConsumer reader = reader(context);
        try {
            return queue(reader, queue);
        } finally {
            reader.shutdown();
        }
    }

    /** The whole queue; its offsets have no holes. */
    static List<MessageExt> queue(DefaultMQPullConsumer reader, MessageQueue queue) throws Exception {
        List<MessageExt> all = new ArrayList<>();
        long offset = reader.minOffset(queue);
        long end = reader.maxOffset(queue);
        while (offset < end) {
            PullResult result = reader.pull(queue, "*", offset, 32);
            if (result.getPullStatus() != PullStatus.FOUND) {
                throw new CheckFailed(queue + " at " + offset + " of " + end + ": " + result);
            }
            for (MessageExt message : result.getMsgFoundList()) {
                if (message.getQueueOffset() != offset) {
                    throw new CheckFailed(queue + ": offset " + message.getQueueOffset() + " where " + offset + " belongs");
                }
                offset++;
                all.add(message);
            }
        }
        return all;
    }

    static List<String> bodies(Context context, String topic) throws Exception {
        DefaultMQPullConsumer reader = reader(context);
        try {
            List<String> bodies = new ArrayList<>();
            for (MessageQueue queue : reader.fetchSubscribeMessageQueues(topic)) {
                for (MessageExt message : queue(reader, queue)) {
                    bodies.add(Inbox.body(message));
                }
            }
            return bodies;
        } finally {
            reader.shutdown();
        }
    }
}
