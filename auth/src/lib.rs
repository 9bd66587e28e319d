// SPDX-License-Identifier: Apache-2.0
//! Who may do what: users, access lists, signatures (Apache: ACL 2.0, its folder `auth`).
//!
//! [`tables`] keeps users and access lists in one small file. A [`guard::Guard`] stands in front of a
//! server's processors: it verifies the signature of a request ([`authenticate`]), finds out what the
//! request is about ([`authorize`]) and whether the user's access list ([`policy`]) allows that. [`sign`]
//! is the other side: requests of our own to servers that have a guard.

pub mod account;
pub mod authenticate;
pub mod authorize;
pub mod config;
pub mod guard;
mod log;
pub mod policy;
pub mod sign;
pub mod tables;
pub mod user;
