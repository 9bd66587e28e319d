// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Ordered consumption while its group changes, and with messages that fail. */
final class Ordering {
    private Ordering() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("ordered_across_rebalancing", Ordering::rebalanced);
        scenarios.put("ordered_queue_is_suspended", Ordering::suspended);
    }

    /** What came of each queue, as it came, whoever got it. */
    private static final class Seen {
        final Map<Integer, List<Long>> offsets = new ConcurrentHashMap<>();
        final Map<Integer, AtomicInteger> busy = new ConcurrentHashMap<>();
        final List<String> wrong = new CopyOnWriteArrayList<>();
        final Set<String> bodies = ConcurrentHashMap.newKeySet();

        /** A message may come again when its queue goes to another member, but none is passed over. */
        void see(MessageExt message) throws InterruptedException {
            int queue = message.getQueueId();
            AtomicInteger now = busy.computeIfAbsent(queue, key -> new AtomicInteger());
            if (now.incrementAndGet() > 1) {
                wrong.add("queue " + queue + " is consumed twice at a time");
            }
            List<Long> list = offsets.computeIfAbsent(queue, key -> new CopyOnWriteArrayList<>());
            long furthest = list.stream().mapToLong(Long::longValue).max().orElse(-1);
            if (message.getQueueOffset() > furthest + 1) {
                wrong.add("queue " + queue + " goes from " + furthest + " to " + message.getQueueOffset());
            }
            list.add(message.getQueueOffset());
            bodies.add(Inbox.body(message));
            try {
                // A member that ends is interrupted here.
                Thread.sleep(2);
            } finally {
                now.decrementAndGet();
            }
        }
    }

    private static Push member(Context context, String group, String topic, Seen seen) throws Exception {
        Push push = Push.of(context, group).subscribe(topic, "*");
        push.consumer.setConsumeMessageBatchMaxSize(1);
        push.consumer.registerMessageListener((MessageListenerOrderly) (messages, at) -> {
            for (MessageExt message : messages) {
                try {
                    seen.see(message);
                } catch (InterruptedException ended) {
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        return push.run();
    }

    private static boolean await(int seconds, java.util.function.BooleanSupplier holds) throws InterruptedException {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        while (!holds.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                return false;
            }
            Thread.sleep(20);
        }
        return true;
    }

    private static void rebalanced(Context context) throws Exception {
        String topic = context.topic("ordered", 4);
        String group = context.name("ordered_group");
        Seen seen = new Seen();
        Push first = member(context, group, topic, seen);
        int sent = 0;
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < 200; i++, sent++) {
                context.producer().send(Sending.message(topic, "m" + sent), (queues, message, at) -> queues.get((Integer) at % 4), i);
            }
            int wanted = sent;
            if (round == 0) {
                context.check("the first member consumes", await(60, () -> seen.bodies.size() >= wanted), "got", seen.bodies.size());
            } else if (round == 1) {
                // Takes over some of the queues while they are full.
                member(context, group, topic, seen);
            } else if (round == 2) {
                first.shutdown();
            }
        }
        int all = sent;
        context.check("all come", await(150, () -> seen.bodies.size() >= all), "got", seen.bodies.size(), "wrong", seen.wrong);
        context.equal("order", List.of(), seen.wrong);
        context.equal("queues", 4, seen.offsets.size());
    }

    private static void suspended(Context context) throws Exception {
        String topic = context.topic("suspended", 2);
        Push push = Push.of(context, context.name("suspended_group")).subscribe(topic, "*");
        push.consumer.setConsumeMessageBatchMaxSize(1);
        push.consumer.setSuspendCurrentQueueTimeMillis(500);
        List<String> tried = new CopyOnWriteArrayList<>();
        push.consumer.registerMessageListener((MessageListenerOrderly) (messages, at) -> {
            MessageExt message = messages.get(0);
            String body = Inbox.body(message);
            tried.add(body);
            long times = tried.stream().filter(body::equals).count();
            if (body.equals("0:5") && times <= 3) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            push.inbox.add(List.copyOf(messages));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        List<MessageQueue> queues = context.producer().fetchPublishMessageQueues(topic);
        for (int i = 0; i < 10; i++) {
            for (MessageQueue queue : queues) {
                context.producer().send(Sending.message(topic, queue.getQueueId() + ":" + i), queue);
            }
        }
        push.run();
        context.check("all come", push.inbox.await(90, got -> got.size() >= 20), "got", push.inbox.bodies(), "tried", tried);
        for (MessageQueue queue : queues) {
            String prefix = queue.getQueueId() + ":";
            List<String> came = push.inbox.bodies().stream().filter(body -> body.startsWith(prefix)).toList();
            List<String> wanted = java.util.stream.IntStream.range(0, 10).mapToObj(i -> prefix + i).toList();
            context.equal("order of queue " + queue.getQueueId(), wanted, came);
        }
        context.equal("attempts", 4L, tried.stream().filter("0:5"::equals).count());
    }
}
