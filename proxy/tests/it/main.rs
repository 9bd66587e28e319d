// SPDX-License-Identifier: Apache-2.0
//! Tests of a proxy from outside, one program for all: each would link name server, broker and proxy again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod clients;
mod commands;
mod keep_alive;
mod lite;
mod ports;
mod receiving;
mod sending;
mod statuses;
mod support;
mod vanishing;
