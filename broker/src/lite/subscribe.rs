// SPDX-License-Identifier: Apache-2.0
//! Which lite topics a client wants (code 200071). Apache: `LiteSubscriptionCtlProcessor`,
//! `LiteSubscriptionRegistryImpl`.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use aerobee_message::lite as names;
use aerobee_remoting::{
    Connection, ResponseCode,
    body::lite::{LiteAction, LiteSubscription, OffsetOption, OffsetOptionType},
    header::lite::NotifyUnsubscribeLite,
};

use super::{
    Lite, MAX_EVENTS, RESET_EXCLUSIVE, RESET_UNSUBSCRIBE, is_exclusive, is_set, is_wildcard,
    registry::Joining,
};
use crate::groups::Group;

/// Most lite topics of one request.
const NAMES_MAX: usize = 100_000;

/// Why a change of subscriptions was refused; changes before it stand.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: ResponseCode,
    pub(crate) remark: String,
}

impl Refused {
    fn illegal(remark: String) -> Self {
        Self {
            code: ResponseCode::ILLEGAL_OPERATION,
            remark,
        }
    }
}

impl Lite {
    /// Carries one change out.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        change: &LiteSubscription,
        connection: &Arc<Connection>,
    ) -> Result<(), Refused> {
        let is_blank = |text: &str| text.trim().is_empty();
        if is_blank(&change.client_id) || is_blank(&change.group) || is_blank(&change.topic) {
            return Ok(());
        }
        if change.lite_topic_set.len() > NAMES_MAX {
            return Err(Refused::illegal(format!(
                "{} lite topics in one request are too many, the limit is {NAMES_MAX}",
                change.lite_topic_set.len()
            )));
        }
        let queues: BTreeSet<String> = change
            .lite_topic_set
            .iter()
            .map(|lite| names::queue_of(&change.topic, lite))
            .collect();
        match change.action {
            LiteAction::PartialAdd => {
                let group = self.consumable(&change.group)?;
                self.add(change, &queues, &group, connection)
            }
            LiteAction::CompleteAdd => {
                let group = self.consumable(&change.group)?;
                self.set(change, &queues, &group, connection);
                Ok(())
            }
            LiteAction::PartialRemove => {
                self.remove(change, &queues);
                Ok(())
            }
            LiteAction::CompleteRemove => {
                self.forget(&change.client_id);
                Ok(())
            }
        }
    }

    fn consumable(&self, name: &str) -> Result<Arc<Group>, Refused> {
        let group = self
            .groups
            .find(name)
            .filter(|group| group.consume_enable());
        group.ok_or_else(|| {
            Refused::illegal(format!(
                "Group [{name}] not exist or not allow subscribe: create it with the attribute {}",
                super::BIND_TOPIC
            ))
        })
    }

    fn joining<'a>(
        &self,
        change: &'a LiteSubscription,
        group: &Group,
        connection: Option<&'a Arc<Connection>>,
    ) -> Joining<'a, Arc<Connection>> {
        let limit = group.config().attributes.get(MAX_EVENTS);
        let limit = limit.and_then(|limit| limit.parse::<usize>().ok());
        let of_broker = self.switches.config().broker.max_client_event_count;
        Joining {
            client: &change.client_id,
            group: &change.group,
            parent: &change.topic,
            wildcard: is_wildcard(group),
            limit: limit
                .filter(|limit| *limit > 0)
                .unwrap_or_else(|| usize::try_from(of_broker).unwrap_or(1).max(1)),
            connection,
        }
    }

    fn add(
        self: &Arc<Self>,
        change: &LiteSubscription,
        queues: &BTreeSet<String>,
        group: &Group,
        connection: &Arc<Connection>,
    ) -> Result<(), Refused> {
        let most = self.switches.config().broker.max_lite_subscription_count;
        if self.registry.lock().pairs() >= usize::try_from(most).unwrap_or(usize::MAX) {
            return Err(Refused {
                code: ResponseCode::LITE_SUBSCRIPTION_QUOTA_EXCEEDED,
                remark: format!(
                    "lite subscription quota exceeded: the broker takes {most} (maxLiteSubscriptionCount)"
                ),
            });
        }
        if is_wildcard(group) {
            return Err(Refused::illegal(format!(
                "wildcard group [{}] gets all lite topics and cannot add some",
                change.group
            )));
        }
        let now = Instant::now();
        let joining = self.joining(change, group, Some(connection));
        self.registry.lock().join(&joining, now);
        for queue in queues {
            if is_exclusive(group) {
                self.evict(change, queue, group);
            }
            if let Some(option) = change.offset_option {
                self.begin_at(queue, &change.group, option);
            }
            let fresh = self.registry.lock().add(&change.client_id, queue);
            if fresh {
                self.offer_existing(queue, &change.topic, &change.group);
            }
        }
        Ok(())
    }

    /// The client comes to have these and no others.
    fn set(
        self: &Arc<Self>,
        change: &LiteSubscription,
        queues: &BTreeSet<String>,
        group: &Group,
        connection: &Arc<Connection>,
    ) {
        let now = Instant::now();
        let joining = self.joining(change, group, Some(connection));
        let (known, is_new) = {
            let mut registry = self.registry.lock();
            let is_new = registry.client(&change.client_id).is_none();
            // An empty set says nothing of a client that is known: it does not keep it alive.
            if !is_new && queues.is_empty() && !joining.wildcard {
                let known = registry.client(&change.client_id);
                (
                    known
                        .map(|client| client.queues.clone())
                        .unwrap_or_default(),
                    false,
                )
            } else {
                let client = registry.join(&joining, now);
                (client.queues.clone(), is_new)
            }
        };
        if joining.wildcard {
            if is_new {
                self.walk_soon(&change.client_id);
            }
            return;
        }
        let mut registry = self.registry.lock();
        let mut left = Vec::new();
        for queue in known.iter().filter(|queue| !queues.contains(&***queue)) {
            if registry.remove(&change.client_id, queue, now) == Some(true) {
                left.push(queue);
            }
        }
        let mut fresh = Vec::new();
        for queue in queues {
            // Its full list may be older than the loss of an exclusive lite topic: it is told again.
            if is_exclusive(group) && registry.is_anothers(&change.client_id, &change.group, queue)
            {
                lost(connection, change, &change.client_id, queue);
            } else if registry.add(&change.client_id, queue) {
                fresh.push(queue);
            }
        }
        drop(registry);
        for queue in left {
            self.offer(queue, &change.topic, Some(&change.group));
        }
        for queue in fresh {
            self.offer_existing(queue, &change.topic, &change.group);
        }
    }

    fn remove(self: &Arc<Self>, change: &LiteSubscription, queues: &BTreeSet<String>) {
        let resets = self
            .groups
            .find(&change.group)
            .is_some_and(|group| is_set(&group, RESET_UNSUBSCRIBE));
        let now = Instant::now();
        for queue in queues {
            let removed = self.registry.lock().remove(&change.client_id, queue, now);
            if removed.is_some() && resets {
                self.reset(queue, &change.group, 0);
            }
            if removed == Some(true) {
                self.offer(queue, &change.topic, Some(&change.group));
            }
        }
    }

    /// Forgets a client; others of its group get what it had in line.
    pub(super) fn forget(self: &Arc<Self>, client: &str) {
        let forgotten = self.registry.lock().forget(client);
        let Some((group, events)) = forgotten else {
            return;
        };
        tracing::info!(client, %group, "a client of lite topics left");
        for queue in events {
            if let Some((parent, _)) = names::parse(&queue) {
                self.offer(&queue, parent, Some(&group));
            }
        }
    }

    /// Takes a lite topic from all other clients of an exclusive group.
    fn evict(&self, change: &LiteSubscription, queue: &str, group: &Group) {
        let evicted = self.registry.lock().evict(&change.group, queue);
        for (client, connection) in evicted {
            if *client == *change.client_id {
                continue;
            }
            if let Some(connection) = connection {
                lost(&connection, change, &client, queue);
            }
            if is_set(group, RESET_EXCLUSIVE) {
                self.reset(queue, &change.group, 0);
            }
        }
    }

    /// Sets where a group goes on in a queue, as a new subscriber asks for.
    fn begin_at(&self, queue: &str, group: &str, option: OffsetOption) {
        let committed = self.offsets.query(group, queue, 0);
        let target = match (option.kind, option.value) {
            (OffsetOptionType::Policy, 1) => 0,
            (OffsetOptionType::Policy, 2) => self.end_of(queue),
            (OffsetOptionType::Offset, offset) => offset.max(0),
            (OffsetOptionType::TailN, messages) => match committed {
                Some(committed) => committed.saturating_sub(messages).max(0),
                None => return,
            },
            (OffsetOptionType::Policy | OffsetOptionType::Timestamp, _) => return,
        };
        if committed != Some(target) {
            self.reset(queue, group, target);
        }
    }

    /// The group's next pop of the queue begins there.
    fn reset(&self, queue: &str, group: &str, offset: i64) {
        self.offsets.assign_reset(group, queue, 0, offset);
        if let Some(order) = self.known_order(queue, group) {
            order.lock().clear();
        }
    }

    /// Whether a group is past an offset of a queue already.
    pub(crate) fn is_before(&self, queue: &str, group: &str, offset: i64) -> bool {
        let committed = self.offsets.query(group, queue, 0);
        committed.is_some_and(|committed| offset < committed)
    }

    /// The offset after the last message of a queue.
    pub(crate) fn end_of(&self, queue: &str) -> i64 {
        self.store
            .queue(queue, 0)
            .map_or(0, |queue| queue.max_offset())
    }

    /// A lite topic that is new to a client may hold messages already.
    fn offer_existing(self: &Arc<Self>, queue: &str, parent: &str, group: &str) {
        if self.end_of(queue) > 0 {
            self.offer(queue, parent, Some(group));
        }
    }

    /// Has all that a client subscribes to looked at.
    pub(crate) fn walk_soon(&self, client: &str) {
        self.registry.lock().walk_at(client, Instant::now());
        self.earlier.notify_one();
    }
}

/// Tells a client that a lite topic went to another one of its group.
fn lost(connection: &Connection, change: &LiteSubscription, client: &str, queue: &str) {
    let notice = NotifyUnsubscribeLite {
        lite_topic: names::parse(queue).map_or("", |(_, lite)| lite),
        consumer_group: &change.group,
        client_id: client,
    };
    let code = aerobee_remoting::RequestCode::NOTIFY_UNSUBSCRIBE_LITE;
    if let Err(error) = connection.oneway(code, &notice, &[]) {
        tracing::debug!(%client, %error, "a client does not hear that it lost a lite topic");
    }
}
