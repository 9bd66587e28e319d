// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/** Consumers that share a topic: groups, shares of queues, offsets that outlive a consumer. */
final class Groups {
    private Groups() {
    }

    static void list(Map<String, Scenario> scenarios) {
        scenarios.put("groups_each_get_every_message", Groups::eachGetsAll);
        scenarios.put("group_members_split_queues_and_take_over", Groups::takeOver);
        scenarios.put("group_continues_after_restart", Groups::restart);
    }

    private static void eachGetsAll(Context context) throws Exception {
        String topic = context.topic("groups", 4);
        List<Push> pushes = List.of(Push.all(context, context.name("group_a"), topic), Push.all(context, context.name("group_b"), topic));
        List<String> sent = Sending.sendAll(context.producer(), topic, "both", 200);
        for (Push push : pushes) {
            context.check("group gets all", push.inbox.awaitBodies(40, sent), "got", push.inbox.size());
            context.equal("once", 200, push.inbox.size());
        }
    }

    private static void takeOver(Context context) throws Exception {
        String topic = context.topic("share", 8);
        String group = context.name("share_group");
        Push first = Push.all(context, group, topic);
        Push second = Push.all(context, group, topic);
        Set<Integer> every = Set.of(0, 1, 2, 3, 4, 5, 6, 7);
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        boolean split = false;
        List<String> sent = new ArrayList<>();
        for (int round = 0; !split && System.nanoTime() < deadline; round++) {
            first.inbox.clear();
            second.inbox.clear();
            List<String> now = Sending.sendAll(context.producer(), topic, "round" + round, 32);
            sent.addAll(now);
            awaitTogether(first, second, now);
            Set<Integer> one = first.inbox.queues();
            Set<Integer> two = second.inbox.queues();
            Set<Integer> union = new HashSet<>(one);
            union.addAll(two);
            split = one.size() == 4 && two.size() == 4 && union.equals(every);
        }
        context.check("four queues each", split, "first", first.inbox.queues(), "second", second.inbox.queues());
        second.shutdown();
        first.inbox.clear();
        List<String> rest = Sending.sendAll(context.producer(), topic, "alone", 32);
        context.check("the one left gets all", first.inbox.awaitBodies(40, rest), "queues", first.inbox.queues());
        context.equal("of all queues", every, first.inbox.queues());
    }

    private static void awaitTogether(Push first, Push second, List<String> wanted) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        Set<String> missing = new HashSet<>(wanted);
        while (!missing.isEmpty() && System.nanoTime() < deadline) {
            missing.removeAll(first.inbox.bodies());
            missing.removeAll(second.inbox.bodies());
            TimeUnit.MILLISECONDS.sleep(20);
        }
        if (!missing.isEmpty()) {
            throw new CheckFailed("the group did not get " + missing);
        }
    }

    private static void restart(Context context) throws Exception {
        String topic = context.topic("restart", 4);
        String group = context.name("restart_group");
        List<String> before = Sending.sendAll(context.producer(), topic, "before", 40);
        Push first = Push.all(context, group, topic);
        context.check("the first gets all", first.inbox.awaitBodies(40, before));
        context.check("and consumes it", first.awaitConsumed(10, topic, 40));
        first.shutdown();
        List<String> between = Sending.sendAll(context.producer(), topic, "between", 40);
        Push second = Push.all(context, group, topic);
        List<String> after = Sending.sendAll(context.producer(), topic, "after", 40);
        List<String> wanted = new ArrayList<>(between);
        wanted.addAll(after);
        context.check("the second goes on", second.inbox.awaitBodies(40, wanted));
        context.equal("nothing twice", new HashSet<>(wanted), new HashSet<>(second.inbox.bodies()));
        context.equal("each once", 80, second.inbox.size());
    }
}
