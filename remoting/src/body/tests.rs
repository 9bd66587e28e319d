// SPDX-License-Identifier: Apache-2.0
//! Bodies as Apache writes them, read and written.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    assignment::Assignments,
    cluster::{BrokerMemberGroup, ClusterInfo},
    connection::{ConsumerConnections, ConsumerIds, ProducerConnections},
    group::{
        CustomizedRetryPolicy, RetryPolicyType, SubscriptionGroupConfig, SubscriptionGroupTable,
    },
    heartbeat::{CheckClientConfig, ConsumeFromWhere, ConsumeType, HeartbeatData, MessageModel},
    kv::KvTable,
    lock::{LockQueues, LockedQueues},
    registration::BrokerRegistration,
    route::TopicRoute,
    stats::{ConsumeStats, ConsumeStatsList, TopicStats},
    topic::{TopicConfig, TopicConfigAndMapping, TopicList},
    *,
};
use crate::{Language, fastjson};

/// Reads `java`, and expects to write it again but for numeric keys, which are `ours` quoted.
#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned>(java: &str) -> T {
    let value: T = fastjson::from_str(java).unwrap();
    assert_eq!(fastjson::to_string(&value), quote_numeric_keys(java));
    value
}

fn quote_numeric_keys(java: &str) -> String {
    let mut out = String::new();
    for (at, character) in java.char_indices() {
        let before = java[..at].ends_with(['{', ',']);
        let digits = java[at..].chars().take_while(char::is_ascii_digit).count();
        let digits_before = java[..at]
            .chars()
            .rev()
            .take_while(char::is_ascii_digit)
            .count();
        let began = java[..at - digits_before].ends_with(['{', ',']);
        if before && digits > 0 && java[at + digits..].starts_with(':') {
            out.push('"');
        }
        if character == ':' && digits_before > 0 && began {
            out.push('"');
        }
        out.push(character);
    }
    out
}

#[test]
fn route() {
    let route: TopicRoute = round_trip(concat!(
        r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","#,
        r#""cluster":"DefaultCluster","enableActingMaster":false,"zoneName":"z1"}],"filterServerTable":{},"#,
        r#""orderTopicConf":"broker-a:8","queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"#,
        r#""topicSysFlag":0,"writeQueueNums":8}],"topicQueueMappingByBroker":{"broker-a":{"bname":"broker-a","#,
        r#""currIdMap":{0:0,2:1},"dirty":false,"epoch":1700000000000,"scope":"__global__","topic":"t1","totalQueues":4}}}"#,
    ));
    assert_eq!(route.broker_datas[0].broker_addrs[&1], "10.0.0.2:10911");
}

#[test]
fn cluster() {
    let _: ClusterInfo = round_trip(concat!(
        r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","#,
        r#""cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#,
    ));
    let _: BrokerMemberGroup = round_trip(
        r#"{"brokerMemberGroup":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}}"#,
    );
    let _: TopicList = round_trip(r#"{"topicList":["A","B"]}"#);
    let _: TopicList =
        round_trip(r#"{"brokerAddr":"10.0.0.1:10911","topicList":["DefaultCluster","broker-a"]}"#);
    let _: KvTable = round_trip(r#"{"table":{"k":"v"}}"#);
    let _: DataVersion = round_trip(r#"{"counter":7,"stateVersion":0,"timestamp":1700000000000}"#);
}

#[test]
fn registration() {
    let read: BrokerRegistration = round_trip(concat!(
        r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":7,"stateVersion":0,"#,
        r#""timestamp":1700000000000},"mappingDataVersion":{"counter":7,"stateVersion":0,"timestamp":1700000000000},"#,
        r#""topicConfigTable":{"TopicTest":{"attributes":{},"order":false,"perm":6,"readQueueNums":8,"#,
        r#""topicFilterType":"SINGLE_TAG","topicName":"TopicTest","topicSysFlag":0,"writeQueueNums":8}},"#,
        r#""topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{"t1":{"bname":"broker-a","currIdMap":{0:0,2:1},"#,
        r#""dirty":false,"epoch":1700000000000,"scope":"__global__","topic":"t1","totalQueues":4}}}}"#,
    ));
    assert_eq!(
        read.topics.topic_config_table["TopicTest"].write_queue_nums,
        8
    );
    let nothing: BrokerRegistration = fastjson::from_str(r#"{"filterServerList":null}"#).unwrap();
    assert_eq!(nothing.filter_server_list, None);
}

#[test]
fn topic() {
    let _: TopicConfig = round_trip(concat!(
        r#"{"attributes":{"message.type":"FIFO"},"order":false,"perm":6,"readQueueNums":8,"#,
        r#""topicFilterType":"SINGLE_TAG","topicName":"TopicTest","topicSysFlag":0,"writeQueueNums":8}"#,
    ));
    let from_nulls: TopicConfig =
        fastjson::from_str(r#"{"topicName":"T","attributes":null}"#).unwrap();
    assert_eq!((from_nulls.read_queue_nums, from_nulls.perm), (16, 6));
    let _: TopicConfigAndMapping = round_trip(concat!(
        r#"{"attributes":{},"mappingDetail":{"bname":"broker-a","currIdMap":{2:1},"dirty":false,"epoch":1700000000000,"#,
        r#""hostedQueues":{2:[{"bname":"broker-a","endOffset":-1,"gen":0,"logicOffset":0,"queueId":1,"startOffset":0,"#,
        r#""timeOfEnd":-1,"timeOfStart":-1}]},"scope":"__global__","topic":"t1","totalQueues":4},"order":false,"perm":6,"#,
        r#""readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"t1","topicSysFlag":0,"writeQueueNums":8}"#,
    ));
}

#[test]
fn group() {
    let java = concat!(
        r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"#,
        r#""consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"g1","groupRetryPolicy":{"type":"CUSTOMIZED"},"#,
        r#""groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"#,
        r#""subscriptionDataSet":[{"expression":"*","expressionType":"TAG","topic":"T","version":1}],"whichBrokerWhenConsumeSlowly":1}"#,
    );
    let group: SubscriptionGroupConfig = round_trip(java);
    assert_eq!(
        group.group_retry_policy.policy_type,
        RetryPolicyType::Customized
    );
    let defaults: SubscriptionGroupConfig = fastjson::from_str(r#"{"groupName":"g1"}"#).unwrap();
    assert_eq!(
        defaults,
        SubscriptionGroupConfig {
            subscription_data_set: None,
            ..group
        }
    );
    let exponential: SubscriptionGroupConfig = fastjson::from_str(
        r#"{"groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1}}}"#,
    )
    .unwrap();
    let policy = exponential.group_retry_policy;
    assert_eq!(policy.policy_type, RetryPolicyType::Exponential);
    assert_eq!(policy.exponential_retry_policy.unwrap().max, 7_200_000);
    assert_eq!(CustomizedRetryPolicy::default().next.len(), 18);
    let _: SubscriptionGroupTable = round_trip(&format!(
        r#"{{"dataVersion":{{"counter":1,"stateVersion":0,"timestamp":2}},"forbiddenTable":{{"g1":{{"T":1}}}},"subscriptionGroupTable":{{"g1":{java}}}}}"#
    ));
}

#[test]
fn heartbeat_of_java() {
    let data: HeartbeatData = round_trip(concat!(
        r#"{"clientID":"c@1","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_POP","#,
        r#""groupName":"g","messageModel":"BROADCASTING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"#,
        r#""expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"T"}],"unitMode":false}],"#,
        r#""heartbeatFingerprint":0,"producerDataSet":[{"groupName":"p"}],"withoutSub":false}"#,
    ));
    let consumer = &data.consumer_data_set[0];
    assert_eq!(consumer.consume_from_where, ConsumeFromWhere::FirstOffset);
    assert_eq!(consumer.consume_type, ConsumeType::Pop);
    assert_eq!(consumer.message_model, MessageModel::Broadcasting);
}

#[test]
fn heartbeat_of_cpp_has_ordinals_text_for_versions_and_no_empty_sets() {
    let data: HeartbeatData = fastjson::from_str(
        r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":0,"consumeType":1,"groupName":"g","messageModel":1,
            "subscriptionDataSet":[{"subString":"*","subVersion":"1700000000000","topic":"T"}]}]}"#,
    )
    .unwrap();
    assert!(data.producer_data_set.is_empty());
    let consumer = &data.consumer_data_set[0];
    assert_eq!(consumer.consume_from_where, ConsumeFromWhere::LastOffset);
    assert_eq!(consumer.consume_type, ConsumeType::Passively);
    assert_eq!(consumer.message_model, MessageModel::Clustering);
    let subscription = &consumer.subscription_data_set[0];
    assert_eq!(subscription.sub_version, 1_700_000_000_000);
    assert_eq!(subscription.expression_type, "TAG");
    assert!(subscription.code_set.is_empty());
}

#[test]
fn unknown_and_null_enums_read_as_the_default() {
    let data: HeartbeatData = fastjson::from_str(
        r#"{"consumerDataSet":[{"consumeType":"CONSUME_BY_POST","messageModel":null},{"messageModel":9}]}"#,
    )
    .unwrap();
    assert_eq!(
        data.consumer_data_set[0].consume_type,
        ConsumeType::Passively
    );
    assert_eq!(
        data.consumer_data_set[0].message_model,
        MessageModel::Clustering
    );
    assert_eq!(
        data.consumer_data_set[1].message_model,
        MessageModel::Clustering
    );
}

#[test]
fn client_configuration_to_check() {
    let check: CheckClientConfig = fastjson::from_str(
        r#"{"clientId":"c","group":"g","namespace":null,"subscriptionData":{"expressionType":"SQL92","subString":"a > 1","topic":"T"}}"#,
    )
    .unwrap();
    assert_eq!(check.subscription_data.expression_type, "SQL92");
}

#[test]
fn locks() {
    let _: LockQueues = round_trip(concat!(
        r#"{"clientId":"id","consumerGroup":"g","mqSet":[{"brokerName":"b","queueId":1,"topic":"T"}],"#,
        r#""onlyThisBroker":false}"#,
    ));
    let _: LockedQueues =
        round_trip(r#"{"lockOKMQSet":[{"brokerName":"b","queueId":1,"topic":"T"}]}"#);
}

#[test]
fn connections() {
    let _: ConsumerIds = round_trip(r#"{"consumerIdList":["a","b"]}"#);
    let producers: ProducerConnections = round_trip(
        r#"{"connectionSet":[{"clientAddr":"1.1.1.1:5555","clientId":"1.1.1.1@123","language":"GO","version":317}]}"#,
    );
    assert_eq!(producers.connection_set[0].language, Language::Go);
    let _: ConsumerConnections = round_trip(concat!(
        r#"{"connectionSet":[],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","#,
        r#""messageModel":"CLUSTERING","subscriptionTable":{"T":{"classFilterMode":false,"codeSet":[2598919],"#,
        r#""expressionType":"TAG","subString":"TagA || TagB","subVersion":1700000000000,"tagsSet":["TagA","TagB"],"topic":"T"}}}"#,
    ));
}

#[test]
fn stats() {
    let _: TopicStats = round_trip(concat!(
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":1700000000000,"#,
        r#""maxOffset":10,"minOffset":0}},"topicPutTps":0.0}"#,
    ));
    let consumed = concat!(
        r#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"brokerOffset":10,"#,
        r#""consumerOffset":5,"lastTimestamp":1700000000000,"pullOffset":6}}}"#,
    );
    let _: ConsumeStats = round_trip(consumed);
    let _: ConsumeStatsList = round_trip(&format!(
        r#"{{"brokerAddr":"10.0.0.1:10911","consumeStatsList":[{{"g1":[{consumed}]}}],"totalDiff":5,"totalInflightDiff":1}}"#
    ));
}

#[test]
fn assignments() {
    let _: Assignments = round_trip(
        r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"b","queueId":-1,"topic":"T"},"mode":"POP"}]}"#,
    );
    assert_eq!(fastjson::to_string(&Assignments::default()), "{}");
}
