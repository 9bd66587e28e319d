// SPDX-License-Identifier: Apache-2.0
//! Tests of a store from outside, one program for all: each would link the store again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ahead;
mod append_and_read;
mod bad_input;
mod batches;
mod faults;
mod hosts;
mod index;
mod inspect;
mod kill;
mod light;
mod log_dirs;
mod queues;
mod recovery;
mod retention;
mod staged;
mod support;
