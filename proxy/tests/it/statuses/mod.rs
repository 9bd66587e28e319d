// SPDX-License-Identifier: Apache-2.0
//! What each bad call is answered, beside what Apache's proxy 5.5.0 answers to the same call.
//!
//! With `AEROBEE_STATUSES_OF=<proxy>,<broker>` the calls go to servers that run already, Apache's with
//! `autoCreateSubscriptionGroup=false` and `recallMessageEnable=true`, and the second column is judged.

mod calls;
mod receipts;
mod receives;
mod sends;
mod telemetry;
