// SPDX-License-Identifier: Apache-2.0
//! Key-values and configuration: 100, 101, 102, 219, 318, 319, and what stands in the way of a start.

mod support;

use aerobee_namesrv::Namesrv;
use support::{config, start};

#[tokio::test]
async fn key_values_are_kept() {
    let server = start("").await;
    let mut tool = server.connect().await;
    let a = [("namespace", "n"), ("key", "a")];
    tool.ask(101, &a, b"")
        .await
        .failed(22, "No config item, Namespace: n Key: a");
    tool.ask(219, &[("namespace", "n")], b"")
        .await
        .failed(22, "No config item, Namespace: n");
    tool.ask(100, &[a.as_slice(), &[("value", "1")]].concat(), b"")
        .await
        .succeeded();
    let b = [("namespace", "n"), ("key", "b"), ("value", "ü")];
    tool.ask(100, &b, b"").await.succeeded();
    tool.ask(100, &[("key", "a"), ("value", "1")], b"")
        .await
        .failed(1, "namespace or key is null");
    assert_eq!(
        tool.ask(101, &a, b"").await.succeeded().fields["value"],
        "1"
    );
    let list = tool.ask(219, &[("namespace", "n")], b"").await.succeeded();
    assert_eq!(list.text(), r#"{"table":{"a":"1","b":"ü"}}"#);
    tool.ask(102, &a, b"").await.succeeded();
    tool.ask(102, &a, b"").await.succeeded();

    server.namesrv.stop().await;
    let namesrv = Namesrv::start(config(&server.dir, "")).await.unwrap();
    let mut tool = support::Peer::connect(namesrv.address()).await;
    assert_eq!(tool.ask(101, &a, b"").await.code, 22);
    assert_eq!(
        tool.ask(101, &b[..2], b"").await.succeeded().fields["value"],
        "ü"
    );
}

#[tokio::test]
async fn the_configuration_is_shown_and_changed() {
    let server = start("mine=1").await;
    let mut tool = server.connect().await;
    let text = tool.ask(319, &[], b"").await.succeeded();
    let lines: Vec<&str> = text.text().lines().collect();
    assert!(lines.is_sorted());
    for line in [
        "enableTopicList=true",
        "mine=1",
        "serverWorkerThreads=8",
        "waitSecondsForService=45",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    tool.ask(318, &[], b"").await.succeeded();
    let changes = b"# by an operator\nenableTopicList = false\nunknownKey=1\n";
    tool.ask(318, &[], changes).await.succeeded();
    tool.ask(311, &[], b"").await.failed(1, "disable");
    let text = tool.ask(319, &[], b"").await.succeeded();
    assert!(text.text().contains("enableTopicList=false\n"));
    assert!(!text.text().contains("unknownKey"));
    let file = std::fs::read_to_string(server.dir.path().join("namesrv.properties")).unwrap();
    assert_eq!(file, "enableTopicList=false\n");
}

#[tokio::test]
async fn some_keys_are_fixed_and_bad_values_change_nothing() {
    let server = start("configBlackList=listenPort").await;
    let mut tool = server.connect().await;
    for key in [
        "configBlackList",
        "configStorePath",
        "kvConfigPath",
        "rocketmqHome",
        "listenPort",
    ] {
        let changes = format!("enableTopicList=false\n{key}=1");
        tool.ask(318, &[], changes.as_bytes())
            .await
            .failed(16, "Can not update config in black list.");
    }
    let answer = tool
        .ask(
            318,
            &[],
            b"enableTopicList=false\nscanNotActiveBrokerInterval=soon",
        )
        .await;
    assert_eq!(answer.code, 29);
    assert!(
        answer.remark.contains("scanNotActiveBrokerInterval"),
        "{}",
        answer.remark
    );
    tool.ask(311, &[], b"").await.succeeded();
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let first = start("").await;
    let dir = tempfile::tempdir().unwrap();
    let mut taken = config(&dir, "");
    taken.server.listen_port = first.namesrv.address().port();
    let error = Namesrv::start(taken).await.unwrap_err().to_string();
    assert!(
        error.contains("in use") && error.contains("listenPort"),
        "{error}"
    );

    let mut nowhere = config(&dir, "");
    nowhere.server.bind_address = "somewhere".to_owned();
    let error = Namesrv::start(nowhere).await.unwrap_err().to_string();
    assert!(error.contains("bindAddress"), "{error}");

    std::fs::write(dir.path().join("kvConfig.json"), "{").unwrap();
    let error = Namesrv::start(config(&dir, ""))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("kvConfig.json"), "{error}");

    let controller = config(&dir, "enableControllerInNamesrv=true");
    let error = Namesrv::start(controller).await.unwrap_err().to_string();
    assert!(error.contains("enableControllerInNamesrv"), "{error}");
}
