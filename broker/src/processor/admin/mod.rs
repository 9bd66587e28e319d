// SPDX-License-Identifier: Apache-2.0
//! What operators and tools ask of a broker, by noun. Apache: `AdminBrokerProcessor`.
//!
//! Changes are answered when they are in their file; name servers hear of topics before that answer.

pub(crate) mod absent;
pub(crate) mod auth;
pub(crate) mod cleaning;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod forward;
pub(crate) mod group;
pub(crate) mod lite;
pub(crate) mod progress;
pub(crate) mod reset;
pub(crate) mod topic;

use std::fmt::Display;

use aerobee_remoting::{Reply, ResponseCode};

/// Why a request changes nothing.
struct Refusal {
    code: ResponseCode,
    remark: String,
}

impl Refusal {
    #[cold]
    fn new(code: ResponseCode, remark: &dyn Display) -> Self {
        Self {
            code,
            remark: remark.to_string(),
        }
    }

    fn answer(self, reply: Reply<'_>) {
        reply.fail(self.code, self.remark);
    }
}
