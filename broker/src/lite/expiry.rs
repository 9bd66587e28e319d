// SPDX-License-Identifier: Apache-2.0
//! Lite topics that have had no message for too long are deleted. Apache: `AbstractLiteLifecycleManager`.

use std::{collections::HashMap, sync::Arc};

use aerobee_message::lite as names;
use aerobee_store::Queue;
use tokio::time::sleep;

use super::{Lite, bound_to, expiration, upkeep::millis};

/// A queue without a message is deleted when it was seen so in more scans than these.
const EMPTY_SCANS: u32 = 5;
/// Lite topics that are deleted together: each time the store notes something, and finds no queue meanwhile.
const DELETED_AT_ONCE: usize = 64;
/// A lite topic as a scan finds it.
#[derive(Debug)]
struct Found {
    name: Arc<str>,
    queue: Arc<Queue>,
    /// Offset behind its last message.
    end: i64,
    /// Where that ends in the log; 0 when it is not known.
    place: i64,
}

/// Those that have expired. The log is written in the order of time, so behind a last message that is young enough all
/// are: few of very many topics have to be asked, and have their files opened. After a step of the clock some may live
/// longer for that, by as much.
fn oldest(mut topics: Vec<Found>, mut is_expired: impl FnMut(&Found) -> bool) -> Vec<Found> {
    topics.sort_unstable_by_key(|found| found.place);
    let mut all_live = false;
    topics.retain(|found| {
        let is_expired = !all_live && is_expired(found);
        all_live |= !is_expired && found.place > 0;
        is_expired
    });
    topics
}

impl Lite {
    /// Deletes what has expired, again and again. Ends with the task that runs it.
    pub(crate) async fn run_expiry(self: Arc<Self>) {
        let (least, every) = {
            let keys = &self.switches.config().broker;
            (
                millis(keys.min_lite_ttl),
                millis(keys.lite_ttl_check_interval),
            )
        };
        sleep(least).await;
        let mut empty_scans = HashMap::new();
        loop {
            let lite = Arc::clone(&self);
            let scan = move || {
                let expired = lite.expired(&mut empty_scans);
                for some in expired.chunks(DELETED_AT_ONCE) {
                    lite.delete(some);
                }
                empty_scans
            };
            match tokio::task::spawn_blocking(scan).await {
                Ok(scans) => empty_scans = scans,
                Err(_) => return,
            }
            sleep(every).await;
        }
    }

    /// One scan: what has expired, with the ends at which it was seen. `empty` counts how often a queue was seen without
    /// a message.
    fn expired(&self, empty: &mut HashMap<Arc<str>, u32>) -> Vec<(Arc<str>, i64)> {
        let now = self.clock().millis();
        let least = self.switches.config().broker.min_lite_ttl;
        let mut still_empty = HashMap::new();
        let mut expired = Vec::new();
        // By parent: how long its lite topics live, in minutes, and those that have messages.
        let mut parents: HashMap<String, (i64, Vec<Found>)> = HashMap::new();
        for name in self.store.topics_with_prefix(names::PREFIX) {
            let Some((parent, _)) = names::parse(&name) else {
                continue;
            };
            let Some(queue) = self.store.queue(&name, 0) else {
                continue;
            };
            let (end, place) = (queue.max_offset(), queue.max_physical());
            if end <= 0 {
                let scans = empty.get(&name).copied().unwrap_or(0) + 1;
                if scans > EMPTY_SCANS {
                    expired.push((name, end));
                } else {
                    still_empty.insert(name, scans);
                }
                continue;
            }
            if !parents.contains_key(parent) {
                let topic = self.topics.find(parent);
                let life = topic.map_or(-1, |topic| i64::from(expiration(&topic)));
                parents.insert(parent.to_owned(), (life, Vec::new()));
            }
            if let Some((life, topics)) = parents.get_mut(parent)
                && *life > 0
            {
                topics.push(Found {
                    name,
                    queue,
                    end,
                    place,
                });
            }
        }
        *empty = still_empty;
        for (life, topics) in parents.into_values() {
            let then = now.saturating_sub(least.max(life * 60_000));
            let gone = oldest(topics, |found| {
                let stored = self.store.store_time_of(&found.queue, found.end - 1);
                stored.is_none_or(|stored| stored < then)
            });
            expired.extend(gone.into_iter().map(|found| (found.name, found.end)));
        }
        expired
    }

    /// Deletes lite topics that have got no message since they were seen to end there: their queues, what groups
    /// committed, who subscribes. Messages stay in the log until that is cleaned.
    fn delete(&self, expired: &[(Arc<str>, i64)]) {
        let (gone, removed) = self.store.delete_light_queues(expired);
        if let Err(error) = removed {
            tracing::error!(%error, "the files of expired lite topics cannot be deleted");
        }
        let groups = self.groups.all();
        for queue in gone {
            tracing::info!(queue, "lite topic expired");
            let parent = names::parse(queue).map(|(parent, _)| parent);
            for group in &groups {
                if bound_to(group) == parent {
                    self.offsets.delete_topic_of(group.name(), queue);
                    self.orders
                        .remove(&(Arc::from(queue), Arc::clone(group.name())));
                }
            }
            self.registry.lock().drop_queue(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::atomic::{AtomicI64, Ordering},
        time::Duration,
    };

    use aerobee_message::{
        properties::keys,
        record::{Record, TagsCode},
    };
    use aerobee_remoting::body::topic::TopicConfig;
    use aerobee_store::{Clock, Env, Faults, Operation, Store, Time};

    use super::*;
    use crate::{
        config::{Config, Switches},
        groups::Groups,
        offsets::Offsets,
        topics::Topics,
    };

    /// Minutes that lite topics live.
    const LIFE: i64 = 60;

    #[derive(Debug, Default)]
    struct Minutes(AtomicI64);

    impl Minutes {
        fn pass(&self, minutes: i64) {
            self.0.fetch_add(minutes, Ordering::SeqCst);
        }
    }

    impl Time for Minutes {
        fn wall_millis(&self) -> i64 {
            1_700_000_000_000 + self.0.load(Ordering::SeqCst) * 60_000
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[derive(Debug)]
    struct NoFaults;

    impl Faults for NoFaults {
        fn before(&self, _: Operation, _: &Path) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn open(directory: &Path, minutes: &Arc<Minutes>) -> Arc<Lite> {
        let clock = Clock::given(Arc::clone(minutes) as _);
        let env = Env::with(Arc::new(NoFaults), clock);
        let store = Store::open(aerobee_store::Config::new(directory), env).unwrap();
        let attributes = [
            ("message.type", "LITE".to_owned()),
            ("lite.topic.expiration", LIFE.to_string()),
        ];
        let parent = TopicConfig {
            topic_name: "parent".into(),
            attributes: attributes.map(|(key, value)| (key.into(), value)).into(),
            ..TopicConfig::default()
        };
        let file = |name: &str| directory.join(name);
        let topics = Topics::open(&file("topics.json"), &store, vec![parent]).unwrap();
        let groups = Groups::open(&file("groups.json")).unwrap();
        let offsets = Offsets::open(directory).unwrap();
        let switches = Switches::new(Config::default());
        Lite::new(&store, &topics, &groups, &offsets, &switches)
    }

    fn send(lite: &Lite, names: &[&str]) {
        let parent = lite.store.create_queue("parent", 0).unwrap();
        for name in names {
            let queue = names::queue_of("parent", name);
            let dispatch = format!("{}\u{1}{queue}\u{2}", keys::INNER_MULTI_DISPATCH);
            let record = Record {
                topic: "parent",
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 1,
                born_host: "127.0.0.1:1".parse().unwrap(),
                store_host: "127.0.0.1:2".parse().unwrap(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: b"body",
                properties: &[dispatch.as_bytes()],
                tags_code: TagsCode::Hash(0),
            };
            lite.store
                .append_to_light(&parent, &record, &queue)
                .unwrap();
        }
    }

    fn scan(lite: &Lite) -> Vec<(Arc<str>, i64)> {
        lite.expired(&mut HashMap::new())
    }

    #[tokio::test]
    async fn what_gets_a_message_just_when_it_expires_stays() {
        let directory = tempfile::tempdir().unwrap();
        let minutes = Arc::new(Minutes::default());
        let lite = open(directory.path(), &minutes);
        send(&lite, &["old", "used", "older"]);
        minutes.pass(LIFE);
        assert_eq!(scan(&lite), [], "this minute they live");
        minutes.pass(1);
        send(&lite, &["older"]);
        let expired = scan(&lite);
        let (old, used) = ("%LMQ%$parent$old", "%LMQ%$parent$used");
        assert_eq!(expired, [(old.into(), 1), (used.into(), 1)]);
        // Between the look and the deletion.
        send(&lite, &["used"]);
        lite.delete(&expired);
        let mut left = lite.queues_below("parent");
        left.sort();
        assert_eq!(left, ["%LMQ%$parent$older".into(), used.into()]);
        assert_eq!(lite.store.queue(used, 0).unwrap().max_offset(), 2);
        assert_eq!(scan(&lite), []);
    }

    #[tokio::test]
    async fn those_behind_one_that_lives_are_not_asked() {
        let directory = tempfile::tempdir().unwrap();
        let minutes = Arc::new(Minutes::default());
        let lite = open(directory.path(), &minutes);
        let name = |place: i64| Found {
            name: place.to_string().into(),
            queue: lite.store.create_queue("t", 0).unwrap(),
            end: 1,
            place,
        };
        let mut asked = Vec::new();
        let topics = [7, 3, 0, 5, 0, 9, 1].map(name);
        let gone = oldest(topics.into(), |found| {
            asked.push(found.place);
            matches!(found.place, 1 | 3 | 9)
        });
        // Where the place is not known it says nothing of others.
        assert_eq!(asked, [0, 0, 1, 3, 5]);
        let gone: Vec<i64> = gone.iter().map(|found| found.place).collect();
        assert_eq!(gone, [1, 3]);
    }
}
