// SPDX-License-Identifier: Apache-2.0
//! What has to be there before a message can be stored: its topic, its queue, those in which messages
//! of its kind wait. It takes files and name servers, so it is done by a task, with an owned copy of
//! the request.

use std::{net::SocketAddr, sync::Arc};

use aerobee_message::{properties::pairs, topic as names};
use aerobee_remoting::{
    Deferred, Fields, Header as _, OwnedFields, Reply, ResponseCode, header::send::SendMessage,
};

use crate::{
    processor::{
        Turn,
        scan::Scan,
        send::{
            Checked, Destination, Incoming, Refusal, Send, Sender, Target, choose_queue,
            illegal_queue, queue_of_priority, refusal, refusal_of, target,
        },
    },
    topics::{PERM_READ, PERM_WRITE, UNIT, UNIT_SUBSCRIPTION, Wanted},
};

/// Queues of retry and dead letter topics that a send creates.
const RETRY_QUEUES: i32 = 1;

/// A send whose topic or queue has to be created, owned.
struct Prepared {
    queue_id: i32,
    fields: OwnedFields,
    body: Vec<u8>,
    version: i32,
    born_host: SocketAddr,
    reply: Deferred,
}

impl Send {
    /// Has files created, then the message stored in this queue.
    #[cold]
    pub(super) fn prepare_later(
        self: &Arc<Self>,
        incoming: &Incoming<'_>,
        queue_id: i32,
        reply: Reply<'_>,
    ) {
        let job = Prepared {
            queue_id,
            fields: incoming.fields.to_owned_fields(),
            body: incoming.body.to_vec(),
            version: incoming.version,
            born_host: incoming.born_host,
            reply: reply.defer(),
        };
        tokio::spawn(Arc::clone(self).prepare(job));
    }

    /// Creates what a message needs, then stores it.
    async fn prepare(self: Arc<Self>, job: Prepared) {
        let fields = job.fields.fields();
        let request = match SendMessage::read(&fields) {
            Ok(request) => request,
            Err(error) => return job.reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let mut incoming = Incoming {
            queue_id: job.queue_id,
            request: &request,
            fields: &fields,
            body: &job.body,
            version: job.version,
            born_host: job.born_host,
        };
        if let Err(refusal) = self.create_waiting_queue(request.properties).await {
            return job.reply.fail(refusal.code, refusal.remark);
        }
        let mut turn = Turn::default();
        let target = match self.make_target(&mut turn, &mut incoming).await {
            Ok(target) => target,
            Err(refusal) => return job.reply.fail(refusal.code, refusal.remark),
        };
        if Scan::of(pairs(request.properties)).is_half(&request)
            && let Err(error) = self.transactions.ensure_queues().await
        {
            return job.reply.fail(ResponseCode::SYSTEM_ERROR, error);
        }
        self.store(&mut turn, &incoming, &target, job.reply);
        turn.deliver(self.flushing.held());
    }

    /// The queue that a message of a client goes to, made when it is missing; after the checks of a
    /// send.
    ///
    /// # Errors
    /// Why it may not be sent, or the queue cannot be made.
    pub(crate) async fn destination(
        &self,
        request: &SendMessage<'_>,
        fields: &Fields<'_>,
        body: &[u8],
        sender: Sender,
    ) -> Result<Destination, Refusal> {
        let mut incoming = Incoming {
            queue_id: request.queue_id,
            request,
            fields,
            body,
            version: sender.version,
            born_host: sender.host,
        };
        let mut turn = Turn::default();
        let target = self.make_target(&mut turn, &mut incoming).await?;
        Ok(Destination {
            slot: turn.slot_at(target.slot),
            queue_id: target.queue_id,
            topic: target.topic,
        })
    }

    async fn make_target(
        &self,
        turn: &mut Turn,
        incoming: &mut Incoming<'_>,
    ) -> Result<Target, Refusal> {
        self.create_topics(incoming).await?;
        let priority = Scan::of(pairs(incoming.request.properties)).priority;
        if let Some(priority) = priority
            && let Some(topic) = turn.topic(&self.topics, incoming.request.topic)
        {
            incoming.queue_id = queue_of_priority(topic, priority);
        }
        match self.check(turn, incoming)? {
            Checked::Ready(target) => Ok(target),
            Checked::NotYet(queue_id) => {
                incoming.queue_id = queue_id;
                self.create_queue(turn, incoming).await
            }
        }
    }

    async fn create_topics(&self, incoming: &Incoming<'_>) -> Result<(), Refusal> {
        let request = incoming.request;
        let is_retry = request.topic.starts_with(names::RETRY_PREFIX);
        let sys_flag = match (request.unit_mode, is_retry) {
            (false, _) => 0,
            (true, false) => UNIT,
            (true, true) => UNIT_SUBSCRIPTION,
        };
        let mut created = Vec::new();
        if self.topics.find(request.topic).is_none() {
            let wanted = Wanted {
                template: request.default_topic,
                queues: request.default_topic_queue_nums,
                sys_flag,
            };
            match self.topics.create_from_template(request.topic, wanted) {
                Some(topic) => created.push(topic),
                None if is_retry => {
                    let perm = PERM_READ | PERM_WRITE;
                    created.push(
                        self.topics
                            .ensure(request.topic, RETRY_QUEUES, perm, sys_flag),
                    );
                }
                None => {
                    return refusal(
                        ResponseCode::TOPIC_NOT_EXIST,
                        format!(
                            "topic[{}] not exist, apply first please! It was not created on its own because the template topic[{}] does not exist here or may not be inherited (autoCreateTopicEnable)",
                            request.topic, request.default_topic
                        ),
                    );
                }
            }
        }
        if is_retry && self.is_dead_letter(incoming)? {
            let name = names::dead_letter_topic(names::group_of_retry_topic(request.topic));
            let perm = PERM_READ | PERM_WRITE;
            created.push(self.topics.ensure(&name, RETRY_QUEUES, perm, 0));
        }
        for (topic, generation) in created {
            let Some(generation) = generation else {
                continue;
            };
            if let Err(error) = self.topics.durable(generation).await {
                return refusal(ResponseCode::SYSTEM_ERROR, error.to_string());
            }
            // Others find the new topic only when the name servers know it.
            self.registration
                .announce(vec![(*topic.config()).clone()])
                .await;
        }
        Ok(())
    }

    async fn create_queue(
        &self,
        turn: &mut Turn,
        incoming: &Incoming<'_>,
    ) -> Result<Target, Refusal> {
        let request = incoming.request;
        let is_dead_letter =
            request.topic.starts_with(names::RETRY_PREFIX) && self.is_dead_letter(incoming)?;
        let name = if is_dead_letter {
            names::dead_letter_topic(names::group_of_retry_topic(request.topic))
        } else {
            request.topic.to_owned()
        };
        let Some(topic) = turn.topic(&self.topics, &name).cloned() else {
            return refusal(
                ResponseCode::TOPIC_NOT_EXIST,
                format!("topic[{name}] not exist, apply first please! It has just been deleted"),
            );
        };
        let queue_id = if is_dead_letter {
            0
        } else {
            choose_queue(&topic, incoming.queue_id)?
        };
        let Some(slot) = topic.queue(queue_id) else {
            return illegal_queue(&topic, queue_id);
        };
        let (store, created) = (Arc::clone(&self.store), Arc::clone(&slot));
        let job = move || created.create_queue(&store).map(|_| ());
        match tokio::task::spawn_blocking(job).await {
            Ok(Ok(())) => match target(turn, topic, queue_id, is_dead_letter) {
                Checked::Ready(target) => Ok(target),
                Checked::NotYet(_) => refusal(
                    ResponseCode::SYSTEM_ERROR,
                    "the queue was deleted while it was created".to_owned(),
                ),
            },
            Ok(Err(error)) => Err(refusal_of(&error)),
            Err(_) => refusal(
                ResponseCode::SYSTEM_ERROR,
                "creating the queue was interrupted".to_owned(),
            ),
        }
    }
}
