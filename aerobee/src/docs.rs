// SPDX-License-Identifier: Apache-2.0
//! Documents that are made from the code. `cargo xtask docs` writes them; the tests here fail when
//! they are out of date.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use aerobee_broker::{
    absent_reason,
    config::{WITHOUT_EFFECT, needs_restart},
};
use aerobee_daemon::config::{Key, Keys};
use aerobee_remoting::RequestCode;

use crate::http::all_metrics;

/// Set by `cargo xtask docs`.
const WRITE: &str = "AEROBEE_WRITE_DOCS";
const MADE: &str = "<!-- Made by `cargo xtask docs`; do not edit. -->\n\n";

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(name)
}

/// Compares a document with what is made of the code now, or writes it.
fn check(name: &str, text: &str) {
    let path = path(name);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "docs/{name} is out of date: run `cargo xtask docs` and commit what it writes"
    );
}

fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

fn keys_table(out: &mut String, keys: Vec<Key>, effect: impl Fn(&str) -> &'static str) {
    out.push_str("| key | default | meaning | counts |\n|---|---|---|---|\n");
    let mut seen = BTreeSet::new();
    for key in keys {
        // Few keys belong to two parts.
        if !seen.insert(key.name) {
            continue;
        }
        let default = match key.default.as_deref() {
            _ if is_of_machine(key.name) => "of the machine".to_owned(),
            None | Some("") => "–".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let bounds = bounds_of(key.bounds);
        let mark = if key.important { " **·**" } else { "" };
        let _ = writeln!(
            out,
            "| `{}`{mark} | {} | {}{} | {} |",
            key.name,
            cell(&default),
            cell(key.doc),
            bounds,
            effect(key.name)
        );
    }
}

/// A range in words; the largest number of a type is no bound.
fn bounds_of(range: &str) -> String {
    let plain: String = range
        .chars()
        .filter(|letter| !(letter.is_whitespace() || *letter == '_'))
        .collect();
    match plain.split_once("..=") {
        None | Some(("i64::MIN", _)) => String::new(),
        Some((least, most)) if most.ends_with("::MAX") => format!(" At least {least}."),
        Some((least, most)) => format!(" From {least} to {most}."),
    }
}

/// Keys whose defaults are read from the machine that the text is made on.
fn is_of_machine(key: &str) -> bool {
    [
        "brokerName",
        "brokerIP1",
        "brokerIP2",
        "storePathRootDir",
        "kvConfigPath",
        "configStorePath",
        "rocketmqHome",
    ]
    .contains(&key)
}

fn configuration() -> String {
    let mut out = format!("# Configuration\n\n{MADE}");
    out.push_str(
        "Keys are Apache's, with Apache's meaning, unit and default unless said otherwise. They stand in a `.properties` file (`-c FILE`), those of the proxy in a JSON file (`-pc FILE`). `aerobee broker -p` prints all with their values, `-m` the important ones (marked **·** here). A value that its key does not take stops the start and names file, line and key. A key that does not exist is kept, read back, and named in the log once.\n\n\
         `updateBrokerConfig` and `updateNamesrvConfig` of mqadmin change keys while the server runs; the change is written into the file first. **Counts** says from when on: at once, or from the next start on. Changes that wait for a start are named in the log when they are made.\n\n\
         ## Flags\n\nThe standalone server has flags of its own (`aerobee --help`) and takes `-c` and `--proxy-config` besides. All servers have:\n\n\
         | flag | meaning |\n|---|---|\n\
         | `--log-level LEVELS` | what is logged: a level, also for parts: `info,aerobee_store=debug`; the environment's `AEROBEE_LOG` |\n\
         | `--log-format text`, `json` | lines for people, or one JSON object a line |\n\
         | `--log-file FILE` | appends to a file instead of stderr; `-` is stdout; SIGHUP opens it anew |\n\
         | `--log-file-size MIB`, `--log-files COUNT` | puts the file aside by size, and keeps so many of them |\n\n\
         ## Broker\n\n",
    );
    keys_table(&mut out, aerobee_broker::Keys::keys(), |key| {
        if needs_restart(key) {
            "next start"
        } else {
            "at once"
        }
    });
    out.push_str("\n## Name server\n\n");
    keys_table(&mut out, aerobee_namesrv::Keys::keys(), |key| match key {
        "logLevel"
        | "orderMessageEnable"
        | "returnOrderTopicConfigToBroker"
        | "supportActingMaster"
        | "enableAllTopicList"
        | "enableTopicList"
        | "notifyMinBrokerIdChanged"
        | "deleteTopicWithBrokerRegistration"
        | "scanNotActiveBrokerInterval" => "at once",
        _ => "next start",
    });
    out.push_str("\n## Proxy\n\nThe proxy reads its file once, at its start.\n\n");
    out.push_str("| key | default | meaning |\n|---|---|---|\n");
    proxy_table(&mut out);
    out.push_str("\nThe keys of users and access lists are those of the broker's table (`authenticationEnabled` to `statefulAuthenticationCacheExpiredSecond`) and stand in the same file; users are made on brokers, so `initAuthenticationUser` makes none here. Beside a broker of the same process they may be left out: then the broker's count. See [operations](operations.md#users-and-access-lists).\n");
    out.push_str("\n## Keys of Apache's without effect\n\nThey are shown with the value that they were given, else with Apache's default (in brackets here), and may be changed; they change nothing. The log names those that are set at the start, and each that is changed later, with the reason; `updateBrokerConfig` of `aerobee mqadmin` says so, too. A value that is no number where Apache's is one is refused. `*` stands for any letters. Every key that the broker of 5.5.0 prints stands here or in its table above.\n\n| keys | why |\n|---|---|\n");
    for group in WITHOUT_EFFECT {
        let keys = group.keys.iter().map(|(key, default)| match *default {
            "" => format!("`{key}`"),
            default => format!("`{key}` ({default})"),
        });
        let unset = group.unset.iter().map(|key| format!("`{key}`"));
        let keys: Vec<String> = keys.chain(unset).collect();
        let _ = writeln!(out, "| {} | {} |", cell(&keys.join(", ")), group.reason);
    }
    out.push_str("\nA key of the access lists of 4.x, of controllers or DLedger that would switch them on stops the start: nobody shall believe to be protected by it.\n\n## Keys of Apache's proxy without effect\n\n| keys | why |\n|---|---|\n");
    for (reason, keys) in aerobee_proxy::WITHOUT_EFFECT {
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(out, "| {} | {reason} |", keys.join(", "));
    }
    out
}

/// The proxy's keys, as its source declares them: a comment and a field each.
fn proxy_table(out: &mut String) {
    let source = include_str!("../../proxy/src/config.rs");
    let (_, fields) = source.split_once("pub struct Config {").unwrap();
    let (fields, rest) = fields.split_once("\n}").unwrap();
    let (mut doc, mut renamed, mut skipped) = (String::new(), None, false);
    for line in fields.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text);
        } else if let Some((_, name)) = line.split_once("rename = \"") {
            renamed = name.split('"').next();
        } else if line.contains("flatten") {
            return;
        } else if line.contains("serde(skip)") {
            // Not of the file.
            skipped = true;
        } else if let Some(field) = line.strip_prefix("pub ") {
            if std::mem::take(&mut skipped) {
                doc.clear();
                continue;
            }
            let field = field.split(':').next().unwrap();
            let key = renamed.take().map_or_else(|| camel(field), str::to_owned);
            let default = default_of(rest, field);
            let _ = writeln!(out, "| `{key}` | {} | {} |", cell(&default), cell(&doc));
            doc.clear();
        }
    }
}

fn camel(field: &str) -> String {
    let mut words = field.split('_');
    let mut key = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        key.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        key.push_str(letters.as_str());
    }
    key
}

/// What `Default` gives a field, as it stands in the source.
fn default_of(source: &str, field: &str) -> String {
    let line = source
        .lines()
        .map(str::trim)
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
    let value = line.unwrap_or_default().trim_end_matches(',');
    let text = value.trim_end_matches(".to_owned()").trim_matches('"');
    match text {
        "" | "String::new()" | "PathBuf::new()" | "None" => "–".to_owned(),
        text => format!("`{text}`"),
    }
}

/// Codes that a table of requests names.
fn served(source: &str) -> BTreeSet<&str> {
    source
        .split("RequestCode::")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|letter: char| {
                !(letter.is_ascii_uppercase() || letter == '_' || letter.is_ascii_digit())
            });
            rest.get(..end?)
        })
        .filter(|name| name.len() > 3)
        .collect()
}

fn request_codes() -> String {
    let broker = served(include_str!("../../broker/src/processor/mod.rs"));
    let namesrv = served(include_str!("../../namesrv/src/processor.rs"));
    let mut out = format!("# Request codes\n\n{MADE}");
    out.push_str("Every request of the remoting protocol that Apache 5.5.0 knows, and which server here answers it. What is refused is answered with the code and the reason below, never with a success. Codes that neither server answers belong to clients, to parts that do not exist here (controller, replication, container), or to versions long gone; they are answered with REQUEST_CODE_NOT_SUPPORTED (3).\n\n| code | name | broker | name server |\n|---|---|---|---|\n");
    let mut others = Vec::new();
    for code in RequestCode::ALL {
        let name = code.name().unwrap_or_default();
        let (by_broker, by_namesrv) = (broker.contains(name), namesrv.contains(name));
        let reason = absent_reason(*code).filter(|_| !by_broker);
        if !by_broker && !by_namesrv && reason.is_none() {
            others.push(format!("{} {name}", code.0));
            continue;
        }
        let of_broker = match (by_broker, reason) {
            (true, _) => "answers".to_owned(),
            (false, Some(reason)) => format!("refuses: {reason}"),
            (false, None) => String::new(),
        };
        let of_namesrv = if by_namesrv { "answers" } else { "" };
        let _ = writeln!(
            out,
            "| {} | {name} | {} | {of_namesrv} |",
            code.0,
            cell(&of_broker)
        );
    }
    let _ = writeln!(out, "\n## Answered by neither\n\n{}", others.join(", "));
    out
}

fn metrics() -> String {
    let mut out = format!("# Metrics\n\n{MADE}");
    out.push_str("What `/metrics` tells, under the names that Apache's exporter gives them. A metric without anything to tell is left out. Labels of Apache's metrics are Apache's; `cluster`, `node_type` and `node_id` are on all of them, `metricsLabel` adds more. Most series of one metric: `metricsOtelCardinalityLimit`; what is left out beyond is told by `aerobee_metrics_left_out`.\n\n| metric | type | meaning |\n|---|---|---|\n");
    for metric in all_metrics() {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let _ = writeln!(
            out,
            "| `{}` | {kind} | {} |",
            metric.name,
            cell(metric.help)
        );
    }
    out.push_str("\nOf Apache's metrics there are none of waiting requests (`rocketmq_processor_watermark`: nothing waits), and of buffers of popped offsets and scans of them (nothing is buffered or scanned). What a pulling group has fetched and not committed is not known, so messages in flight, queueing and ready are told of popping groups only.\n\nThe age of the oldest message that a group has not consumed (`rocketmq_consumer_lag_latency_milliseconds`, `rocketmq_consumer_queueing_latency_milliseconds`) stands in the log. A scrape reads such times for 80 ms at most: where the messages of many groups are on the disk only, as after a start, a scrape tells of some groups, and the next one goes on where it stopped. What was read is kept as long as the group stays where it is. `rocketmq_consumer_lag_messages` is always there.\n");
    out
}

#[test]
fn the_configuration_reference_is_up_to_date() {
    check("configuration.md", &configuration());
}

#[test]
fn the_request_codes_are_up_to_date() {
    check("request-codes.md", &request_codes());
}

#[test]
fn the_metrics_are_up_to_date() {
    check("metrics.md", &metrics());
}
