// SPDX-License-Identifier: Apache-2.0

//! Runs the official SDKs of RocketMQ, unmodified, against a cluster of ours, of Apache's own servers, or of both.
//!
//! [`Cluster`] starts name server and broker of either [`Kind`] on free loopback ports in a temporary directory;
//! [`Driver`] is a running SDK program that performs scenarios and reports their steps. The tests are in
//! `tests/compat/`.

mod apache;
mod binary;
mod cluster;
mod driver;
mod error;
mod folders;
mod mqadmin;
mod node;
mod ports;
mod probe;
mod process;
mod sdk;
mod tls;

pub use self::{
    cluster::{Cluster, Plan},
    driver::{Driver, Running, Step},
    error::{Error, Result},
    folders::results_file,
    mqadmin::{ApacheAdmin, Outcome, doctor, our_admin},
    node::{Kind, Node, Role},
    ports::PortBlock,
    process::Process,
    sdk::{Encoding, Sdk},
};
