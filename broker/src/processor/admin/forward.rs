// SPDX-License-Identifier: Apache-2.0
//! Questions of operators that a client answers: GET_CONSUMER_RUNNING_INFO (307),
//! CONSUME_MESSAGE_DIRECTLY (309), INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223). Apache:
//! `AdminBrokerProcessor.callConsumer`, `Broker2Client`.
//!
//! What a client answers is passed on as it is: SDKs write it in JSON of their own kinds.

use std::{sync::Arc, time::Duration};

use aerobee_message::id;
use aerobee_remoting::{
    ClientError, Connection, Deferred, RequestCode, Response, ResponseCode,
    body::reset::ConsumerStatus,
    call::Call,
    code::version,
    fastjson,
    header::client::{ConsumeDirectly, GetConsumerRunningInfo, GetConsumerStatus},
};
use aerobee_store::Store;
use tokio::{runtime::Handle, task::JoinSet};

use crate::{
    clients::{Member, consumers::Consumers},
    config::Identity,
    groups::Groups,
    topics::Topics,
};

/// Longest wait for one client.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for each of several clients that are asked for their offsets.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);
/// Most clients asked at once.
const ASKED_AT_ONCE: usize = 64;

/// Passes questions on.
pub(crate) struct Forward {
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) identity: Arc<Identity>,
}

type Consumer = Member<Arc<Connection>>;
type Fields = Vec<(String, String)>;

/// A question on its way to a client.
struct Question {
    code: RequestCode,
    fields: Fields,
    body: Vec<u8>,
    consumer: Consumer,
    group: String,
}

impl Forward {
    /// Code 307.
    pub(crate) fn running_info(&self, call: Call<'_, GetConsumerRunningInfo<'_>>) {
        let Call {
            request,
            body,
            command,
            reply,
        } = call;
        let consumer = match self.consumer(request.consumer_group, request.client_id) {
            Ok(consumer) => consumer,
            Err(remark) => return reply.fail(ResponseCode::SYSTEM_ERROR, remark),
        };
        let question = Question {
            code: RequestCode::GET_CONSUMER_RUNNING_INFO,
            fields: command.fields.to_owned_pairs(),
            body: body.to_vec(),
            consumer,
            group: request.consumer_group.to_owned(),
        };
        tokio::spawn(question.ask(reply.defer()));
    }

    /// Code 309. The message may be of any age, so it is read on a thread that may wait for the disk.
    pub(crate) fn consume_directly(&self, call: Call<'_, ConsumeDirectly<'_>>) {
        let Call {
            request,
            command,
            reply,
            ..
        } = call;
        let client = request.client_id.unwrap_or_default();
        let consumer = match self.consumer(request.consumer_group, client) {
            Ok(consumer) => consumer,
            Err(remark) => return reply.fail(ResponseCode::SYSTEM_ERROR, remark),
        };
        let Some((_, physical)) = request.msg_id.and_then(id::parse) else {
            let remark = "msgId is not an offset message id of 32 or 56 digits";
            return reply.fail(ResponseCode::SYSTEM_ERROR, remark);
        };
        let mut fields = command.fields.to_owned_pairs();
        set(&mut fields, "brokerName", self.identity.broker_name.clone());
        if let Some(topic) = request.topic.and_then(|topic| self.topics.find(topic)) {
            set(&mut fields, "topicSysFlag", topic.sys_flag().to_string());
        }
        if let Some(group) = self.groups.find(request.consumer_group) {
            set(&mut fields, "groupSysFlag", group.sys_flag().to_string());
        }
        let group = request.consumer_group.to_owned();
        let (reply, runtime) = (reply.defer(), Handle::current());
        let refused = self.store.read_later(Box::new(move |store| {
            let Some(record) = store.record_at(physical) else {
                return reply.fail(
                    ResponseCode::SYSTEM_ERROR,
                    format_args!("can not find message by the offset, {physical}"),
                );
            };
            let question = Question {
                code: RequestCode::CONSUME_MESSAGE_DIRECTLY,
                fields,
                body: record.as_slice().to_vec(),
                consumer,
                group,
            };
            runtime.spawn(question.ask(reply));
        }));
        if refused.is_err() {
            // The dropped job has answered SYSTEM_ERROR.
            tracing::debug!("too many cold reads are waiting");
        }
    }

    /// A member of a group that can be asked.
    fn consumer(&self, group: &str, client: &str) -> Result<Consumer, String> {
        let members = self.consumers.group(group);
        let members = members.map(|group| group.members()).unwrap_or_default();
        let known = members
            .into_iter()
            .filter(|member| &*member.client.id == client);
        // Of two connections with the same id, as after a broken one, the one used last.
        let Some(member) = known.max_by_key(|member| member.seen) else {
            return Err(format!("The Consumer <{group}> <{client}> not online"));
        };
        if member.client.version < version::V3_1_8_SNAPSHOT {
            return Err(format!(
                "The Consumer <{client}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
                member.client.version
            ));
        }
        Ok(member)
    }

    /// Code 223.
    pub(crate) fn status(&self, call: Call<'_, GetConsumerStatus<'_>>) {
        let Call { request, reply, .. } = call;
        let wanted = request.client_addr.unwrap_or_default().trim().to_owned();
        let group = self.consumers.group(request.group);
        let members = group.map(|group| group.members()).unwrap_or_default();
        if members.is_empty() {
            return reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!(
                    "No Any Consumer online in the consumer group: [{}]",
                    request.group
                ),
            );
        }
        let old = |member: &&Consumer| member.client.version < version::V3_0_7_SNAPSHOT;
        if let Some(member) = members.iter().find(old) {
            return reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!(
                    "the client does not support this feature. version={}",
                    member.client.version
                ),
            );
        }
        let asked = members
            .into_iter()
            .filter(|member| wanted.is_empty() || *member.client.id == *wanted)
            .collect();
        let (topic, group) = (request.topic.to_owned(), request.group.to_owned());
        let reply = reply.defer();
        tokio::spawn(async move {
            let status = ask_all(asked, &topic, &group).await;
            reply.body(&fastjson::to_vec(&status));
        });
    }
}

fn set(fields: &mut Fields, name: &str, value: String) {
    fields.retain(|(known, _)| known != name);
    fields.push((name.to_owned(), value));
}

/// The offsets of each client; of those that do not answer nothing.
async fn ask_all(members: Vec<Consumer>, topic: &str, group: &str) -> ConsumerStatus {
    let mut status = ConsumerStatus::default();
    let mut members = members.into_iter();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < ASKED_AT_ONCE {
            let Some(member) = members.next() else { break };
            let (topic, group) = (topic.to_owned(), group.to_owned());
            asked.spawn(async move {
                let header = GetConsumerStatus {
                    topic: &topic,
                    group: &group,
                    client_addr: None,
                };
                let code = RequestCode::GET_CONSUMER_STATUS_FROM_CLIENT;
                let answer = member
                    .connection
                    .request(code, &header, &[], STATUS_PATIENCE)
                    .await;
                (member.client.id, answer)
            });
        }
        let Some(answered) = asked.join_next().await else {
            return status;
        };
        let Ok((id, Ok(answer))) = answered else {
            continue;
        };
        if !answer.is_success() || answer.body.is_empty() {
            continue;
        }
        match fastjson::from_slice::<ConsumerStatus>(&answer.body) {
            Ok(of_client) => {
                let offsets = of_client.message_queue_table;
                status.consumer_table.insert(id.to_string(), offsets);
            }
            Err(error) => {
                tracing::info!(client = %id, %error, "a consumer told its offsets in no known form");
            }
        }
    }
}

impl Question {
    async fn ask(self, reply: Deferred) {
        let Self {
            code,
            fields,
            body,
            consumer,
            group,
        } = self;
        let client = &consumer.client.id;
        let answer = consumer
            .connection
            .request(code, &fields[..], &body, PATIENCE)
            .await;
        match answer {
            Ok(Response {
                code,
                remark,
                fields,
                body,
                ..
            }) => reply.respond(code, &remark, &fields, &[&body]),
            Err(error @ ClientError::Timeout { .. }) => reply.fail(
                ResponseCode::CONSUME_MSG_TIMEOUT,
                format_args!("consumer <{group}> <{client}> Timeout: {error}"),
            ),
            Err(error) => reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!("invoke consumer <{group}> <{client}> Exception: {error}"),
            ),
        }
    }
}
