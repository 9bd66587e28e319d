// SPDX-License-Identifier: Apache-2.0
//! What brokers tell a name server: codes 103, 104, 322, 901, 904, and what becomes of silent ones.

mod support;

use aerobee_remoting::body::registration::BrokerRegistration;
use support::{Peer, REGISTRATION, start};
use tokio::net::TcpListener;

const BROKER: [(&str, &str); 4] = [
    ("brokerName", "broker-a"),
    ("brokerAddr", "10.0.0.1:10911"),
    ("clusterName", "DefaultCluster"),
    ("brokerId", "0"),
];

fn checksum(body: &[u8]) -> String {
    (crc32fast::hash(body) & 0x7fff_ffff).to_string()
}

#[tokio::test]
async fn a_broker_registers_is_found_and_leaves() {
    let server = start("").await;
    let mut broker = server.connect().await;
    let crc = checksum(REGISTRATION.as_bytes());
    let answer = broker
        .register(0, "10.0.0.1:10911", &[("bodyCrc32", &crc)])
        .await
        .succeeded();
    assert!(answer.fields.is_empty(), "{answer:?}");
    assert!(answer.body.is_empty());
    let slave = broker.register(1, "10.0.0.2:10911", &[]).await.succeeded();
    assert_eq!(slave.fields["masterAddr"], "10.0.0.1:10911");
    assert_eq!(slave.fields["haServerAddr"], "10.0.0.1:10912");

    let members = broker
        .ask(
            901,
            &[
                ("clusterName", "DefaultCluster"),
                ("brokerName", "broker-a"),
            ],
            b"",
        )
        .await
        .succeeded();
    assert_eq!(
        members.text(),
        r#"{"brokerMemberGroup":{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}}"#
    );
    let nobody = broker
        .ask(901, &[("clusterName", "c"), ("brokerName", "x")], b"")
        .await
        .succeeded();
    assert_eq!(
        nobody.text(),
        r#"{"brokerMemberGroup":{"brokerAddrs":{},"brokerName":"x","cluster":"c"}}"#
    );
    let cluster = broker.ask(106, &[], b"").await.succeeded();
    assert_eq!(
        cluster.text(),
        concat!(
            r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"broker-a","#,
            r#""cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#,
        )
    );
    broker.ask(104, &BROKER, b"").await.succeeded();
    let mut slave = BROKER;
    (slave[1].1, slave[3].1) = ("10.0.0.2:10911", "1");
    broker.ask(104, &slave, b"").await.succeeded();
    assert_eq!(broker.route("TopicTest").await.code, 17);
}

#[tokio::test]
async fn compressed_and_old_registrations_are_read() {
    let server = start("").await;
    let mut broker = server.connect().await;
    let body = BrokerRegistration::read(REGISTRATION.as_bytes(), false, 513)
        .unwrap()
        .deflate()
        .unwrap();
    let fields = [
        BROKER.as_slice(),
        &[("haServerAddr", "h:1"), ("compressed", "true")],
    ]
    .concat();
    broker.ask(103, &fields, &body).await.succeeded();
    assert_eq!(broker.route("TopicTest").await.code, 0);

    let old = br#"{"dataVersion":{"counter":9,"timestamp":1},"topicConfigTable":{"A":{"topicName":"A"},"B":{"topicName":"B"}}}"#;
    broker.version = 36;
    let fields = [BROKER.as_slice(), &[("haServerAddr", "h:1")]].concat();
    broker.ask(103, &fields, old).await.succeeded();
    assert_eq!(broker.route("A").await.code, 0);
}

#[tokio::test]
async fn a_long_registration_is_taken() {
    let server = start("").await;
    let mut broker = server.connect().await;
    let topics: Vec<String> = (0..5_000)
        .map(|number| format!(r#""topic-{number}":{{"topicName":"topic-{number}","perm":6}}"#))
        .collect();
    let body = format!(
        r#"{{"topicConfigSerializeWrapper":{{"topicConfigTable":{{{}}}}}}}"#,
        topics.join(",")
    );
    assert!(body.len() > 128 << 10);
    let fields = [BROKER.as_slice(), &[("haServerAddr", "h:1")]].concat();
    broker.ask(103, &fields, body.as_bytes()).await.succeeded();
    assert_eq!(broker.route("topic-4999").await.code, 0);
    // Its connection is known too.
    drop(broker);
    let mut client = server.connect().await;
    while client.route("topic-4999").await.code != 17 {}
}

#[tokio::test]
async fn bad_registrations_are_refused() {
    let server = start("").await;
    let mut broker = server.connect().await;
    broker
        .register(0, "10.0.0.1:10911", &[("bodyCrc32", "12345")])
        .await
        .failed(1, "crc32 not match");
    let fields = [BROKER.as_slice(), &[("haServerAddr", "h:1")]].concat();
    let one = br#"{"topicConfigSerializeWrapper":{"topicConfigTable":{"T":{"topicName":"T"}}}}"#;
    broker
        .ask(103, &fields, one)
        .await
        .failed(1, "register broker failed");
    for body in [&b"{"[..], b"\xff\xff", b"[1]"] {
        assert_eq!(broker.ask(103, &fields, body).await.code, 1);
    }
    let compressed = [fields.as_slice(), &[("compressed", "true")]].concat();
    assert_eq!(broker.ask(103, &compressed, b"not zlib").await.code, 1);
    assert_eq!(broker.ask(103, &fields[..3], b"").await.code, 1);
    assert_eq!(broker.route("T").await.code, 17);
}

#[tokio::test]
async fn brokers_learn_which_topics_are_ordered() {
    let server = start("orderMessageEnable=true").await;
    let mut broker = server.connect().await;
    let order = [
        ("namespace", "ORDER_TOPIC_CONFIG"),
        ("key", "TopicTest"),
        ("value", "broker-a:8"),
    ];
    broker.ask(100, &order, b"").await.succeeded();
    let answer = broker.register(0, "10.0.0.1:10911", &[]).await.succeeded();
    assert_eq!(answer.text(), r#"{"table":{"TopicTest":"broker-a:8"}}"#);
    let route = broker.route("TopicTest").await.succeeded();
    assert!(route.text().contains(r#""orderTopicConf":"broker-a:8""#));
}

#[tokio::test]
async fn a_data_version_is_compared_and_given_back() {
    let server = start("").await;
    let mut broker = server.connect().await;
    let version = br#"{"counter":7,"stateVersion":0,"timestamp":1700000000000}"#;
    let unknown = broker.ask(322, &BROKER, version).await.succeeded();
    assert_eq!(unknown.fields["changed"], "true");
    assert!(unknown.body.is_empty());
    broker.register(0, "10.0.0.1:10911", &[]).await.succeeded();
    let same = broker.ask(322, &BROKER, version).await.succeeded();
    assert_eq!(same.fields["changed"], "false");
    assert_eq!(same.body, version);
    let other = broker
        .ask(322, &BROKER, br#"{"counter":8}"#)
        .await
        .succeeded();
    assert_eq!(other.fields["changed"], "true");
    let none = broker.ask(322, &BROKER, b"").await.succeeded();
    assert_eq!(none.fields["changed"], "true");
    broker.ask(904, &BROKER, b"").await.succeeded();
    broker
        .ask(
            904,
            &[
                ("clusterName", "c"),
                ("brokerAddr", "x:1"),
                ("brokerName", "x"),
            ],
            b"",
        )
        .await
        .succeeded();
}

#[tokio::test]
async fn a_broker_whose_connection_ends_is_gone() {
    let server = start("").await;
    let mut client = server.connect().await;
    let mut broker = server.connect().await;
    broker.register(0, "10.0.0.1:10911", &[]).await.succeeded();
    assert_eq!(client.route("TopicTest").await.code, 0);
    drop(broker);
    while client.route("TopicTest").await.code != 17 {}
}

#[tokio::test]
async fn a_silent_broker_is_closed_and_gone() {
    let server = start("scanNotActiveBrokerInterval=100").await;
    let mut broker = server.connect().await;
    let quick = [("heartbeatTimeoutMillis", "10")];
    broker
        .register(0, "10.0.0.1:10911", &quick)
        .await
        .succeeded();
    assert!(broker.read().await.is_none());
    assert_eq!(server.connect().await.route("TopicTest").await.code, 17);
}

#[tokio::test]
async fn brokers_are_told_when_the_smallest_id_changes() {
    let server = start("notifyMinBrokerIdChanged=true").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acting = [("enableActingMaster", "true")];
    let mut broker = server.connect().await;
    broker
        .register(0, "10.0.0.1:10911", &acting)
        .await
        .succeeded();
    broker.register(1, &address, &acting).await.succeeded();
    broker.ask(104, &BROKER, b"").await.succeeded();
    let mut notified = Peer::new(listener.accept().await.unwrap().0);
    let notice = notified.read().await.unwrap();
    assert_eq!((notice.code, notice.flag), (905, 2));
    assert_eq!(notice.fields["minBrokerId"], "1");
    assert_eq!(notice.fields["minBrokerAddr"], address);
    assert_eq!(notice.fields["offlineBrokerAddr"], "10.0.0.1:10911");
    assert!(!notice.fields.contains_key("brokerName"));
}

#[tokio::test]
async fn write_permission_is_taken_and_given() {
    let server = start("").await;
    let mut tool = server.connect().await;
    tool.register(0, "10.0.0.1:10911", &[]).await.succeeded();
    let broker = [("brokerName", "broker-a")];
    let wiped = tool.ask(205, &broker, b"").await.succeeded();
    assert_eq!(wiped.fields["wipeTopicCount"], "2");
    assert!(tool.route("TopicTest").await.text().contains(r#""perm":4"#));
    let added = tool.ask(327, &broker, b"").await.succeeded();
    assert_eq!(added.fields["addTopicCount"], "2");
    assert!(tool.route("TBW102").await.text().contains(r#""perm":6"#));
    let unknown = tool.ask(205, &[("brokerName", "x")], b"").await.succeeded();
    assert_eq!(unknown.fields["wipeTopicCount"], "0");
}
