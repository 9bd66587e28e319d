// SPDX-License-Identifier: Apache-2.0
//! Tests of a broker from outside, one program for all: each would link the whole broker again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod asked_clients;
mod bad_input;
mod clocks;
mod configuration;
mod damaged_files;
mod delays;
mod flushing;
mod groups;
mod heartbeats;
mod hosts;
mod light;
mod limits;
mod lite;
mod locks;
mod log_dirs;
mod metrics;
mod namespaces;
mod offsets;
mod pops;
mod power_cut;
mod progress;
mod pulls;
mod queries;
mod registration;
mod resets;
mod sends;
mod sharing;
mod support;
mod switches;
mod timers;
mod topics;
mod transactions;
mod unit_mode;
mod vanished_clients;
mod vip_channel;
