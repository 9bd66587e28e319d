// SPDX-License-Identifier: Apache-2.0
//! UPDATE_AND_CREATE_TOPIC (17), UPDATE_AND_CREATE_TOPIC_LIST (18), DELETE_TOPIC_IN_BROKER (215), GET_ALL_TOPIC_CONFIG (21),
//! GET_TOPIC_CONFIG (351).

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use aerobee_message::topic as names;
use aerobee_remoting::{
    Empty, Reply, ResponseCode,
    body::{
        DataVersion,
        topic::{TopicConfig, TopicConfigAndMapping, TopicConfigList, TopicConfigTable},
    },
    call::Call,
    fastjson,
    header::topic::{AllTopicsReply, DeleteTopic, GetTopicConfig, UpdateTopic},
};
use aerobee_store::Store;
use parking_lot::Mutex;

use super::Refusal;
use crate::{
    attributes,
    config::{Identity, Switches},
    events::Events,
    longpoll::{pop::Polls, pull::HeldPulls},
    offsets::Offsets,
    registration::Registration,
    topics::{PERM_READ, QUEUES_MAX, Topics},
};

/// Permission bits that exist: inherit, write, read, priority.
const PERM_MAX: i32 = 15;

/// Changes topics for operators.
pub(crate) struct TopicAdmin {
    pub(crate) topics: Arc<Topics>,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) store: Arc<Store>,
    pub(crate) registration: Arc<Registration>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) held: Arc<HeldPulls>,
    pub(crate) polls: Arc<Polls>,
    pub(crate) events: Arc<Events>,
    /// Held while a topic is read, altered and put, so that two changes do not mix.
    pub(crate) changing: Mutex<()>,
}

impl TopicAdmin {
    /// Code 17.
    pub(crate) fn update(self: &Arc<Self>, call: Call<'_, UpdateTopic<'_>>) {
        let Call { request, reply, .. } = call;
        let changes = attributes::parse_changes(request.attributes.unwrap_or_default());
        let attributes = match changes {
            Ok(changes) => changes,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let proposed = TopicConfig {
            attributes,
            order: request.order,
            perm: request.perm,
            read_queue_nums: request.read_queue_nums,
            topic_filter_type: request.topic_filter_type.to_owned(),
            topic_name: request.topic.to_owned(),
            topic_sys_flag: request.topic_sys_flag.unwrap_or(0),
            write_queue_nums: request.write_queue_nums,
        };
        self.change(vec![proposed], reply);
    }

    /// Code 18: all of them, or none when one is refused.
    pub(crate) fn update_list(self: &Arc<Self>, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        match fastjson::from_slice::<TopicConfigList>(body) {
            Ok(list) => self.change(list.topic_config_list, reply),
            Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
        }
    }

    /// Creates or changes topics; the attributes of each are changes to those it has.
    fn change(self: &Arc<Self>, proposed: Vec<TopicConfig>, reply: Reply<'_>) {
        let started = Instant::now();
        let changing = self.changing.lock();
        let wanted = proposed.into_iter().map(|config| self.wanted(config));
        let wanted: Vec<TopicConfig> = match wanted.filter_map(Result::transpose).collect() {
            Ok(wanted) => wanted,
            Err(refusal) => {
                self.events.topic_changed(false, false, started.elapsed());
                return Refusal::answer(refusal, reply);
            }
        };
        let mut last = None;
        for config in &wanted {
            tracing::info!(topic = %config.topic_name, peer = %reply.connection().peer(), "topic changed by an operator");
            last = Some(self.topics.put(config.clone()));
        }
        drop(changing);
        for config in wanted.iter().filter(|config| config.perm & PERM_READ == 0) {
            self.release(&config.topic_name);
        }
        let Some(generation) = last else {
            return reply.ok();
        };
        let (admin, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            if let Err(error) = admin.topics.durable(generation).await {
                admin.events.topic_changed(false, false, started.elapsed());
                return reply.fail(ResponseCode::SYSTEM_ERROR, error);
            }
            admin.registration.announce(wanted).await;
            admin.events.topic_changed(true, false, started.elapsed());
            reply.ok();
        });
    }

    /// Who waits for messages of the topic was let in before, and would get the next ones.
    fn release(&self, topic: &str) {
        if let Some(known) = self.topics.find(topic) {
            let queues = (0..known.read_queues()).filter_map(|id| known.used_queue(id));
            queues.for_each(|slot| self.held.release(&slot));
        }
        self.polls.release_topic(topic);
    }

    /// What the topic is to become; nothing when it is so already.
    fn wanted(&self, proposed: TopicConfig) -> Result<Option<TopicConfig>, Refusal> {
        let invalid = |remark: String| Refusal::new(ResponseCode::INVALID_PARAMETER, &remark);
        let failed = |remark: String| Refusal::new(ResponseCode::SYSTEM_ERROR, &remark);
        let topic = proposed.topic_name.as_str();
        names::validate_topic(topic).map_err(|error| invalid(error.to_string()))?;
        self.check_not_system(topic)?;
        if !matches!(
            proposed.topic_filter_type.as_str(),
            "SINGLE_TAG" | "MULTI_TAG"
        ) {
            return Err(failed(format!(
                "topicFilterType = [{}] value invalid: SINGLE_TAG or MULTI_TAG",
                proposed.topic_filter_type
            )));
        }
        for queues in [proposed.read_queue_nums, proposed.write_queue_nums] {
            if !(0..=QUEUES_MAX).contains(&queues) {
                return Err(invalid(format!(
                    "{queues} queues are outside 0 to {QUEUES_MAX}"
                )));
            }
        }
        if !(0..=PERM_MAX).contains(&proposed.perm) {
            return Err(invalid(format!(
                "perm {} is outside 0 to {PERM_MAX}",
                proposed.perm
            )));
        }
        if proposed
            .attributes
            .get("+message.type")
            .is_some_and(|kind| kind == "MIXED")
            && !self.switches.config().broker.enable_mixed_message_type
        {
            return Err(invalid("MIXED message type is not supported. Set enableMixedMessageType=true to allow topics for messages of every kind.".to_owned()));
        }
        let known = self.topics.find(topic).map(|topic| topic.config());
        let current = known.as_ref().map(|config| &config.attributes);
        let config = TopicConfig {
            attributes: attributes::alter(attributes::TOPIC, current, &proposed.attributes)
                .map_err(|error| failed(error.to_string()))?,
            ..proposed
        };
        let same = known.is_some_and(|known| *known == config);
        Ok((!same).then_some(config))
    }

    fn check_not_system(&self, topic: &str) -> Result<(), Refusal> {
        if !self
            .switches
            .config()
            .broker
            .validate_system_topic_when_update_topic
        {
            return Ok(());
        }
        if self.identity.is_system_topic(topic) {
            return Err(Refusal::new(
                ResponseCode::INVALID_PARAMETER,
                &format_args!("The topic[{topic}] is conflict with system topic."),
            ));
        }
        Ok(())
    }

    /// Code 215. A topic that does not exist is deleted already. Name servers are not told: they are
    /// by whoever deletes, as with Apache's tools.
    pub(crate) fn delete(self: &Arc<Self>, call: Call<'_, DeleteTopic<'_>>) {
        let Call { request, reply, .. } = call;
        if request.topic.trim().is_empty() {
            let remark = "The specified topic is blank.";
            return reply.fail(ResponseCode::INVALID_PARAMETER, remark);
        }
        if let Err(refusal) = self.check_not_system(request.topic) {
            return refusal.answer(reply);
        }
        tracing::info!(topic = request.topic, peer = %reply.connection().peer(), "topic deleted by an operator");
        let topics = self.with_pop_retry_topics(request.topic);
        let (admin, reply) = (Arc::clone(self), reply.defer());
        tokio::spawn(async move {
            for topic in topics {
                if let Err(error) = admin.delete_one(topic).await {
                    return reply.fail(ResponseCode::SYSTEM_ERROR, error);
                }
            }
            reply.ok();
        });
    }

    /// The topic and the topics in which popped messages of it wait for their next try.
    fn with_pop_retry_topics(&self, topic: &str) -> Vec<String> {
        let mut topics = vec![topic.to_owned()];
        if !self
            .switches
            .config()
            .broker
            .clear_retry_topic_when_delete_topic
        {
            return topics;
        }
        for group in self.offsets.groups_of(topic) {
            for separator in ['_', '+'] {
                let retry = format!("%RETRY%{group}{separator}{topic}");
                if self.topics.find(&retry).is_some() {
                    topics.push(retry);
                }
            }
        }
        topics
    }

    /// The configuration goes first: a crash in between leaves files that nobody sees, not a topic
    /// whose files are half gone.
    async fn delete_one(&self, topic: String) -> Result<(), DeleteError> {
        if let Some(generation) = self.topics.remove(&topic) {
            self.topics.durable(generation).await?;
        }
        if let Some(generation) = self.offsets.delete_topic(&topic) {
            self.offsets.durable(generation).await?;
        }
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || store.delete_topic(&topic)).await??;
        Ok(())
    }

    /// Code 21. All of them, whatever page was asked for: the total says that there are no more.
    pub(crate) fn all(self: &Arc<Self>, call: Call<'_, Empty>) {
        let (admin, reply) = (Arc::clone(self), call.reply.defer());
        // The table may be large.
        tokio::task::spawn_blocking(move || {
            let table = admin.table();
            let total_topic_num = i32::try_from(table.topic_config_table.len()).unwrap_or(i32::MAX);
            let header = AllTopicsReply { total_topic_num };
            reply.respond(
                ResponseCode::SUCCESS,
                "",
                &header,
                &[&fastjson::to_vec(&table)],
            );
        });
    }

    fn table(&self) -> TopicConfigTable {
        // The version first: a change in between makes it too old, which is asked for again.
        let data_version = self.topics.data_version();
        let topics = self.topics.all();
        let configs = topics
            .iter()
            .map(|topic| (topic.name().to_string(), (*topic.config()).clone()));
        TopicConfigTable {
            data_version,
            mapping_data_version: Some(DataVersion::default()),
            topic_config_table: configs.collect(),
            topic_queue_mapping_detail_map: Some(BTreeMap::new()),
            topic_queue_mapping_info_map: Some(BTreeMap::new()),
        }
    }

    /// Code 351.
    pub(crate) fn get(&self, call: Call<'_, GetTopicConfig<'_>>) {
        let Call { request, reply, .. } = call;
        let Some(topic) = self.topics.find(request.topic) else {
            return reply.fail(
                ResponseCode::TOPIC_NOT_EXIST,
                format_args!("No topic in this broker. topic: {}", request.topic),
            );
        };
        let config = TopicConfigAndMapping::new((*topic.config()).clone(), None);
        reply.body(&fastjson::to_vec(&config));
    }
}

/// Why a topic is deleted in part only; deleting it again goes on.
#[derive(Debug, thiserror::Error)]
enum DeleteError {
    #[error(transparent)]
    Persist(#[from] crate::table::PersistError),
    #[error("cannot delete the files of the topic: {0}")]
    Files(#[from] std::io::Error),
    #[error("the broker is stopping")]
    Stopping(#[from] tokio::task::JoinError),
}
