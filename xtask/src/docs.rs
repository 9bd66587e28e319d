// SPDX-License-Identifier: Apache-2.0
//! Documents that are made, not written: from the code, by tests of the crate `aerobee` that write
//! what they would else compare; from the last run of the SDK tests, here.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use serde_json::Value;

use crate::{
    error::{Error, Result},
    metadata,
    steps::run_command,
};

/// Below cargo's target folder; `compat-tests/tests/compat/results.rs` writes it.
const RESULTS: &str = "compat/results.json";
const TABLE: &str = "docs/compatibility.md";

/// What the beginnings of the names of trials stand for, longer ones first.
const KINDS: [(&str, &str); 17] = [
    (
        "aerobee_java_json_",
        "Java SDK `rocketmq-client` 5.5.0, JSON headers",
    ),
    (
        "aerobee_java_rocketmq_",
        "Java SDK `rocketmq-client` 5.5.0, compact headers",
    ),
    ("aerobee_go_", "Go SDK `rocketmq-client-go/v2` 2.1.2"),
    (
        "aerobee_grpc_",
        "gRPC: Java SDK `rocketmq-client-java` 5.2.0",
    ),
    ("aerobee_", "other SDKs"),
    (
        "apache_",
        "the same programs on Apache's servers, as a check of the tests",
    ),
    ("cross_", "one language sends, another receives"),
    ("group_", "members of a group that die"),
    ("crash_", "the broker killed and stopped under load"),
    ("mixed_", "our servers with Apache's"),
    ("store_", "one directory, Apache's broker and ours in turns"),
    (
        "transactions_",
        "transactions over ends and crashes of producer and broker",
    ),
    ("metrics_", "metrics beside those of Apache's broker"),
    (
        "mqadmin_",
        "Apache's mqadmin on our servers, and ours on Apache's",
    ),
    ("standalone_", "the server of one process"),
    ("every_scenario_", "completeness of the trials"),
    ("", "others"),
];

pub(crate) fn run() -> Result<()> {
    let mut cargo = metadata::cargo();
    cargo.args([
        "test",
        "--quiet",
        "--package",
        "aerobee",
        "--bin",
        "aerobee",
        "docs::",
    ]);
    run_command(cargo.env("AEROBEE_WRITE_DOCS", "1"))?;
    let results = metadata::read()?.target.join(RESULTS);
    if !results.exists() {
        println!("{TABLE} stays as it is: the SDK tests have not run here (cargo xtask sdk)");
        return Ok(());
    }
    let text = read(&results)?;
    let table = render(&serde_json::from_str(&text)?);
    let path = metadata::root().join(TABLE);
    fs::write(&path, table).map_err(|source| Error::Write { path, source })
}

/// What came of the trials of one kind.
#[derive(Default)]
struct Counts<'a> {
    passed: usize,
    unsteady: Vec<&'a str>,
    failed: Vec<&'a str>,
}

/// The table of a run: trials by kind, and each that did not pass at once by name.
fn render(results: &Value) -> String {
    let mut kinds: BTreeMap<usize, Counts<'_>> = BTreeMap::new();
    let trials = results.get("trials").and_then(Value::as_object);
    for (name, outcome) in trials.into_iter().flatten() {
        let kind = KINDS.iter().position(|(start, _)| name.starts_with(start));
        let counts = kinds.entry(kind.unwrap_or(KINDS.len() - 1)).or_default();
        match outcome.as_str() {
            Some("passed") => counts.passed += 1,
            Some("unsteady") => counts.unsteady.push(name),
            _ => counts.failed.push(name),
        }
    }
    let field = |name: &str| {
        results
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("unknown")
    };
    let mut out = String::from(
        "# Compatibility\n\n<!-- Made by `cargo xtask docs` from a run of the SDK tests; do not edit. -->\n\n",
    );
    // Writing into a string cannot fail.
    let _ = writeln!(
        out,
        "Unmodified official SDKs and Apache's own servers and tools, as they ran against aerobee {}. Each trial is a program that judges by itself whether it got what RocketMQ promises; what they do is told in [compat-tests](../compat-tests/README.md). Unsteady is a trial that failed once and passed three times in a row then.\n\n| with | passed | unsteady | failed |\n|---|---|---|---|",
        field("version")
    );
    for (kind, counts) in &kinds {
        let (_, meaning) = KINDS[*kind];
        let (unsteady, failed) = (counts.unsteady.len(), counts.failed.len());
        let _ = writeln!(
            out,
            "| {meaning} | {} | {unsteady} | {failed} |",
            counts.passed
        );
    }
    let unsteady: Vec<&str> = kinds
        .values()
        .flat_map(|counts| counts.unsteady.clone())
        .collect();
    let failed: Vec<&str> = kinds
        .values()
        .flat_map(|counts| counts.failed.clone())
        .collect();
    for (title, names) in [("Unsteady", unsteady), ("Failed", failed)] {
        if !names.is_empty() {
            let _ = writeln!(out, "\n{title}:\n");
        }
        for name in names {
            let _ = writeln!(out, "- `{name}`");
        }
    }
    out
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trials_are_counted_by_kind_and_failures_named() {
        let text = render(&json!({
            "version": "1.2.3",
            "trials": {
                "aerobee_go_send_sync": "passed",
                "aerobee_go_send_batch": "failed",
                "aerobee_go_send_oneway": "unsteady",
                "mixed_one": "passed",
                "new_kind": "passed",
            }
        }));
        assert!(text.contains("aerobee 1.2.3"), "{text}");
        assert!(text.contains("2.1.2 | 1 | 1 | 1 |"), "{text}");
        assert!(
            text.contains("our servers with Apache's | 1 | 0 | 0 |"),
            "{text}"
        );
        assert!(text.contains("others | 1 | 0 | 0 |"), "{text}");
        assert!(
            text.contains("Unsteady:\n\n- `aerobee_go_send_oneway`"),
            "{text}"
        );
        assert!(
            text.contains("Failed:\n\n- `aerobee_go_send_batch`"),
            "{text}"
        );
    }
}
