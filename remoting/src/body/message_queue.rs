// SPDX-License-Identifier: Apache-2.0
//! A queue of a topic on a broker, in bodies and as a map key.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::fastjson;

/// A queue of a topic on a broker. As a map key it is an object, which is not JSON; text that holds
/// such an object is read as well. Apache: `MessageQueue`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueue {
    /// Name of the broker.
    pub broker_name: String,
    /// Number of the queue in its topic.
    pub queue_id: i32,
    /// Name of the topic.
    pub topic: String,
}

impl MessageQueue {
    /// The queue `queue_id` of `topic` on `broker_name`.
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        Self {
            broker_name: broker_name.into(),
            queue_id,
            topic: topic.into(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Members {
    broker_name: String,
    queue_id: i32,
    topic: String,
}

impl From<Members> for MessageQueue {
    fn from(members: Members) -> Self {
        Self {
            broker_name: members.broker_name,
            queue_id: members.queue_id,
            topic: members.topic,
        }
    }
}

impl<'de> Deserialize<'de> for MessageQueue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectOrText;

        impl<'de> Visitor<'de> for ObjectOrText {
            type Value = MessageQueue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message queue")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MessageQueue, A::Error> {
                Members::deserialize(MapAccessDeserializer::new(map)).map(MessageQueue::from)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MessageQueue, E> {
                fastjson::from_str::<Members>(text)
                    .map(MessageQueue::from)
                    .map_err(E::custom)
            }
        }

        deserializer.deserialize_any(ObjectOrText)
    }
}
