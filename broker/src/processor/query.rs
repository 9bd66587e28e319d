// SPDX-License-Identifier: Apache-2.0
//! QUERY_MESSAGE (12). Apache: `QueryMessageProcessor`.

use std::sync::Arc;

use aerobee_remoting::{
    ResponseCode,
    call::Call,
    header::query::{QueryMessage, QueryReply},
};
use aerobee_store::{KeyKind, KeyQuery, Store};

use crate::{config::Switches, processor::READS_BUSY};

/// Looks messages up by key.
pub(crate) struct Query {
    pub(crate) store: Arc<Store>,
    pub(crate) switches: Arc<Switches>,
}

impl Query {
    /// Answers with the messages found, one behind the other. They may be of any age, so this runs
    /// on a thread that may wait for the disk. Keys are found by hash: clients look at them again.
    pub(crate) fn handle(&self, call: Call<'_, QueryMessage<'_>>) {
        let Call { request, reply, .. } = call;
        let config = self.switches.config();
        let max = if request.is_unique == Some("true") {
            config.index.default_query_max_num
        } else {
            request.max_num
        };
        let max = max.min(config.index.max_msgs_num_batch);
        let kind = match request.index_type {
            Some("T") => KeyKind::Tags,
            _ => KeyKind::Key,
        };
        let (topic, key) = (request.topic.to_owned(), request.key.to_owned());
        let (begin, end) = (request.begin_timestamp, request.end_timestamp);
        let reply = reply.defer();
        self.store.read_or_refuse(move |store| {
            let Ok(store) = store else {
                return reply.fail(ResponseCode::SYSTEM_BUSY, READS_BUSY);
            };
            let found = store.query(&KeyQuery {
                topic: &topic,
                key: &key,
                kind,
                max_messages: usize::try_from(max).unwrap_or(0),
                begin,
                end,
            });
            let header = QueryReply {
                index_last_update_timestamp: found.last_timestamp,
                index_last_update_phyoffset: found.last_physical,
            };
            if found.records.is_empty() {
                let remark = "can not find message, maybe time range not correct";
                return reply.respond(ResponseCode::QUERY_NOT_FOUND, remark, &header, &[]);
            }
            let body: Vec<&[u8]> = found.records.iter().map(|run| run.as_slice()).collect();
            reply.respond(ResponseCode::SUCCESS, "", &header, &body);
        });
    }
}
