// SPDX-License-Identifier: Apache-2.0
//! Name servers, brokers and their hosts.

use std::{collections::BTreeMap, net::IpAddr};

use aerobee_daemon::flags::Address;
use aerobee_remoting::{
    RequestCode,
    body::{cluster::ClusterInfo, route::MASTER_ID},
    header::Empty,
};

use super::Findings;
use crate::{
    admin::{Admin, PATIENCE, body, each},
    broker_config::config_of,
    error::Error,
    format,
};

/// A clock may differ by so much, seconds of rounding included.
const SKEW_MILLIS: i64 = 5_000;
/// Parts of the disk in use: told of, and when brokers refuse messages.
const DISK_WARNING: f64 = 0.75;
const DISK_ERROR: f64 = 0.90;
/// Maps of a process: each log and queue file of a broker needs one.
const MAPS: u64 = 262_144;
/// Open files: each client and each file needs one.
const FILES: u64 = 65_535;

/// Asks every name server for all brokers; what they know has to be the same. The answer of the first
/// one that answers.
pub(super) async fn namesrvs(
    admin: &Admin,
    findings: &mut Findings,
) -> Result<Option<ClusterInfo>, Error> {
    let mut known: Option<(&str, ClusterInfo)> = None;
    for address in admin.namesrvs()? {
        let request = RequestCode::GET_BROKER_CLUSTER_INFO;
        let answer = admin.ask(address, request, &Empty, &[], PATIENCE).await;
        let info: Result<ClusterInfo, Error> =
            answer.and_then(|answer| body(address, request, &answer));
        match (info, &known) {
            (Err(error), _) => findings.error(
                format!("name server {address}"),
                format!("it does not answer: {error}"),
                "start it, or take it out of -n and of the brokers' namesrvAddr",
            ),
            (Ok(info), None) => {
                if info.broker_addr_table.is_empty() {
                    findings.error(
                        format!("name server {address}"),
                        "no broker has registered",
                        format!("start a broker with -n {address}"),
                    );
                }
                known = Some((address, info));
            }
            (Ok(info), Some((first, other))) if info != *other => findings.error(
                format!("name server {address}"),
                format!("it knows other brokers than {first}: clients see one or the other"),
                "name all name servers in namesrvAddr of every broker: `mqadmin updateBrokerConfig -b BROKER -k namesrvAddr -v 'A;B'`",
            ),
            (Ok(_), Some(_)) => {}
        }
    }
    Ok(known.map(|(_, info)| info))
}

/// Looks at every broker; tells how many there are.
pub(super) async fn brokers(admin: &Admin, info: &ClusterInfo, findings: &mut Findings) -> usize {
    let mut all = Vec::new();
    for broker in info.broker_addr_table.values() {
        if !broker.broker_addrs.contains_key(&MASTER_ID) {
            findings.error(
                format!("broker {}", broker.broker_name),
                "it has no master: its topics cannot be written",
                "start its master, or `mqadmin electMaster` with a controller",
            );
        }
        all.extend(
            broker
                .broker_addrs
                .iter()
                .map(|(id, address)| (&broker.broker_name, *id, address)),
        );
    }
    let near = admin
        .namesrvs()
        .is_ok_and(|all| all.iter().all(|address| is_loopback(address)));
    let asked = each(all.iter(), |(_, _, address)| async move {
        (
            admin.runtime_info(address).await,
            config_of(admin, address).await,
        )
    })
    .await;
    for ((name, id, address), (runtime, config)) in all.iter().zip(asked) {
        let about = format!("broker {name} (id {id}, {address})");
        if is_loopback(address) && !near {
            findings.error(
                &about,
                "it has registered with a loopback address, which other hosts cannot reach",
                "set brokerIP1 in its broker.conf to the address of its host and start it again",
            );
        }
        match runtime {
            Err(error) => findings.error(
                &about,
                format!("it is registered and does not answer from here: {error}"),
                "look whether it runs, whether a firewall is between, and whether brokerIP1 is reachable from here",
            ),
            Ok(runtime) => examine_runtime(&about, address, &runtime.table, findings),
        }
        if let Ok(config) = config {
            examine_config(&about, address, &config, findings);
        }
    }
    all.len()
}

fn is_loopback(address: &str) -> bool {
    address.parse::<Address>().is_ok_and(|address| {
        address.host == "localhost"
            || address
                .host
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    })
}

fn examine_runtime(
    about: &str,
    address: &str,
    runtime: &BTreeMap<String, String>,
    findings: &mut Findings,
) {
    if let Some(skew) = clock_skew(runtime, format::now()).filter(|skew| skew.abs() > SKEW_MILLIS) {
        let seconds = skew / 1_000;
        findings.warning(
            about,
            format!("its clock is {seconds} s off from here: delays, expiry and queries by time go wrong"),
            "keep the clocks of all hosts together with NTP (`timedatectl set-ntp true`)",
        );
    }
    for key in ["commitLogDiskRatio", "consumeQueueDiskRatio"] {
        let used = runtime
            .get(key)
            .and_then(|ratio| ratio.parse::<f64>().ok())
            .unwrap_or(0.0);
        let what = format!("{:.0} % of its disk are used ({key})", used * 100.0);
        let fix = format!(
            "`mqadmin deleteExpiredCommitLog -b {address}`, keep less with `mqadmin updateBrokerConfig -b {address} -k fileReservedTime -v 48`, or give it a larger disk"
        );
        if used >= DISK_ERROR {
            findings.error(
                about,
                format!("{what}: it refuses messages or will soon"),
                fix,
            );
            break;
        } else if used >= DISK_WARNING {
            findings.warning(about, what, fix);
            break;
        }
    }
    if let Some(keys) = runtime
        .get("keysWithoutEffect")
        .filter(|keys| !keys.is_empty())
    {
        findings.warning(
            about,
            format!("keys of its configuration do nothing: {keys}"),
            "correct their spelling in broker.conf or remove them",
        );
    }
    let number = |key: &str| {
        runtime
            .get(key)
            .and_then(|value| value.parse::<i64>().ok())
            .unwrap_or(0)
    };
    if number("dispatchBehindBytes") > 64 << 20 {
        findings.warning(
            about,
            format!("{} bytes of its log are not yet in queues or index", number("dispatchBehindBytes")),
            "its disk or processors are too slow for the load: look at them, or spread topics over more brokers",
        );
    }
}

/// How far the clock of a broker is ahead, by when it started and how long it runs.
fn clock_skew(runtime: &BTreeMap<String, String>, now: i64) -> Option<i64> {
    let boot: i64 = runtime.get("bootTimestamp")?.parse().ok()?;
    let text = runtime.get("runtime")?;
    let words: Vec<_> = text
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|word| !word.is_empty())
        .collect();
    let [days @ .., hours, minutes, seconds] = words.as_slice() else {
        return None;
    };
    // Java puts a comma into thousands of days.
    let days: i64 = days.concat().parse().ok()?;
    let number = |word: &str| word.parse::<i64>().ok();
    let up = ((days * 24 + number(hours)?) * 60 + number(minutes)?) * 60 + number(seconds)?;
    Some(boot + up * 1_000 - now)
}

fn examine_config(
    about: &str,
    address: &str,
    config: &BTreeMap<String, String>,
    findings: &mut Findings,
) {
    let perm: i32 = config
        .get("brokerPermission")
        .and_then(|perm| perm.parse().ok())
        .unwrap_or(6);
    if perm & 6 != 6 {
        findings.warning(
            about,
            format!(
                "its brokerPermission is {perm}, so it may not be both read (4) and written (2)"
            ),
            format!("`mqadmin updateBrokerConfig -b {address} -k brokerPermission -v 6`"),
        );
    }
}

/// Limits of the host that the doctor runs on, which matter when a broker runs there too.
pub(super) fn this_host(findings: &mut Findings) {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
    };
    if let Some(maps) = read("/proc/sys/vm/max_map_count").filter(|maps| *maps < MAPS) {
        findings.warning(
            "this host",
            format!("vm.max_map_count is {maps}: a broker with many queues runs out of maps"),
            format!("`sysctl -w vm.max_map_count={MAPS}`, and the same in /etc/sysctl.d"),
        );
    }
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if let Some(most) = files.maximum.filter(|most| *most < FILES) {
        findings.warning(
            "this host",
            format!(
                "a process may have {most} files open: a broker needs one for each client and file"
            ),
            format!(
                "raise it: LimitNOFILE={FILES} in the unit, or nofile in /etc/security/limits.conf"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(boot: &str, up: &str) -> BTreeMap<String, String> {
        [("bootTimestamp", boot), ("runtime", up)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn the_clock_of_a_broker_is_where_its_start_and_its_run_end() {
        let up = "[ 1 days, 2 hours, 3 minutes, 4 seconds ]";
        let now = 1_000 + ((26 * 60 + 3) * 60 + 4) * 1_000;
        assert_eq!(clock_skew(&runtime("1000", up), now), Some(0));
        assert_eq!(clock_skew(&runtime("61000", up), now), Some(60_000));
        let long = "[ 1,000 days, 0 hours, 0 minutes, 0 seconds ]";
        assert_eq!(clock_skew(&runtime("0", long), 86_400_000_000), Some(0));
        assert_eq!(clock_skew(&runtime("0", "unknown"), 0), None);
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_fuller_one_a_warning() {
        let mut findings = Findings::default();
        let mut table = runtime("0", "");
        table.insert("commitLogDiskRatio".to_owned(), "0.95".to_owned());
        examine_runtime("b", "b:1", &table, &mut findings);
        table.insert("commitLogDiskRatio".to_owned(), "0.8".to_owned());
        examine_runtime("b", "b:1", &table, &mut findings);
        table.insert("commitLogDiskRatio".to_owned(), "0.5".to_owned());
        examine_runtime("b", "b:1", &table, &mut findings);
        let severities: Vec<_> = findings.0.iter().map(|finding| finding.severity).collect();
        assert_eq!(
            severities,
            [
                super::super::Severity::Error,
                super::super::Severity::Warning
            ]
        );
        assert!(findings.0[0].fix.contains("deleteExpiredCommitLog -b b:1"));
    }

    #[test]
    fn loopback_is_known_by_its_address() {
        assert!(is_loopback("127.0.0.1:10911"));
        assert!(is_loopback("localhost:10911"));
        assert!(is_loopback("[::1]:10911"));
        assert!(!is_loopback("10.0.0.1:10911"));
    }
}
