// SPDX-License-Identifier: Apache-2.0
//! The RocketMQ message: its stored form and the parts that form is made of.
//!
//! This crate does no input or output. A [`record::Record`] describes a message about to be stored, a
//! [`record::RecordView`] reads one that is stored; the same bytes travel to consumers. The other modules hold the
//! pieces: property text, tag hashes, message ids, flag bits, reserved names and the body of a client batch.

pub mod batch;
pub mod id;
pub mod lite;
pub mod properties;
pub mod record;
pub mod sysflag;
pub mod tags;
pub mod topic;

pub use properties::keys;
pub use record::{Place, Record, RecordError, RecordView, TagsCode};
