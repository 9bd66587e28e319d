// SPDX-License-Identifier: Apache-2.0
//! What clients and tools ask of a name server: 105 and the lists of topics.

mod support;

use support::start;

#[tokio::test]
async fn a_route_is_written_for_the_client_that_asks() {
    let server = start("").await;
    let mut client = server.connect().await;
    let zone = [("__ZONE_NAME", "z/ü")];
    client
        .register(0, "10.0.0.1:10911", &zone)
        .await
        .succeeded();
    let body = |zone: &str| {
        format!(
            concat!(
                r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"10.0.0.1:10911"}},"brokerName":"broker-a","cluster":"DefaultCluster","#,
                r#""enableActingMaster":false,"zoneName":"{}"}}],"filterServerTable":{{}},"queueDatas":[{{"brokerName":"broker-a","#,
                r#""perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}}],"topicQueueMappingByBroker":{{"broker-a":"#,
                r#"{{"bname":"broker-a","currIdMap":{{"0":0,"2":1}},"dirty":false,"epoch":1700000000000,"scope":"__global__","#,
                r#""topic":"TopicTest","totalQueues":4}}}}}}"#,
            ),
            zone
        )
    };
    assert_eq!(
        client.route("TopicTest").await.succeeded().text(),
        body(r"z\/\u00FC")
    );
    client.version = 399;
    assert_eq!(
        client.route("TopicTest").await.succeeded().text(),
        body("z/ü")
    );
    let strict = [("topic", "TopicTest"), ("acceptStandardJsonOnly", "true")];
    let answer = client.ask(105, &strict, b"").await.succeeded();
    assert_eq!(answer.text(), body(r"z\/\u00FC"));
}

#[tokio::test]
async fn an_unknown_topic_has_the_code_that_clients_look_for() {
    let server = start("").await;
    let mut client = server.connect().await;
    client.route("T").await.failed(
        17,
        "No topic route info in name server for the topic: T\n\
         See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.",
    );
}

#[tokio::test]
async fn a_new_name_server_may_wait_for_its_brokers() {
    let server = start("needWaitForService=true").await;
    let mut client = server.connect().await;
    client.register(0, "10.0.0.1:10911", &[]).await.succeeded();
    client
        .route("TopicTest")
        .await
        .failed(1, "name server not ready");
    let server = start("needWaitForService=true\nwaitSecondsForService=0").await;
    let mut client = server.connect().await;
    assert_eq!(client.route("TopicTest").await.code, 17);
}

#[tokio::test]
async fn brokers_of_other_zones_are_left_out() {
    let server = start("").await;
    let mut client = server.connect().await;
    client
        .register(0, "10.0.0.1:10911", &[("__ZONE_NAME", "z1")])
        .await
        .succeeded();
    let other = [("__ZONE_NAME", "z2"), ("brokerName", "broker-b")];
    client
        .register(0, "10.0.0.2:10911", &other)
        .await
        .succeeded();
    let near = [
        ("topic", "TBW102"),
        ("__ZONE_MODE", "true"),
        ("__ZONE_NAME", "Z1"),
    ];
    let route = client.ask(105, &near, b"").await.succeeded();
    assert!(route.text().contains("broker-a") && !route.text().contains("broker-b"));
    for fields in [
        [
            ("topic", "TBW102"),
            ("__ZONE_MODE", "false"),
            ("__ZONE_NAME", "z1"),
        ],
        [
            ("topic", "TBW102"),
            ("__ZONE_MODE", "true"),
            ("__ZONE_NAME", " "),
        ],
    ] {
        let route = client.ask(105, &fields, b"").await.succeeded();
        assert!(route.text().contains("broker-b"));
    }
}

#[tokio::test]
async fn a_slave_stands_in_where_that_is_wanted() {
    let server = start("supportActingMaster=true").await;
    let mut client = server.connect().await;
    let acting = [("enableActingMaster", "true")];
    client
        .register(1, "10.0.0.2:10911", &acting)
        .await
        .succeeded();
    let route = client.route("TopicTest").await.succeeded();
    assert!(
        route
            .text()
            .contains(r#""brokerAddrs":{"0":"10.0.0.2:10911"}"#)
    );
    assert!(route.text().contains(r#""perm":4"#));
}

#[tokio::test]
async fn topics_are_listed() {
    let server = start("").await;
    let mut tool = server.connect().await;
    tool.register(0, "10.0.0.1:10911", &[]).await.succeeded();
    let all = r#"{"topicList":["TBW102","TopicTest"]}"#;
    let none = r#"{"topicList":[]}"#;
    assert_eq!(tool.ask(206, &[], b"").await.succeeded().text(), all);
    let cluster = [("cluster", "DefaultCluster")];
    assert_eq!(tool.ask(224, &cluster, b"").await.succeeded().text(), all);
    assert_eq!(
        tool.ask(224, &[("cluster", "x")], b"")
            .await
            .succeeded()
            .text(),
        none
    );
    assert_eq!(
        tool.ask(304, &[], b"").await.succeeded().text(),
        r#"{"brokerAddr":"10.0.0.1:10911","topicList":["DefaultCluster","broker-a"]}"#
    );
    for code in [311, 312, 313] {
        assert_eq!(tool.ask(code, &[], b"").await.succeeded().text(), none);
    }
}

#[tokio::test]
async fn topics_of_units_are_listed_by_the_flags_that_brokers_tell() {
    let server = start("").await;
    let mut tool = server.connect().await;
    tool.register(0, "10.0.0.1:10911", &[]).await.succeeded();
    for (topic, flags) in [("None", 0), ("Unit", 1), ("Sub", 2), ("Both", 3)] {
        let body = format!(
            r#"{{"queueDatas":[{{"brokerName":"broker-a","perm":6,"readQueueNums":1,"topicSysFlag":{flags},"writeQueueNums":1}}]}}"#
        );
        tool.ask(217, &[("topic", topic)], body.as_bytes())
            .await
            .succeeded();
    }
    for (code, topics) in [
        (311, r#"["Both","Unit"]"#),
        (312, r#"["Both","Sub"]"#),
        (313, r#"["Sub"]"#),
    ] {
        let answer = tool.ask(code, &[], b"").await.succeeded();
        let wanted = format!(r#"{{"topicList":{topics}}}"#);
        assert_eq!(answer.text(), wanted, "{code}");
    }
}

#[tokio::test]
async fn lists_can_be_disabled() {
    let server = start("enableAllTopicList=false\nenableTopicList=false").await;
    let mut tool = server.connect().await;
    for code in [206, 311, 312, 313] {
        tool.ask(code, &[], b"").await.failed(1, "disable");
    }
    tool.ask(224, &[("cluster", "x")], b"")
        .await
        .failed(1, "disable");
}

#[tokio::test]
async fn topics_are_added_and_removed_by_tools() {
    let server = start("").await;
    let mut tool = server.connect().await;
    tool.register(0, "10.0.0.1:10911", &[]).await.succeeded();
    let body = br#"{"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":1}]}"#;
    tool.ask(217, &[("topic", "New")], body).await.succeeded();
    assert_eq!(tool.route("New").await.code, 0);
    tool.ask(217, &[("topic", "Other")], b"").await.succeeded();
    let elsewhere = [("topic", "New"), ("clusterName", "x")];
    tool.ask(216, &elsewhere, b"").await.succeeded();
    assert_eq!(tool.route("New").await.code, 0);
    let here = [("topic", "New"), ("clusterName", "DefaultCluster")];
    tool.ask(216, &here, b"").await.succeeded();
    assert_eq!(tool.route("New").await.code, 17);
    tool.ask(216, &[("topic", "TopicTest"), ("clusterName", "")], b"")
        .await
        .succeeded();
    assert_eq!(tool.route("TopicTest").await.code, 17);
}

#[tokio::test]
async fn an_unknown_code_is_told() {
    let server = start("").await;
    let mut client = server.connect().await;
    client
        .ask(10, &[], b"")
        .await
        .failed(3, " request type 10 not supported");
    client
        .ask(99_999, &[], b"")
        .await
        .failed(3, " request type 99999 not supported");
}
