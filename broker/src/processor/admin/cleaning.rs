// SPDX-License-Identifier: Apache-2.0
//! CLEAN_EXPIRED_CONSUMEQUEUE (306), CLEAN_UNUSED_TOPIC (316), DELETE_EXPIRED_COMMITLOG (329).
//! Apache: `AdminBrokerProcessor`.

use std::{collections::BTreeSet, sync::Arc};

use aerobee_message::topic as names;
use aerobee_remoting::{ResponseCode, call::Call, header::Empty};
use aerobee_store::Store;

use crate::{offsets::Offsets, topics::Topics};

/// Has removed what is no longer needed.
pub(crate) struct Cleaning {
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) offsets: Arc<Offsets>,
}

impl Cleaning {
    /// Code 329: for a while expired files of the log are removed at any hour.
    pub(crate) fn expired_log(&self, call: Call<'_, Empty>) {
        tracing::info!(peer = %call.reply.connection().peer(), "expired files of the log are removed for an operator");
        self.store.remove_expired();
        call.reply.ok();
    }

    /// Code 306. Unlike Apache's, queues of topics that exist keep their last file: their offsets go
    /// on where they were.
    pub(crate) fn expired_queues(&self, call: Call<'_, Empty>) {
        let (store, reply) = (Arc::clone(&self.store), call.reply.defer());
        // It may open all queues.
        tokio::task::spawn_blocking(move || {
            let files = store.clean_derived();
            tracing::info!(
                files,
                "files of queues and index without messages are removed for an operator"
            );
            reply.ok();
        });
    }

    /// Code 316: topics that have queues, or offsets of consumers, but no configuration. Topics of the
    /// system stay, and so do light ones, which have none of their own.
    pub(crate) fn unused_topics(self: &Arc<Self>, call: Call<'_, Empty>) {
        let (cleaning, reply) = (Arc::clone(self), call.reply.defer());
        tokio::spawn(async move {
            let stored = cleaning.store.topic_names();
            let mut unused: BTreeSet<String> = stored.iter().map(ToString::to_string).collect();
            unused.extend(cleaning.offsets.topics().into_iter().map(String::from));
            unused.retain(|topic| {
                let is_kept = names::is_system(topic) || topic.starts_with(names::LMQ_PREFIX);
                !is_kept && cleaning.topics.find(topic).is_none()
            });
            for topic in unused {
                if let Err(error) = cleaning.remove(topic).await {
                    return reply.fail(ResponseCode::SYSTEM_ERROR, error);
                }
            }
            reply.ok();
        });
    }

    async fn remove(&self, topic: String) -> Result<(), CleaningError> {
        tracing::info!(
            topic,
            "queues and offsets of a topic without configuration are removed for an operator"
        );
        if let Some(generation) = self.offsets.delete_topic(&topic) {
            self.offsets.durable(generation).await?;
        }
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || store.delete_topic(&topic)).await??;
        Ok(())
    }
}

/// Why not everything was removed.
#[derive(Debug, thiserror::Error)]
enum CleaningError {
    #[error(transparent)]
    Offsets(#[from] crate::table::PersistError),
    #[error("queues of a topic cannot be removed: {0}; check the rights in the store directory")]
    Store(#[from] std::io::Error),
    #[error("the broker is stopping")]
    Stopped(#[from] tokio::task::JoinError),
}
