// SPDX-License-Identifier: Apache-2.0
//! Typed JSON bodies, one file a family. Read and written by [`crate::fastjson`].
//!
//! Members stand in the order in which Java writes them, which is alphabetical; no reader depends
//! on it. A member that is missing or null has Java's default.

/// An enum of Java: written by its constant's name, read by name or ordinal; what is unknown reads
/// as the default, where Java has null.
macro_rules! java_enum {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub enum $type {
            $($(#[$doc])* $variant,)+
        }

        impl $type {
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// Name of the constant in Java.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The constant of a name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.name() == name)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                let ordinal = text.parse::<usize>().ok().and_then(|at| Self::ALL.get(at));
                Ok(ordinal.copied().or_else(|| Self::from_name(&text)).unwrap_or_default())
            }
        }
    };
}

pub mod ack;
pub mod assignment;
pub mod auth;
pub mod cluster;
pub mod cold;
pub mod connection;
pub mod controller;
pub mod data_version;
pub mod group;
pub mod heartbeat;
pub mod kv;
pub mod lite;
pub mod lock;
mod message_queue;
pub mod registration;
pub mod replication;
pub mod reset;
pub mod route;
pub mod running;
pub mod static_topic;
pub mod stats;
pub mod topic;

pub use data_version::DataVersion;
pub use message_queue::MessageQueue;

#[cfg(test)]
mod tests;
