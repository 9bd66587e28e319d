// SPDX-License-Identifier: Apache-2.0
//! Requests to brokers whose headers only a proxy sends.

use aerobee_remoting::Header;

/// Takes messages of a topic's queues. Apache: `PopMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = POP_MESSAGE)]
pub(crate) struct PopMessage<'a> {
    pub(crate) consumer_group: &'a str,
    pub(crate) topic: &'a str,
    /// −1 is any.
    pub(crate) queue_id: i32,
    pub(crate) max_msg_nums: i32,
    /// ms
    pub(crate) invisible_time: i64,
    /// How long to wait when there is nothing, ms.
    pub(crate) poll_time: i64,
    /// When the poll began, ms.
    pub(crate) born_time: i64,
    /// 1: a new group begins at the end.
    pub(crate) init_mode: i32,
    pub(crate) exp_type: Option<&'a str>,
    pub(crate) exp: Option<&'a str>,
    pub(crate) order: Option<bool>,
    pub(crate) attempt_id: Option<&'a str>,
    #[field(name = "bname")]
    pub(crate) broker_name: Option<&'a str>,
}

/// Where the messages come from. Apache: `PopMessageResponseHeader`.
#[derive(Debug, Clone, Header)]
pub(crate) struct PopReply<'a> {
    pub(crate) pop_time: i64,
    pub(crate) invisible_time: i64,
    pub(crate) revive_qid: i32,
    #[field(default)]
    pub(crate) rest_num: i64,
    pub(crate) start_offset_info: Option<&'a str>,
    pub(crate) msg_offset_info: Option<&'a str>,
    pub(crate) order_count_info: Option<&'a str>,
}

/// A message was consumed. Apache: `AckMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = ACK_MESSAGE)]
pub(crate) struct AckMessage<'a> {
    pub(crate) consumer_group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) extra_info: &'a str,
    pub(crate) offset: i64,
    pub(crate) lite_topic: Option<&'a str>,
    #[field(name = "bname")]
    pub(crate) broker_name: Option<&'a str>,
}

/// A message stays away for another while. Apache: `ChangeInvisibleTimeRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = CHANGE_MESSAGE_INVISIBLETIME)]
pub(crate) struct ChangeInvisibleTime<'a> {
    pub(crate) consumer_group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) extra_info: &'a str,
    pub(crate) offset: i64,
    /// From now, ms.
    pub(crate) invisible_time: i64,
    pub(crate) lite_topic: Option<&'a str>,
    pub(crate) suspend: Option<bool>,
    #[field(name = "bname")]
    pub(crate) broker_name: Option<&'a str>,
}

/// The new times. Apache: `ChangeInvisibleTimeResponseHeader`.
#[derive(Debug, Clone, Header)]
pub(crate) struct ChangeInvisibleTimeReply {
    pub(crate) pop_time: i64,
    pub(crate) invisible_time: i64,
    pub(crate) revive_qid: i32,
}

/// A message goes to the retry or dead letter topic. Apache: `ConsumerSendMsgBackRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = CONSUMER_SEND_MSG_BACK)]
pub(crate) struct SendBack<'a> {
    /// Position in the log.
    pub(crate) offset: i64,
    pub(crate) group: &'a str,
    /// Below zero: to the dead letter topic.
    pub(crate) delay_level: i32,
    pub(crate) origin_msg_id: Option<&'a str>,
    pub(crate) origin_topic: Option<&'a str>,
    pub(crate) unit_mode: Option<bool>,
    pub(crate) max_reconsume_times: Option<i32>,
    #[field(name = "bname")]
    pub(crate) broker_name: Option<&'a str>,
}

/// A producer ends a transaction. Apache: `EndTransactionRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = END_TRANSACTION)]
pub(crate) struct EndTransaction<'a> {
    pub(crate) topic: Option<&'a str>,
    pub(crate) producer_group: &'a str,
    pub(crate) tran_state_table_offset: i64,
    pub(crate) commit_log_offset: i64,
    /// 8 commits, 12 rolls back, 0 leaves it open.
    pub(crate) commit_or_rollback: i32,
    pub(crate) from_transaction_check: Option<bool>,
    pub(crate) msg_id: &'a str,
    pub(crate) transaction_id: Option<&'a str>,
    #[field(name = "bname")]
    pub(crate) broker_name: Option<&'a str>,
}

/// A broker asks how a transaction ended. Apache: `CheckTransactionStateRequestHeader`.
#[derive(Debug, Clone, Header)]
pub(crate) struct CheckTransactionState<'a> {
    pub(crate) tran_state_table_offset: i64,
    pub(crate) commit_log_offset: i64,
    pub(crate) msg_id: Option<&'a str>,
    pub(crate) transaction_id: Option<&'a str>,
    #[field(name = "bname")]
    pub(crate) broker_name: Option<&'a str>,
}

/// A delayed message is taken back. Apache: `RecallMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = RECALL_MESSAGE)]
pub(crate) struct RecallMessage<'a> {
    pub(crate) producer_group: Option<&'a str>,
    pub(crate) topic: &'a str,
    pub(crate) recall_handle: &'a str,
    #[field(name = "bname")]
    pub(crate) broker_name: Option<&'a str>,
}

/// Which message was taken back.
#[derive(Debug, Clone, Header)]
pub(crate) struct RecallReply<'a> {
    pub(crate) msg_id: &'a str,
}

/// Asks a client of a group what it does, or to consume a message. Apache:
/// `GetConsumerRunningInfoRequestHeader`, `ConsumeMessageDirectlyResultRequestHeader`.
#[derive(Debug, Clone, Header)]
pub(crate) struct ToClient<'a> {
    pub(crate) consumer_group: &'a str,
    pub(crate) client_id: Option<&'a str>,
    #[field(default)]
    pub(crate) jstack_enable: bool,
    #[field(name = "bname")]
    pub(crate) broker_name: Option<&'a str>,
}

/// A broker takes a lite topic from a client. Apache: `NotifyUnsubscribeLiteRequestHeader`.
#[derive(Debug, Clone, Header)]
pub(crate) struct NotifyUnsubscribeLite<'a> {
    pub(crate) lite_topic: &'a str,
    pub(crate) consumer_group: &'a str,
    pub(crate) client_id: &'a str,
}
