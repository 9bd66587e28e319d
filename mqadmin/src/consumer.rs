// SPDX-License-Identifier: Apache-2.0
//! Watches all groups.

use aerobee_message::topic::{RETRY_PREFIX, group_of_retry_topic};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, each},
    cli::Command,
    error::Error,
    format,
    out::{Out, line},
};

/// startMonitoring
#[derive(Debug, Args)]
pub(crate) struct StartMonitoring {
    /// Seconds between rounds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
    /// Number of rounds [else: until interrupted]
    #[arg(long)]
    rounds: Option<u64>,
}

/// What was found of a group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Watched {
    group: String,
    members: usize,
    diff_total: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

async fn watch(admin: &Admin, group: &str) -> Watched {
    let stats = admin.consume_stats(None, group, None).await;
    let members = admin.connections(group).await;
    let diff_total = stats.as_ref().map_or(0, |stats| {
        let diff = |offset: &aerobee_remoting::body::stats::GroupOffset| {
            offset.broker_offset - offset.consumer_offset
        };
        stats.offset_table.values().map(diff).sum()
    });
    let online = members
        .as_ref()
        .map_or(0, |found| found.connection_set.len());
    let problem = match (&stats, online) {
        (Err(error), _) => Some(error.to_string()),
        (Ok(_), 0) if diff_total > 0 => Some("messages wait and no member is online".to_owned()),
        _ => None,
    };
    Watched {
        group: group.to_owned(),
        members: online,
        diff_total,
        problem,
    }
}

impl Command for StartMonitoring {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let mut rounds = 0;
        loop {
            let topics = admin.topic_list().await?;
            let groups = topics
                .iter()
                .filter(|topic| topic.starts_with(RETRY_PREFIX))
                .map(|topic| group_of_retry_topic(topic));
            let rows = each(groups, |group| watch(admin, group)).await;
            out.show(&rows, |text| {
                let at = format::time(format::now());
                for row in &rows {
                    let problem = row.problem.as_deref().unwrap_or("ok");
                    line!(
                        text,
                        "{at} group={} members={} diff={} {problem}",
                        row.group,
                        row.members,
                        row.diff_total
                    );
                }
            })?;
            rounds += 1;
            if self.rounds.is_some_and(|most| rounds >= most) {
                return Ok(());
            }
            out.pause(self.interval).await?;
        }
    }
}
