// SPDX-License-Identifier: Apache-2.0
//! Queues as the summary of the last run knows them, without a look at each.

use std::{collections::HashSet, sync::Arc};

use super::Recovery;
use crate::{
    checkpoint::State,
    consume_queue::{Found, Queue},
    error::OpenError,
    layout, light, summary,
};

/// What a summary that holds tells of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summarised {
    /// The queues know the log up to here.
    pub(super) position: i64,
    /// First offsets are those for a log that starts here.
    pub(super) log_first: i64,
}

impl Recovery<'_> {
    /// Takes the queues from the summary, if it holds: it is ours and nobody else has written here since, no topic was
    /// deleted after it, and the directories of all its topics are there. One that does not hold is removed.
    pub(super) fn load_summary(
        &mut self,
        own: Option<&State>,
        was_clean: bool,
    ) -> Result<Option<Summarised>, OpenError> {
        let root = self.config.dir.clone();
        let found = match own {
            Some(own) => summary::read(self.env, &root)
                .map_err(OpenError::io("read", root.join(layout::SUMMARY)))?
                .filter(|found| (own.forgotten..=own.dispatched).contains(&found.position)),
            None => None,
        };
        let (holds, unknown) = {
            let listed = self.listed_topics()?;
            let mut unknown: HashSet<&str> = listed.iter().map(String::as_str).collect();
            let holds = found
                .as_ref()
                .is_some_and(|found| found.topics.iter().all(|(name, _)| unknown.remove(&**name)));
            let mut unknown: Vec<String> = unknown.into_iter().map(str::to_owned).collect();
            unknown.sort_unstable();
            // The names that were listed go before the queues are made, which take their place in the heap.
            (holds, unknown)
        };
        let Some(found) = found.filter(|_| holds) else {
            summary::remove(self.env, &root)
                .map_err(OpenError::io("remove", root.join(layout::SUMMARY)))?;
            return Ok(None);
        };
        for (name, queues) in found.topics {
            let ids = self.queues.entry(Arc::clone(&name)).or_default();
            for (id, found) in queues {
                let found = Found {
                    unverified: found.unverified || !was_clean,
                    ..found
                };
                ids.insert(Queue::new(
                    Arc::clone(&name),
                    id,
                    Arc::clone(&self.shared),
                    &found,
                ));
            }
        }
        // Where the log begins behind that, only their files know how far they were.
        let is_all_in_log = self.log.first().unwrap_or(0) <= found.position;
        for topic in unknown {
            if is_all_in_log {
                self.load_unknown(&topic)?;
            } else {
                self.load_topic(&topic)?;
            }
        }
        Ok(Some(Summarised {
            position: found.position,
            log_first: found.log_first,
        }))
    }

    /// Queues of a topic that a summary which holds does not know: all that they have came after it, and is in the part
    /// of the log that is read next. What lies in their files is not even looked at; there may be hundreds of thousands.
    fn load_unknown(&mut self, topic: &str) -> Result<(), OpenError> {
        if self.shared.is_batch_topic(topic) {
            // They may be known by their units alone.
            return self.load_topic(topic);
        }
        let name: Arc<str> = topic.into();
        let ids = if light::is_light(topic) {
            vec![0]
        } else {
            self.listed_ids(topic)?
        };
        let found = Found {
            unverified: true,
            ..Found::default()
        };
        let queues = self.queues.entry(Arc::clone(&name)).or_default();
        for id in ids {
            let shared = Arc::clone(&self.shared);
            queues.insert(Queue::new(Arc::clone(&name), id, shared, &found));
        }
        Ok(())
    }
}
