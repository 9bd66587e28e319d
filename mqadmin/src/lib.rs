// SPDX-License-Identifier: Apache-2.0
//! The admin tool: Apache's `mqadmin` with its sub-commands, flags and output, against any RocketMQ
//! cluster, and the doctor.
//!
//! [`cli`] reads the command line and runs one of the commands of [`commands`]; each asks through
//! `admin`, makes typed rows of the answers and gives them to `out`, which prints them as Apache's tools
//! do or as JSON.

mod admin;
pub mod cli;
mod commands;
pub mod doctor;
pub mod error;
mod format;
mod message;
mod out;
mod target;

mod acl;
mod broker;
mod broker_config;
mod client;
mod cluster;
mod cold;
mod consumer;
mod container;
mod controller;
mod export;
mod group;
mod ha;
mod lite;
mod namesrv;
mod offset;
mod print;
mod probe;
mod progress;
mod query;
mod queue;
mod rocksdb;
mod running;
mod send;
mod sign;
mod static_topic;
mod stats;
mod topic;
mod topic_list;
mod trace;
mod track;
mod user;

pub use cli::run;
pub use error::Error;
