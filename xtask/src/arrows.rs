// SPDX-License-Identifier: Apache-2.0
//! Which crate may depend on which.

use crate::metadata::Metadata;

/// Every crate with the crates of ours that it may use, tests included. Levels stand one below the
/// other: each line uses only lines above it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("aerobee-message", &[]),
    ("aerobee-remoting-derive", &[]),
    ("aerobee-remoting", &["aerobee-remoting-derive"]),
    ("aerobee-daemon", &[]),
    ("aerobee-store", &["aerobee-message"]),
    // What proxies, brokers and tools have to know alike: who signs, who may do what.
    ("aerobee-auth", &["aerobee-remoting", "aerobee-daemon"]),
    ("aerobee-namesrv", &["aerobee-remoting", "aerobee-daemon"]),
    (
        "aerobee-broker",
        &[
            "aerobee-message",
            "aerobee-remoting",
            "aerobee-daemon",
            "aerobee-store",
            "aerobee-auth",
        ],
    ),
    (
        "aerobee-proxy",
        &[
            "aerobee-message",
            "aerobee-remoting",
            "aerobee-daemon",
            "aerobee-auth",
            "aerobee-namesrv",
            "aerobee-broker",
        ],
    ),
    (
        "aerobee-mqadmin",
        &[
            "aerobee-message",
            "aerobee-remoting",
            "aerobee-daemon",
            "aerobee-auth",
        ],
    ),
    (
        "aerobee-bench",
        &["aerobee-message", "aerobee-remoting", "aerobee-auth"],
    ),
    (
        "aerobee-compat-tests",
        &["aerobee-message", "aerobee-remoting"],
    ),
    (
        "aerobee",
        &[
            "aerobee-message",
            "aerobee-remoting",
            "aerobee-daemon",
            "aerobee-store",
            "aerobee-namesrv",
            "aerobee-broker",
            "aerobee-proxy",
            "aerobee-mqadmin",
            "aerobee-bench",
        ],
    ),
    ("xtask", &[]),
];

/// Packages of others that a crate must not use, with the reason.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    (
        "aerobee-store",
        "tokio",
        "the store has threads of its own and knows no runtime",
    ),
    (
        "aerobee-message",
        "tokio",
        "a record is bytes; nothing there waits",
    ),
];

/// Crates that may not be named, because everything would end up in them.
const NAMES: &[&str] = &["common", "util", "utils", "core", "helpers"];

/// What is wrong with the arrows; nothing if all is well.
pub(crate) fn faults(metadata: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, dependencies) in &metadata.crates {
        let short = name.strip_prefix("aerobee-").unwrap_or(name);
        if NAMES.contains(&short) {
            faults.push(format!("{name}: a crate is named after what it is about"));
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| known == name) else {
            faults.push(format!("{name}: not in the table of xtask/src/arrows.rs"));
            continue;
        };
        for dependency in dependencies {
            let ours = metadata.crates.iter().any(|(known, _)| known == dependency);
            if ours && !allowed.contains(&dependency.as_str()) {
                faults.push(format!("{name} must not depend on {dependency}"));
            }
        }
        for (_, package, reason) in FORBIDDEN.iter().filter(|(of, ..)| of == name) {
            if dependencies.iter().any(|dependency| dependency == package) {
                faults.push(format!("{name} must not depend on {package}: {reason}"));
            }
        }
    }
    faults.sort();
    faults.dedup();
    faults
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::metadata;

    #[test]
    fn the_crates_of_this_workspace_keep_to_the_arrows() {
        let metadata = metadata::read().unwrap();
        assert!(metadata.crates.len() > 5);
        assert_eq!(faults(&metadata), Vec::<String>::new());
    }

    #[test]
    fn forbidden_arrows_are_found() {
        let of = |name: &str, dependencies: &[&str]| {
            let dependencies = dependencies.iter().map(|name| (*name).to_owned());
            (name.to_owned(), dependencies.collect())
        };
        let metadata = Metadata {
            target: PathBuf::new(),
            crates: vec![
                of("aerobee-remoting", &["tokio"]),
                of("aerobee-store", &["aerobee-remoting", "tokio", "libc"]),
                of("aerobee-common", &[]),
            ],
        };
        assert_eq!(
            faults(&metadata),
            [
                "aerobee-common: a crate is named after what it is about",
                "aerobee-common: not in the table of xtask/src/arrows.rs",
                "aerobee-store must not depend on aerobee-remoting",
                "aerobee-store must not depend on tokio: the store has threads of its own and \
                 knows no runtime",
            ]
        );
    }

    #[test]
    fn levels_stand_one_below_the_other() {
        for (place, (name, allowed)) in ALLOWED.iter().enumerate() {
            for dependency in *allowed {
                let above = ALLOWED[..place]
                    .iter()
                    .any(|(known, _)| known == dependency);
                assert!(above, "{name} uses {dependency}, which stands below it");
            }
        }
    }
}
