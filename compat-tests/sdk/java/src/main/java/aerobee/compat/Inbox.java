// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.apache.rocketmq.common.message.MessageExt;

/** What a consumer got, in the order it got it. */
final class Inbox {
    private final List<MessageExt> messages = new ArrayList<>();

    synchronized void add(Collection<MessageExt> more) {
        messages.addAll(more);
        notifyAll();
    }

    synchronized List<MessageExt> all() {
        return new ArrayList<>(messages);
    }

    synchronized int size() {
        return messages.size();
    }

    synchronized void clear() {
        messages.clear();
    }

    List<String> bodies() {
        return all().stream().map(Inbox::body).collect(Collectors.toList());
    }

    Set<Integer> queues() {
        return all().stream().map(MessageExt::getQueueId).collect(Collectors.toSet());
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Waits until the messages fulfil the condition; false when they do not in that time. */
    synchronized boolean await(int seconds, Predicate<List<MessageExt>> condition) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!condition.test(messages)) {
            long left = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
            if (left <= 0) {
                return false;
            }
            wait(left);
        }
        return true;
    }

    /** Waits until each of these bodies has come. */
    boolean awaitBodies(int seconds, Collection<String> wanted) throws InterruptedException {
        return await(seconds, got -> {
            Set<String> missing = new HashSet<>(wanted);
            got.forEach(message -> missing.remove(body(message)));
            return missing.isEmpty();
        });
    }
}
