// SPDX-License-Identifier: Apache-2.0
//! Rates of topics and groups.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use aerobee_message::topic::{DLQ_PREFIX, RETRY_PREFIX, retry_topic};
use aerobee_remoting::{
    RequestCode,
    body::{
        route::{BrokerData, MASTER_ID, QueueData, TopicRoute},
        stats::{BrokerStats, ConsumeStats},
        topic::TopicConfigTable,
    },
    header::stats::{GetConsumeStats, ViewBrokerStats},
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, LONG_PATIENCE, body, each, pick},
    cli::Command,
    error::Error,
    format::front,
    out::{Out, line},
};

/// Most queues of a group that are asked for in one answer: some 250 bytes each, and an answer has to
/// stay far below the 16 MiB of a frame.
const QUEUES_AT_ONCE: i64 = 10_000;

/// statsAll
#[derive(Debug, Args)]
pub(crate) struct StatsAll {
    /// Only what had messages within the last day
    #[arg(short = 'a', long = "activeTopic")]
    active_topic: bool,
    /// Only this topic
    #[arg(short = 't', long)]
    topic: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatsRow {
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    accumulation: i64,
    in_tps: f64,
    out_tps: f64,
    in_msg_24_hour: i64,
    out_msg_24_hour: i64,
}

/// Rate of the last minute, and number of the last day.
async fn counts(admin: &Admin, route: &TopicRoute, name: &str, key: &str) -> (f64, i64) {
    let masters = route
        .broker_datas
        .iter()
        .filter_map(|broker| broker.broker_addrs.get(&MASTER_ID));
    let header = &ViewBrokerStats {
        stats_name: name,
        stats_key: key,
    };
    let answers = each(masters, |master| {
        admin.read::<_, BrokerStats>(master, header)
    })
    .await;
    let (mut tps, mut sum) = (0.0, 0);
    // What was never counted is refused.
    for stats in answers.into_iter().flatten() {
        tps += stats.stats_minute.tps;
        let spans = [
            stats.stats_day.sum,
            stats.stats_hour.sum,
            stats.stats_minute.sum,
        ];
        sum += spans.into_iter().find(|sum| *sum != 0).unwrap_or(0);
    }
    (tps, sum)
}

/// A topic, and what is known of it before its groups are looked at.
struct Topic<'a> {
    name: &'a str,
    route: TopicRoute,
    groups: BTreeSet<String>,
    put: (f64, i64),
}

/// Where topics are, learned from the brokers with one request each instead of a route for each topic.
struct Places<'a> {
    admin: &'a Admin,
    /// Topics that the name server knows.
    known: HashSet<&'a str>,
    /// Brokers with the queues that their topics are read from; without any, routes are asked for.
    brokers: Vec<(BrokerData, HashMap<String, i32>)>,
}

impl<'a> Places<'a> {
    /// Asks all brokers, if there are `many` topics to look for.
    async fn new(admin: &'a Admin, topics: &'a [String], many: bool) -> Self {
        let mut places = Self {
            admin,
            known: topics.iter().map(String::as_str).collect(),
            brokers: Vec::new(),
        };
        if many && let Ok(info) = admin.cluster_info().await {
            let asked = each(info.broker_addr_table.into_values(), |broker| async move {
                let address = pick(&broker)?;
                let request = RequestCode::GET_ALL_TOPIC_CONFIG;
                let table = admin.read_plain(address, request, LONG_PATIENCE).await;
                let table: TopicConfigTable = table.ok()?;
                let queues = table.topic_config_table.into_iter();
                let queues = queues.map(|(name, config)| (name, config.read_queue_nums));
                Some((broker, queues.collect()))
            });
            // Where one does not tell, nobody knows which topics are there as well.
            let asked: Option<Vec<_>> = asked.await.into_iter().collect();
            places.brokers = asked.unwrap_or_default();
        }
        places
    }

    async fn route(&self, topic: &str) -> Result<TopicRoute, Error> {
        let mut route = TopicRoute::default();
        for (broker, topics) in &self.brokers {
            if let Some(queues) = topics.get(topic) {
                route.broker_datas.push(broker.clone());
                route.queue_datas.push(QueueData {
                    broker_name: broker.broker_name.clone(),
                    read_queue_nums: *queues,
                    ..QueueData::default()
                });
            }
        }
        if route.broker_datas.is_empty() {
            return self.admin.route(topic).await;
        }
        Ok(route)
    }

    /// The route of a group's retry topic, if it has one: how far the group is, is asked there.
    async fn route_of_group(&self, group: &str) -> Option<TopicRoute> {
        let retry = retry_topic(group);
        if !self.known.contains(&*retry) {
            return None;
        }
        self.route(&retry).await.ok()
    }

    async fn topic(&self, name: &'a str) -> Result<Topic<'a>, Error> {
        let route = self.route(name).await?;
        let (groups, put) = tokio::join!(
            self.admin.groups_of_topic(&route, name),
            counts(self.admin, &route, "TOPIC_PUT_NUMS", name)
        );
        let groups = groups?.group_list;
        Ok(Topic {
            name,
            route,
            groups,
            put,
        })
    }
}

/// A group, and how far it is as far as that was asked for all its topics at once.
struct Group {
    /// Of its retry topic.
    route: Option<TopicRoute>,
    /// Broker, topic, messages not consumed.
    behind: HashMap<String, HashMap<String, i64>>,
}

impl Group {
    async fn new(places: &Places<'_>, name: &str, topics: &[&Topic<'_>]) -> Self {
        let route = places.route_of_group(name).await;
        let queues = topics.iter().flat_map(|topic| &topic.route.queue_datas);
        let queues: i64 = queues.map(|data| i64::from(data.read_queue_nums)).sum();
        let mut behind = HashMap::new();
        if topics.len() > 1 && queues <= QUEUES_AT_ONCE {
            let brokers: BTreeSet<&str> = match &route {
                Some(route) => route.broker_datas.iter().filter_map(pick).collect(),
                None => topics
                    .iter()
                    .flat_map(|topic| topic.route.broker_datas.iter().filter_map(pick))
                    .collect(),
            };
            let asked = each(brokers, |address| async move {
                let stats = consumption(places.admin, address, name, None).await.ok()?;
                Some((address.to_owned(), by_topic(&stats)))
            });
            behind = asked.await.into_iter().flatten().collect();
        }
        Self { route, behind }
    }

    /// Messages of a topic that the group has not consumed.
    async fn behind(&self, admin: &Admin, name: &str, topic: &Topic<'_>) -> Result<i64, Error> {
        let route = self.route.as_ref().unwrap_or(&topic.route);
        let brokers = route.broker_datas.iter().filter_map(pick);
        let parts = each(brokers, |address| async move {
            let known = self.behind.get(address);
            if let Some(messages) = known.and_then(|topics| topics.get(topic.name)) {
                return Ok(*messages);
            }
            // Where the group has committed nothing of the topic, all of it counts.
            let stats = consumption(admin, address, name, Some(topic.name)).await?;
            Ok(by_topic(&stats).into_values().sum())
        });
        parts.await.into_iter().sum()
    }
}

/// How far a group is on one broker: in a topic, or in all that it has offsets of.
async fn consumption(
    admin: &Admin,
    address: &str,
    group: &str,
    topic: Option<&str>,
) -> Result<ConsumeStats, Error> {
    let header = &GetConsumeStats {
        consumer_group: group,
        topic,
        topic_list: None,
    };
    let request = RequestCode::GET_CONSUME_STATS;
    let answer = admin
        .ask(address, request, header, &[], LONG_PATIENCE)
        .await?;
    body(address, request, &answer)
}

fn by_topic(stats: &ConsumeStats) -> HashMap<String, i64> {
    let mut behind: HashMap<String, i64> = HashMap::new();
    for (queue, offset) in &stats.offset_table {
        let messages = offset.broker_offset - offset.consumer_offset;
        match behind.get_mut(&queue.topic) {
            Some(sum) => *sum += messages,
            None => {
                behind.insert(queue.topic.clone(), messages);
            }
        }
    }
    behind
}

/// The rows of these topics, in their order. A topic that is deleted meanwhile has none.
async fn rows_of<'a>(places: &Places<'a>, wanted: &[&'a str]) -> Vec<StatsRow> {
    let admin = places.admin;
    let topics = each(wanted, |name| places.topic(name)).await;
    let topics: Vec<Topic<'_>> = topics.into_iter().flatten().collect();
    let mut of_groups: BTreeMap<&str, Vec<&Topic<'_>>> = BTreeMap::new();
    for topic in &topics {
        for group in &topic.groups {
            of_groups.entry(group).or_default().push(topic);
        }
    }
    let groups = each(&of_groups, |(name, topics)| async move {
        (*name, Group::new(places, name, topics).await)
    });
    let groups: HashMap<&str, Group> = groups.await.into_iter().collect();
    let pairs = topics.iter().flat_map(|topic| {
        let names = topic.groups.iter().map(|group| Some(group.as_str()));
        let none = topic.groups.is_empty().then_some(None);
        names.chain(none).map(move |group| (topic, group))
    });
    each(pairs, |(topic, name)| {
        let groups = &groups;
        async move {
            let (mut behind, mut got) = (0, (0.0, 0));
            if let Some((name, group)) = name.and_then(|name| Some((name, groups.get(name)?))) {
                let key = format!("{}@{name}", topic.name);
                let (counted, messages) = tokio::join!(
                    counts(admin, &topic.route, "GROUP_GET_NUMS", &key),
                    group.behind(admin, name, topic)
                );
                got = counted;
                behind = messages.unwrap_or(0).max(0);
            }
            StatsRow {
                topic: topic.name.to_owned(),
                group: name.map(str::to_owned),
                accumulation: behind,
                in_tps: topic.put.0,
                out_tps: got.0,
                in_msg_24_hour: topic.put.1,
                out_msg_24_hour: got.1,
            }
        }
    })
    .await
}

impl Command for StatsAll {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let topics = admin.topic_list().await?;
        let wanted = topics.iter().map(String::as_str).filter(|topic| {
            !topic.starts_with(RETRY_PREFIX)
                && !topic.starts_with(DLQ_PREFIX)
                && self.topic.as_deref().is_none_or(|only| only == *topic)
        });
        let wanted: Vec<&str> = wanted.collect();
        let places = Places::new(admin, &topics, self.topic.is_none()).await;
        let mut rows = rows_of(&places, &wanted).await;
        rows.retain(|row| !self.active_topic || row.in_msg_24_hour > 0 || row.out_msg_24_hour > 0);
        out.show(&rows, |text| {
            line!(
                text,
                "{:<64}  {:<64} {:>12} {:>11} {:>11} {:>14} {:>14}",
                "#Topic",
                "#Consumer Group",
                "#Accumulation",
                "#InTPS",
                "#OutTPS",
                "#InMsg24Hour",
                "#OutMsg24Hour"
            );
            for row in &rows {
                let (out_tps, out_sum) = match row.group {
                    Some(_) => (
                        format!("{:.2}", row.out_tps),
                        row.out_msg_24_hour.to_string(),
                    ),
                    None => (String::new(), "NO_CONSUMER".to_owned()),
                };
                line!(
                    text,
                    "{:<64}  {:<64} {:>12} {:>11.2} {out_tps:>11} {:>14} {out_sum:>14}",
                    front(&row.topic, 64),
                    front(row.group.as_deref().unwrap_or_default(), 64),
                    row.accumulation,
                    row.in_tps,
                    row.in_msg_24_hour
                );
            }
        })?;
        Ok(())
    }
}
