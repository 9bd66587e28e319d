// SPDX-License-Identifier: Apache-2.0

//! Names, types and labels of metrics, ours compared with those that Apache's broker exports under the same load. The
//! list is Apache's own scrape, made when the trial runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aerobee_compat_tests::{Cluster, Kind, Plan};
use libtest_mimic::{Failed, Trial};

use crate::world::{JAVA, SCENARIO_LIMIT, World};

/// What Apache exports and we do not, with the reason.
const ABSENT: [(&str, &str); 5] = [
    ("target_info", "a remark of Apache's exporter about itself"),
    (
        "rocketmq_processor_watermark",
        "requests run where they are read: there are no queues of waiting requests",
    ),
    (
        "rocketmq_pop_offset_buffer_size",
        "offsets of popped messages are committed at once, none is buffered",
    ),
    (
        "rocketmq_pop_buffer_scan_time_consume_milliseconds",
        "check points are ordered by their time, nothing is scanned",
    ),
    (
        "rocketmq_pop_revive_out_message_total",
        "what is popped is known from memory, the revive topic is read after a crash only",
    ),
];

/// Those that we tell of popping groups only: what a pulling group has fetched and not committed is not tracked.
const OF_POPS: [&str; 3] = [
    "rocketmq_consumer_inflight_messages",
    "rocketmq_consumer_queueing_latency_milliseconds",
    "rocketmq_consumer_ready_messages",
];

/// Labels that Apache's exporter adds about itself.
const OF_THE_EXPORTER: [&str; 2] = ["otel_scope_name", "otel_scope_version"];

const LOAD: [&str; 4] = [
    "send_sync",
    "delay_by_time",
    "retry_until_dead_letter",
    "transaction_commit_rollback_and_check_back",
];

/// A metric: its type, and the label keys of all its samples.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

type Metrics = BTreeMap<String, Metric>;

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    if world.judged != Kind::Aerobee {
        return Vec::new();
    }
    vec![world.trial("metrics_are_named_and_labelled_as_apaches", compare)]
}

fn compare(world: &World) -> Result<(), Failed> {
    let apache = of(world, Kind::Apache)?;
    let ours = of(world, Kind::Aerobee)?;
    let mut faults = Vec::new();
    for (name, theirs) in &apache {
        let is_absent = ABSENT.iter().any(|(absent, _)| absent == name);
        match ours.get(name) {
            None if is_absent || OF_POPS.contains(&name.as_str()) => {}
            None => faults.push(format!("{name} is missing")),
            Some(_) if is_absent => faults.push(format!("{name} is there after all")),
            Some(ours) => {
                if ours.kind != theirs.kind {
                    faults.push(format!("{name} is a {}, not a {}", ours.kind, theirs.kind));
                }
                if ours.labels != theirs.labels {
                    faults.push(format!(
                        "{name} has the labels {:?}, not {:?}",
                        ours.labels, theirs.labels
                    ));
                }
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("\n").into())
}

/// What a broker of that kind exports while a group consumes and after messages of all kinds.
fn of(world: &World, kind: Kind) -> Result<Metrics, Failed> {
    let _slot = world.slot();
    let conf = [
        ("mappedFileSizeCommitLog", "67108864"),
        ("mappedFileSizeConsumeQueue", "200000"),
        ("metricsExporterType", "PROM"),
        ("metricsPromExporterHost", "127.0.0.1"),
        ("metricsPromExporterPort", "{metrics}"),
    ];
    let cluster = Cluster::start(Plan {
        conf: &conf,
        ..Plan::of(kind)
    })?;
    let driver = world.driver(JAVA)?;
    for scenario in LOAD {
        let prefix = world.prefix();
        // What they judge is the matter of other trials: here they are the load.
        let _ = driver.perform(scenario, &cluster, &[("prefix", &prefix)], SCENARIO_LIMIT);
    }
    let prefix = world.prefix();
    let (topic, group) = (format!("{prefix}_metrics"), format!("{prefix}_group"));
    let create = [("prefix", &*prefix), ("topic", &topic), ("queues", "4")];
    driver.perform("create", &cluster, &create, SCENARIO_LIMIT)?;
    let consume = [("prefix", &*prefix), ("topic", &topic), ("group", &group)];
    let consumer = driver.begin("consume", &cluster, &consume)?;
    let produce = [
        ("prefix", &*prefix),
        ("topic", &*topic),
        ("word", "m"),
        ("count", "0"),
        ("pause_ms", "20"),
    ];
    let producer = driver.begin("produce", &cluster, &produce)?;
    // Connections and lags are told of only while there are some.
    let wanted = [
        "rocketmq_producer_connections",
        "rocketmq_consumer_connections",
        "rocketmq_consumer_lag_messages",
        "rocketmq_messages_out_total",
    ];
    let deadline = Instant::now() + SCENARIO_LIMIT;
    let metrics = loop {
        let metrics = parse(&scrape(cluster.metrics_port())?);
        if wanted.iter().all(|name| metrics.contains_key(*name)) {
            break metrics;
        }
        if Instant::now() > deadline {
            return Err(format!("{kind} exports no {wanted:?}: {metrics:?}").into());
        }
        thread::sleep(Duration::from_millis(500));
    };
    for running in [producer, consumer] {
        running.stop()?;
        running.finish(SCENARIO_LIMIT)?;
    }
    Ok(metrics)
}

fn scrape(port: u16) -> Result<String, Failed> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn parse(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = rest.split_once(' ') {
                metrics.entry(name.to_owned()).or_default().kind = kind.trim().to_owned();
            }
            continue;
        }
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let suffixes = ["_bucket", "_sum", "_count"];
        let family = suffixes
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| metrics.contains_key(*family))
            .unwrap_or(name);
        let Some(metric) = metrics.get_mut(family) else {
            continue;
        };
        metric.labels.extend(keys(rest));
    }
    metrics
}

/// The label keys of a sample: what stands before each `="`. Values of ours and Apache's hold no such text.
fn keys(rest: &str) -> Vec<String> {
    let labels = rest.rsplit_once('}').map_or(rest, |(labels, _)| labels);
    let parts = labels.split("=\"");
    let mut keys: Vec<String> = parts
        .map(|part| part.rsplit([',', '"']).next().unwrap_or(part).to_owned())
        .collect();
    // Behind the last value there is no key.
    keys.pop();
    keys.retain(|key| !OF_THE_EXPORTER.contains(&key.as_str()));
    keys
}
