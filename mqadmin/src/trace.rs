// SPDX-License-Identifier: Apache-2.0
//! Traces: what clients note of messages that they send and consume.

use std::collections::BTreeMap;

use aerobee_message::topic::TRACE;
use clap::Args;
use serde::Serialize;

use crate::{
    admin::Admin,
    cli::Command,
    error::Error,
    format,
    message::Message,
    out::{Out, Text, line},
    query::{Wanted, by_key},
};

/// Between the fields of an entry.
const FIELD_END: char = '\u{1}';
/// Between entries.
const ENTRY_END: char = '\u{2}';

/// queryMsgTraceById
#[derive(Debug, Args)]
pub(crate) struct QueryMsgTraceById {
    /// Unique key of the message
    #[arg(short = 'i', long = "msgId")]
    msg_id: String,
    /// Topic that the clients send their traces to
    #[arg(short = 't', long = "traceTopic", default_value = TRACE)]
    trace_topic: String,
    /// Earliest store time of the trace, ms since 1970
    #[arg(short = 'b', long = "beginTimestamp", default_value_t = 0)]
    begin_timestamp: i64,
    /// Latest store time of the trace, ms since 1970
    #[arg(short = 'e', long = "endTimestamp", default_value_t = i64::MAX, hide_default_value = true)]
    end_timestamp: i64,
    /// Most traces of each broker
    #[arg(short = 'c', long = "maxNum", default_value_t = 64, value_parser = clap::value_parser!(i32).range(1..))]
    max_num: i32,
}

/// What a client did with the message.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    kind: &'static str,
    group: String,
    client_host: String,
    timestamp: i64,
    cost_time: i64,
    status: &'static str,
}

/// What a trace says of a message.
fn steps(msg_id: &str, client: &str, trace: &str) -> Vec<Step> {
    trace
        .split(ENTRY_END)
        .filter_map(|entry| step(msg_id, client, entry))
        .collect()
}

fn step(msg_id: &str, client: &str, entry: &str) -> Option<Step> {
    let fields: Vec<_> = entry.split(FIELD_END).collect();
    let get = |at: usize| fields.get(at).copied();
    let number = |at: usize| get(at)?.parse::<i64>().ok();
    let status = |at: usize| {
        if get(at).is_some_and(|text| text == "true") {
            "success"
        } else {
            "failed"
        }
    };
    let new = |kind, group: &str, timestamp, cost_time, status| Step {
        kind,
        group: group.to_owned(),
        client_host: client.to_owned(),
        timestamp,
        cost_time,
        status,
    };
    match get(0)? {
        "Pub" if get(5)? == msg_id => {
            let at = if fields.len() == 13 { 12 } else { 13 };
            Some(new("Pub", get(3)?, number(1)?, number(10)?, status(at)))
        }
        "SubAfter" if get(2)? == msg_id => {
            let group = get(8).unwrap_or("null");
            Some(new(
                "Sub",
                group,
                number(7).unwrap_or(0),
                number(3)?,
                status(4),
            ))
        }
        _ => None,
    }
}

impl Command for QueryMsgTraceById {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let wanted = Wanted {
            topic: &self.trace_topic,
            key: &self.msg_id,
            unique: false,
            max: self.max_num,
            begin: self.begin_timestamp,
            end: self.end_timestamp,
            kind: None,
            last_key: None,
        };
        let traces = by_key(admin, None, &wanted).await?;
        let all: Vec<_> = traces
            .iter()
            .flat_map(|trace| self.steps_of(trace))
            .collect();
        out.show(&all, |text| print_steps(text, &all))?;
        Ok(())
    }
}

impl QueryMsgTraceById {
    fn steps_of(&self, trace: &Message) -> Vec<Step> {
        let client = trace.born_host.ip().to_string();
        steps(&self.msg_id, &client, &String::from_utf8_lossy(&trace.body))
    }
}

fn print_steps(text: &mut Text, all: &[Step]) {
    let mut by_group = BTreeMap::<_, Vec<_>>::new();
    for step in all {
        if step.kind == "Pub" {
            head(text, "#ProducerGroup", "#SendTime");
            row(text, step);
            line!(text);
        } else {
            by_group.entry(&step.group).or_default().push(step);
        }
    }
    for steps in by_group.values() {
        head(text, "#ConsumerGroup", "#ConsumerTime");
        for step in steps {
            row(text, step);
        }
        line!(text);
    }
}

fn head(text: &mut Text, group: &str, time: &str) {
    line!(
        text,
        "{:<10} {group:<20} {:<20} {time:<20} {:<10} {:<10}",
        "#Type",
        "#ClientHost",
        "#CostTimes",
        "#Status"
    );
}

fn row(text: &mut Text, step: &Step) {
    line!(
        text,
        "{:<10} {:<20} {:<20} {:<20} {:<10} {:<10}",
        step.kind,
        step.group,
        step.client_host,
        format::time(step.timestamp),
        format!("{}ms", step.cost_time),
        step.status
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_both_sides_are_read() {
        let sent = "Pub\u{1}1700000000000\u{1}r\u{1}shop\u{1}T\u{1}ID\u{1}a\u{1}k\u{1}h:1\u{1}5\u{1}3\u{1}0\u{1}OFF\u{1}true\u{2}";
        let got = "SubBefore\u{1}1\u{1}r\u{1}bill\u{1}q\u{1}ID\u{1}0\u{1}k\u{2}SubAfter\u{1}q\u{1}ID\u{1}7\u{1}false\u{1}k\u{1}0\u{1}1700000000009\u{1}bill\u{2}";
        let all = [
            steps("ID", "c", sent),
            steps("ID", "c", got),
            steps("OTHER", "c", sent),
        ]
        .concat_steps();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].kind, all[0].cost_time, all[0].status),
            ("Pub", 3, "success")
        );
        assert_eq!(
            (all[1].group.as_str(), all[1].timestamp, all[1].status),
            ("bill", 1_700_000_000_009, "failed")
        );
        assert!(steps("ID", "c", "Pub\u{1}x").is_empty());
    }

    trait ConcatSteps {
        fn concat_steps(self) -> Vec<Step>;
    }

    impl<const N: usize> ConcatSteps for [Vec<Step>; N] {
        fn concat_steps(self) -> Vec<Step> {
            self.into_iter().flatten().collect()
        }
    }
}
