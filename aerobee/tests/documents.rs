// SPDX-License-Identifier: Apache-2.0
//! What the documents have to name. Those that are made from the code are compared with it in
//! `src/docs.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

/// The names of all keys of Apache's name server and proxy, by server and class; those of the broker
/// are compared with a running broker of Apache's in `compat-tests/tests/compat/mqadmin.rs`.
const KEYS: &str = include_str!("data/keys-5.5.0.txt");
const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// Whoever moves finds each key that was set before: with its meaning, or said to have no effect.
#[test]
fn the_configuration_reference_names_every_key_of_apaches() {
    let mut missing = Vec::new();
    for part in KEYS.split("## ").skip(1) {
        let (server, keys) = part.split_once('\n').unwrap();
        let text = section(server);
        for key in keys.lines().filter(|line| !line.starts_with('#')) {
            let named = format!("`{key}`");
            if !text.contains(&named) {
                missing.push(format!("{server}: {key}"));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

/// What the reference says of the keys of a server.
fn section(server: &str) -> String {
    let parts = REFERENCE.split("\n## ").filter(|part| {
        let title = part.lines().next().unwrap();
        title == server
            || title == format!("Keys of Apache's {} without effect", server.to_lowercase())
    });
    parts.collect()
}
