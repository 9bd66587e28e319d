// SPDX-License-Identifier: Apache-2.0
//! LOCK_BATCH_MQ (41), UNLOCK_BATCH_MQ (42). Apache: `AdminBrokerProcessor`, `RebalanceLockManager`.

use std::{sync::Arc, time::Instant};

use aerobee_remoting::{
    Empty, ResponseCode,
    body::lock::{LockQueues, LockedQueues},
    call::Call,
    fastjson,
};

use crate::clients::locks::Locks;

/// Locks and unlocks queues for ordered consumers.
pub(crate) struct Lock {
    pub(crate) locks: Arc<Locks>,
}

impl Lock {
    /// Code 41.
    pub(crate) fn lock(&self, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        let request: LockQueues = match fastjson::from_slice(body) {
            Ok(request) => request,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        let locked = self.locks.lock(
            &request.consumer_group,
            &request.client_id,
            request.mq_set,
            Instant::now(),
        );
        let answer = LockedQueues {
            lock_ok_mq_set: locked,
        };
        reply.body(&fastjson::to_vec(&answer));
    }

    /// Code 42.
    pub(crate) fn unlock(&self, call: Call<'_, Empty>) {
        let Call { body, reply, .. } = call;
        let request: LockQueues = match fastjson::from_slice(body) {
            Ok(request) => request,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        self.locks
            .unlock(&request.consumer_group, &request.client_id, &request.mq_set);
        reply.ok();
    }
}
