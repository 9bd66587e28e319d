// SPDX-License-Identifier: Apache-2.0
//! What consumers say of themselves.

use std::{collections::BTreeMap, path::PathBuf};

use aerobee_remoting::{
    RequestCode,
    body::running::{ConsumerRunningInfo, ProcessQueue},
    code::version,
    header::client::GetConsumerRunningInfo,
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{self, Admin, LONG_PATIENCE, pick},
    cli::Command,
    client::connections_at,
    error::Error,
    format,
    out::{Out, Text, line, warn},
    target::checked,
};

/// consumerStatus
#[derive(Debug, Args)]
pub(crate) struct ConsumerStatus {
    /// The group
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: String,
    /// Only this client, printed instead of written to a file
    #[arg(short = 'i', long = "clientId")]
    client_id: Option<String>,
    /// The broker to ask [else: one that the group reads from]
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker_addr: Option<String>,
    /// The stacks of its threads too
    #[arg(short = 's', long)]
    jstack: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    client_id: String,
    version: String,
    file: PathBuf,
    #[serde(skip)]
    info: ConsumerRunningInfo,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    members: Vec<Member>,
    same_subscription: bool,
    warnings: Vec<String>,
}

impl Command for ConsumerStatus {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let broker = match &self.broker_addr {
            Some(address) => checked(address)?,
            None => {
                let retry = aerobee_message::topic::retry_topic(&self.consumer_group);
                let route = admin.route(&retry).await?;
                route
                    .broker_datas
                    .iter()
                    .find_map(pick)
                    .ok_or(Error::NoRoute(retry))?
                    .to_owned()
            }
        };
        if let Some(client) = &self.client_id {
            let info = self.info_of(admin, &broker, client).await?;
            out.show(&Plain::of(&info), |text| print_info(text, &info))?;
            return Ok(());
        }
        let found =
            connections_at(admin, &self.consumer_group, self.broker_addr.as_deref()).await?;
        let folder = PathBuf::from(format::now().to_string());
        let mut members = Vec::new();
        for connection in found.connection_set {
            match self.info_of(admin, &broker, &connection.client_id).await {
                Ok(info) => members.push(Member {
                    version: version::name(connection.version),
                    file: write_info(&folder, &connection.client_id, &info)?,
                    client_id: connection.client_id,
                    info,
                }),
                Err(error) => warn(format_args!("{}: {error}", connection.client_id)),
            }
        }
        members.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        let report = report(members);
        out.show(&report, |text| print_report(text, &report))?;
        Ok(())
    }
}

impl ConsumerStatus {
    async fn info_of(
        &self,
        admin: &Admin,
        broker: &str,
        client: &str,
    ) -> Result<ConsumerRunningInfo, Error> {
        let header = GetConsumerRunningInfo {
            consumer_group: &self.consumer_group,
            client_id: client,
            jstack_enable: self.jstack,
        };
        let request = RequestCode::GET_CONSUMER_RUNNING_INFO;
        let answer = admin
            .ask(broker, request, &header, &[], LONG_PATIENCE)
            .await?;
        admin::body(broker, request, &answer)
    }
}

/// Writes what a client said into a file under the working folder, as Apache's tool does.
fn write_info(
    folder: &std::path::Path,
    client: &str,
    info: &ConsumerRunningInfo,
) -> Result<PathBuf, Error> {
    let name: String = client
        .chars()
        .map(|letter| if letter == '/' { '_' } else { letter })
        .take(200)
        .collect();
    let path = folder.join(name);
    let file = |source| Error::File {
        path: path.clone(),
        source,
    };
    let mut text = Text::default();
    print_info(&mut text, info);
    std::fs::create_dir_all(folder).map_err(file)?;
    std::fs::write(&path, text.0).map_err(file)?;
    Ok(path)
}

fn report(members: Vec<Member>) -> Report {
    let first = members.first().map(|member| member.info.subscriptions());
    let same_subscription = members
        .iter()
        .all(|member| Some(member.info.subscriptions()) == first);
    let warnings = members
        .iter()
        .filter(|member| member.info.is_push())
        .flat_map(|member| warnings(&member.client_id, &member.info, format::now()))
        .collect();
    Report {
        members,
        same_subscription,
        warnings,
    }
}

/// Queues that do not get on.
fn warnings(client: &str, info: &ConsumerRunningInfo, now: i64) -> Vec<String> {
    let ordered = info
        .properties
        .get("PROP_CONSUMEORDERLY")
        .is_some_and(|value| value == "true");
    let mut warnings = Vec::new();
    for (queue, state) in &info.mq_table {
        let queue = format!(
            "MessageQueue [topic={}, brokerName={}, queueId={}]",
            queue.topic, queue.broker_name, queue.queue_id
        );
        if ordered && !state.locked {
            let millis = now - state.last_lock_timestamp;
            warnings.push(format!(
                "{client} {queue} can't lock for a while, {millis}ms"
            ));
        } else if ordered && state.droped && state.try_unlock_times > 0 {
            let times = state.try_unlock_times;
            warnings.push(format!(
                "{client} {queue} unlock {times} times, still failed"
            ));
        } else if !ordered
            && state.cached_msg_count > 0
            && now - state.last_consume_timestamp > 60_000
        {
            let millis = now - state.last_consume_timestamp;
            warnings.push(format!(
                "{client} {queue} can't consume for a while, maybe blocked, {millis}ms"
            ));
        }
    }
    warnings
}

fn print_report(text: &mut Text, report: &Report) {
    line!(
        text,
        "{:<10} {:<40} {:<20} {}",
        "#Index",
        "#ClientId",
        "#Version",
        "#ConsumerRunningInfoFile"
    );
    for (at, member) in report.members.iter().enumerate() {
        line!(
            text,
            "{:<10} {:<40} {:<20} {}",
            at + 1,
            member.client_id,
            member.version,
            member.file.display()
        );
    }
    if report.members.is_empty() {
        return;
    }
    if !report.same_subscription {
        line!(
            text,
            "\n\nWARN: Different subscription in the same group of consumer!!!"
        );
        return;
    }
    line!(text, "\n\nSame subscription in the same group of consumer");
    line!(text, "\nRebalance OK");
    for warning in &report.warnings {
        line!(text, "{warning}");
    }
}

/// The same for JSON, whose maps have texts for keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plain<'a> {
    properties: &'a BTreeMap<String, String>,
    subscriptions: Vec<(&'a str, &'a str)>,
    queues: Vec<PlainQueue<'a>>,
    status: &'a BTreeMap<String, aerobee_remoting::body::running::ConsumeRates>,
    user_consumer_info: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jstack: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlainQueue<'a> {
    topic: &'a str,
    broker_name: &'a str,
    queue_id: i32,
    #[serde(flatten)]
    state: &'a ProcessQueue,
}

impl<'a> Plain<'a> {
    fn of(info: &'a ConsumerRunningInfo) -> Self {
        Self {
            properties: &info.properties,
            subscriptions: info.subscriptions().into_iter().collect(),
            queues: info
                .mq_table
                .iter()
                .map(|(queue, state)| PlainQueue {
                    topic: &queue.topic,
                    broker_name: &queue.broker_name,
                    queue_id: queue.queue_id,
                    state,
                })
                .collect(),
            status: &info.status_table,
            user_consumer_info: &info.user_consumer_info,
            jstack: info.jstack.as_deref(),
        }
    }
}

fn print_info(text: &mut Text, info: &ConsumerRunningInfo) {
    line!(text, "#Consumer Properties#");
    for (key, value) in &info.properties {
        line!(text, "{key:<40}: {value}");
    }
    line!(text, "\n\n#Consumer Subscription#");
    for (at, data) in info.subscription_set.iter().enumerate() {
        line!(
            text,
            "{:03} Topic: {:<40} ClassFilter: {:<8} SubExpression: {}",
            at + 1,
            data.topic,
            data.class_filter_mode,
            data.sub_string
        );
    }
    line!(text, "\n\n#Consumer Offset#");
    line!(
        text,
        "{:<64}  {:<32}  {:<4}  {:<20}",
        "#Topic",
        "#Broker Name",
        "#QID",
        "#Consumer Offset"
    );
    for (queue, state) in &info.mq_table {
        line!(
            text,
            "{:<32}  {:<32}  {:<4}  {:<20}",
            queue.topic,
            queue.broker_name,
            queue.queue_id,
            state.commit_offset
        );
    }
    line!(text, "\n\n#Consumer MQ Detail#");
    line!(
        text,
        "{:<64}  {:<32}  {:<4}  {:<20}",
        "#Topic",
        "#Broker Name",
        "#QID",
        "#ProcessQueueInfo"
    );
    for (queue, state) in &info.mq_table {
        line!(
            text,
            "{:<64}  {:<32}  {:<4}  {}",
            queue.topic,
            queue.broker_name,
            queue.queue_id,
            queue_text(state)
        );
    }
    print_rest(text, info);
}

fn print_rest(text: &mut Text, info: &ConsumerRunningInfo) {
    line!(text, "\n\n#Consumer Pop Detail#");
    line!(
        text,
        "{:<32}  {:<32}  {:<4}  {:<20}",
        "#Topic",
        "#Broker Name",
        "#QID",
        "#ProcessQueueInfo"
    );
    for (queue, state) in &info.mq_pop_table {
        line!(
            text,
            "{:<32}  {:<32}  {:<4}  PopProcessQueueInfo [waitAckCount:{}, droped:{}, lastPopTimestamp:{}]",
            queue.topic,
            queue.broker_name,
            queue.queue_id,
            state.wait_ack_count,
            state.droped,
            state.last_pop_timestamp
        );
    }
    line!(text, "\n\n#Consumer RT&TPS#");
    line!(
        text,
        "{:<64}  {:>14} {:>14} {:>14} {:>14} {:>18} {:>25}",
        "#Topic",
        "#Pull RT",
        "#Pull TPS",
        "#Consume RT",
        "#ConsumeOK TPS",
        "#ConsumeFailed TPS",
        "#ConsumeFailedMsgsInHour"
    );
    for (topic, rates) in &info.status_table {
        line!(
            text,
            "{topic:<32}  {:>14.2} {:>14.2} {:>14.2} {:>14.2} {:>18.2} {:>25}",
            rates.pull_rt,
            rates.pull_tps,
            rates.consume_rt,
            rates.consume_ok_tps,
            rates.consume_failed_tps,
            rates.consume_failed_msgs
        );
    }
    line!(text, "\n\n#User Consume Info#");
    for (key, value) in &info.user_consumer_info {
        line!(text, "{key:<40}: {value}");
    }
    if let Some(jstack) = &info.jstack {
        line!(text, "\n\n#Consumer jstack#");
        line!(text, "{jstack}");
    }
}

fn queue_text(state: &ProcessQueue) -> String {
    format!(
        "ProcessQueueInfo [commitOffset={}, cachedMsgMinOffset={}, cachedMsgMaxOffset={}, cachedMsgCount={}, cachedMsgSizeInMiB={}, transactionMsgMinOffset={}, transactionMsgMaxOffset={}, transactionMsgCount={}, locked={}, tryUnlockTimes={}, lastLockTimestamp={}, droped={}, lastPullTimestamp={}, lastConsumeTimestamp={}]",
        state.commit_offset,
        state.cached_msg_min_offset,
        state.cached_msg_max_offset,
        state.cached_msg_count,
        state.cached_msg_size_in_mib,
        state.transaction_msg_min_offset,
        state.transaction_msg_max_offset,
        state.transaction_msg_count,
        state.locked,
        state.try_unlock_times,
        format::time_digits(state.last_lock_timestamp),
        state.droped,
        format::time_digits(state.last_pull_timestamp),
        format::time_digits(state.last_consume_timestamp)
    )
}
