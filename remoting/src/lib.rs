// SPDX-License-Identifier: Apache-2.0
//! The wire of RocketMQ's remoting protocol: frames, commands, typed headers, connections.
//!
//! Bytes become a [`frame::Frame`], a frame a [`command::Command`], a command a typed header
//! (`#[derive(Header)]`) beside a [`call::Reply`] that owes one answer. [`server`] runs a
//! [`server::Service`] on the connections of its listeners, and [`latency`] tells how long that took;
//! [`client`] speaks to other servers, to one of this process without a socket ([`local`]); [`tls`]
//! secures both.
//! Only this crate knows that headers have two encodings.

extern crate self as aerobee_remoting;

pub mod audit;
pub mod body;
pub mod call;
pub mod client;
pub mod code;
pub mod command;
pub mod connection;
pub mod encoding;
pub mod error;
pub mod fastjson;
pub mod first_bytes;
pub mod frame;
pub mod header;
pub mod latency;
pub mod local;
pub mod output;
mod reader;
pub mod server;
pub mod tls;

pub use aerobee_remoting_derive::Header;
pub use call::{Corked, Deferred, Late, Replies, Reply, Ticket};
pub use client::{Client, Response};
pub use code::{Language, RequestCode, ResponseCode};
pub use command::{Command, Decoder, Fields, OwnedFields};
pub use connection::Connection;
pub use error::{ClientError, DecodeError, FieldError};
pub use frame::Encoding;
pub use header::{Empty, Header, Request, WriteFields};
pub use local::Local;
pub use output::Output;
pub use server::{Adopter, Bound, Limits, Server, Service};
