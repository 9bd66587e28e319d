// SPDX-License-Identifier: Apache-2.0
//! RESUME_CHECK_HALF_MESSAGE (323): an operator has a half message that was given up asked about
//! again. Apache: `AdminBrokerProcessor.resumeCheckHalfMessage`.

use std::sync::Arc;

use aerobee_message::{RecordView, id, properties::keys, topic as names};
use aerobee_remoting::{ResponseCode, call::Call, header::transaction::ResumeCheck};
use aerobee_store::Store;

use super::{
    QUEUE, Transactions,
    message::{destination, resumed},
    table::Half,
};

/// The leading words of Apache's remark.
const FAILED: &str = "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed.";

impl Transactions {
    pub(crate) fn resume(self: &Arc<Self>, call: Call<'_, ResumeCheck<'_>>) {
        let Call { request, reply, .. } = call;
        let Some((_, physical)) = request.msg_id.and_then(id::parse) else {
            return reply.fail(
                ResponseCode::SYSTEM_ERROR,
                format_args!("{FAILED} msgId is not an offset message id of 32 or 56 digits"),
            );
        };
        let (transactions, reply) = (Arc::clone(self), reply.defer());
        let put_back = move |store: &Store| match transactions.put_back(store, physical) {
            Ok(()) => reply.ok(),
            Err(cause) => reply.fail(ResponseCode::SYSTEM_ERROR, format_args!("{FAILED} {cause}")),
        };
        let refused = self.store.read_later(Box::new(put_back));
        if refused.is_err() {
            // The dropped job has answered SYSTEM_ERROR.
            tracing::debug!("too many cold reads are waiting");
        }
    }

    fn put_back(&self, store: &Store, physical: i64) -> Result<(), ResumeError> {
        let run = store
            .record_at(physical)
            .ok_or(ResumeError::NotFound(physical))?;
        let record =
            RecordView::parse(run.as_slice()).map_err(|_| ResumeError::NotFound(physical))?;
        let is_half = matches!(
            record.topic(),
            names::TRANS_CHECK_MAX_TIME | names::TRANS_HALF
        );
        let message = resumed(&record);
        let has_group = message.properties.get(keys::PGROUP).is_some();
        let Some((topic, _)) = destination(&message.properties).filter(|_| is_half && has_group)
        else {
            return Err(ResumeError::NoHalf(record.topic().to_owned()));
        };
        if record.topic() == names::TRANS_HALF
            && record.queue_id() == QUEUE
            && self.table.half(record.queue_offset()).is_some()
        {
            return Err(ResumeError::Open);
        }
        let appended = self.requeue.put_blocking(&message)?;
        let half = Half {
            physical: appended.physical,
            first_stored: appended.store_timestamp,
            due: appended.store_timestamp,
            unasked: 0,
        };
        self.counts.add(topic, 1, appended.store_timestamp);
        self.table.opened(appended.queue_offset, half);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum ResumeError {
    #[error("there is no message at position {0} of the log")]
    NotFound(i64),
    #[error(
        "the message is one of topic {0}, not a half message: take its offset id from TRANS_CHECK_MAX_TIME_TOPIC"
    )]
    NoHalf(String),
    #[error("the transaction is open; it is checked as it is")]
    Open,
    #[error(transparent)]
    Put(#[from] crate::requeue::PutError),
}
