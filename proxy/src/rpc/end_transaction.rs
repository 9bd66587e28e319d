// SPDX-License-Identifier: Apache-2.0
//! EndTransaction (Apache: `proxy/grpc/v2/transaction/EndTransactionActivity.java`). All that it needs
//! is in the transaction id; unlike Apache's proxy we wait for the broker's answer.

use super::Parts;
use crate::{
    caller::topic_of,
    status::{Failure, ok},
    transaction_id::TransactionId,
    v2::{
        Code, EndTransactionRequest, EndTransactionResponse, TransactionResolution,
        TransactionSource,
    },
    wire::EndTransaction,
};

/// `MessageSysFlag.TRANSACTION_COMMIT_TYPE`
const COMMIT: i32 = 8;
/// `MessageSysFlag.TRANSACTION_ROLLBACK_TYPE`
const ROLLBACK: i32 = 12;

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<EndTransactionRequest>,
) -> Result<EndTransactionResponse, Failure> {
    parts.caller(&request)?;
    let request = request.into_inner();
    let topic = topic_of(request.topic.as_ref())?;
    if request.transaction_id.trim().is_empty() {
        return Err(Failure::new(
            Code::InvalidTransactionId,
            "transaction id cannot be empty",
        ));
    }
    let id = TransactionId::parse(&request.transaction_id).ok_or_else(|| {
        Failure::new(
            Code::InvalidTransactionId,
            "cannot found transaction data: this is no transaction id of the answer to a send, or of a check",
        )
    })?;
    let resolution = match request.resolution() {
        TransactionResolution::Commit => COMMIT,
        TransactionResolution::Rollback => ROLLBACK,
        // The broker does not answer that nothing was decided; it asks again by itself.
        TransactionResolution::Unspecified => {
            return Ok(EndTransactionResponse { status: Some(ok()) });
        }
    };
    let address = parts.routes.address(topic, id.broker).await?;
    let header = EndTransaction {
        topic: Some(topic),
        producer_group: topic,
        tran_state_table_offset: id.queue_offset,
        commit_log_offset: id.log_offset,
        commit_or_rollback: resolution,
        from_transaction_check: Some(request.source() == TransactionSource::SourceServerCheck),
        msg_id: id.message_id,
        transaction_id: Some(id.message_id),
        broker_name: Some(id.broker),
    };
    match parts.brokers.call(&address, &header, &[]).await {
        Ok(_) => Ok(EndTransactionResponse { status: Some(ok()) }),
        // The broker has the transaction no more, or never had it.
        Err(Failure::Broker { remark, .. }) => {
            Err(Failure::new(Code::InvalidTransactionId, remark))
        }
        Err(failure) => Err(failure),
    }
}
