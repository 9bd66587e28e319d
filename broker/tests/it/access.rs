// SPDX-License-Identifier: Apache-2.0
//! Users and access lists: who is let in over the wire, and codes 3001 to 3010.

use std::os::unix::fs::PermissionsExt as _;

use aerobee_broker::{Broker, Config};
use serde_json::{Value, json};

use crate::support::{Client, Message, Running, config, heartbeat};

const ROOT: &str = r#"{"username":"root","password":"toor"}"#;
/// What switches everything on.
const ON: [(&str, &str); 3] = [
    ("authenticationEnabled", "true"),
    ("authorizationEnabled", "true"),
    ("initAuthenticationUser", ROOT),
];

async fn start() -> Running {
    Running::start_with(&ON).await
}

async fn client_of(running: &Running, user: &str, password: &str) -> Client {
    running.connect().await.signed(user, password)
}

async fn root(running: &Running) -> Client {
    client_of(running, "root", "toor").await
}

fn done(answer: &Message) {
    assert_eq!(answer.code(), 0, "{answer:?}");
}

fn refused(answer: &Message, code: i64, remark: &str) {
    assert_eq!(
        (answer.code(), answer.remark()),
        (code, remark),
        "{answer:?}"
    );
}

async fn create_user(client: &mut Client, name: &str, password: &str) -> Message {
    let body = json!({"password": password}).to_string();
    client
        .ask(3001, json!({"username": name}), body.as_bytes())
        .await
}

async fn update_user(client: &mut Client, name: &str, change: Value) -> Message {
    let body = change.to_string();
    client
        .ask(3002, json!({"username": name}), body.as_bytes())
        .await
}

fn acl(entries: &[(&str, &str, &str)]) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|(resource, actions, decision)| {
            json!({"resource": resource, "actions": actions.split(',').collect::<Vec<_>>(), "decision": decision})
        })
        .collect();
    json!({"policies": [{"entries": entries}]}).to_string()
}

async fn allow(client: &mut Client, user: &str, entries: &[(&str, &str, &str)]) {
    let body = acl(entries);
    let fields = json!({"subject": format!("User:{user}")});
    done(&client.ask(3006, fields, body.as_bytes()).await);
}

/// A user who may do this, and nothing else.
async fn user_with(running: &Running, name: &str, entries: &[(&str, &str, &str)]) -> Client {
    let mut root = root(running).await;
    done(&create_user(&mut root, name, "secret").await);
    allow(&mut root, name, entries).await;
    client_of(running, name, "secret").await
}

#[tokio::test]
async fn nobody_gets_in_without_the_signature_of_a_user() {
    let running = start().await;
    let mut stranger = running.connect().await;
    refused(
        &stranger.send("T", 0, "x").await,
        16,
        "username cannot be null.",
    );
    let answer = stranger.ask(28, json!({}), &[]).await;
    refused(&answer, 16, "username cannot be null.");
    let mut unknown = client_of(&running, "nobody", "x").await;
    refused(
        &unknown.send("T", 0, "x").await,
        16,
        "User:nobody is not found.",
    );
    let mut wrong = client_of(&running, "root", "wrong").await;
    refused(
        &wrong.send("T", 0, "x").await,
        16,
        "check signature failed.",
    );
    let mut root = root(&running).await;
    done(&root.send("T", 0, "x").await);
    done(&create_user(&mut root, "a", "secret").await);
    let mut a = client_of(&running, "a", "secret").await;
    done(
        &a.ask_json(
            34,
            &json!({"clientID": "c", "producerDataSet": [{"groupName": "p"}]}),
        )
        .await,
    );
    done(&update_user(&mut root, "a", json!({"userStatus": "disable"})).await);
    let beat = json!({"clientID": "c"});
    refused(&a.ask_json(34, &beat).await, 16, "User:a is disabled.");
    done(&update_user(&mut root, "a", json!({"userStatus": "enable"})).await);
    done(&a.ask_json(34, &beat).await);
    // The broker still answers whoever is let in, on the same connections.
    done(&root.send("T", 0, "y").await);
}

#[tokio::test]
async fn a_changed_request_is_not_the_signed_one() {
    let running = start().await;
    let mut client = running.connect().await;
    // Signed for another topic: what was signed is replayed with a field changed.
    let keys = aerobee_auth::sign::Credentials::new("root", "toor", None);
    let mut fields = aerobee_remoting::OwnedFields::default();
    aerobee_remoting::header::FieldWriter::pair(&mut fields, "topic", "T");
    aerobee_remoting::client::Signer::sign(&keys, &mut fields, &[]);
    let mut replayed: Value = fields
        .fields()
        .to_owned_pairs()
        .into_iter()
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    let answer = client.ask(202, replayed.clone(), &[]).await;
    assert_ne!(answer.code(), 16, "{answer:?}");
    replayed["topic"] = json!("U");
    let answer = client.ask(202, replayed, &[]).await;
    refused(&answer, 16, "check signature failed.");
}

#[tokio::test]
async fn rights_are_asked_for_by_what_a_request_is_about() {
    let running = start().await;
    let mut root = root(&running).await;
    root.create_topic("mine", 1).await;
    root.create_topic("yours", 1).await;
    let rights = [
        ("Topic:mine", "Pub,Sub", "Allow"),
        ("Group:g*", "Sub", "Allow"),
    ];
    let mut a = user_with(&running, "a", &rights).await;
    let no = |what: &str| {
        format!("User:a has no permission to access {what} from 127.0.0.1, no matched policies.")
    };
    done(&a.send("mine", 0, "x").await);
    refused(&a.send("yours", 0, "x").await, 16, &no("Topic:yours"));
    done(&a.consume("c", "g1", "mine").await);
    refused(&a.consume("c", "h", "mine").await, 16, &no("Group:h"));
    refused(&a.consume("c", "g1", "yours").await, 16, &no("Topic:yours"));
    let pull = |group: &str, topic: &str| {
        json!({
            "consumerGroup": group, "topic": topic, "queueId": "0", "queueOffset": "0",
            "maxMsgNums": "1", "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0",
            "subscription": "*", "subVersion": "1",
        })
    };
    let answer = a.ask(11, pull("g1", "mine"), &[]).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    refused(
        &a.ask(11, pull("g1", "yours"), &[]).await,
        16,
        &no("Topic:yours"),
    );
    refused(&a.ask(11, pull("h", "mine"), &[]).await, 16, &no("Group:h"));
    // The retry messages of another group are that group's, whoever claims to ask.
    refused(
        &a.ask(11, pull("g1", "%RETRY%h"), &[]).await,
        16,
        &no("Group:h"),
    );
    let offset = json!({"consumerGroup": "g1", "topic": "mine", "queueId": "0"});
    done(&a.ask(14, offset.clone(), &[]).await);
    let mut commit = offset;
    commit["commitOffset"] = json!("1");
    done(&a.ask(15, commit, &[]).await);
    refused(
        &a.ask(30, json!({"topic": "mine", "queueId": "0"}), &[])
            .await,
        16,
        &no("Topic:mine"),
    );
    refused(
        &a.ask(26, json!({}), &[]).await,
        16,
        &no("Cluster:DefaultCluster"),
    );
    refused(
        &a.ask(17, json!({"topic": "new"}), &[]).await,
        16,
        &no("Topic:new"),
    );
    refused(
        &a.ask(77_777, json!({}), &[]).await,
        16,
        "User:a has no permission to access Request:77777 from 127.0.0.1, only super users have.",
    );
    // A super user is answered as ever.
    assert_eq!(root.ask(77_777, json!({}), &[]).await.code(), 3);
}

#[tokio::test]
async fn deny_counts_and_so_does_the_address() {
    let running = start().await;
    let rights = [
        ("Topic:*", "All", "Allow"),
        ("Topic:secret*", "Pub", "Deny"),
    ];
    let mut a = user_with(&running, "a", &rights).await;
    done(&a.send("open", 0, "x").await);
    refused(
        &a.send("secrets", 0, "x").await,
        16,
        "User:a has no permission to access Topic:secrets from 127.0.0.1, the decision is deny.",
    );
    let mut root = root(&running).await;
    let body = json!({"policies": [{"entries": [{
        "resource": "Topic:*", "actions": ["All"], "decision": "Allow", "sourceIps": ["10.0.0.0/8"],
    }]}]});
    let body = body.to_string();
    done(
        &root
            .ask(3007, json!({"subject": "User:a"}), body.as_bytes())
            .await,
    );
    refused(
        &a.send("open", 0, "x").await,
        16,
        "User:a has no permission to access Topic:open from 127.0.0.1, no matched policies.",
    );
}

#[tokio::test]
async fn one_way_requests_are_dropped() {
    let running = start().await;
    let mut root = root(&running).await;
    root.create_topic("T", 1).await;
    let mut stranger = running.connect().await;
    let send = json!({
        "a": "producers", "b": "T", "c": "TBW102", "d": "4", "e": "0", "f": "0",
        "g": "1700000000000", "h": "0", "i": "", "j": "0", "k": "false", "m": "false",
    });
    stranger.tell(310, send.clone(), b"x").await;
    // What comes next on the connection is answered, so the request before was looked at.
    assert_eq!(stranger.ask(28, json!({}), &[]).await.code(), 16);
    let asked = json!({"topic": "T", "queueId": "0"});
    let answer = root.ask(30, asked.clone(), &[]).await;
    assert_eq!(answer.field("offset"), "0", "{answer:?}");
    root.tell(310, send, b"x").await;
    let answer = root.ask(30, asked, &[]).await;
    assert_eq!(answer.field("offset"), "1", "{answer:?}");
}

#[tokio::test]
async fn white_lists_let_in() {
    let keys = [
        ("authenticationWhitelist", "28"),
        ("authorizationWhitelist", "28"),
    ];
    let running = Running::start_with(&[&ON[..], &keys].concat()).await;
    let mut stranger = running.connect().await;
    done(&stranger.ask(28, json!({}), &[]).await);
    refused(
        &stranger.ask(26, json!({}), &[]).await,
        16,
        "username cannot be null.",
    );
}

#[tokio::test]
async fn without_authorization_users_may_do_everything() {
    let keys = [
        ("authenticationEnabled", "true"),
        ("initAuthenticationUser", ROOT),
    ];
    let running = Running::start_with(&keys).await;
    let mut root = root(&running).await;
    done(&create_user(&mut root, "a", "secret").await);
    let mut a = client_of(&running, "a", "secret").await;
    done(&a.send("T", 0, "x").await);
    let mut stranger = running.connect().await;
    refused(
        &stranger.send("T", 0, "x").await,
        16,
        "username cannot be null.",
    );
    // But what concerns super users is for super users.
    refused(
        &update_user(&mut a, "root", json!({"password": "mine"})).await,
        16,
        "The super user can only be update by super user",
    );
    refused(
        &a.ask(3003, json!({"username": "root"}), &[]).await,
        16,
        "The super user can only be update by super user",
    );
    let body = br#"{"password":"x","userType":"Super"}"#;
    refused(
        &a.ask(3001, json!({"username": "b"}), body).await,
        1,
        "The super user can only be create by super user",
    );
    refused(
        &a.ask(3002, json!({"username": "a"}), body).await,
        1,
        "The super user can only be update by super user",
    );
    // Passwords are told to super users alone.
    assert_eq!(
        a.ask(3004, json!({"username": "root"}), &[])
            .await
            .json()
            .get("password"),
        None
    );
    let told = root.ask(3004, json!({"username": "a"}), &[]).await.json();
    assert_eq!(told["password"], "secret");
}

/// A white list must not make a super user of whoever calls himself one.
#[tokio::test]
async fn a_claim_is_no_proof() {
    let keys = [
        ("authenticationWhitelist", "3001,3004"),
        ("authorizationWhitelist", "3001,3004"),
    ];
    let running = Running::start_with(&[&ON[..], &keys].concat()).await;
    for mut client in [
        running.connect().await,
        client_of(&running, "root", "wrong").await,
    ] {
        let body = br#"{"password":"x","userType":"Super"}"#;
        let answer = client.ask(3001, json!({"username": "b"}), body).await;
        refused(
            &answer,
            1,
            "The super user can only be create by super user",
        );
        let told = client
            .ask(3004, json!({"username": "root"}), &[])
            .await
            .json();
        assert_eq!(told.get("password"), None);
    }
}

#[tokio::test]
async fn users_are_managed_with_apaches_answers() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    refused(
        &create_user(&mut client, "", "x").await,
        29,
        "The username is blank",
    );
    refused(
        &create_user(&mut client, "a", "").await,
        16,
        "password can not be blank",
    );
    done(&create_user(&mut client, "a", "secret").await);
    refused(
        &create_user(&mut client, "a", "x").await,
        16,
        "The user is existed",
    );
    let told = client.ask(3004, json!({"username": "a"}), &[]).await;
    assert_eq!(
        String::from_utf8(told.body).unwrap(),
        r#"{"password":"secret","userStatus":"enable","userType":"Normal","username":"a"}"#
    );
    refused(
        &client.ask(3004, json!({"username": " "}), &[]).await,
        29,
        "The username is blank",
    );
    let nobody = client.ask(3004, json!({"username": "b"}), &[]).await;
    done(&nobody);
    assert!(nobody.body.is_empty());
    refused(
        &update_user(&mut client, "b", json!({})).await,
        16,
        "The user is not exist",
    );
    done(&update_user(&mut client, "a", json!({"userType": "super"})).await);
    done(&create_user(&mut client, "ab", "x").await);
    let names = |list: &Message| -> Vec<String> {
        let users = list.json();
        let users = users.as_array().unwrap();
        users
            .iter()
            .map(|user| user["username"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&client.ask(3005, json!({}), &[]).await), ["a", "ab"]);
    assert_eq!(
        names(&client.ask(3005, json!({"filter": "b"}), &[]).await),
        ["ab"]
    );
    assert!(
        client
            .ask(3005, json!({"filter": "z"}), &[])
            .await
            .body
            .is_empty()
    );
    done(&client.ask(3003, json!({"username": "ab"}), &[]).await);
    done(&client.ask(3003, json!({"username": "ab"}), &[]).await);
    assert_eq!(names(&client.ask(3005, json!({}), &[]).await), ["a"]);
}

#[tokio::test]
async fn lists_are_managed_with_apaches_answers() {
    let running = Running::start().await;
    let mut client = running.connect().await;
    let subject = json!({"subject": "User:a"});
    let one = acl(&[("Topic:t", "Pub,Sub", "Allow"), ("Group:g*", "Sub", "Deny")]);
    let answer = client.ask(3006, subject.clone(), one.as_bytes()).await;
    refused(&answer, 16, "The subject of User:a is not exist.");
    refused(
        &client.ask(3009, subject.clone(), &[]).await,
        16,
        "The subject is not exist.",
    );
    done(&create_user(&mut client, "a", "secret").await);
    let none = client.ask(3009, subject.clone(), &[]).await;
    done(&none);
    assert!(none.body.is_empty());
    let bad = acl(&[("Topic:t", "Any", "Allow")]);
    let answer = client.ask(3006, subject.clone(), bad.as_bytes()).await;
    refused(&answer, 16, "The actions can not be Any.");
    done(&client.ask(3006, subject.clone(), one.as_bytes()).await);
    let told = client.ask(3009, subject.clone(), &[]).await;
    assert_eq!(
        String::from_utf8(told.body).unwrap(),
        r#"{"policies":[{"entries":[{"actions":["Pub","Sub"],"decision":"Allow","resource":"Topic:t"},{"actions":["Sub"],"decision":"Deny","resource":"Group:g*"}],"policyType":"Custom"}],"subject":"User:a"}"#
    );
    let list = client
        .ask(3010, json!({"resourceFilter": "Group"}), &[])
        .await
        .json();
    assert_eq!(
        list[0]["policies"][0]["entries"].as_array().unwrap().len(),
        1
    );
    assert!(
        client
            .ask(3010, json!({"subjectFilter": "b"}), &[])
            .await
            .body
            .is_empty()
    );
    let only = json!({"subject": "User:a", "resource": "Topic:t"});
    done(&client.ask(3008, only, &[]).await);
    let told = client.ask(3009, subject.clone(), &[]).await.json();
    assert_eq!(told["policies"][0]["entries"].as_array().unwrap().len(), 1);
    done(&client.ask(3008, subject.clone(), &[]).await);
    refused(
        &client.ask(3008, subject, &[]).await,
        16,
        "The acl is not exist.",
    );
}

#[tokio::test]
async fn users_and_lists_outlive_the_broker() {
    let running = start().await;
    let mut a = user_with(&running, "a", &[("Topic:T", "Pub", "Allow")]).await;
    done(&a.send("T", 0, "x").await);
    let file = running.directory.path().join("config/auth.json");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // As after a crash: what was answered is in the file.
    let copy = running.crashed();
    for running in [
        running.restart_with(&ON).await,
        Running::start_in(copy, &ON).await,
    ] {
        let mut a = client_of(&running, "a", "secret").await;
        done(&a.send("T", 0, "x").await);
        assert_eq!(a.send("U", 0, "x").await.code(), 16);
    }
}

#[tokio::test]
async fn a_configuration_that_would_not_protect_is_refused() {
    let refusal = async |keys: &[(&str, &str)]| {
        let directory = tempfile::tempdir().unwrap();
        let config: Config = config(directory.path(), keys);
        Broker::start(config).await.err().unwrap().to_string()
    };
    let alone = refusal(&[("authorizationEnabled", "true")]).await;
    assert!(alone.contains("authenticationEnabled=true"), "{alone}");
    let nobody = refusal(&[("authenticationEnabled", "true")]).await;
    assert!(nobody.contains("initAuthenticationUser"), "{nobody}");
    let bad = [
        ("authenticationEnabled", "true"),
        ("initAuthenticationUser", r#"{"username":"a"#),
    ];
    assert!(
        refusal(&bad)
            .await
            .contains("initAuthenticationUser must be")
    );
}

#[tokio::test]
async fn who_may_do_what_is_not_changed_from_afar_and_secrets_are_not_told() {
    let inner = r#"{"accessKey":"inner","secretKey":"hidden"}"#;
    let keys = [("innerClientAuthenticationCredentials", inner)];
    let running = Running::start_with(&[&ON[..], &keys].concat()).await;
    let mut root = root(&running).await;
    for change in [
        "authenticationEnabled=false",
        "authorizationWhitelist=10",
        "initAuthenticationUser=x",
    ] {
        let answer = root.ask(25, json!({}), change.as_bytes()).await;
        refused(&answer, 16, "Can not update config in black list.");
    }
    let told = root.ask(26, json!({}), &[]).await;
    let told = String::from_utf8(told.body).unwrap();
    assert!(told.contains("authenticationEnabled=true\n"), "{told}");
    assert!(
        told.contains("innerClientAuthenticationCredentials=******\n"),
        "{told}"
    );
    assert!(!told.contains("hidden") && !told.contains("toor"), "{told}");
    // The inner user exists, and may do everything.
    let mut inner = client_of(&running, "inner", "hidden").await;
    done(&inner.ask(28, json!({}), &[]).await);
}

#[tokio::test]
async fn a_believed_connection_signs_once_and_hears_of_changes_at_once() {
    let keys = [("authenticationStrategy", "StatefulAuthenticationStrategy")];
    let running = Running::start_with(&[&ON[..], &keys].concat()).await;
    let mut client = root(&running).await;
    done(&client.ask(28, json!({}), &[]).await);
    // The same connection, unsigned from now on.
    let mut client = client.unsigned();
    done(&client.ask(28, json!({"AccessKey": "root"}), &[]).await);
    let mut other = running.connect().await;
    let answer = other.ask(28, json!({"AccessKey": "root"}), &[]).await;
    refused(&answer, 16, "check signature failed.");
    let mut root = root(&running).await;
    done(&update_user(&mut root, "root", json!({"password": "new"})).await);
    let answer = client.ask(28, json!({"AccessKey": "root"}), &[]).await;
    refused(&answer, 16, "check signature failed.");
}

#[tokio::test]
async fn heartbeats_need_every_group_and_topic_that_they_name() {
    let running = start().await;
    let mut a = user_with(
        &running,
        "a",
        &[("Group:g", "Sub", "Allow"), ("Topic:t", "Sub", "Allow")],
    )
    .await;
    done(&a.ask_json(34, &heartbeat("c", "g", "t")).await);
    let mut both = heartbeat("c", "g", "t");
    let other = heartbeat("c", "h", "t")["consumerDataSet"][0].clone();
    both["consumerDataSet"].as_array_mut().unwrap().push(other);
    let answer = a.ask_json(34, &both).await;
    assert_eq!(answer.code(), 16, "{answer:?}");
    assert!(answer.remark().contains("Group:h"), "{answer:?}");
}
