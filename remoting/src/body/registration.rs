// SPDX-License-Identifier: Apache-2.0
//! What a broker registers: body of 103, plain or compressed.
//!
//! The compressed form is a zlib stream over parts with lengths, big-endian:
//!
//! | part | layout |
//! |---|---|
//! | data version | length 4, JSON |
//! | number of topics | 4 |
//! | each topic | length 4, text of [`TopicConfig::to_line`] |
//! | filter servers | length 4, JSON list |
//! | number of static topics, only from V5_0_0 | 4 |
//! | each static topic | length 4, JSON |
//!
//! Apache: `RegisterBrokerBody`.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize};

use super::{
    DataVersion,
    static_topic::TopicQueueMapping,
    topic::{TopicConfig, TopicConfigTable},
};
use crate::{
    code::version,
    fastjson::{self, JsonError},
};

/// Most bytes that a compressed body may inflate to.
pub const INFLATED_MAX_BYTES: u64 = 64 << 20;
/// Most topics in a compressed body: they inflate from so little that bytes alone do not bound
/// the memory they take.
pub const INFLATED_MAX_TOPICS: u32 = 1 << 18;

/// Why a registration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// A JSON part is malformed.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The zlib stream is damaged or ends early.
    #[error("compressed registration: {0}")]
    Inflate(#[from] io::Error),
    /// A part is longer than what is allowed to come.
    #[error("compressed registration inflates to more than {INFLATED_MAX_BYTES} bytes")]
    TooLarge,
    /// There are more topics than allowed.
    #[error("compressed registration has more than {INFLATED_MAX_TOPICS} topics")]
    TooManyTopics,
    /// A topic's line lacks a word or has a wrong number.
    #[error("compressed registration has the malformed topic {0:?}")]
    Topic(String),
}

/// What a broker registers. Apache: `RegisterBrokerBody`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerRegistration {
    /// Its filter servers; `None` leaves the known ones.
    pub filter_server_list: Option<Vec<String>>,
    /// Its topics.
    #[serde(rename = "topicConfigSerializeWrapper")]
    pub topics: TopicConfigTable,
}

impl Default for BrokerRegistration {
    fn default() -> Self {
        Self {
            filter_server_list: Some(Vec::new()),
            topics: TopicConfigTable::default(),
        }
    }
}

impl BrokerRegistration {
    /// Reads the body of a request with the header field `compressed` from a broker of
    /// `broker_version`. No body means no topics.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub fn read(
        body: &[u8],
        compressed: bool,
        broker_version: i32,
    ) -> Result<Self, RegistrationError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        if broker_version < version::V3_0_11 {
            return Ok(Self {
                filter_server_list: None,
                topics: fastjson::from_slice(body)?,
            });
        }
        if compressed {
            Self::inflate(body, broker_version)
        } else {
            Ok(fastjson::from_slice(body)?)
        }
    }

    /// The plain form.
    pub fn to_json(&self) -> Vec<u8> {
        fastjson::to_vec(self)
    }

    /// The compressed form, static topics included.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn deflate(&self) -> io::Result<Vec<u8>> {
        let mut out = Deflating(ZlibEncoder::new(Vec::new(), Compression::best()));
        out.part(&fastjson::to_vec(&self.topics.data_version))?;
        out.number(self.topics.topic_config_table.len())?;
        for topic in self.topics.topic_config_table.values() {
            out.part(topic.to_line().as_bytes())?;
        }
        let filter_servers = self.filter_server_list.as_deref().unwrap_or_default();
        out.part(&fastjson::to_vec(filter_servers))?;
        let mappings = self.topics.topic_queue_mapping_info_map.as_ref();
        out.number(mappings.map_or(0, BTreeMap::len))?;
        for mapping in mappings.into_iter().flatten() {
            out.part(&fastjson::to_vec(mapping.1))?;
        }
        out.0.finish()
    }

    fn inflate(body: &[u8], broker_version: i32) -> Result<Self, RegistrationError> {
        let mut parts = Inflating(ZlibDecoder::new(body).take(INFLATED_MAX_BYTES));
        let data_version: DataVersion = fastjson::from_slice(&parts.part()?)?;
        let mut topic_config_table = BTreeMap::new();
        let topics = parts.number()?;
        if topics > INFLATED_MAX_TOPICS {
            return Err(RegistrationError::TooManyTopics);
        }
        for _ in 0..topics {
            let line = String::from_utf8_lossy(&parts.part()?).into_owned();
            let topic = TopicConfig::from_line(&line)
                .ok_or_else(|| RegistrationError::Topic(line.chars().take(64).collect()))?;
            topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        // Apache logs a list that does not parse and goes on.
        let filter_server_list = fastjson::from_slice(&parts.part()?).unwrap_or_default();
        let mut mappings = BTreeMap::new();
        if broker_version >= version::V5_0_0 {
            let count = parts.number()?;
            if count > INFLATED_MAX_TOPICS {
                return Err(RegistrationError::TooManyTopics);
            }
            for _ in 0..count {
                let mapping: TopicQueueMapping = fastjson::from_slice(&parts.part()?)?;
                mappings.insert(mapping.topic.clone().unwrap_or_default(), mapping);
            }
        }
        Ok(Self {
            filter_server_list: Some(filter_server_list),
            topics: TopicConfigTable {
                data_version,
                topic_config_table,
                topic_queue_mapping_info_map: Some(mappings),
                ..TopicConfigTable::default()
            },
        })
    }
}

struct Deflating(ZlibEncoder<Vec<u8>>);

impl Deflating {
    fn number(&mut self, number: usize) -> io::Result<()> {
        let number = u32::try_from(number).map_err(io::Error::other)?;
        self.0.write_all(&number.to_be_bytes())
    }

    fn part(&mut self, part: &[u8]) -> io::Result<()> {
        self.number(part.len())?;
        self.0.write_all(part)
    }
}

struct Inflating<'b>(io::Take<ZlibDecoder<&'b [u8]>>);

impl Inflating<'_> {
    fn number(&mut self) -> Result<u32, RegistrationError> {
        let mut bytes = [0; 4];
        if self.0.limit() < 4 {
            return Err(RegistrationError::TooLarge);
        }
        self.0.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn part(&mut self) -> Result<Vec<u8>, RegistrationError> {
        let length = self.number()?;
        if u64::from(length) > self.0.limit() {
            return Err(RegistrationError::TooLarge);
        }
        // The buffer grows with what really comes, not with what the length says.
        let mut part = Vec::new();
        self.0
            .by_ref()
            .take(u64::from(length))
            .read_to_end(&mut part)?;
        if part.len() as u64 == u64::from(length) {
            Ok(part)
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> BrokerRegistration {
        let topic = |name: &str| TopicConfig {
            attributes: BTreeMap::from([("message.type".into(), "FIFO".into())]),
            perm: 4,
            read_queue_nums: 8,
            topic_name: name.into(),
            ..TopicConfig::default()
        };
        BrokerRegistration {
            filter_server_list: Some(vec!["a:1".into()]),
            topics: TopicConfigTable {
                data_version: DataVersion::default().next(3, 1_700_000_000_000),
                topic_config_table: ["A", "B"].map(|name| (name.to_owned(), topic(name))).into(),
                topic_queue_mapping_info_map: Some(BTreeMap::from([(
                    "S".to_owned(),
                    TopicQueueMapping {
                        bname: Some("b".into()),
                        curr_id_map: BTreeMap::from([(0, 1)]),
                        topic: Some("S".into()),
                        ..TopicQueueMapping::default()
                    },
                )])),
                ..TopicConfigTable::default()
            },
        }
    }

    #[test]
    fn the_compressed_form_is_read_back() {
        let registration = registration();
        let compressed = registration.deflate().unwrap();
        let read = BrokerRegistration::read(&compressed, true, version::V5_5_0).unwrap();
        assert_eq!(read, registration);
        let old = BrokerRegistration::read(&compressed, true, version::V4_9_4).unwrap();
        assert_eq!(
            old.topics.topic_queue_mapping_info_map,
            Some(BTreeMap::new())
        );
    }

    #[test]
    fn the_plain_form_is_read_back() {
        let registration = registration();
        let read = BrokerRegistration::read(&registration.to_json(), false, version::V5_5_0);
        assert_eq!(read.unwrap(), registration);
    }

    #[test]
    fn old_brokers_send_the_topics_alone() {
        let body = br#"{"dataVersion":{"counter":7,"timestamp":9},"topicConfigTable":{"T":{"topicName":"T"}}}"#;
        let read = BrokerRegistration::read(body, false, version::V3_0_11 - 1).unwrap();
        assert_eq!(read.filter_server_list, None);
        assert_eq!(read.topics.data_version.counter, 7);
        assert_eq!(read.topics.topic_config_table["T"].read_queue_nums, 16);
    }

    #[test]
    fn without_a_body_there_are_no_topics() {
        let read = BrokerRegistration::read(b"", true, 0).unwrap();
        assert_eq!(read, BrokerRegistration::default());
    }

    #[test]
    fn a_broken_stream_is_an_error_wherever_it_breaks() {
        let compressed = registration().deflate().unwrap();
        // The last bytes are the end mark and the checksum, behind everything that is read.
        for length in 1..compressed.len() - 8 {
            assert!(BrokerRegistration::read(&compressed[..length], true, 513).is_err());
        }
        assert!(BrokerRegistration::read(b"not zlib", true, 513).is_err());
    }

    fn deflated(write: impl FnOnce(&mut Deflating) -> io::Result<()>) -> Vec<u8> {
        let mut out = Deflating(ZlibEncoder::new(Vec::new(), Compression::best()));
        write(&mut out).unwrap();
        out.0.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_refused() {
        let long_part = deflated(|out| out.part(&vec![b' '; (INFLATED_MAX_BYTES as usize) + 1]));
        let error = BrokerRegistration::read(&long_part, true, 513).unwrap_err();
        assert!(matches!(error, RegistrationError::TooLarge), "{error}");

        let lying_length = deflated(|out| out.number(u32::MAX as usize));
        let error = BrokerRegistration::read(&lying_length, true, 513).unwrap_err();
        assert!(matches!(error, RegistrationError::TooLarge), "{error}");

        let many_topics = deflated(|out| {
            out.part(b"{}")?;
            out.number(INFLATED_MAX_TOPICS as usize + 1)
        });
        let error = BrokerRegistration::read(&many_topics, true, 513).unwrap_err();
        assert!(matches!(error, RegistrationError::TooManyTopics), "{error}");
    }

    #[test]
    fn topic_lines_are_apaches() {
        let config = TopicConfig {
            topic_name: "T".into(),
            ..TopicConfig::default()
        };
        assert_eq!(config.to_line(), "T 16 16 6 SINGLE_TAG {}");
        assert_eq!(
            TopicConfig::from_line("T 16 16 6 SINGLE_TAG {}"),
            Some(config.clone())
        );
        assert_eq!(
            TopicConfig::from_line("T 16 16 6 SINGLE_TAG"),
            Some(config.clone())
        );
        assert_eq!(
            TopicConfig::from_line("T 16 16 6 SINGLE_TAG {\"a b\":\"c\"}"),
            Some(config)
        );
        assert_eq!(TopicConfig::from_line("T 16 16 6"), None);
        assert_eq!(TopicConfig::from_line("T 16 x 6 SINGLE_TAG"), None);
    }
}
