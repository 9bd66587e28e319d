// SPDX-License-Identifier: Apache-2.0
//! The proxy: the 5.x SDKs speak gRPC to it, it speaks remoting to brokers and name servers.
//!
//! [`listen`](self) tells protocols apart on one port; `http` finds the service; `service` is the
//! table of calls, `rpc` has a file for each; `brokers` is the only door to the cluster. Clients of
//! the remoting protocol are served as well, by `forward`.

mod absent;
mod access;
mod announce;
mod body;
mod brokers;
mod caller;
mod clients;
mod codec;
pub mod config;
pub mod error;
mod forward;
mod fresh;
mod handle;
mod http;
mod incoming;
mod listen;
mod lite;
pub mod metrics;
mod needs;
mod outgoing;
mod plain;
mod pop;
mod properties;
mod push;
mod receipts;
mod relay;
mod routes;
mod rpc;
pub mod run;
mod service;
mod settings;
mod start;
mod status;
mod time;
mod tls;
mod transaction_id;
mod wire;

pub use crate::{
    absent::WITHOUT_EFFECT,
    config::Config,
    error::StartError,
    run::{Args, run},
    start::{Beside, Proxy},
};

/// Apache's protobuf files, as Rust.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "made from Apache's files"
)]
pub mod v2 {
    tonic::include_proto!("apache.rocketmq.v2");
}
