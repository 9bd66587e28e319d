// SPDX-License-Identifier: Apache-2.0
//! Users and access lists at the proxy: gRPC and remoting, beside a broker and apart from it.

use std::sync::Arc;

use aerobee_auth::{
    sign::Credentials,
    user::{UserChange, UserStatus},
};
use aerobee_daemon::config::Keys as _;
use aerobee_proxy::{
    Config,
    v2::{
        AckMessageEntry, AckMessageRequest, ClientType, Code, HeartbeatRequest, QueryRouteRequest,
        SendMessageRequest, Status, receive_message_response::Content,
    },
};
use aerobee_remoting::{
    Client, RequestCode, Response,
    body::auth::{Acl, Policy, PolicyEntry},
    header::{route::GetRoute, send::SendMessage},
};
use ring::hmac;
use tokio::time::timeout;
use tonic::Request;

use crate::support::{
    Cluster, Grpc, PATIENCE, grpc_at, make_group, make_topic, message, of, receiving, resource,
    telemetry::{commands, publishing, settings},
};

const ROOT: &str = r#"{"username":"root","password":"toor"}"#;
const INNER: &str = r#"{"accessKey":"inner","secretKey":"within"}"#;
const ON: [(&str, &str); 2] = [
    ("authenticationEnabled", "true"),
    ("authorizationEnabled", "true"),
];

/// A broker with users, a proxy beside it: `root`, and `a`, who may use topic `mine` and group `g`.
async fn beside(keys: &[(&str, &str)]) -> Cluster {
    let all = [&ON[..], &[("initAuthenticationUser", ROOT)], keys].concat();
    let cluster = Cluster::start_on(&all, |_| {}).await;
    prepare(&cluster).await;
    cluster
}

/// The same with the proxy as if it were elsewhere, with these keys.
async fn apart(keys: &[(&str, &str)]) -> Cluster {
    let of_broker = [
        ("initAuthenticationUser", ROOT),
        ("innerClientAuthenticationCredentials", INNER),
    ];
    let of_broker = [&ON[..], &of_broker].concat();
    let cluster = Cluster::start_apart_on(&of_broker, |config: &mut Config| {
        for (key, value) in ON.iter().chain(keys) {
            assert!(config.auth.put(key, value).unwrap());
        }
        config.user_cache_refresh_seconds = 1;
    })
    .await;
    prepare(&cluster).await;
    cluster
}

async fn prepare(cluster: &Cluster) {
    let tables = cluster.broker.tables();
    let user = UserChange {
        username: "a".to_owned(),
        password: Some("secret".to_owned()),
        ..UserChange::default()
    };
    tables.create_user(user).unwrap();
    allow(cluster, &["Topic:mine", "Group:g"], "Allow");
    let root = signed("root", "toor");
    let broker = cluster.broker.address().to_string();
    for topic in ["mine", "yours"] {
        make_topic(&root, &broker, topic, "NORMAL").await;
    }
    make_group(&root, &broker, "g", |_| {}).await;
}

fn allow(cluster: &Cluster, resources: &[&str], decision: &str) {
    let entry = |resource: &&str| PolicyEntry {
        actions: Some(vec!["Pub".to_owned(), "Sub".to_owned()]),
        decision: Some(decision.to_owned()),
        resource: Some((*resource).to_owned()),
        source_ips: Some(vec!["127.0.0.1".to_owned()]),
    };
    let acl = Acl {
        policies: vec![Policy {
            entries: resources.iter().map(entry).collect(),
            policy_type: None,
        }],
        subject: None,
    };
    cluster.broker.tables().put_acl("User:a", &acl).unwrap();
}

/// A remoting client of a user.
fn signed(user: &str, password: &str) -> Client {
    Client::new().signed(Some(Arc::new(Credentials::new(user, password, None))))
}

/// A call of a user, signed as SDKs do.
fn by<T>(user: &str, password: &str, message: T) -> Request<T> {
    let mut request = of("client", message);
    sign(&mut request, user, password);
    request
}

fn sign<T>(request: &mut Request<T>, user: &str, password: &str) {
    let date = "20261126T190000Z";
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let signature: String = hmac::sign(&key, date.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let header = format!(
        "MQv2-HMAC-SHA1 Credential={user}/cn/RocketMQ, SignedHeaders=x-mq-date-time, Signature={signature}"
    );
    let metadata = request.metadata_mut();
    metadata.insert("authorization", header.parse().unwrap());
    metadata.insert("x-mq-date-time", date.parse().unwrap());
}

fn sending(topic: &str) -> SendMessageRequest {
    SendMessageRequest {
        messages: vec![message(topic, "x")],
    }
}

async fn send(grpc: &mut Grpc, request: Request<SendMessageRequest>) -> Status {
    let sent = grpc.send_message(request).await.unwrap();
    sent.into_inner().status.unwrap()
}

fn refused(status: &Status, why: &str) {
    assert_eq!(
        (status.code(), status.message.as_str()),
        (Code::Unauthorized, why)
    );
}

fn allowed(status: &Status) {
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

async fn calls_are_checked(cluster: &Cluster) {
    let mut grpc = cluster.grpc().await;
    refused(
        &send(&mut grpc, of("client", sending("mine"))).await,
        "username cannot be null.",
    );
    refused(
        &send(&mut grpc, by("b", "x", sending("mine"))).await,
        "User:b is not found.",
    );
    refused(
        &send(&mut grpc, by("a", "x", sending("mine"))).await,
        "check signature failed.",
    );
    allowed(&send(&mut grpc, by("a", "secret", sending("mine"))).await);
    allowed(&send(&mut grpc, by("root", "toor", sending("yours"))).await);
    let no = "User:a has no permission to access Topic:yours from 127.0.0.1, no matched policies.";
    refused(
        &send(&mut grpc, by("a", "secret", sending("yours"))).await,
        no,
    );
    let route = QueryRouteRequest {
        topic: Some(resource("yours")),
        endpoints: None,
    };
    let route = grpc.query_route(by("a", "secret", route)).await.unwrap();
    refused(&route.into_inner().status.unwrap(), no);
    let beat = |group: &str| HeartbeatRequest {
        group: Some(resource(group)),
        client_type: ClientType::SimpleConsumer.into(),
    };
    let beaten = grpc.heartbeat(by("a", "secret", beat("h"))).await.unwrap();
    let no = "User:a has no permission to access Group:h from 127.0.0.1, no matched policies.";
    refused(&beaten.into_inner().status.unwrap(), no);
}

async fn statuses(
    grpc: &mut Grpc,
    user: &str,
    password: &str,
    topic: &str,
) -> (Vec<Status>, Vec<String>) {
    let request = by(user, password, receiving(topic, 5));
    let mut stream = grpc.receive_message(request).await.unwrap().into_inner();
    let (mut statuses, mut receipts) = (Vec::new(), Vec::new());
    while let Some(frame) = stream.message().await.unwrap() {
        match frame.content.unwrap() {
            Content::Status(status) => statuses.push(status),
            Content::Message(message) => {
                let system = message.system_properties.unwrap();
                receipts.push(system.receipt_handle.unwrap());
            }
            Content::DeliveryTimestamp(_) => {}
        }
    }
    (statuses, receipts)
}

async fn consumers_are_served(cluster: &Cluster) {
    let mut grpc = cluster.grpc().await;
    allowed(&send(&mut grpc, by("a", "secret", sending("mine"))).await);
    let (said, _) = statuses(&mut grpc, "a", "secret", "yours").await;
    assert_eq!(said[0].code(), Code::Unauthorized, "{said:?}");
    // Which of the two queues was asked first is left open.
    let mut receipts = Vec::new();
    while receipts.is_empty() {
        let (said, got) = statuses(&mut grpc, "a", "secret", "mine").await;
        assert_ne!(said[0].code(), Code::Unauthorized, "{said:?}");
        receipts = got;
    }
    let ack = AckMessageRequest {
        group: Some(resource("g")),
        topic: Some(resource("mine")),
        entries: receipts
            .into_iter()
            .map(|receipt_handle| AckMessageEntry {
                receipt_handle,
                ..AckMessageEntry::default()
            })
            .collect(),
    };
    let acked = grpc.ack_message(of("client", ack.clone())).await.unwrap();
    refused(
        &acked.into_inner().status.unwrap(),
        "username cannot be null.",
    );
    let acked = grpc.ack_message(by("a", "secret", ack)).await.unwrap();
    allowed(&acked.into_inner().status.unwrap());
}

async fn telemetry_ends_with_a_status(cluster: &Cluster) {
    let mut grpc = cluster.grpc().await;
    for (topic, why) in [
        ("mine", None),
        (
            "yours",
            Some("User:a has no permission to access Topic:yours"),
        ),
    ] {
        let (sender, stream) = commands();
        let mut request = by("a", "secret", ());
        let metadata = std::mem::take(request.metadata_mut());
        let mut request = Request::new(stream);
        *request.metadata_mut() = metadata;
        let mut stream = timeout(PATIENCE, grpc.telemetry(request))
            .await
            .unwrap()
            .unwrap()
            .into_inner();
        let hello = settings(ClientType::Producer, publishing(topic));
        sender.send(hello).await.unwrap();
        let said = timeout(PATIENCE, stream.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let status = said.status.unwrap();
        match why {
            None => allowed(&status),
            Some(why) => {
                assert_eq!(status.code(), Code::Unauthorized);
                assert!(status.message.starts_with(why), "{status:?}");
                assert_eq!(said.command, None);
                let end = timeout(PATIENCE, stream.message()).await.unwrap().unwrap();
                assert_eq!(end, None);
            }
        }
    }
}

async fn ask_remoting(client: &Client, proxy: &str, topic: &str) -> Response {
    let header = SendMessage {
        producer_group: "p",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: "",
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: Some("broker-a"),
    };
    let code = RequestCode::SEND_MESSAGE_V2;
    client
        .request(proxy, code, &header, b"x", PATIENCE)
        .await
        .unwrap()
}

async fn remoting_is_checked(cluster: &Cluster) {
    let proxy = cluster.proxy.address().to_string();
    let (stranger, wrong, a) = (Client::new(), signed("a", "x"), signed("a", "secret"));
    for (client, topic, code, why) in [
        (&stranger, "mine", 16, "username cannot be null."),
        (&wrong, "mine", 16, "check signature failed."),
        (&a, "mine", 0, ""),
        (
            &a,
            "yours",
            16,
            "User:a has no permission to access Topic:yours from 127.0.0.1, no matched policies.",
        ),
        (&a, "mine", 0, ""),
    ] {
        let answer = ask_remoting(client, &proxy, topic).await;
        assert_eq!(
            (answer.code.0, answer.remark.as_str()),
            (code, why),
            "{topic}"
        );
    }
    let route = |topic| GetRoute {
        topic,
        accept_standard_json_only: Some(true),
        zone_mode: None,
        zone_name: None,
    };
    let code = RequestCode::GET_ROUTEINFO_BY_TOPIC;
    let told = stranger
        .request(&proxy, code, &route("mine"), &[], PATIENCE)
        .await
        .unwrap();
    assert_eq!(told.code.0, 16, "{told:?}");
    let told = a
        .request(&proxy, code, &route("mine"), &[], PATIENCE)
        .await
        .unwrap();
    assert!(told.is_success(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_beside_a_broker_asks_for_the_brokers_users() {
    let cluster = beside(&[]).await;
    calls_are_checked(&cluster).await;
    consumers_are_served(&cluster).await;
    telemetry_ends_with_a_status(&cluster).await;
    remoting_is_checked(&cluster).await;
    // A change counts with the next call.
    let disable = UserChange {
        username: "a".to_owned(),
        user_status: Some(UserStatus::Disable),
        ..UserChange::default()
    };
    cluster.broker.tables().update_user(disable).unwrap();
    let mut grpc = cluster.grpc().await;
    refused(
        &send(&mut grpc, by("a", "secret", sending("mine"))).await,
        "User:a is disabled.",
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_a_cluster_asks_a_broker_for_users() {
    let cluster = apart(&[("innerClientAuthenticationCredentials", INNER)]).await;
    calls_are_checked(&cluster).await;
    consumers_are_served(&cluster).await;
    telemetry_ends_with_a_status(&cluster).await;
    remoting_is_checked(&cluster).await;
    // A change counts when the user is asked for again.
    allow(&cluster, &["Topic:mine"], "Deny");
    let mut grpc = cluster.grpc().await;
    while send(&mut grpc, by("a", "secret", sending("mine")))
        .await
        .code()
        != Code::Unauthorized
    {
        tokio::task::yield_now().await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cannot_ask_lets_nobody_in() {
    let cluster = apart(&[]).await;
    let mut grpc = cluster.grpc().await;
    for user in ["root", "a", "b"] {
        let status = send(&mut grpc, by(user, "toor", sending("mine"))).await;
        assert_ne!(status.code(), Code::Ok, "{status:?}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn white_lists_name_messages() {
    let name = "apache.rocketmq.v2.SendMessageRequest";
    let cluster = beside(&[
        ("authenticationWhitelist", name),
        ("authorizationWhitelist", name),
    ])
    .await;
    let mut grpc = grpc_at(&cluster.proxy.address().to_string()).await;
    allowed(&send(&mut grpc, of("client", sending("yours"))).await);
    let route = QueryRouteRequest {
        topic: Some(resource("yours")),
        endpoints: None,
    };
    let route = grpc.query_route(of("client", route)).await.unwrap();
    refused(
        &route.into_inner().status.unwrap(),
        "username cannot be null.",
    );
    cluster.stop().await;
}
