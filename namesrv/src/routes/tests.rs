// SPDX-License-Identifier: Apache-2.0
//! The rules of the tables, one test each.

use aerobee_remoting::{
    body::{
        registration::BrokerRegistration,
        static_topic::TopicQueueMapping,
        topic::{TopicConfig, TopicConfigTable},
    },
    header::register::RegisterBroker,
};

use super::*;

const CLUSTER: &str = "DefaultCluster";

fn header<'a>(id: i64, address: &'a str) -> RegisterBroker<'a> {
    RegisterBroker {
        broker_name: "broker-a",
        broker_addr: address,
        cluster_name: CLUSTER,
        ha_server_addr: "ha:1",
        broker_id: id,
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        compressed: false,
        body_crc32: 0,
        zone_name: None,
    }
}

fn acting<'a>(id: i64, address: &'a str) -> RegisterBroker<'a> {
    RegisterBroker {
        enable_acting_master: Some(true),
        ..header(id, address)
    }
}

fn topics(counter: i64, names: &[&str]) -> BrokerRegistration {
    let config = |name: &str| TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        ..TopicConfig::default()
    };
    BrokerRegistration {
        topics: TopicConfigTable {
            data_version: version(counter, 0),
            topic_config_table: names
                .iter()
                .map(|name| ((*name).to_owned(), config(name)))
                .collect(),
            ..TopicConfigTable::default()
        },
        ..BrokerRegistration::default()
    }
}

fn version(counter: i64, state_version: i64) -> DataVersion {
    DataVersion {
        counter,
        state_version,
        timestamp: 0,
    }
}

/// Registers with defaults on connection 1 at time 0.
#[track_caller]
fn register(
    tables: &mut Tables,
    header: &RegisterBroker<'_>,
    body: BrokerRegistration,
) -> Registered {
    tables
        .register(header, body, 1, Rules::default(), 0)
        .unwrap()
}

fn perm(tables: &Tables, topic: &str) -> i32 {
    tables.route(topic, false).unwrap().queue_datas[0].perm
}

fn addresses(tables: &Tables) -> BTreeMap<i64, String> {
    tables.members(CLUSTER, "broker-a").broker_addrs
}

fn leave(tables: &mut Tables, id: i64, address: &str) -> Vec<Notice> {
    let departure = Departure {
        broker: BrokerKey::new(CLUSTER, address),
        name: "broker-a".to_owned(),
        id,
    };
    tables.unregister(&[departure], true)
}

#[test]
fn a_registered_topic_has_a_route() {
    let mut tables = Tables::default();
    let mut zoned = header(0, "a:1");
    zoned.zone_name = Some("z1");
    register(&mut tables, &zoned, topics(1, &["T", "U"]));
    let route = tables.route("T", false).unwrap();
    assert_eq!(route.broker_datas.len(), 1);
    let broker = &route.broker_datas[0];
    assert_eq!(broker.broker_addrs, BTreeMap::from([(0, "a:1".to_owned())]));
    assert_eq!(broker.zone_name.as_deref(), Some("z1"));
    assert_eq!(route.queue_datas[0].write_queue_nums, 4);
    assert_eq!(route.queue_datas[0].perm, 6);
    assert_eq!(route.order_topic_conf, None);
    assert!(route.filter_server_table.is_empty());
    assert_eq!(tables.route("unknown", false), None);
}

#[test]
fn one_topic_before_all_is_refused_and_leaves_no_trace() {
    let mut tables = Tables::default();
    let refused = tables.register(&header(0, "a:1"), topics(1, &["T"]), 1, Rules::default(), 0);
    assert_eq!(refused, Err(RegisterError::NotYetKnown));
    assert!(tables.cluster_info().broker_addr_table.is_empty());
    assert!(tables.cluster_info().cluster_addr_table.is_empty());
    // No topic at all is fine: a broker may have none.
    register(&mut tables, &header(0, "a:1"), topics(1, &[]));
    register(&mut tables, &header(0, "a:1"), topics(2, &["T"]));
    assert!(tables.route("T", false).is_some());
}

#[test]
fn topics_are_taken_when_the_version_differs_or_the_topic_is_missing() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    let mut same_version = topics(1, &["T", "U", "V"]);
    let config = &mut same_version.topics.topic_config_table;
    config.get_mut("T").unwrap().perm = 4;
    register(&mut tables, &header(0, "a:1"), same_version.clone());
    assert_eq!(perm(&tables, "T"), 6);
    assert!(tables.route("V", false).is_some());
    same_version.topics.data_version = version(2, 0);
    register(&mut tables, &header(0, "a:1"), same_version);
    assert_eq!(perm(&tables, "T"), 4);
}

#[test]
fn an_incremental_registration_changes_only_its_topics() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    register(&mut tables, &header(0, "a:1"), topics(2, &["V"]));
    assert_eq!(tables.topics().topic_list, ["T", "U", "V"]);
    let key = BrokerKey::new(CLUSTER, "a:1");
    assert_eq!(tables.version(&key), Some(version(2, 0)));
}

#[test]
fn topics_no_longer_registered_stay_unless_told_otherwise() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    register(&mut tables, &header(0, "a:1"), topics(2, &["U", "V"]));
    assert!(tables.route("T", false).is_some());
    let rules = Rules {
        delete_missing_topics: true,
        ..Rules::default()
    };
    let body = topics(3, &["U", "V"]);
    tables
        .register(&header(0, "a:1"), body, 1, rules, 0)
        .unwrap();
    assert_eq!(tables.topics().topic_list, ["U", "V"]);
}

#[test]
fn topics_of_slaves_do_not_count() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    register(&mut tables, &header(1, "a:2"), topics(1, &["V", "W"]));
    assert_eq!(tables.topics().topic_list, ["T", "U"]);
    assert_eq!(addresses(&tables).len(), 2);
}

#[test]
fn the_smallest_slave_speaks_for_a_name_without_master() {
    let mut tables = Tables::default();
    register(&mut tables, &header(2, "a:2"), topics(1, &["T", "U"]));
    assert_eq!(perm(&tables, "T"), 6);
    register(&mut tables, &acting(1, "a:1"), topics(1, &["T", "U"]));
    assert_eq!(
        perm(&tables, "T"),
        4,
        "an acting master's topics are read-only"
    );
    register(&mut tables, &acting(2, "a:2"), topics(2, &["V", "W"]));
    assert_eq!(tables.route("V", false), None, "id 2 is not the smallest");
    let mut old = header(0, "o:1");
    old.broker_name = "old";
    old.broker_id = 1;
    old.enable_acting_master = None;
    register(&mut tables, &old, topics(1, &["X", "Y"]));
    assert_eq!(
        tables.route("X", false),
        None,
        "slaves before 5.0 never speak"
    );
}

#[test]
fn slaves_learn_where_their_master_is() {
    let mut tables = Tables::default();
    let mut master = header(0, "a:1");
    master.ha_server_addr = "ha:0";
    assert_eq!(
        register(&mut tables, &header(1, "a:2"), topics(1, &[])),
        Registered::default()
    );
    assert_eq!(
        register(&mut tables, &master, topics(1, &[])),
        Registered::default()
    );
    let slave = register(&mut tables, &header(1, "a:2"), topics(1, &[]));
    assert_eq!(slave.ha_server_addr.as_deref(), Some("ha:0"));
    assert_eq!(slave.master_addr.as_deref(), Some("a:1"));
}

#[test]
fn a_slave_that_becomes_master_has_one_id() {
    let mut tables = Tables::default();
    register(&mut tables, &header(1, "a:2"), topics(1, &[]));
    register(&mut tables, &header(0, "a:2"), topics(1, &[]));
    assert_eq!(addresses(&tables), BTreeMap::from([(0, "a:2".to_owned())]));
}

#[test]
fn a_deposed_master_does_not_come_back() {
    let mut tables = Tables::default();
    let at_epoch = |epoch| {
        let mut body = topics(1, &[]);
        body.topics.data_version = version(1, epoch);
        body
    };
    register(&mut tables, &header(0, "old:1"), at_epoch(1));
    register(&mut tables, &header(0, "new:1"), at_epoch(2));
    register(&mut tables, &header(0, "old:1"), at_epoch(1));
    assert_eq!(addresses(&tables)[&0], "new:1");
    assert_eq!(tables.version(&BrokerKey::new(CLUSTER, "old:1")), None);
    register(&mut tables, &header(0, "old:1"), at_epoch(2));
    assert_eq!(addresses(&tables)[&0], "old:1", "an equal epoch takes over");
}

#[test]
fn static_topics_are_outlined_by_broker() {
    let mut tables = Tables::default();
    let mut body = topics(1, &["S", "T"]);
    let mapping = TopicQueueMapping {
        bname: Some("broker-a".into()),
        topic: Some("S".into()),
        total_queues: 4,
        ..TopicQueueMapping::default()
    };
    let mappings = BTreeMap::from([("S".to_owned(), mapping.clone())]);
    body.topics.topic_queue_mapping_info_map = Some(mappings);
    register(&mut tables, &header(0, "a:1"), body);
    let by_broker = tables
        .route("S", false)
        .unwrap()
        .topic_queue_mapping_by_broker;
    assert_eq!(by_broker.unwrap()["broker-a"], mapping);
    let route = tables.route("T", false).unwrap();
    assert_eq!(route.topic_queue_mapping_by_broker, None);
}

#[test]
fn filter_servers_are_kept_replaced_and_removed() {
    let mut tables = Tables::default();
    let with = |list: Option<&[&str]>| BrokerRegistration {
        filter_server_list: list.map(|list| list.iter().map(ToString::to_string).collect()),
        ..topics(1, &["T", "U"])
    };
    register(&mut tables, &header(1, "a:2"), with(Some(&[])));
    register(&mut tables, &header(0, "a:1"), with(Some(&["f:1"])));
    let table = tables.route("T", false).unwrap().filter_server_table;
    assert_eq!(table["a:1"], Some(vec!["f:1".to_owned()]));
    assert_eq!(table["a:2"], None);
    register(&mut tables, &header(0, "a:1"), with(None));
    assert!(
        !tables
            .route("T", false)
            .unwrap()
            .filter_server_table
            .is_empty()
    );
    register(&mut tables, &header(0, "a:1"), with(Some(&[])));
    assert!(
        tables
            .route("T", false)
            .unwrap()
            .filter_server_table
            .is_empty()
    );
}

#[test]
fn an_acting_master_is_shown_only_where_nothing_can_be_written() {
    let mut tables = Tables::default();
    register(
        &mut tables,
        &acting(0, "a:1"),
        topics(1, &["T", "rmq_sys_SYNC_BROKER_MEMBER_a"]),
    );
    register(&mut tables, &acting(1, "a:2"), topics(1, &[]));
    register(&mut tables, &acting(2, "a:3"), topics(1, &[]));
    let shown = |tables: &Tables, topic, support| {
        let route = tables.route(topic, support).unwrap();
        route.broker_datas[0].broker_addrs.clone()
    };
    assert_eq!(shown(&tables, "T", true)[&0], "a:1");
    leave(&mut tables, 0, "a:1");
    assert_eq!(perm(&tables, "T"), 4, "without a master nothing is written");
    let expected = BTreeMap::from([(0, "a:2".to_owned()), (2, "a:3".to_owned())]);
    assert_eq!(shown(&tables, "T", true), expected);
    assert!(!shown(&tables, "T", false).contains_key(&0));
    let members = shown(&tables, "rmq_sys_SYNC_BROKER_MEMBER_a", true);
    assert!(!members.contains_key(&0));
    tables.add_write_permission("broker-a");
    assert!(!shown(&tables, "T", true).contains_key(&0));
}

#[test]
fn without_acting_masters_topics_stay_writable() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    register(&mut tables, &header(1, "a:2"), topics(1, &[]));
    leave(&mut tables, 0, "a:1");
    assert_eq!(perm(&tables, "T"), 6);
    assert!(
        !tables.route("T", true).unwrap().broker_datas[0]
            .broker_addrs
            .contains_key(&0)
    );
}

#[test]
fn the_last_address_takes_name_cluster_and_topics_with_it() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    let mut other = header(0, "b:1");
    other.broker_name = "broker-b";
    register(&mut tables, &other, topics(1, &["T", "V"]));
    leave(&mut tables, 0, "a:1");
    assert_eq!(tables.topics().topic_list, ["T", "V"]);
    assert_eq!(tables.route("T", false).unwrap().queue_datas.len(), 1);
    let departure = tables.departure(BrokerKey::new(CLUSTER, "b:1"));
    assert_eq!((departure.name.as_str(), departure.id), ("broker-b", 0));
    tables.unregister(&[departure], false);
    assert!(tables.topics().topic_list.is_empty());
    assert!(tables.cluster_info().cluster_addr_table.is_empty());
    assert!(tables.cluster_info().broker_addr_table.is_empty());
}

#[test]
fn unregistering_what_is_unknown_does_nothing() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    assert!(leave(&mut tables, 7, "x:1").is_empty());
    let stranger = tables.departure(BrokerKey::new("other", "a:1"));
    assert_eq!(stranger.name, "", "the address belongs to another cluster");
    tables.unregister(&[stranger], true);
    assert!(tables.route("T", false).is_some());
}

#[test]
fn silent_brokers_expire_and_signs_of_life_count() {
    let mut tables = Tables::default();
    let mut quick = header(1, "a:2");
    quick.heartbeat_timeout_millis = Some(10_000);
    register(&mut tables, &header(0, "a:1"), topics(1, &[]));
    register(&mut tables, &quick, topics(1, &[]));
    let expired = |tables: &Tables, now| {
        let mut keys: Vec<_> = tables
            .expired(now)
            .into_iter()
            .map(|(key, _)| key.address)
            .collect();
        keys.sort();
        keys
    };
    assert!(expired(&tables, 10_000).is_empty());
    assert_eq!(expired(&tables, 10_001), ["a:2"]);
    tables.seen(&BrokerKey::new(CLUSTER, "a:2"), 5_000);
    tables.seen(&BrokerKey::new(CLUSTER, "unknown:1"), 5_000);
    assert!(expired(&tables, 15_000).is_empty());
    assert!(expired(&tables, 120_000).len() == 1);
    assert_eq!(expired(&tables, 120_001), ["a:1", "a:2"]);
    let mut forever = header(0, "a:1");
    forever.heartbeat_timeout_millis = Some(i64::MAX);
    tables
        .register(&forever, topics(1, &[]), 1, Rules::default(), 1)
        .unwrap();
    assert_eq!(expired(&tables, i64::MAX), ["a:2"]);
}

#[test]
fn a_connection_leads_to_the_broker_that_registered_on_it_last() {
    let mut tables = Tables::default();
    let rules = Rules::default();
    tables
        .register(&header(0, "a:1"), topics(1, &[]), 7, rules, 0)
        .unwrap();
    assert_eq!(
        tables.on_connection(7),
        Some(BrokerKey::new(CLUSTER, "a:1"))
    );
    tables
        .register(&header(0, "a:1"), topics(1, &[]), 8, rules, 0)
        .unwrap();
    assert_eq!(tables.on_connection(7), None);
}

#[test]
fn those_who_remain_learn_that_the_smallest_id_left() {
    let mut tables = Tables::default();
    for (id, address) in [(0, "a:1"), (1, "a:2"), (2, "a:3")] {
        register(&mut tables, &acting(id, address), topics(1, &[]));
    }
    assert!(leave(&mut tables, 2, "a:3").is_empty());
    register(&mut tables, &acting(2, "a:3"), topics(1, &[]));
    let notices = leave(&mut tables, 0, "a:1");
    assert_eq!(
        notices,
        [Notice {
            receivers: vec!["a:2".into(), "a:3".into()],
            min_broker_id: 1,
            min_broker_address: "a:2".into(),
            offline_address: Some("a:1".into()),
            ha_address: None,
        }]
    );
}

#[test]
fn those_before_learn_of_a_new_smallest_id() {
    let mut tables = Tables::default();
    let rules = Rules {
        notify_min_broker_id: true,
        ..Rules::default()
    };
    let mut put = |id, address| {
        let header = acting(id, address);
        tables
            .register(&header, topics(1, &[]), 1, rules, 0)
            .unwrap()
            .notice
    };
    assert_eq!(put(2, "a:3"), None, "0 is taken for the smallest before");
    assert_eq!(put(3, "a:4"), None);
    assert_eq!(
        put(1, "a:2"),
        Some(Notice {
            receivers: vec!["a:3".into(), "a:4".into()],
            min_broker_id: 1,
            min_broker_address: "a:2".into(),
            offline_address: None,
            ha_address: Some("ha:1".into()),
        })
    );
    // The one that had the smallest id gets a smaller one: it is alone, and learns it itself.
    let mut alone = Tables::default();
    register(&mut alone, &acting(1, "a:2"), topics(1, &[]));
    let promoted = alone.register(&acting(0, "a:2"), topics(1, &[]), 1, rules, 0);
    assert_eq!(promoted.unwrap().notice.unwrap().receivers, ["a:2"]);
}

#[test]
fn write_permission_is_taken_and_given_by_broker() {
    let mut tables = Tables::default();
    let mut body = topics(1, &["T", "U"]);
    body.topics.topic_config_table.get_mut("U").unwrap().perm = 7;
    register(&mut tables, &header(0, "a:1"), body);
    assert_eq!(tables.wipe_write_permission("broker-a"), 2);
    assert_eq!((perm(&tables, "T"), perm(&tables, "U")), (4, 5));
    assert_eq!(tables.add_write_permission("broker-a"), 2);
    assert_eq!((perm(&tables, "T"), perm(&tables, "U")), (6, 6));
    assert_eq!(tables.wipe_write_permission("unknown"), 0);
}

#[test]
fn topics_are_added_only_for_known_brokers() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    let queues = |names: &[&str]| -> Vec<QueueData> {
        let of = |name: &&str| QueueData {
            broker_name: (*name).to_owned(),
            perm: 4,
            ..QueueData::default()
        };
        names.iter().map(of).collect()
    };
    tables.register_topic("new", queues(&["broker-a", "unknown"]));
    assert_eq!(tables.route("new", false), None);
    tables.register_topic("T", queues(&["broker-a", "unknown"]));
    assert_eq!(
        perm(&tables, "T"),
        4,
        "what came before the unknown one stays"
    );
    tables.register_topic("new", queues(&["broker-a"]));
    assert_eq!(perm(&tables, "new"), 4);
    tables.register_topic("none", Vec::new());
    assert_eq!(tables.route("none", false), None);
}

#[test]
fn topics_are_deleted_everywhere_or_in_a_cluster() {
    let mut tables = Tables::default();
    register(&mut tables, &header(0, "a:1"), topics(1, &["T", "U"]));
    let mut other = header(0, "b:1");
    (other.broker_name, other.cluster_name) = ("broker-b", "other");
    register(&mut tables, &other, topics(1, &["T", "V"]));
    tables.delete_topic("T", Some("unknown"));
    assert_eq!(tables.route("T", false).unwrap().queue_datas.len(), 2);
    tables.delete_topic("T", Some("other"));
    assert_eq!(
        tables.route("T", false).unwrap().queue_datas[0].broker_name,
        "broker-a"
    );
    tables.delete_topic("T", Some(CLUSTER));
    tables.delete_topic("U", None);
    assert_eq!(tables.topics().topic_list, ["V"]);
}

#[test]
fn topics_are_listed_by_cluster_system_and_unit() {
    let mut tables = Tables::default();
    let mut body = topics(1, &["none", "unit", "both", "sub"]);
    let configs = &mut body.topics.topic_config_table;
    for (name, flags) in [("unit", 1), ("both", 3), ("sub", 2)] {
        configs.get_mut(name).unwrap().topic_sys_flag = flags;
    }
    register(&mut tables, &header(0, "a:1"), body);
    assert_eq!(
        tables.topics_of_cluster(CLUSTER).topic_list,
        ["both", "none", "sub", "unit"]
    );
    assert!(tables.topics_of_cluster("unknown").topic_list.is_empty());
    let system = tables.system_topics();
    assert_eq!(system.topic_list, [CLUSTER, "broker-a"]);
    assert_eq!(system.broker_addr.as_deref(), Some("a:1"));
    assert_eq!(
        tables.unit_topics(UnitList::Unit).topic_list,
        ["both", "unit"]
    );
    assert_eq!(
        tables.unit_topics(UnitList::UnitSub).topic_list,
        ["both", "sub"]
    );
    assert_eq!(
        tables.unit_topics(UnitList::UnitSubWithoutUnit).topic_list,
        ["sub"]
    );
}

#[test]
fn a_zone_keeps_its_own_brokers_and_those_without_master() {
    let mut tables = Tables::default();
    for (name, id, zone) in [
        ("a", 0, Some("Z1")),
        ("b", 0, Some("z2")),
        ("c", 1, Some("z2")),
        ("d", 0, None),
    ] {
        let mut broker = header(id, name);
        (broker.broker_name, broker.zone_name) = (name, zone);
        let mut body = topics(1, &["T", "U"]);
        body.filter_server_list = Some(vec!["f:1".into()]);
        register(&mut tables, &broker, body);
    }
    let mut route = tables.route("T", false).unwrap();
    keep_zone(&mut route, "z1");
    let kept: Vec<_> = route
        .broker_datas
        .iter()
        .map(|broker| broker.broker_name.as_str())
        .collect();
    assert_eq!(kept, ["a", "c"]);
    let queues: Vec<_> = route
        .queue_datas
        .iter()
        .map(|queues| queues.broker_name.as_str())
        .collect();
    assert_eq!(queues, ["a", "c"]);
    let filtered: Vec<_> = route
        .filter_server_table
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(filtered, ["a", "c"]);
}

#[test]
fn one_address_cannot_fill_the_tables_with_names() {
    let mut tables = Tables::default();
    let names: Vec<String> = (0..=BROKERS_MAX)
        .map(|number| format!("b{number}"))
        .collect();
    let mut put = |name: &str| {
        let mut broker = header(0, "a:1");
        broker.broker_name = name;
        tables.register(&broker, topics(1, &[]), 1, Rules::default(), 0)
    };
    let (last, most) = names.split_last().unwrap();
    assert!(most.iter().all(|name| put(name).is_ok()));
    assert_eq!(put(last), Err(RegisterError::TooManyBrokers));
    assert!(put(&names[0]).is_ok(), "known names go on");
}
