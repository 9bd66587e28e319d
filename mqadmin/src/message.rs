// SPDX-License-Identifier: Apache-2.0
//! Messages as servers hand them out.

use std::{io::Read as _, net::SocketAddr};

use aerobee_message::{
    id,
    properties::keys,
    record::{RecordError, RecordView},
    sysflag,
};
use serde::{Serialize, Serializer};

use crate::format;

/// Largest body that is made of a compressed one.
const INFLATED_MAX: u64 = 64 << 20;

/// A message, its body inflated.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    /// The unique key, or else the offset id.
    pub(crate) msg_id: String,
    pub(crate) offset_msg_id: String,
    pub(crate) topic: String,
    /// Known when it was pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_name: Option<String>,
    pub(crate) queue_id: i32,
    pub(crate) queue_offset: i64,
    pub(crate) commit_log_offset: i64,
    pub(crate) store_size: usize,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    #[serde(rename = "bodyCRC")]
    pub(crate) body_crc: u32,
    pub(crate) born_timestamp: i64,
    pub(crate) born_host: SocketAddr,
    pub(crate) store_timestamp: i64,
    pub(crate) store_host: SocketAddr,
    pub(crate) reconsume_times: i32,
    pub(crate) prepared_transaction_offset: i64,
    /// In the order of Java's map.
    #[serde(serialize_with = "as_map")]
    pub(crate) properties: Vec<(String, String)>,
    #[serde(serialize_with = "as_text")]
    pub(crate) body: Vec<u8>,
}

fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

/// Bytes that are no text lose what is none.
fn as_text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

impl Message {
    /// The messages that stand one after the other in the body of an answer.
    ///
    /// # Errors
    /// One of them is none.
    pub(crate) fn all(mut bytes: &[u8]) -> Result<Vec<Self>, RecordError> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let view = RecordView::parse(bytes)?;
            messages.push(Self::of(&view));
            bytes = bytes.get(view.total_len()..).unwrap_or_default();
        }
        Ok(messages)
    }

    fn of(view: &RecordView<'_>) -> Self {
        let mut properties: Vec<_> = view
            .properties()
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        properties.sort_by_key(|(key, _)| bucket(key));
        let offset_msg_id = id::Buffer::new()
            .format(view.store_host(), view.physical_offset())
            .to_owned();
        let unique = properties.iter().find(|(key, _)| key == keys::UNIQ_KEY);
        Self {
            msg_id: unique.map_or_else(|| offset_msg_id.clone(), |(_, value)| value.clone()),
            offset_msg_id,
            topic: view.topic().to_owned(),
            broker_name: None,
            queue_id: view.queue_id(),
            queue_offset: view.queue_offset(),
            commit_log_offset: view.physical_offset(),
            store_size: view.total_len(),
            flag: view.flag(),
            sys_flag: view.sys_flag(),
            body_crc: view.body_crc(),
            born_timestamp: view.born_timestamp(),
            born_host: view.born_host(),
            store_timestamp: view.store_timestamp(),
            store_host: view.store_host(),
            reconsume_times: view.reconsume_times(),
            prepared_transaction_offset: view.prepared_transaction_offset(),
            properties,
            body: inflated(view.sys_flag(), view.body()),
        }
    }

    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn tags(&self) -> Option<&str> {
        self.property(keys::TAGS)
    }

    /// Adds a property, as clients do to what they pull.
    pub(crate) fn add_property(&mut self, name: &str, value: String) {
        self.properties.retain(|(known, _)| known != name);
        self.properties.push((name.to_owned(), value));
        self.properties.sort_by_key(|(key, _)| bucket(key));
    }

    /// As Java prints a message.
    pub(crate) fn as_java(&self) -> String {
        format!(
            "MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={}, commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, preparedTransactionOffset={}, toString()=Message{{topic='{}', flag={}, properties={}, body={}, transactionId='{}'}}]",
            self.broker_name.as_deref().unwrap_or("null"),
            self.queue_id,
            self.store_size,
            self.queue_offset,
            self.sys_flag,
            self.born_timestamp,
            self.born_host,
            self.store_timestamp,
            self.store_host,
            self.offset_msg_id,
            self.commit_log_offset,
            self.body_crc,
            self.reconsume_times,
            self.prepared_transaction_offset,
            self.topic,
            self.flag,
            self.java_properties(),
            format::list(self.body.iter().map(|byte| byte.cast_signed())),
            self.property(keys::TRANSACTION_ID).unwrap_or("null"),
        )
    }

    pub(crate) fn java_properties(&self) -> String {
        format::map(self.properties.iter().map(|(key, value)| (key, value)))
    }
}

/// Where Java's map of 128 places keeps a key.
fn bucket(key: &str) -> u32 {
    let hash = aerobee_message::tags::hash(key).cast_unsigned();
    (hash ^ (hash >> 16)) & 127
}

/// The body as it was before it was compressed; as it is when it cannot be inflated.
fn inflated(sys_flag: i32, body: &[u8]) -> Vec<u8> {
    if sys_flag & sysflag::COMPRESSED == 0 {
        return body.to_vec();
    }
    let mut plain = Vec::new();
    let lz4 = [0x04, 0x22, 0x4D, 0x18];
    let zstd_magic = [0x28, 0xB5, 0x2F, 0xFD];
    let read = if body.starts_with(&lz4) {
        let decoder = lz4_flex::frame::FrameDecoder::new(body);
        decoder.take(INFLATED_MAX).read_to_end(&mut plain)
    } else if body.starts_with(&zstd_magic) {
        zstd::stream::read::Decoder::new(body)
            .and_then(|decoder| decoder.take(INFLATED_MAX).read_to_end(&mut plain))
    } else {
        let decoder = flate2::read::ZlibDecoder::new(body);
        decoder.take(INFLATED_MAX).read_to_end(&mut plain)
    };
    match read {
        Ok(_) => plain,
        Err(_) => body.to_vec(),
    }
}

/// How bodies are turned into text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Charset {
    Utf8,
    Latin1,
}

impl std::str::FromStr for Charset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.to_ascii_uppercase().replace('_', "-").as_str() {
            "UTF-8" | "UTF8" | "US-ASCII" | "ASCII" => Ok(Self::Utf8),
            "ISO-8859-1" | "LATIN1" => Ok(Self::Latin1),
            _ => Err("known are UTF-8, US-ASCII and ISO-8859-1".to_owned()),
        }
    }
}

impl Charset {
    pub(crate) fn text(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Latin1 => bytes.iter().copied().map(char::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn bodies_are_inflated_and_broken_ones_stay() {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"hello hello hello").expect("compressed");
        let zlib = encoder.finish().expect("compressed");
        assert_eq!(inflated(sysflag::COMPRESSED, &zlib), b"hello hello hello");
        assert_eq!(inflated(0, &zlib), zlib);
        assert_eq!(inflated(sysflag::COMPRESSED, b"none"), b"none");
    }

    #[test]
    fn an_answer_cut_in_half_is_no_message() {
        assert!(Message::all(&[0, 0, 0, 100, 1, 2, 3]).is_err());
        assert!(Message::all(&[]).is_ok_and(|none| none.is_empty()));
    }
}
