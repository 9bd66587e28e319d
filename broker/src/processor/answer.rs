// SPDX-License-Identifier: Apache-2.0
//! Answers of consumers to requests of producers: SEND_REPLY_MESSAGE (324, 325). Apache:
//! `ReplyMessageProcessor`.
//!
//! The answer is pushed to the client that waits for it, which may take a while, and then stored in
//! the topic of replies. The code tells how the push went.

use std::{sync::Arc, time::Duration};

use aerobee_message::{
    properties::{Properties, keys},
    record::{Record, TagsCode},
    tags,
};
use aerobee_remoting::{
    Deferred, Header as _, OwnedFields, RequestCode, ResponseCode,
    call::Call,
    header::{reply::PushReply, send::SendMessage},
};
use aerobee_store::Appended;

use super::send::{Destination, Refusal, Send, Sender};
use crate::{clients::Clients, requeue::PropertyList};

/// Longest wait for the client that the answer is for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hands answers on.
pub(crate) struct Answer {
    pub(crate) send: Arc<Send>,
    pub(crate) clients: Arc<Clients>,
}

/// A request, owned.
struct Job {
    fields: OwnedFields,
    body: Vec<u8>,
    sender: Sender,
    reply: Deferred,
}

impl Answer {
    /// Codes 324 and 325.
    pub(crate) fn handle(self: &Arc<Self>, call: Call<'_, SendMessage<'_>>) {
        let Call {
            body,
            command,
            reply,
            ..
        } = call;
        let job = Job {
            fields: command.fields.to_owned_fields(),
            body: body.to_vec(),
            sender: Sender {
                version: command.version,
                host: reply.connection().peer(),
            },
            reply: reply.defer(),
        };
        tokio::spawn(Arc::clone(self).hand_on(job));
    }

    async fn hand_on(self: Arc<Self>, job: Job) {
        let fields = job.fields.fields();
        let request = match SendMessage::read(&fields) {
            Ok(request) => request,
            Err(error) => return job.reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let send = &self.send;
        let destination = send.destination(&request, &fields, &job.body, job.sender);
        let destination = match destination.await {
            Ok(destination) => destination,
            Err(Refusal { code, remark }) => return job.reply.fail(code, remark),
        };
        let pushed = self.push(&request, &job).await;
        let stored = self.store(&request, &job, &destination);
        let identity = &self.send.identity;
        let mut id = aerobee_message::id::Buffer::new();
        let message_id = stored.map_or("0", |stored| id.format(identity.address, stored.physical));
        let queue_offset = stored.map_or(0, |stored| stored.queue_offset);
        let header = identity.send_reply(message_id, destination.queue_id, queue_offset);
        let (code, remark) = match pushed {
            Ok(()) => (ResponseCode::SUCCESS, String::new()),
            Err(error) => (ResponseCode::SYSTEM_ERROR, error.to_string()),
        };
        job.reply.respond(code, &remark, &header, &[]);
    }

    /// Hands the answer to the client that waits for it.
    async fn push(&self, request: &SendMessage<'_>, job: &Job) -> Result<(), PushError> {
        let mut properties = PropertyList::of(Properties(request.properties.as_bytes()));
        let client = properties.get(keys::REPLY_TO_CLIENT).map(str::to_owned);
        let client = client.ok_or(PushError::NoClient)?;
        let Some(connection) = self.clients.producers.connection_of(&client) else {
            return Err(PushError::NotFound(client));
        };
        let now = self.send.store.clock().millis();
        properties.set(keys::PUSH_REPLY_TIME, now);
        let properties = String::from_utf8(properties.to_text()).unwrap_or_default();
        let header = PushReply {
            producer_group: request.producer_group,
            topic: request.topic,
            default_topic: request.default_topic,
            default_topic_queue_nums: request.default_topic_queue_nums,
            queue_id: request.queue_id,
            sys_flag: request.sys_flag,
            born_timestamp: request.born_timestamp,
            flag: request.flag,
            properties: Some(&properties),
            reconsume_times: Some(request.reconsume_times),
            unit_mode: request.unit_mode,
            born_host: &job.sender.host.to_string(),
            store_host: &self.send.identity.address.to_string(),
            store_timestamp: now,
        };
        let code = RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT;
        let answer = connection.request(code, &header, &job.body, PATIENCE).await;
        match answer {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(PushError::Refused(client, answer.remark)),
            Err(error) => Err(PushError::Failed(client, error)),
        }
    }

    /// Stores the answer, where that is configured. That it is not stored changes nothing for those
    /// who ask and answer.
    fn store(
        &self,
        request: &SendMessage<'_>,
        job: &Job,
        destination: &Destination,
    ) -> Option<Appended> {
        let send = &self.send;
        if !send.switches.config().broker.store_reply_message_enable {
            return None;
        }
        let properties = request.properties.as_bytes();
        let tags = Properties(properties).get(keys::TAGS);
        let record = Record {
            topic: request.topic,
            queue_id: destination.queue_id,
            flag: request.flag,
            sys_flag: super::send::stored_sys_flag(request.sys_flag, &destination.topic),
            born_timestamp: request.born_timestamp,
            born_host: job.sender.host,
            store_host: send.identity.address,
            reconsume_times: request.reconsume_times,
            prepared_transaction_offset: 0,
            body: &job.body,
            properties: &[properties],
            tags_code: TagsCode::Hash(tags.map_or(0, tags::code_of)),
        };
        match destination.slot.append(&send.store, &record) {
            Ok(appended) => {
                send.flushing.arrived(&destination.slot, appended.end);
                Some(appended)
            }
            Err(error) => {
                tracing::warn!(%error, "an answer to a request was not stored");
                None
            }
        }
    }
}

/// Why a client did not get an answer; the leading words are Apache's.
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("reply message properties[REPLY_TO_CLIENT] is null")]
    NoClient,
    #[error(
        "push reply message fail, channel of <{0}> not found. The client is not connected to this broker as a producer"
    )]
    NotFound(String),
    #[error("push reply message to {0}fail. The client refused it: {1}")]
    Refused(String, String),
    #[error("push reply message to {0}fail. {1}")]
    Failed(String, aerobee_remoting::ClientError),
}
