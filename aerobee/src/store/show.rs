// SPDX-License-Identifier: Apache-2.0
//! One record or entry as text or JSON.

use std::fmt::Write as _;

use aerobee_message::{RecordView, sysflag};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::time;

/// How bodies are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Body {
    /// Their length only
    None,
    /// As text; bytes that are none as a replacement sign
    Text,
    /// In hexadecimal
    Hex,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the flags of a record say.
fn flags(record: &RecordView<'_>) -> Vec<&'static str> {
    let flag = record.sys_flag();
    let mut words = Vec::new();
    if flag & sysflag::COMPRESSED != 0 {
        words.push("compressed");
    }
    match flag & sysflag::TRANSACTION_MASK {
        sysflag::TRANSACTION_PREPARED => words.push("prepared"),
        sysflag::TRANSACTION_COMMIT => words.push("committed"),
        sysflag::TRANSACTION_ROLLBACK => words.push("rolled-back"),
        _ => {}
    }
    words
}

/// A record in several lines.
pub(super) fn text(record: &RecordView<'_>, body: Body) -> String {
    let mut text = format!(
        "position {} length {} topic {} queue {} offset {}\n  stored {} by {}, born {} at {}",
        record.physical_offset(),
        record.total_len(),
        record.topic(),
        record.queue_id(),
        record.queue_offset(),
        time::text(record.store_timestamp()),
        record.store_host(),
        time::text(record.born_timestamp()),
        record.born_host(),
    );
    let flags = flags(record);
    if !flags.is_empty() {
        let _ = write!(text, ", {}", flags.join(", "));
    }
    if record.reconsume_times() != 0 {
        let _ = write!(
            text,
            ", consumed in vain {} times",
            record.reconsume_times()
        );
    }
    if record.prepared_transaction_offset() != 0 {
        let _ = write!(
            text,
            ", half message at {}",
            record.prepared_transaction_offset()
        );
    }
    for (name, value) in record.properties().iter() {
        let _ = write!(text, "\n  {name} = {}", value.escape_debug());
    }
    let bytes = record.body();
    let _ = write!(text, "\n  body of {} bytes", bytes.len());
    match body {
        Body::None => {}
        Body::Text => {
            let _ = write!(text, ": {}", String::from_utf8_lossy(bytes));
        }
        Body::Hex => {
            let _ = write!(text, ": {}", hex(bytes));
        }
    }
    text.push('\n');
    text
}

/// A record as one JSON object.
pub(super) fn json(record: &RecordView<'_>, body: Body) -> Value {
    let properties: Map<String, Value> = record
        .properties()
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let mut value = json!({
        "position": record.physical_offset(),
        "length": record.total_len(),
        "topic": record.topic(),
        "queue": record.queue_id(),
        "offset": record.queue_offset(),
        "stored": record.store_timestamp(),
        "storeHost": record.store_host().to_string(),
        "born": record.born_timestamp(),
        "bornHost": record.born_host().to_string(),
        "flag": record.flag(),
        "sysFlag": record.sys_flag(),
        "reconsumeTimes": record.reconsume_times(),
        "preparedTransactionOffset": record.prepared_transaction_offset(),
        "bodyCrc": record.body_crc(),
        "bodyBytes": record.body().len(),
        "properties": properties,
    });
    let body = match body {
        Body::None => return value,
        Body::Text => String::from_utf8_lossy(record.body()).into_owned(),
        Body::Hex => hex(record.body()),
    };
    if let Some(fields) = value.as_object_mut() {
        fields.insert("body".to_owned(), json!(body));
    }
    value
}
