// SPDX-License-Identifier: Apache-2.0
//! Transactions: END_TRANSACTION (37), CHECK_TRANSACTION_STATE (39), RESUME_CHECK_HALF_MESSAGE (323).

use crate::Header;

/// A producer ends a transaction. Apache: `EndTransactionRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = END_TRANSACTION)]
pub struct EndTransaction<'a> {
    /// The topic of the message; older clients do not say.
    pub topic: Option<&'a str>,
    /// Group of the producer.
    pub producer_group: &'a str,
    /// Offset of the half message in its queue.
    pub tran_state_table_offset: i64,
    /// Position of the half message in the log.
    pub commit_log_offset: i64,
    /// 8 commits, 12 rolls back, 0 leaves it open.
    pub commit_or_rollback: i32,
    /// Whether the broker has asked.
    #[field(default)]
    pub from_transaction_check: bool,
    /// The message's unique key.
    pub msg_id: Option<&'a str>,
    /// The same.
    pub transaction_id: Option<&'a str>,
    /// Name of the broker meant.
    #[field(name = "bname")]
    pub broker_name: Option<&'a str>,
}

/// The broker asks a producer how a transaction ended; the body is the message. Apache:
/// `CheckTransactionStateRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = CHECK_TRANSACTION_STATE)]
pub struct CheckTransactionState<'a> {
    /// The topic of half messages.
    pub topic: Option<&'a str>,
    /// Offset of the half message in its queue.
    pub tran_state_table_offset: i64,
    /// Position of the half message in the log.
    pub commit_log_offset: i64,
    /// The message's unique key.
    pub msg_id: Option<&'a str>,
    /// The same.
    pub transaction_id: Option<&'a str>,
    /// Offset message id of the half message.
    pub offset_msg_id: Option<&'a str>,
    /// Name of the broker that asks.
    #[field(name = "bname")]
    pub broker_name: Option<&'a str>,
}

/// An operator has a half message asked about again that was given up. Apache:
/// `ResumeCheckHalfMessageRequestHeader`.
#[derive(Debug, Clone, Header)]
#[request(code = RESUME_CHECK_HALF_MESSAGE)]
pub struct ResumeCheck<'a> {
    /// The topic; not needed to find the message.
    pub topic: Option<&'a str>,
    /// Offset message id of the message that was given up.
    pub msg_id: Option<&'a str>,
}
