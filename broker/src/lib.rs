// SPDX-License-Identifier: Apache-2.0
//! The broker: topics, groups, offsets, clients, what waits, and the processors that answer.
//!
//! [`Broker`] starts and stops it; `parts` builds what it consists of.

pub mod attributes;
mod broker;
pub mod clients;
pub mod config;
mod copies;
mod delays;
mod due;
pub mod error;
mod events;
pub mod filter;
pub mod groups;
mod latency;
mod light;
mod lite;
mod longpoll;
pub mod metrics;
pub mod offsets;
mod parts;
pub mod pop;
mod processor;
mod put_counts;
pub mod registration;
mod requeue;
pub mod run;
pub mod runtime;
mod schedule;
mod stats;
mod system;
pub mod table;
mod timer;
pub mod topics;
mod transaction;

pub use crate::{
    broker::Broker,
    config::{Config, Keys},
    error::{StartError, StopError},
    processor::admin::absent::absent_reason,
    run::{Args, run},
    timer::inspect as timer_files,
};
