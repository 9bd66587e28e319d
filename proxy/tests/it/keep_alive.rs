// SPDX-License-Identifier: Apache-2.0
//! Connections on which nothing is called: pings are answered however often they come, and who is idle for long is
//! told to go, unless it has a stream open.

use std::time::Duration;

use aerobee_proxy::v2::ClientType;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    Cluster, PATIENCE,
    telemetry::{greet, publishing, settings},
};

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// A connection that speaks HTTP/2 by hand.
struct Connection(TcpStream);

impl Connection {
    async fn open(cluster: &Cluster) -> Self {
        let mut stream = TcpStream::connect(cluster.proxy.address()).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut connection = Self(stream);
        connection.write(SETTINGS, 0, &[]).await;
        connection
    }

    /// Length in three bytes, type, flags, stream 0 in four.
    async fn write(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let len = u8::try_from(payload.len()).unwrap();
        let mut frame = vec![0, 0, len, kind, flags, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// Type, flags and payload of the next frame; none at the end. Pings of the server are answered.
    async fn read(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            timeout(PATIENCE, self.0.read_exact(&mut head))
                .await
                .unwrap()
                .ok()?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(len).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            if head[3] != PING || head[4] & ACK != 0 {
                return Some((head[3], head[4], payload));
            }
            self.write(PING, ACK, &payload).await;
        }
    }

    /// The next frame of a type.
    async fn read_kind(&mut self, wanted: u8) -> Option<(u8, Vec<u8>)> {
        loop {
            let (kind, flags, payload) = self.read().await?;
            if kind == wanted {
                return Some((flags, payload));
            }
            assert_ne!(kind, GOAWAY, "{}", String::from_utf8_lossy(&payload));
        }
    }
}

/// Frameworks send a client away that pings more than once in five minutes, or without a call. The C++ SDK does both.
#[tokio::test(flavor = "multi_thread")]
async fn pings_without_calls_are_answered_however_often_they_come() {
    let cluster = Cluster::start().await;
    let mut connection = Connection::open(&cluster).await;
    for number in 0..200_u64 {
        let payload = number.to_be_bytes();
        connection.write(PING, 0, &payload).await;
        let answer = connection.read_kind(PING).await;
        assert_eq!(answer, Some((ACK, payload.to_vec())), "ping {number}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_idle_is_told_to_go_unless_it_has_a_stream_open() {
    let cluster = Cluster::start_with(|config| config.grpc_client_idle_time_mills = 1000).await;
    let mut grpc = cluster.grpc().await;
    let hello = settings(ClientType::Producer, publishing("t"));
    let (up, mut down) = greet(&mut grpc, "stays", hello).await;
    let mut idle = Connection::open(&cluster).await;
    let (_, goodbye) = idle.read_kind(GOAWAY).await.unwrap();
    // Four bytes of the last stream, four of the reason: none.
    assert_eq!(goodbye.get(4..8), Some(&[0; 4][..]), "{goodbye:?}");
    while idle.read().await.is_some() {}
    // Much longer idle by now than the other one was, but its stream is open.
    let silence = timeout(Duration::from_secs(3), down.message()).await;
    assert!(silence.is_err(), "{silence:?}");
    drop(up);
    cluster.stop().await;
}
