// SPDX-License-Identifier: Apache-2.0
//! The log on disk: one commit log for all messages, a consume queue per topic and queue, in Apache RocketMQ's layout.
//!
//! [`Store`] is the face: open, append, read, wait for durability, close. It runs on threads of its own and knows
//! neither sockets nor an async runtime. Everything that touches the file system goes through [`Env`], which also
//! holds the clock, so that faults and time can be simulated.

mod store;

mod append;
mod config;
mod error;
mod query;
mod read;
mod replay;
mod staged;

mod abort_file;
mod background;
mod batch_queue;
#[expect(
    unsafe_code,
    reason = "one system call that no safe crate has in this form"
)]
mod byte_lock;
mod checkpoint;
mod cold;
mod commit_log;
mod consume_queue;
mod dispatch;
mod env;
mod files;
mod flush;
pub mod index;
pub mod inspect;
mod keeper;
mod layout;
mod light;
mod local_time;
mod lock_file;
mod log_dirs;
#[expect(
    unsafe_code,
    reason = "the one place that makes slices of mapped memory; its interface is safe"
)]
mod mapped_file;
#[expect(
    unsafe_code,
    reason = "makes atomic words of mapped memory; its interface is safe"
)]
mod mapped_words;
mod mend;
mod prepare;
mod queue_files;
mod queue_flags;
mod queue_table;
mod queue_tail;
mod read_ahead;
mod recovery;
mod retention;
mod scan;
mod signal;
mod summary;
mod watermark;

pub use append::Appended;
pub use background::{Task, Turn};
pub use cold::ReadersBusy;
pub use config::{Config, FlushMode, TransferLimits};
pub use consume_queue::Queue;
pub use env::{Clock, Env, Faults, Operation, Time};
pub use error::{AppendError, CloseError, OpenError, ReadOnlyReason};
pub use flush::Flushed;
pub use index::{IndexConfig, KeyKind, KeyQuery, KeysFound};
pub use log_dirs::LogDirs;
pub use query::{Boundary, QueueEntry};
pub use read::{Accept, Access, Read, ReadLimits, ReadStatus, Run};
pub use retention::{DiskSpace, Retention};
pub use signal::{Signal, Wake};
pub use staged::Staged;
pub use store::{Closed, Store};
