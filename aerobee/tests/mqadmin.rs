// SPDX-License-Identifier: Apache-2.0
//! Commands of `aerobee mqadmin` against the server of the same program.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Server, aerobee};

/// Runs a command, which has to succeed; what it printed.
fn told(server: &Server, line: &str) -> String {
    let mut args = vec!["mqadmin"];
    args.extend(line.split(' '));
    args.extend(["-n", &server.namesrv]);
    let output = aerobee(&args, &server.directory).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Topic, group and what it is behind, of topics that begin with `Stat`.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("Stat"));
    let mut rows: Vec<Vec<&str>> = lines
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    rows.sort();
    rows
}

#[test]
fn stats_of_all_topics_are_those_of_each() {
    let server = Server::start(&["--no-http"]);
    let send = |topic: &str, count: u32| {
        for _ in 0..count {
            told(&server, &format!("sendMessage -t {topic} -p x"));
        }
    };
    let reach_end = |group: &str, topic: &str| {
        told(
            &server,
            &format!("resetOffsetByTime -g {group} -t {topic} -s now"),
        );
    };
    for (topic, queues) in [("A", 1), ("B", 4), ("C", 2), ("D", 1)] {
        told(
            &server,
            &format!("updateTopic -c DefaultCluster -t Stat{topic} -r {queues} -w {queues}"),
        );
    }
    for group in ["G1", "G2"] {
        told(
            &server,
            &format!("updateSubGroup -c DefaultCluster -g {group}"),
        );
    }
    send("StatA", 1);
    reach_end("G1", "StatA");
    reach_end("G1", "StatB");
    reach_end("G1", "StatC");
    send("StatA", 2);
    send("StatB", 3);
    reach_end("G2", "StatB");
    // Less is read than was written.
    told(&server, "updateTopic -c DefaultCluster -t StatC -r 1 -w 2");
    send("StatD", 1);
    let all = told(&server, "statsAll");
    let expected = [
        vec!["StatA", "G1", "2"],
        vec!["StatB", "G1", "3"],
        vec!["StatB", "G2", "0"],
        vec!["StatC", "G1", "0"],
    ];
    let mut found = rows(&all);
    let without_group = found.pop().unwrap();
    assert_eq!(found, expected);
    assert_eq!(without_group[..2], ["StatD", "0"]);
    for topic in ["StatA", "StatB", "StatC", "StatD"] {
        let one = told(&server, &format!("statsAll -t {topic}"));
        let of_all = rows(&all);
        let of_all: Vec<_> = of_all.iter().filter(|row| row[0] == topic).collect();
        assert_eq!(rows(&one).iter().collect::<Vec<_>>(), of_all, "{topic}");
    }
    // In the order of the name server's list, one after the other.
    let topics: Vec<&str> = all
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("Stat"))
        .collect();
    let listed = told(&server, "topicList");
    let mut order: Vec<&str> = listed.lines().map(str::trim).collect();
    order.retain(|name| name.starts_with("Stat"));
    let mut once = topics;
    once.dedup();
    assert_eq!(once, order);
}

#[test]
fn a_change_that_changes_nothing_is_told() {
    let server = Server::start(&["--no-http"]);
    let all = told(&server, "getBrokerConfig -c DefaultCluster");
    assert!(all.contains("sendMessageThreadPoolNums"), "{all}");
    let line = "updateBrokerConfig -c DefaultCluster -k ackMessageThreadPoolNums -v 77";
    let mut args = vec!["mqadmin"];
    args.extend(line.split(' '));
    args.extend(["-n", &server.namesrv]);
    let output = aerobee(&args, &server.directory).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("no effect here"), "{error}");
    let value = told(
        &server,
        "getBrokerConfig -c DefaultCluster --key ackMessageThreadPoolNums",
    );
    assert_eq!(value.trim(), "77");
}
