// SPDX-License-Identifier: Apache-2.0
//! Sending: SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).

use crate::Header;

/// A message, or a batch of them, for one topic. 310 and 320 spell the names with one letter, 10
/// spells them out; both are read. Apache: `SendMessageRequestHeader`, `…V2`.
#[derive(Debug, Clone, Header)]
#[request(code = SEND_MESSAGE_V2)]
pub struct SendMessage<'a> {
    /// Group of the producer.
    #[field(short = "a")]
    pub producer_group: &'a str,
    /// Where the message goes.
    #[field(short = "b")]
    pub topic: &'a str,
    /// The topic whose configuration is taken when `topic` has to be created.
    #[field(short = "c", default)]
    pub default_topic: &'a str,
    /// Queues wanted when `topic` has to be created.
    #[field(short = "d", default = 4)]
    pub default_topic_queue_nums: i32,
    /// Queue; below zero the broker chooses.
    #[field(short = "e")]
    pub queue_id: i32,
    /// Bits of the message: compression, transaction.
    #[field(short = "f", default)]
    pub sys_flag: i32,
    /// When the client made the message, ms.
    #[field(short = "g", default)]
    pub born_timestamp: i64,
    /// The application's flag.
    #[field(short = "h", default)]
    pub flag: i32,
    /// Properties in their text form.
    #[field(short = "i", default)]
    pub properties: &'a str,
    /// How often consuming failed so far.
    #[field(short = "j", default)]
    pub reconsume_times: i32,
    /// Unit mode of the client.
    #[field(short = "k", default)]
    pub unit_mode: bool,
    /// Most attempts, for retry topics.
    #[field(short = "l")]
    pub max_reconsume_times: Option<i32>,
    /// Whether the body is a batch; this counts, not the code.
    #[field(short = "m", default)]
    pub batch: bool,
    /// Name of the broker meant.
    #[field(name = "bname", short = "n")]
    pub broker_name: Option<&'a str>,
}

/// Where a message was stored. Apache: `SendMessageResponseHeader`.
#[derive(Debug, Clone, Header)]
pub struct SendReply<'a> {
    /// Offset message id; several, joined by commas, for a batch.
    pub msg_id: &'a str,
    /// The queue.
    pub queue_id: i32,
    /// Offset in the queue, of the first message of a batch.
    pub queue_offset: i64,
    /// The message's unique key.
    pub transaction_id: Option<&'a str>,
    /// Unique key of an inner batch.
    pub batch_uniq_id: Option<&'a str>,
    /// With which a timer message can be taken back.
    pub recall_handle: Option<&'a str>,
    /// Region, for traces.
    #[field(name = "MSG_REGION")]
    pub region: Option<&'a str>,
    /// Whether clients shall trace.
    #[field(name = "TRACE_ON")]
    pub trace_on: Option<bool>,
}

/// A consumer gives a message back: it is delivered again later, or becomes a dead letter. Apache:
/// `ConsumerSendMsgBackRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = CONSUMER_SEND_MSG_BACK)]
pub struct SendMessageBack<'a> {
    /// Commit log offset of the message.
    pub offset: i64,
    /// Group of the consumer.
    pub group: &'a str,
    /// Below zero: to the dead letters; zero: the broker chooses the delay; else that delay level.
    pub delay_level: i32,
    /// Id of the message.
    pub origin_msg_id: Option<&'a str>,
    /// Topic of the message.
    pub origin_topic: Option<&'a str>,
    /// Unit mode of the client.
    #[field(default)]
    pub unit_mode: bool,
    /// Most attempts.
    pub max_reconsume_times: Option<i32>,
}

/// A producer takes a timer message back. Apache: `RecallMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = RECALL_MESSAGE)]
pub struct RecallMessage<'a> {
    /// Group of the producer.
    pub producer_group: Option<&'a str>,
    /// Topic that the message was sent to.
    pub topic: &'a str,
    /// What the answer to the send told.
    pub recall_handle: &'a str,
}

/// The message that was taken back. Apache: `RecallMessageResponseHeader`.
#[derive(Debug, Clone, Header)]
pub struct RecallReply<'a> {
    /// Its unique key.
    pub msg_id: &'a str,
    /// Region, for traces.
    #[field(name = "MSG_REGION")]
    pub region: Option<&'a str>,
}
