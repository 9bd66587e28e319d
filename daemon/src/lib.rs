// SPDX-License-Identifier: Apache-2.0
//! What every server process does, whatever its role: read its flags and its configuration, log,
//! end on signals, keep small files safe, and say in one line why it cannot start.
//!
//! - [`flags`]: the flags of Apache's start scripts, addresses, the environment.
//! - [`properties`]: the text of Java's `.properties` files.
//! - [`config`]: configuration keys, each declared once, by [`config!`] and [`config_parts!`].
//! - [`persist`]: small files that a crash cannot lose.
//! - [`logging`]: the log of the process, and gates for warnings that repeat.
//! - [`signals`]: the request to end, from signals or from inside.
//! - [`exposition`]: metrics as text for Prometheus.
//! - [`tls`]: the keys of TLS on remoting ports.
//! - [`error`]: why a server did not start, and what to do about it.

pub mod config;
pub mod error;
pub mod exposition;
pub mod flags;
pub mod java_options;
pub mod logging;
pub mod persist;
pub mod properties;
pub mod signals;
pub mod tls;

pub use config::Config;
pub use error::StartError;
pub use properties::Properties;
pub use signals::Shutdown;
pub use tls::TlsKeys;

/// Used by [`warn_every!`] in crates that do not name `tracing` themselves.
#[doc(hidden)]
pub use tracing;
