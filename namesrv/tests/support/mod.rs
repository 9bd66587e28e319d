// SPDX-License-Identifier: Apache-2.0
//! A name server on a free port, and a client that writes its frames by hand.

#![allow(dead_code, reason = "each test program uses its part")]
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::{collections::BTreeMap, net::SocketAddr};

use aerobee_daemon::Properties;
use aerobee_namesrv::{Config, Namesrv};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A running name server with a directory of its own.
pub(crate) struct Server {
    pub(crate) namesrv: Namesrv,
    pub(crate) dir: TempDir,
}

/// The configuration `text` on a free port of this machine, files in `dir`.
pub(crate) fn config(dir: &TempDir, text: &str) -> Config {
    let mut config = Config::default();
    let report = config.apply(&Properties::parse(text).unwrap());
    report.into_result().unwrap();
    config.server.bind_address = "127.0.0.1".to_owned();
    config.server.listen_port = 0;
    let file = |name: &str| dir.path().join(name).display().to_string();
    config.namesrv.kv_config_path = file("kvConfig.json");
    config.namesrv.config_store_path = file("namesrv.properties");
    config
}

pub(crate) async fn start(text: &str) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let namesrv = Namesrv::start(config(&dir, text)).await.unwrap();
    Server { namesrv, dir }
}

impl Server {
    pub(crate) async fn connect(&self) -> Peer {
        Peer::connect(self.namesrv.address()).await
    }
}

/// A command that came from the other end.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) code: i64,
    pub(crate) opaque: i64,
    pub(crate) flag: i64,
    pub(crate) remark: String,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.remark);
        self
    }

    #[track_caller]
    pub(crate) fn failed(&self, code: i64, remark: &str) {
        assert_eq!((self.code, self.remark.as_str()), (code, remark));
    }
}

/// One connection.
pub(crate) struct Peer {
    stream: TcpStream,
    opaque: i64,
    /// Version ordinal to send.
    pub(crate) version: i32,
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            opaque: 0,
            version: 513,
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(
        &mut self,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Received {
        self.opaque += 1;
        let fields: BTreeMap<_, _> = fields.iter().copied().collect();
        let header = json!({
            "code": code, "extFields": fields, "flag": 0, "language": "JAVA", "opaque": self.opaque,
            "serializeTypeCurrentRPC": "JSON", "version": self.version,
        });
        let header = header.to_string();
        let mut frame = Vec::new();
        frame.extend(
            u32::try_from(4 + header.len() + body.len())
                .unwrap()
                .to_be_bytes(),
        );
        frame.extend(u32::try_from(header.len()).unwrap().to_be_bytes());
        frame.extend(header.as_bytes());
        frame.extend(body);
        self.stream.write_all(&frame).await.unwrap();
        let answer = self.read().await.expect("an answer");
        assert_eq!(answer.opaque, self.opaque);
        assert_eq!(answer.flag & 1, 1);
        answer
    }

    /// The next command; `None` when the other end has closed.
    pub(crate) async fn read(&mut self) -> Option<Received> {
        let length = self.stream.read_u32().await.ok()? as usize;
        let header_bytes = self.stream.read_u32().await.ok()? as usize;
        let mut header = vec![0; header_bytes];
        self.stream.read_exact(&mut header).await.ok()?;
        let mut body = vec![0; length - 4 - header_bytes];
        self.stream.read_exact(&mut body).await.ok()?;
        let header: Value = serde_json::from_slice(&header).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let fields = header["extFields"].as_object().cloned().unwrap_or_default();
        Some(Received {
            code: header["code"].as_i64().unwrap(),
            opaque: header["opaque"].as_i64().unwrap(),
            flag: header["flag"].as_i64().unwrap(),
            remark: text(&header["remark"]),
            fields: fields
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            body,
        })
    }

    /// Registers `broker-a` of `DefaultCluster` with topics `TopicTest` and `TBW102`.
    pub(crate) async fn register(
        &mut self,
        id: i64,
        address: &str,
        more: &[(&str, &str)],
    ) -> Received {
        let id = id.to_string();
        let mut fields = vec![
            ("brokerName", "broker-a"),
            ("brokerAddr", address),
            ("clusterName", "DefaultCluster"),
            ("haServerAddr", "10.0.0.1:10912"),
            ("brokerId", &id),
            ("enableActingMaster", "false"),
        ];
        fields.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        fields.extend(more);
        self.ask(103, &fields, REGISTRATION.as_bytes()).await
    }

    pub(crate) async fn route(&mut self, topic: &str) -> Received {
        self.ask(105, &[("topic", topic)], b"").await
    }
}

/// What a broker of Apache 5.x sends.
pub(crate) const REGISTRATION: &str = concat!(
    r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":7,"stateVersion":0,"#,
    r#""timestamp":1700000000000},"mappingDataVersion":{"counter":7,"stateVersion":0,"timestamp":1700000000000},"#,
    r#""topicConfigTable":{"TopicTest":{"attributes":{},"order":false,"perm":6,"readQueueNums":8,"#,
    r#""topicFilterType":"SINGLE_TAG","topicName":"TopicTest","topicSysFlag":0,"writeQueueNums":8},"#,
    r#""TBW102":{"attributes":{},"order":false,"perm":7,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","#,
    r#""topicName":"TBW102","topicSysFlag":0,"writeQueueNums":8}},"topicQueueMappingDetailMap":{},"#,
    r#""topicQueueMappingInfoMap":{"TopicTest":{"bname":"broker-a","currIdMap":{0:0,2:1},"dirty":false,"#,
    r#""epoch":1700000000000,"scope":"__global__","topic":"TopicTest","totalQueues":4}}}}"#,
);
