// SPDX-License-Identifier: Apache-2.0
//! Transaction ids. SDKs give them back untouched, so ours say all that ending a transaction needs:
//! any proxy can do it, at any time, without remembering anything (Apache's keeps that in memory).
//!
//! `messageId#brokerName#offset in the half queue#position in the log`

use std::fmt;

/// Where a half message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransactionId<'a> {
    pub(crate) message_id: &'a str,
    pub(crate) broker: &'a str,
    pub(crate) queue_offset: i64,
    pub(crate) log_offset: i64,
}

impl<'a> TransactionId<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (rest, log_offset) = text.rsplit_once('#')?;
        let (rest, queue_offset) = rest.rsplit_once('#')?;
        let (message_id, broker) = rest.split_once('#')?;
        Some(Self {
            message_id: Some(message_id).filter(|id| !id.is_empty())?,
            broker: Some(broker).filter(|name| !name.is_empty())?,
            queue_offset: queue_offset.parse().ok().filter(|offset| *offset >= 0)?,
            log_offset: log_offset.parse().ok().filter(|offset| *offset >= 0)?,
        })
    }
}

impl fmt::Display for TransactionId<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}#{}#{}#{}",
            self.message_id, self.broker, self.queue_offset, self.log_offset
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_written() {
        let id = TransactionId {
            message_id: "01AB",
            broker: "broker#1",
            queue_offset: 7,
            log_offset: 4096,
        };
        assert_eq!(TransactionId::parse(&id.to_string()), Some(id));
        for bad in [
            "", "01AB", "a#b#1", "a#b#-1#2", "a#b#1#x", "#b#1#2", "a##1#2",
        ] {
            assert_eq!(TransactionId::parse(bad), None, "{bad}");
        }
    }
}
