// SPDX-License-Identifier: Apache-2.0
//! Static topics, whose logical queues are spread over brokers by this tool.

use std::collections::{BTreeMap, BTreeSet};

use aerobee_remoting::{
    RequestCode, ResponseCode,
    body::{
        cluster::ClusterInfo,
        route::MASTER_ID,
        static_topic::{LogicalQueuePart, TopicQueueMappingDetail},
        stats::TopicStats,
        topic::{TopicConfig, TopicConfigAndMapping},
    },
    fastjson,
    header::{
        stats::GetTopicStats,
        topic::{GetTopicConfig, UpdateTopic},
    },
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{self, Admin, PATIENCE},
    cli::Command,
    error::Error,
    format,
    out::{Out, done},
    target::topic_name,
};

/// Logical offsets of a moved queue begin at a multiple of this, so that what was still under way
/// when it moved has room.
const BLOCK: i64 = 10_000;

/// The brokers that a static topic is spread over.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Brokers {
    /// Clusters, separated by commas
    #[arg(short = 'c', long, value_delimiter = ',')]
    clusters: Vec<String>,
    /// Names of brokers, separated by commas; go before --clusters
    #[arg(short = 'b', long, value_delimiter = ',')]
    brokers: Vec<String>,
}

impl Brokers {
    fn names(&self, info: &ClusterInfo) -> Result<BTreeSet<String>, Error> {
        let mut names = BTreeSet::new();
        for name in &self.brokers {
            names.insert(admin::broker(info, name.trim())?.broker_name.clone());
        }
        if names.is_empty() {
            for cluster in &self.clusters {
                let found = admin::members(info, cluster.trim())?;
                names.extend(found.iter().map(|broker| broker.broker_name.clone()));
            }
        }
        if names.is_empty() {
            return Err(Error::NotFound("Find none brokers, do nothing".to_owned()));
        }
        Ok(names)
    }
}

/// A static topic as its brokers have it, by broker name.
type Parts = BTreeMap<String, TopicConfigAndMapping>;

fn master<'a>(info: &'a ClusterInfo, name: &str) -> Result<&'a str, Error> {
    let broker = admin::broker(info, name)?;
    let address = broker.broker_addrs.get(&MASTER_ID).map(String::as_str);
    address.ok_or_else(|| Error::NotFound(format!("broker {name} has no master at the moment")))
}

/// The parts of a topic on all brokers.
async fn parts(admin: &Admin, info: &ClusterInfo, topic: &str) -> Result<Parts, Error> {
    let mut parts = Parts::new();
    for name in info.broker_addr_table.keys() {
        let header = GetTopicConfig {
            topic,
            lo: Some(true),
        };
        let found: Result<TopicConfigAndMapping, _> =
            admin.read(master(info, name)?, &header).await;
        match found {
            Ok(part) if part.mapping_detail.is_some() => {
                parts.insert(name.clone(), part);
            }
            Ok(_) => {
                return Err(Error::NotFound(format!(
                    "topic {topic} exists on {name} and is not static: it cannot become static"
                )));
            }
            Err(error) if error.code() == Some(ResponseCode::TOPIC_NOT_EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(parts)
}

/// Where each logical queue lives now: its parts, of which the last one is written.
fn queues(parts: &Parts) -> BTreeMap<i32, Vec<LogicalQueuePart>> {
    let mut all = BTreeMap::<i32, Vec<LogicalQueuePart>>::new();
    for detail in parts
        .values()
        .filter_map(|part| part.mapping_detail.as_ref())
    {
        for (id, items) in &detail.hosted_queues {
            let newer = |known: &Vec<LogicalQueuePart>| {
                known.last().map(|last| last.r#gen) >= items.last().map(|last| last.r#gen)
            };
            if !all.get(id).is_some_and(newer) {
                all.insert(*id, items.clone());
            }
        }
    }
    all
}

fn leader(items: &[LogicalQueuePart]) -> &str {
    items
        .last()
        .and_then(|last| last.bname.as_deref())
        .unwrap_or_default()
}

fn epoch(parts: &Parts) -> i64 {
    let epochs = parts
        .values()
        .filter_map(|part| part.mapping_detail.as_ref());
    epochs
        .map(|detail| detail.epoch)
        .max()
        .map_or_else(format::now, |epoch| format::now().max(epoch + 1_000))
}

/// The part of a broker that has none yet.
fn new_part(topic: &str, broker: &str) -> TopicConfigAndMapping {
    let config = TopicConfig {
        topic_name: topic.to_owned(),
        read_queue_nums: 0,
        write_queue_nums: 0,
        ..TopicConfig::default()
    };
    let detail = TopicQueueMappingDetail {
        bname: Some(broker.to_owned()),
        topic: Some(topic.to_owned()),
        ..TopicQueueMappingDetail::default()
    };
    TopicConfigAndMapping::new(config, Some(detail))
}

/// Adds a queue to a broker's part; tells its number there.
fn grow(part: &mut TopicConfigAndMapping) -> i32 {
    part.write_queue_nums += 1;
    part.read_queue_nums += 1;
    part.write_queue_nums - 1
}

fn host(part: &mut TopicConfigAndMapping, id: i32, items: Vec<LogicalQueuePart>) {
    if let Some(detail) = &mut part.mapping_detail {
        detail.hosted_queues.insert(id, items);
    }
}

fn stamp(parts: &mut Parts, epoch: i64, total: i32) {
    for detail in parts
        .values_mut()
        .filter_map(|part| part.mapping_detail.as_mut())
    {
        detail.epoch = epoch;
        detail.total_queues = total;
    }
}

/// Spreads new queues over brokers, those with the fewest first.
fn spread(
    parts: &mut Parts,
    topic: &str,
    names: &BTreeSet<String>,
    total: i32,
) -> Result<(), Error> {
    let known = queues(parts);
    let have = i32::try_from(known.len()).unwrap_or(i32::MAX);
    if total < have {
        return Err(Error::NotFound(format!(
            "Cannot decrease the queue num for static topic {total} < {have}"
        )));
    }
    if total == have {
        return Err(Error::NotFound(
            "The topic queue num is equal the existed queue num, do nothing".to_owned(),
        ));
    }
    let mut load: BTreeMap<String, usize> = names.iter().map(|name| (name.clone(), 0)).collect();
    for items in known.values() {
        *load.entry(leader(items).to_owned()).or_default() += 1;
    }
    for id in (0..total).filter(|id| !known.contains_key(id)) {
        let Some(broker) = load
            .iter()
            .min_by_key(|(_, queues)| **queues)
            .map(|(name, _)| name.clone())
        else {
            break;
        };
        *load.entry(broker.clone()).or_default() += 1;
        let part = parts
            .entry(broker.clone())
            .or_insert_with(|| new_part(topic, &broker));
        let item = LogicalQueuePart {
            bname: Some(broker),
            queue_id: grow(part),
            ..LogicalQueuePart::default()
        };
        host(part, id, vec![item]);
    }
    let epoch = epoch(parts);
    stamp(parts, epoch, total);
    Ok(())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MappingFile<'a> {
    broker_config_map: &'a Parts,
    broker_to_map_in: &'a BTreeSet<String>,
    broker_to_map_out: &'a BTreeSet<String>,
    epoch: i64,
    topic: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

/// Writes a mapping into a file, so that it can be looked at and put back, and tells where.
fn keep(out: &mut Out, file: &MappingFile<'_>, after: bool) -> Result<(), Error> {
    let (suffix, which) = if after {
        ("after", "new")
    } else {
        ("before", "old")
    };
    let name = format!("{}-{}.{suffix}", file.topic, file.epoch);
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, fastjson::to_vec(file)).map_err(|source| Error::File {
        path: path.clone(),
        source,
    })?;
    done!(
        out,
        "The {which} mapping data is written to file {}",
        path.display()
    );
    Ok(())
}

/// Sends a broker its part.
async fn put(
    admin: &Admin,
    info: &ClusterInfo,
    (name, part): (&str, &TopicConfigAndMapping),
    force: bool,
) -> Result<(), Error> {
    let attributes = format::attributes_text(&part.attributes);
    let header = UpdateTopic {
        topic: &part.topic_name,
        default_topic: Some(aerobee_message::topic::AUTO_CREATE),
        read_queue_nums: part.read_queue_nums,
        write_queue_nums: part.write_queue_nums,
        perm: part.perm,
        topic_filter_type: &part.topic_filter_type,
        topic_sys_flag: Some(part.topic_sys_flag),
        order: part.order,
        attributes: Some(&attributes),
        force: Some(force),
    };
    let body = part
        .mapping_detail
        .as_ref()
        .map(fastjson::to_vec)
        .unwrap_or_default();
    let request = RequestCode::UPDATE_AND_CREATE_STATIC_TOPIC;
    admin
        .ask(master(info, name)?, request, &header, &body, PATIENCE)
        .await?;
    Ok(())
}

/// Brokers of the same clusters get the topic too, without queues.
fn complete(parts: &mut Parts, info: &ClusterInfo, topic: &str, epoch: i64, total: i32) {
    let clusters: Vec<_> = info
        .cluster_addr_table
        .values()
        .filter(|names| names.iter().any(|name| parts.contains_key(name)))
        .collect();
    for name in clusters.into_iter().flatten() {
        parts
            .entry(name.clone())
            .or_insert_with(|| new_part(topic, name));
    }
    stamp(parts, epoch, total);
}

/// updateStaticTopic
#[derive(Debug, Args)]
pub(crate) struct UpdateStaticTopic {
    #[command(flatten)]
    brokers: Brokers,
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Number of logical queues; -qn for short
    #[arg(long = "totalQueueNum", value_parser = clap::value_parser!(i32).range(1..=65_536))]
    total_queue_num: i32,
    /// Has no meaning; -mf for short
    #[arg(long = "mapFile")]
    map_file: Option<String>,
    /// Whether brokers shall take an older mapping too; -fr for short
    #[arg(long = "forceReplace", default_value_t = false, action = clap::ArgAction::Set)]
    force_replace: bool,
}

impl Command for UpdateStaticTopic {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let topic = &self.topic;
        topic_name(topic)?;
        let info = admin.cluster_info().await?;
        let names = self.brokers.names(&info)?;
        let mut parts = parts(admin, &info, topic).await?;
        let none = BTreeSet::new();
        let mut file = |parts: &Parts, after| {
            let file = MappingFile {
                broker_config_map: parts,
                broker_to_map_in: &none,
                broker_to_map_out: &none,
                epoch: epoch(parts),
                topic,
                kind: "CREATE_OR_UPDATE",
            };
            keep(out, &file, after)
        };
        file(&parts, false)?;
        spread(&mut parts, topic, &names, self.total_queue_num)?;
        file(&parts, true)?;
        let epoch = epoch(&parts);
        complete(&mut parts, &info, topic, epoch, self.total_queue_num);
        for (name, part) in &parts {
            put(admin, &info, (name, part), self.force_replace).await?;
        }
        Ok(())
    }
}

/// remappingStaticTopic
#[derive(Debug, Args)]
pub(crate) struct RemappingStaticTopic {
    #[command(flatten)]
    brokers: Brokers,
    /// Name of the topic
    #[arg(short = 't', long)]
    topic: String,
    /// Has no meaning; -mf for short
    #[arg(long = "mapFile")]
    map_file: Option<String>,
    /// Whether brokers shall take an older mapping too; -fr for short
    #[arg(long = "forceReplace", default_value_t = false, action = clap::ArgAction::Set)]
    force_replace: bool,
}

/// A plan to move logical queues: from which brokers to which.
#[derive(Debug, Default)]
struct Moves {
    out: BTreeSet<String>,
    into: BTreeSet<String>,
    /// Queue → broker that gets it.
    queues: BTreeMap<i32, String>,
}

/// Which queues have to move so that `names` have about equally many and the others none.
fn plan(known: &BTreeMap<i32, Vec<LogicalQueuePart>>, names: &BTreeSet<String>) -> Moves {
    let (each, rest) = (known.len() / names.len(), known.len() % names.len());
    // Who has most keeps one more, so that fewer move.
    let mut have: Vec<_> = names
        .iter()
        .map(|name| {
            (
                name,
                known.values().filter(|items| leader(items) == name).count(),
            )
        })
        .collect();
    have.sort_by_key(|(_, queues)| std::cmp::Reverse(*queues));
    let mut room: BTreeMap<&str, usize> = have
        .iter()
        .enumerate()
        .map(|(at, (name, _))| (name.as_str(), each + usize::from(at < rest)))
        .collect();
    let mut homeless = Vec::new();
    for (id, items) in known {
        match room.get_mut(leader(items)) {
            Some(room) if *room > 0 => *room -= 1,
            _ => homeless.push((*id, leader(items))),
        }
    }
    let mut moves = Moves::default();
    for (id, from) in homeless {
        if let Some((name, room)) = room.iter_mut().find(|(_, room)| **room > 0) {
            *room -= 1;
            moves.out.insert(from.to_owned());
            moves.into.insert((*name).to_owned());
            moves.queues.insert(id, (*name).to_owned());
        }
    }
    moves
}

impl Command for RemappingStaticTopic {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let topic = &self.topic;
        topic_name(topic)?;
        let info = admin.cluster_info().await?;
        let names = self.brokers.names(&info)?;
        let mut parts = parts(admin, &info, topic).await?;
        if parts.is_empty() {
            return Err(Error::NotFound(format!(
                "No topic route to do the remapping: topic {topic} is no static topic"
            )));
        }
        let known = queues(&parts);
        let total = i32::try_from(known.len()).unwrap_or(i32::MAX);
        let moves = plan(&known, &names);
        let mut file = |parts: &Parts, after| {
            let file = MappingFile {
                broker_config_map: parts,
                broker_to_map_in: &moves.into,
                broker_to_map_out: &moves.out,
                epoch: epoch(parts),
                topic,
                kind: "REMAPPING",
            };
            keep(out, &file, after)
        };
        file(&parts, false)?;
        let epoch = epoch(&parts);
        apply(&mut parts, topic, &known, &moves);
        stamp(&mut parts, epoch, total);
        file(&parts, true)?;
        complete(&mut parts, &info, topic, epoch, total);
        self.carry_out(admin, &info, &mut parts, &moves).await
    }
}

/// Notes the moves in the parts; where the new ones begin is not yet known.
fn apply(
    parts: &mut Parts,
    topic: &str,
    known: &BTreeMap<i32, Vec<LogicalQueuePart>>,
    moves: &Moves,
) {
    for (id, to) in &moves.queues {
        let Some(items) = known.get(id) else {
            continue;
        };
        let from = leader(items).to_owned();
        let part = parts
            .entry(to.clone())
            .or_insert_with(|| new_part(topic, to));
        let mut items = items.clone();
        items.push(LogicalQueuePart {
            bname: Some(to.clone()),
            r#gen: items.last().map_or(0, |last| last.r#gen) + 1,
            logic_offset: -1,
            queue_id: grow(part),
            ..LogicalQueuePart::default()
        });
        host(part, *id, items.clone());
        if let Some(part) = parts.get_mut(&from) {
            host(part, *id, items);
        }
    }
}

impl RemappingStaticTopic {
    /// New leaders first, without telling where their queues begin, so that nothing is lost; then the
    /// old ones, which write no more; then it is known where the new ones begin.
    async fn carry_out(
        &self,
        admin: &Admin,
        info: &ClusterInfo,
        parts: &mut Parts,
        moves: &Moves,
    ) -> Result<(), Error> {
        let force = self.force_replace;
        for name in moves.into.iter().chain(&moves.out) {
            if let Some(part) = parts.get(name) {
                put(admin, info, (name, part), force).await?;
            }
        }
        for name in &moves.out {
            let header = GetTopicStats { topic: &self.topic };
            let stats: TopicStats = admin.read(master(info, name)?, &header).await?;
            for (queue, offset) in stats.offset_table {
                for id in moves.queues.keys() {
                    settle(parts, *id, name, queue.queue_id, offset.max_offset);
                }
            }
        }
        for name in &moves.into {
            if let Some(part) = parts.get(name) {
                put(admin, info, (name, part), force).await?;
            }
        }
        for (name, part) in &*parts {
            if !moves.into.contains(name) {
                put(admin, info, (name, part), force).await?;
            }
        }
        Ok(())
    }
}

/// Ends the part of a logical queue that lay on `from`, and begins the one after it.
fn settle(parts: &mut Parts, id: i32, from: &str, queue: i32, end: i64) {
    for detail in parts
        .values_mut()
        .filter_map(|part| part.mapping_detail.as_mut())
    {
        let Some([.., old, new]) = detail.hosted_queues.get_mut(&id).map(Vec::as_mut_slice) else {
            continue;
        };
        if old.bname.as_deref() == Some(from) && old.queue_id == queue && new.logic_offset < 0 {
            old.end_offset = end;
            let logical = old.logic_offset + (end - old.start_offset);
            new.logic_offset = (logical / BLOCK + 1) * BLOCK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn queues_are_spread_evenly_and_new_ones_go_where_few_are() {
        let mut parts = Parts::new();
        spread(&mut parts, "T", &names(&["a", "b"]), 4).expect("spread");
        let count = |parts: &Parts, name: &str| parts[name].write_queue_nums;
        assert_eq!((count(&parts, "a"), count(&parts, "b")), (2, 2));
        spread(&mut parts, "T", &names(&["a", "b", "c"]), 6).expect("spread");
        assert_eq!(count(&parts, "c"), 2);
        assert_eq!(queues(&parts).len(), 6);
        assert!(spread(&mut parts, "T", &names(&["a"]), 5).is_err());
        assert!(spread(&mut parts, "T", &names(&["a"]), 6).is_err());
    }

    #[test]
    fn a_move_keeps_what_can_stay_and_begins_after_the_old_end() {
        let mut parts = Parts::new();
        spread(&mut parts, "T", &names(&["a"]), 4).expect("spread");
        let known = queues(&parts);
        let moves = plan(&known, &names(&["a", "b"]));
        assert_eq!(moves.queues.len(), 2);
        assert_eq!(
            (moves.out.clone(), moves.into.clone()),
            (names(&["a"]), names(&["b"]))
        );
        apply(&mut parts, "T", &known, &moves);
        let id = *moves.queues.keys().next().expect("a queue");
        let old = known[&id][0].queue_id;
        settle(&mut parts, id, "a", old, 12_345);
        let detail = parts["b"].mapping_detail.as_ref().expect("a mapping");
        let items = &detail.hosted_queues[&id];
        assert_eq!(
            (items[0].end_offset, items[1].logic_offset),
            (12_345, 20_000)
        );
        assert_eq!(leader(items), "b");
    }
}
