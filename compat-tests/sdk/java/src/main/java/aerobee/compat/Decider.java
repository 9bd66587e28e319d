// SPDX-License-Identifier: Apache-2.0
package aerobee.compat;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Decides by the tag: commit, rollback, or unknown until the check, which rolls back what is tagged so and commits the rest. */
final class Decider implements TransactionListener {
    /** What was asked about. */
    final Set<String> checked = ConcurrentHashMap.newKeySet();
    private final Function<MessageExt, String> name;

    /** @param name what is noted of a message that was asked about. */
    Decider(Function<MessageExt, String> name) {
        this.name = name;
    }

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
        checked.add(name.apply(message));
        return message.getTags().endsWith("rollback") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
    }
}
