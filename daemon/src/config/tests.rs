// SPDX-License-Identifier: Apache-2.0

use std::time::Duration;

use super::*;
use crate::{config, config_enum, config_parts};

config_enum! {
    /// Role of a broker.
    pub(super) enum Role {
        /// Answers before its replicas have the message.
        AsyncMaster = "ASYNC_MASTER",
        /// Follows a master.
        Slave = "SLAVE",
    }
}

config! {
    /// One part.
    pub(super) struct First {
        /// A bounded number.
        "count" important => count: i32 [1..=64] = 16,
        /// A role,
        /// on two lines.
        "brokerRole" => role: Role = Role::AsyncMaster,
        "wait" => wait: Duration = Duration::from_millis(500),
        "shared" => shared: bool = false,
    }
}

config! {
    /// Another part.
    pub(super) struct Second {
        "name" => name: Option<String> = None,
        "ratio" => ratio: f64 = 1.0,
        "port" => port: u16 = 10911,
        "shared" => shared: bool = false,
        "big" => big: i64 [0..=1 << 40] = 1 << 30,
    }
}

config_parts! {
    /// Both.
    pub(super) struct Both {
        /// One.
        pub first: First,
        /// Two.
        pub second: Second,
    }
}

config_parts! {
    /// One part, and keys that do nothing.
    pub(super) struct Idling {
        /// The part.
        pub first: First,
    }
    idle = idle;
}

fn idle() -> Vec<Idle> {
    let key = |name, default: Option<&str>| Idle {
        name,
        default: default.map(str::to_owned),
    };
    vec![
        key("threads", Some("8")),
        key("fast", Some("true")),
        key("part", Some("0.2")),
        key("text", Some("")),
        key("path", None),
    ]
}

fn config(text: &str) -> (Config<Both>, Report) {
    let mut config = Config::<Both>::default();
    let report = config.apply(&Properties::parse(text).unwrap());
    (config, report)
}

#[test]
fn defaults_stand_where_nothing_is_said() {
    let (config, report) = config("");
    assert_eq!(report, Report::default());
    assert_eq!(config.first.count, 16);
    assert_eq!(
        config.listing(Listing::All),
        "count=16\nbrokerRole=ASYNC_MASTER\nwait=500\nshared=false\nratio=1.0\nport=10911\nbig=1073741824\n"
    );
    assert_eq!(config.listing(Listing::Important), "count=16\n");
}

#[test]
fn values_are_taken_by_type() {
    let (config, report) = config(
        "count = 64 \nbrokerRole=SLAVE\nwait=1\nshared=TRUE\nname=a\nratio=0.5\nport=0\nbig=1099511627776",
    );
    assert_eq!(report, Report::default());
    assert_eq!(
        config.first,
        First {
            count: 64,
            role: Role::Slave,
            wait: Duration::from_millis(1),
            shared: true
        }
    );
    assert_eq!(
        config.second,
        Second {
            name: Some("a".to_owned()),
            ratio: 0.5,
            port: 0,
            shared: true,
            big: 1 << 40
        }
    );
}

#[test]
fn bad_values_are_named_and_change_nothing() {
    let cases = [
        ("count=65", "a whole number within 1..=64"),
        ("count=1.5", "a whole number"),
        ("count=", "a whole number"),
        ("count=99999999999", "a whole number"),
        ("brokerRole=slave", "one of ASYNC_MASTER, SLAVE"),
        ("wait=-1", "a time in whole milliseconds"),
        ("ratio=NaN", "a number"),
        ("port=65536", "a whole number from 0 to 65535"),
    ];
    for (text, expected) in cases {
        let (config, report) = config(&format!("# comment\n{text}"));
        let (key, value) = text.split_once('=').unwrap();
        assert_eq!(
            report.into_result().unwrap_err().to_string(),
            format!("line 2: {key} = {value:?}: expected {expected}")
        );
        assert_eq!(*config, Both::default(), "{text}");
    }
}

#[test]
fn a_message_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.conf");
    std::fs::write(&path, "mine=1\n\nport=x\ncount=0\n").unwrap();
    let error = Config::<Both>::load(Both::default(), &path).unwrap_err();
    let file = path.display();
    assert_eq!(
        error.to_string(),
        format!(
            "{file}, line 3: port = \"x\": expected a whole number from 0 to 65535; \
             {file}, line 4: count = \"0\": expected a whole number within 1..=64"
        )
    );
}

#[test]
fn unknown_keys_are_reported_kept_and_changed() {
    let (config, report) = config("mine=1\ncount=2\nyours=x");
    assert_eq!(report.unknown, ["mine", "yours"]);
    assert_eq!(config.get("mine").as_deref(), Some("1"));
    let changes = Properties::from_iter([("mine", "2"), ("nobody", "3"), ("count", "2")]);
    let update = config.updated(&changes).unwrap();
    assert_eq!(update.changed, Properties::from_iter([("mine", "2")]));
    assert_eq!(update.ignored, ["nobody"]);
    let properties = update.config.to_properties();
    assert_eq!(properties.get("mine"), Some("2"));
    assert_eq!(properties.get("nobody"), None);
    assert_eq!(properties.get("count"), Some("2"));
}

#[test]
fn an_update_is_whole_or_not_at_all() {
    let (config, _) = config("");
    let changes = Properties::from_iter([("count", "3"), ("port", "x")]);
    let bad = config.updated(&changes).unwrap_err();
    assert_eq!(bad.0.len(), 1);
    assert_eq!(bad.0[0].key, "port");
    let update = config
        .updated(&Properties::from_iter([
            ("count", " 3 "),
            ("shared", "true"),
        ]))
        .unwrap();
    assert_eq!(update.config.first.count, 3);
    assert!(update.config.first.shared && update.config.second.shared);
    assert_eq!(
        update.changed,
        Properties::from_iter([("count", "3"), ("shared", "true")])
    );
}

#[test]
fn a_key_without_a_value_is_left_out_and_can_be_unset() {
    let (mut config, _) = config("name=a");
    assert_eq!(config.to_properties().get("name"), Some("a"));
    assert_eq!(config.set("name", ""), Ok(Change::Made));
    assert_eq!(config.to_properties().get("name"), None);
    assert_eq!(config.set("name", "b"), Ok(Change::Made));
    assert_eq!(config.set("name", "b"), Ok(Change::Same));
    assert_eq!(config.set("nobody", "b"), Ok(Change::Unknown));
}

#[test]
fn booleans_are_javas_and_doubts_are_told() {
    for (text, value, doubtful) in [
        ("true", true, false),
        ("True", true, false),
        ("false", false, false),
        ("yes", false, true),
        ("1", false, true),
        ("", false, true),
    ] {
        let (config, report) = config(&format!("shared={text}"));
        assert_eq!(config.first.shared, value, "{text}");
        assert_eq!(!report.doubtful.is_empty(), doubtful, "{text}");
    }
}

#[test]
fn keys_carry_their_documentation() {
    let keys = Both::keys();
    let role = keys.iter().find(|key| key.name == "brokerRole").unwrap();
    assert_eq!(role.doc, " A role,\n on two lines.\n");
    assert_eq!(role.default.as_deref(), Some("ASYNC_MASTER"));
    assert!(!role.important);
    assert!(keys.iter().any(|key| key.name == "count" && key.important));
}

#[test]
fn keys_without_effect_have_defaults_are_kept_and_changed() {
    let mut config = Config::<Idling>::default();
    let report = config.apply(&Properties::parse("fast=false\nmine=1").unwrap());
    assert_eq!(report.unknown, ["fast", "mine"]);
    assert!(report.bad.is_empty());
    let all = config.to_properties();
    let of = |key: &str| all.get(key).map(str::to_owned);
    assert_eq!(of("threads").as_deref(), Some("8"));
    assert_eq!(of("fast").as_deref(), Some("false"));
    assert_eq!(of("path"), None);
    assert_eq!(of("mine").as_deref(), Some("1"));
    // What was given, not what there is.
    assert_eq!(config.unknown().collect::<Vec<_>>(), ["fast", "mine"]);
    let changes = Properties::from_iter([("threads", "9"), ("path", "/x"), ("nobody", "1")]);
    let update = config.updated(&changes).unwrap();
    assert_eq!(update.ignored, ["nobody"]);
    let changed = Properties::from_iter([("threads", "9"), ("path", "/x")]);
    assert_eq!(update.changed, changed);
    assert_eq!(update.config.get("threads").as_deref(), Some("9"));
    assert_eq!(update.config.get("path").as_deref(), Some("/x"));
}

#[test]
fn keys_without_effect_take_values_of_their_type() {
    for (text, expected) in [
        ("threads=8", None),
        ("threads=many", Some("a whole number")),
        ("fast=TRUE", None),
        // Everything is a boolean to Java.
        ("fast=yes", None),
        ("part=1", None),
        ("part=x", Some("a number")),
        ("text=anything", None),
        ("path=anything", None),
    ] {
        let (key, value) = text.split_once('=').unwrap();
        let mut config = Config::<Idling>::default();
        let bad = config.apply(&Properties::parse(text).unwrap()).bad;
        let told = bad.first().map(|bad| bad.expected.as_str());
        assert_eq!(told, expected, "{text}");
        let mut config = Config::<Idling>::default();
        let set = config.set(key, value);
        let told = set.as_ref().err().map(|bad| bad.expected.as_str());
        assert_eq!(told, expected, "{text}");
        if expected.is_some() {
            assert_eq!(
                config.to_properties(),
                Config::<Idling>::default().to_properties()
            );
        }
    }
}
