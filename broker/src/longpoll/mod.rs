// SPDX-License-Identifier: Apache-2.0
//! Requests that wait for messages.

pub(crate) mod pop;
pub(crate) mod pull;
