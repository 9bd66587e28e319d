// SPDX-License-Identifier: Apache-2.0
//! What brokers ask of clients, on the connections that the proxy made: passed on to a client of the
//! group (Apache: `proxy/service/client/ProxyClientRemotingProcessor.java`,
//! `proxy/grpc/v2/channel/GrpcClientChannel.java`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aerobee_message::{properties::keys, record::RecordView};
use aerobee_remoting::{
    Command, Deferred, Header as _, Reply, RequestCode, ResponseCode, Service, call::Call,
    header::client::NotifyConsumerIdsChanged,
};
use bytes::Bytes;

use crate::{
    caller::Sdk,
    clients::{Client, Clients, Side},
    lite::is_lite,
    outgoing::{self, About},
    transaction_id::TransactionId,
    v2::{
        Code, NotifyUnsubscribeLiteCommand, PrintThreadStackTraceCommand,
        RecoverOrphanedTransactionCommand, TelemetryCommand, VerifyMessageCommand,
        telemetry_command::Command as Ask,
    },
    wire::{CheckTransactionState, NotifyUnsubscribeLite, ToClient},
};

/// Passes requests of brokers on.
#[derive(Debug)]
pub(crate) struct Relay {
    clients: Arc<Clients>,
    within: Duration,
    nonce: AtomicU64,
}

impl Service for Relay {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &Command<'_>, reply: Reply<'_>) {
        match RequestCode(command.code) {
            RequestCode::CHECK_TRANSACTION_STATE => self.check_transaction(command, reply),
            RequestCode::NOTIFY_CONSUMER_IDS_CHANGED => {
                // Clients here pop: nothing is divided among them, so nothing has to be divided anew.
                let group = NotifyConsumerIdsChanged::read(&command.fields);
                tracing::trace!(?group, "a group has changed");
                reply.ok();
            }
            RequestCode::NOTIFY_UNSUBSCRIBE_LITE => self.unsubscribe_lite(command, reply),
            RequestCode::GET_CONSUMER_RUNNING_INFO => self.running_info(command, reply),
            RequestCode::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(command, reply),
            _ => reply.unsupported(command.code),
        }
    }
}

impl Relay {
    pub(crate) fn new(clients: Arc<Clients>, within: Duration) -> Self {
        Self {
            clients,
            within,
            nonce: AtomicU64::new(1),
        }
    }

    /// A broker does not know how a transaction ended: some producer of its topic does.
    fn check_transaction(&self, command: &Command<'_>, reply: Reply<'_>) {
        let Some(call) = Call::<CheckTransactionState<'_>>::read(command, reply) else {
            return;
        };
        let bytes = Bytes::copy_from_slice(call.body);
        let record = match RecordView::parse(&bytes) {
            Ok(record) => record,
            Err(error) => return call.reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let properties = record.properties();
        let topic = properties
            .get(keys::REAL_TOPIC)
            .unwrap_or_else(|| record.topic());
        let group = properties.get(keys::PGROUP).unwrap_or(topic);
        let Some(producer) = self.clients.member(Side::Producer, group) else {
            return call.reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!("no producer of group {group} is connected to this proxy"),
            );
        };
        let message_id = call
            .request
            .transaction_id
            .or(call.request.msg_id)
            .or_else(|| properties.get(keys::UNIQ_KEY))
            .unwrap_or_default();
        let id = TransactionId {
            message_id,
            broker: call.request.broker_name.unwrap_or_default(),
            queue_offset: call.request.tran_state_table_offset,
            log_offset: call.request.commit_log_offset,
        };
        let about = About {
            topic,
            sdk: Sdk::Other,
            receipt: None,
            reconsume_times: None,
        };
        let sent = producer.send(ask(Ask::RecoverOrphanedTransactionCommand(
            RecoverOrphanedTransactionCommand {
                message: Some(outgoing::message(&bytes, &record, about)),
                transaction_id: id.to_string(),
            },
        )));
        tracing::debug!(
            client = producer.id,
            group,
            sent,
            "a broker asks about a transaction"
        );
        call.reply.ok();
    }

    fn unsubscribe_lite(&self, command: &Command<'_>, reply: Reply<'_>) {
        let Some(call) = Call::<NotifyUnsubscribeLite<'_>>::read(command, reply) else {
            return;
        };
        let client = self.clients.get(call.request.client_id);
        // Other clients may break on it.
        if let Some(client) = client.filter(|client| is_lite_client(client)) {
            if let Some(known) = &mut *client.lite.lock() {
                known.lost(call.request.lite_topic);
            }
            client.send(ask(Ask::NotifyUnsubscribeLiteCommand(
                NotifyUnsubscribeLiteCommand {
                    lite_topic: call.request.lite_topic.to_owned(),
                },
            )));
        }
        call.reply.ok();
    }

    fn running_info(&self, command: &Command<'_>, reply: Reply<'_>) {
        let Some((call, client)) = self.find(command, reply) else {
            return;
        };
        let nonce = self.next_nonce();
        let (reply, within) = (call.reply.defer(), self.within);
        let with_stack = call.request.jstack_enable;
        let subscriptions = client_subscriptions(&self.clients, call.request.consumer_group);
        tokio::spawn(async move {
            let mut info = serde_json::json!({
                "properties": {"PROP_CLIENT_VERSION": "gRPC", "PROP_CONSUME_TYPE": "CONSUME_POP"},
                "subscriptionSet": subscriptions,
                "mqTable": {}, "mqPopTable": {}, "statusTable": {}, "userConsumerInfo": {},
            });
            if with_stack {
                let command = ask(Ask::PrintThreadStackTraceCommand(
                    PrintThreadStackTraceCommand {
                        nonce: nonce.clone(),
                    },
                ));
                match client
                    .ask(nonce, command, within)
                    .await
                    .map(|answer| answer.command)
                {
                    Some(Some(Ask::ThreadStackTrace(trace))) => {
                        info["jstack"] = trace.thread_stack_trace.unwrap_or_default().into();
                    }
                    _ => return no_answer(reply, &client),
                }
            }
            reply.body(info.to_string().as_bytes());
        });
    }

    fn consume_directly(&self, command: &Command<'_>, reply: Reply<'_>) {
        let Some((call, client)) = self.find(command, reply) else {
            return;
        };
        let bytes = Bytes::copy_from_slice(call.body);
        let message = match RecordView::parse(&bytes) {
            Ok(record) => {
                let about = About {
                    topic: record.topic(),
                    sdk: Sdk::Other,
                    receipt: None,
                    reconsume_times: None,
                };
                outgoing::message(&bytes, &record, about)
            }
            Err(error) => return call.reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let nonce = self.next_nonce();
        let (reply, within) = (call.reply.defer(), self.within);
        tokio::spawn(async move {
            let command = ask(Ask::VerifyMessageCommand(VerifyMessageCommand {
                nonce: nonce.clone(),
                message: Some(message),
            }));
            let started = std::time::Instant::now();
            let Some(answer) = client.ask(nonce, command, within).await else {
                return no_answer(reply, &client);
            };
            let status = answer.status.unwrap_or_default();
            let result = match status.code() {
                Code::Ok => "CR_SUCCESS",
                Code::FailedToConsumeMessage => "CR_LATER",
                Code::MessageCorrupted => "CR_RETURN_NULL",
                _ => return reply.fail(ResponseCode::SYSTEM_ERROR, status.message),
            };
            let body = serde_json::json!({
                "order": false, "autoCommit": true, "consumeResult": result,
                "remark": status.message, "spentTimeMills": started.elapsed().as_millis() as u64,
            });
            reply.body(body.to_string().as_bytes());
        });
    }

    /// The client that a broker means, or any of its group when the broker knows only the proxy.
    fn find<'t>(
        &self,
        command: &'t Command<'t>,
        reply: Reply<'t>,
    ) -> Option<(Call<'t, ToClient<'t>>, Arc<Client>)> {
        let call = Call::<ToClient<'t>>::read(command, reply)?;
        let group = call.request.consumer_group;
        let named = call
            .request
            .client_id
            .and_then(|id| self.clients.member_by_id(group, id));
        match named.or_else(|| self.clients.member(Side::Consumer, group)) {
            Some(client) => Some((call, client)),
            None => {
                call.reply.fail(
                    ResponseCode::SYSTEM_ERROR,
                    format_args!("no consumer of group {group} is connected to this proxy"),
                );
                None
            }
        }
    }

    fn next_nonce(&self) -> String {
        format!("nonce-{}", self.nonce.fetch_add(1, Ordering::Relaxed))
    }
}

fn ask(command: Ask) -> TelemetryCommand {
    TelemetryCommand {
        status: None,
        command: Some(command),
    }
}

fn no_answer(reply: Deferred, client: &Client) {
    reply.fail(
        ResponseCode::SYSTEM_BUSY,
        format_args!("client {} did not answer in time", client.id),
    );
}

fn is_lite_client(client: &Client) -> bool {
    let settings = client.settings();
    settings.is_some_and(|settings| is_lite(settings.client_type()))
}

fn client_subscriptions(clients: &Clients, group: &str) -> serde_json::Value {
    clients
        .consumer_data(group)
        .and_then(|data| serde_json::to_value(data.subscription_data_set).ok())
        .unwrap_or_default()
}
