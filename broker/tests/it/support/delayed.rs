// SPDX-License-Identifier: Apache-2.0
//! What tests of delayed messages share: a broker whose clock they move, and pulled messages.

use std::sync::Arc;

use aerobee_broker::Broker;
use aerobee_message::record::RecordView;
use serde_json::json;

use super::{Client, Message, Shift, start_shifted};

/// One delivered message.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) body: String,
    pub(crate) offset: i64,
    pub(crate) physical: i64,
    pub(crate) reconsume_times: i32,
    properties: Vec<(String, String)>,
}

impl Got {
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

pub(crate) fn messages(answer: &Message) -> Vec<Got> {
    let mut rest = &answer.body[..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        all.push(Got {
            body: String::from_utf8(record.body().to_vec()).unwrap(),
            offset: record.queue_offset(),
            physical: record.physical_offset(),
            reconsume_times: record.reconsume_times(),
            properties: record
                .properties()
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        });
        rest = &rest[record.total_len()..];
    }
    all
}

/// Pulls until so many messages have come.
pub(crate) async fn take(client: &mut Client, topic: &str, count: usize) -> Vec<Got> {
    let mut all: Vec<Got> = Vec::new();
    let mut patience = 6;
    while all.len() < count {
        let next = all.last().map_or(0, |got| got.offset + 1);
        let answer = client.pull(topic, 0, next).await;
        if answer.code() == 19 && patience > 0 {
            patience -= 1;
            continue;
        }
        assert_eq!(answer.code(), 0, "{answer:?} after {all:?}");
        all.extend(messages(&answer));
    }
    all
}

/// How many messages a queue has.
pub(crate) async fn count(client: &mut Client, topic: &str, queue_id: i32) -> i64 {
    let fields = json!({"topic": topic, "queueId": queue_id.to_string()});
    let answer = client.ask(30, fields, &[]).await;
    answer.field("offset").parse().unwrap()
}

pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) shift: Arc<Shift>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            shift: Arc::default(),
        }
    }

    pub(crate) async fn start(&self) -> (Broker, Client) {
        self.start_with(&[]).await
    }

    pub(crate) async fn start_with(&self, keys: &[(&str, &str)]) -> (Broker, Client) {
        let broker = start_shifted(self.directory.path(), &self.shift, keys).await;
        let client = Client::connect(broker.address()).await;
        (broker, client)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}
