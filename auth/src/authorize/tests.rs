// SPDX-License-Identifier: Apache-2.0
use aerobee_remoting::{Encoding, Language, OwnedFields, header::FieldWriter as _};

use super::*;
use crate::policy::Action;

/// What a request needs, as text: `Topic:t Pub|Sub, Group:g Sub`, `free`, `super` or `unreadable`.
fn needs(code: RequestCode, pairs: &[(&str, &str)], body: &str) -> String {
    let mut fields = OwnedFields::default();
    for (name, value) in pairs {
        fields.pair(name, value);
    }
    let command = Command {
        code: code.0,
        language: Language::Java,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: "",
        fields: fields.fields(),
        body: body.as_bytes(),
        encoding: Encoding::Json,
    };
    let text = |want: &Want<'_>| {
        let actions: Vec<_> = [Pub, Sub, Create, Update, Delete, Get, List]
            .iter()
            .filter(|action| Actions::of(&[**action]).grant(want.actions))
            .map(|action| action.name())
            .collect();
        format!("{}:{} {}", want.kind.name(), want.name, actions.join("|"))
    };
    match wants(&command, "C") {
        Ok(Wants::Super) => "super".to_owned(),
        Ok(Wants::Each(wants)) if wants.is_empty() => "free".to_owned(),
        Ok(Wants::Each(wants)) => wants.iter().map(text).collect::<Vec<_>>().join(", "),
        Err(Unreadable) => "unreadable".to_owned(),
    }
}

#[test]
fn requests_of_clients_need_what_apaches_table_says() {
    use RequestCode as C;
    let group = ("consumerGroup", "g");
    for (code, fields, needed) in [
        (
            C::GET_ROUTEINFO_BY_TOPIC,
            &[("topic", "t")][..],
            "Topic:t Pub|Sub|Get",
        ),
        (
            C::GET_ROUTEINFO_BY_TOPIC,
            &[("topic", "%RETRY%g")],
            "Group:g Sub|Get",
        ),
        (C::SEND_MESSAGE, &[("topic", "t")], "Topic:t Pub"),
        (
            C::SEND_MESSAGE,
            &[("topic", "%RETRY%g"), ("group", "h")],
            "Group:g Sub",
        ),
        (C::SEND_MESSAGE_V2, &[("a", "p"), ("b", "t")], "Topic:t Pub"),
        (
            C::SEND_MESSAGE_V2,
            &[("a", "h"), ("b", "%RETRY%g")],
            "Group:g Sub",
        ),
        (C::SEND_BATCH_MESSAGE, &[("b", "t")], "Topic:t Pub"),
        (C::RECALL_MESSAGE, &[("topic", "t")], "Topic:t Pub"),
        (C::END_TRANSACTION, &[("topic", "t")], "Topic:t Pub"),
        (C::END_TRANSACTION, &[], "free"),
        (C::CONSUMER_SEND_MSG_BACK, &[("group", "g")], "Group:g Sub"),
        (
            C::PULL_MESSAGE,
            &[("topic", "t"), group],
            "Topic:t Sub, Group:g Sub",
        ),
        (
            C::PULL_MESSAGE,
            &[("topic", "%RETRY%g"), group],
            "Group:g Sub",
        ),
        (
            C::PULL_MESSAGE,
            &[("topic", "%RETRY%h"), group],
            "Group:h Sub, Group:g Sub",
        ),
        (
            C::LITE_PULL_MESSAGE,
            &[("topic", "t"), group],
            "Topic:t Sub, Group:g Sub",
        ),
        (C::QUERY_MESSAGE, &[("topic", "t")], "Topic:t Sub|Get"),
        (C::VIEW_MESSAGE_BY_ID, &[("topic", "t")], "Topic:t Get"),
        (C::VIEW_MESSAGE_BY_ID, &[("offset", "1")], "free"),
        (C::UNREGISTER_CLIENT, &[("clientID", "c")], "free"),
        (C::UNREGISTER_CLIENT, &[group], "Group:g Sub"),
        (C::GET_CONSUMER_LIST_BY_GROUP, &[group], "Group:g Sub|Get"),
        (
            C::QUERY_CONSUMER_OFFSET,
            &[("topic", "t"), group],
            "Topic:t Sub|Get, Group:g Sub|Get",
        ),
        (
            C::UPDATE_CONSUMER_OFFSET,
            &[("topic", "t"), group],
            "Topic:t Sub|Update, Group:g Sub|Update",
        ),
        (
            C::UPDATE_CONSUMER_OFFSET,
            &[("topic", "%RETRY%g"), group],
            "Group:g Sub|Update",
        ),
        (
            C::POP_MESSAGE,
            &[("topic", "t"), group],
            "Group:g Sub, Topic:t Sub",
        ),
        (
            C::ACK_MESSAGE,
            &[("topic", "%RETRY%h"), group],
            "Group:g Sub, Group:h Sub",
        ),
        (
            C::PEEK_MESSAGE,
            &[("topic", "t"), group],
            "Topic:t Sub, Group:g Sub",
        ),
        (
            C::CHANGE_MESSAGE_INVISIBLETIME,
            &[("topic", "t"), group],
            "Group:g Sub, Topic:t Sub",
        ),
        (
            C::NOTIFICATION,
            &[("topic", "t"), group],
            "Group:g Sub, Topic:t Sub",
        ),
        (
            C::POP_LITE_MESSAGE,
            &[("topic", "t"), group],
            "Group:g Sub, Topic:t Sub",
        ),
        (C::SEND_REPLY_MESSAGE_V2, &[("b", "C_REPLY_TOPIC")], "free"),
        (
            C::SEND_REPLY_MESSAGE_V2,
            &[("b", "D_REPLY_TOPIC")],
            "Topic:D_REPLY_TOPIC Pub",
        ),
        (C::SEND_REPLY_MESSAGE, &[("topic", "t")], "Topic:t Pub"),
        (C::GET_MAX_OFFSET, &[("topic", "t")], "Topic:t Get"),
        (
            C::SEARCH_OFFSET_BY_TIMESTAMP,
            &[("topic", "t")],
            "Topic:t Get",
        ),
    ] {
        assert_eq!(needs(code, fields, ""), needed, "{code:?} {fields:?}");
    }
}

#[test]
fn requests_of_operators_need_rights_of_their_object_or_of_the_cluster() {
    use RequestCode as C;
    for (code, fields, needed) in [
        (
            C::UPDATE_AND_CREATE_TOPIC,
            &[("topic", "t")][..],
            "Topic:t Create",
        ),
        (
            C::DELETE_TOPIC_IN_BROKER,
            &[("topic", "t")],
            "Topic:t Delete",
        ),
        (
            C::DELETE_SUBSCRIPTIONGROUP,
            &[("groupName", "g")],
            "Group:g Delete",
        ),
        (
            C::INVOKE_BROKER_TO_RESET_OFFSET,
            &[("topic", "t"), ("group", "g")],
            "Group:g Update, Topic:t Update",
        ),
        (
            C::GET_CONSUME_STATS,
            &[("consumerGroup", "g"), ("topic", ""), ("topicList", "a;b;")],
            "Group:g Get, Topic:a Get, Topic:b Get",
        ),
        (
            C::QUERY_CORRECTION_OFFSET,
            &[
                ("filterGroups", "a,b"),
                ("compareGroup", "c"),
                ("topic", "t"),
            ],
            "Group:a Get, Group:b Get, Group:c Get, Topic:t Get",
        ),
        (C::UPDATE_BROKER_CONFIG, &[], "Cluster:C Update"),
        (C::GET_BROKER_CONFIG, &[], "Cluster:C Get"),
        (C::GET_ALL_TOPIC_CONFIG, &[], "Cluster:C Get|List"),
        (
            C::AUTH_CREATE_USER,
            &[("username", "u")],
            "Cluster:C Update",
        ),
        (C::AUTH_LIST_ACL, &[], "Cluster:C Get"),
        (C::GET_MAX_OFFSET, &[("queueId", "1")], "unreadable"),
        (C::GET_MAX_OFFSET, &[("topic", " ")], "unreadable"),
        (C::POP_ROLLBACK, &[("topic", "t")], "super"),
        (RequestCode(77_777), &[("topic", "t")], "super"),
    ] {
        assert_eq!(needs(code, fields, ""), needed, "{code:?} {fields:?}");
    }
}

#[test]
fn bodies_name_groups_and_topics() {
    use RequestCode as C;
    let beat = r#"{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"topic":"t"},{"topic":"%RETRY%g"},{"topic":"u"}]}],"producerDataSet":[{"groupName":"p"}]}"#;
    let queues = r#"{"consumerGroup":"g","mqSet":[{"topic":"t","brokerName":"b","queueId":0},{"topic":"t","brokerName":"b","queueId":1},{"topic":"%RETRY%g","brokerName":"b","queueId":0}]}"#;
    for (code, body, needed) in [
        (C::HEART_BEAT, beat, "Group:g Sub, Topic:t Sub, Topic:u Sub"),
        (
            C::HEART_BEAT,
            r#"{"producerDataSet":[{"groupName":"p"}]}"#,
            "free",
        ),
        (C::HEART_BEAT, "no JSON", "unreadable"),
        (C::LOCK_BATCH_MQ, queues, "Group:g Sub, Topic:t Sub"),
        (C::UNLOCK_BATCH_MQ, queues, "Group:g Sub, Topic:t Sub"),
        (
            C::QUERY_ASSIGNMENT,
            r#"{"topic":"t","consumerGroup":"g"}"#,
            "Group:g Sub, Topic:t Sub",
        ),
        (
            C::SET_MESSAGE_REQUEST_MODE,
            r#"{"topic":"t","consumerGroup":"g"}"#,
            "Group:g Update",
        ),
        (
            C::BATCH_ACK_MESSAGE,
            r#"{"brokerName":"b","acks":[{"c":"g","t":"t"},{"c":"g","t":"t"},{"c":"h","t":"t"}]}"#,
            "Group:g Sub, Topic:t Sub, Group:h Sub",
        ),
        (
            C::CHECK_CLIENT_CONFIG,
            r#"{"clientId":"c","group":"g","subscriptionData":{"topic":"t"}}"#,
            "Group:g Sub, Topic:t Sub",
        ),
        (
            C::LITE_SUBSCRIPTION_CTL,
            r#"{"subscriptionSet":[{"group":"g","topic":"t","liteTopicSet":["a"]}]}"#,
            "Group:g Sub, Topic:t Sub",
        ),
        (
            C::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            r#"{"groupName":"g"}"#,
            "Group:g Create|Update",
        ),
        (
            C::UPDATE_AND_CREATE_TOPIC_LIST,
            r#"{"topicConfigList":[{"topicName":"t"},{"topicName":"u"}]}"#,
            "Topic:t Create, Topic:u Create",
        ),
    ] {
        assert_eq!(needs(code, &[], body), needed, "{code:?} {body}");
    }
}

/// Readers differ in which spelling they take: none of them must find a topic that was not checked.
#[test]
fn every_topic_that_a_send_names_counts() {
    let both = [("topic", "mine"), ("b", "yours")];
    for code in [RequestCode::SEND_MESSAGE, RequestCode::SEND_MESSAGE_V2] {
        assert_eq!(needs(code, &both, ""), "Topic:mine Pub, Topic:yours Pub");
    }
    let answer = [("b", "C_REPLY_TOPIC"), ("topic", "yours")];
    let code = RequestCode::SEND_REPLY_MESSAGE_V2;
    assert_eq!(needs(code, &answer, ""), "Topic:yours Pub");
    assert_eq!(needs(code, &[], ""), "unreadable");
}

/// A code that is added without a line in the table is for super users until somebody decides.
#[test]
fn codes_of_the_name_server_and_of_clients_are_for_super_users() {
    use RequestCode as C;
    for code in [
        C::REGISTER_BROKER,
        C::PUT_KV_CONFIG,
        C::NOTIFY_CONSUMER_IDS_CHANGED,
        C::CONTROLLER_ELECT_MASTER,
        C::ADD_BROKER,
    ] {
        assert_eq!(needs(code, &[("topic", "t")], "{}"), "super", "{code:?}");
    }
    assert!(Actions::of(&[Action::All]).grant(PUB));
}
