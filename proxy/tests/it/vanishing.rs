// SPDX-License-Identifier: Apache-2.0
//! Streams cut in the middle, clients that vanish, floods, and bytes that mean nothing: nothing is
//! lost, what is kept has a bound, and everybody else is served on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aerobee_proxy::v2::{
    ClientType, Code, HeartbeatRequest, Metric, NotifyClientTerminationRequest, Publishing,
    QueryRouteRequest, SendMessageResponse, TelemetryCommand, receive_message_response::Content,
    settings::PubSub,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};
use tonic::codegen::{http::uri::PathAndQuery, tokio_stream::StreamExt as _};

use crate::support::{
    Cluster, Grpc, PATIENCE, message, of, receive, receiving, resource, send, span,
    telemetry::{greet, publishing, settings, subscription, telemetry},
};

/// Receives until `count` different bodies have come.
async fn collect(grpc: &mut Grpc, topic: &str, count: usize) -> BTreeSet<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut bodies = BTreeSet::new();
    while bodies.len() < count {
        assert!(Instant::now() < deadline, "only {bodies:?}");
        let (_, messages) = receive(grpc, "patient", receiving(topic, 5)).await;
        bodies.extend(messages.iter().map(|message| {
            let body = String::from_utf8_lossy(&message.body);
            body.trim_end_matches('x').to_owned()
        }));
    }
    bodies
}

async fn serves(grpc: &mut Grpc) {
    let request = QueryRouteRequest {
        topic: Some(resource("t")),
        endpoints: None,
    };
    let answer = timeout(PATIENCE, grpc.query_route(of("other", request))).await;
    let status = answer.unwrap().unwrap().into_inner().status.unwrap();
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_cut_after_its_status_loses_nothing() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.with_topic("t").await;
    let sent: BTreeSet<String> = (0..8).map(|n| format!("body {n} ")).collect();
    for body in &sent {
        // Far more than the windows of the connection take in.
        let large = format!("{body}{}", "x".repeat(1 << 20));
        let answer = send(&mut grpc, vec![message("t", &large)]).await;
        assert_eq!(answer.status.unwrap().code(), Code::Ok);
    }
    // What was on its way comes again after its invisible time, the rest at once.
    let mut request = receiving("t", 5);
    request.invisible_duration = span(10);
    let mut leaving = cluster.grpc().await;
    let cut = leaving.receive_message(of("leaves", request)).await;
    let mut cut = cut.unwrap().into_inner();
    let first = cut.message().await.unwrap().unwrap();
    assert!(matches!(first.content, Some(Content::Status(status)) if status.code() == Code::Ok));
    drop((cut, leaving));
    assert_eq!(collect(&mut grpc, "t", sent.len()).await, sent);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_receive_had_not_read_does_not_wait_for_its_invisible_time() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.with_topic("t").await;
    for n in 0..8 {
        let large = format!("{n}{}", "x".repeat(1 << 20));
        send(&mut grpc, vec![message("t", &large)]).await;
    }
    let mut request = receiving("t", 5);
    request.invisible_duration = span(12 * 3600);
    let mut leaving = cluster.grpc().await;
    let cut = leaving.receive_message(of("leaves", request)).await;
    let mut cut = cut.unwrap().into_inner();
    cut.message().await.unwrap().unwrap();
    drop((cut, leaving));
    // Some may be in buffers, and count as read; most are not.
    collect(&mut grpc, "t", 4).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_client_that_vanished_are_renewed_no_more() {
    let cluster = Cluster::start_with(|config| {
        config.channel_expired_timeout = 1000;
        config.default_invisible_time_mills = 2000;
        config.renew_ahead_time_millis = 1500;
        config.renew_schedule_period_millis = 100;
    })
    .await;
    let (mut grpc, mut vanishing) = (cluster.with_topic("t").await, cluster.grpc().await);
    let hello = settings(ClientType::PushConsumer, subscription("g", "t"));
    let (up, down) = greet(&mut vanishing, "vanishes", hello).await;
    send(&mut grpc, vec![message("t", "left behind")]).await;
    let mut request = receiving("t", 20);
    request.auto_renew = true;
    let (code, messages) = receive(&mut vanishing, "vanishes", request).await;
    assert_eq!((code, messages.len()), (Code::Ok, 1));
    // No goodbye, no acknowledgement.
    drop((up, down, vanishing));
    let expected = BTreeSet::from(["left behind".to_owned()]);
    assert_eq!(collect(&mut grpc, "t", 1).await, expected);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_on_after_its_telemetry_broke() {
    let cluster = Cluster::start().await;
    let (mut grpc, mut breaking) = (cluster.with_topic("t").await, cluster.grpc().await);
    let hello = settings(ClientType::SimpleConsumer, subscription("g", "t"));
    let (up, down) = greet(&mut breaking, "c", hello).await;
    drop((up, down, breaking));
    send(&mut grpc, vec![message("t", "x")]).await;
    let (code, messages) = receive(&mut grpc, "c", receiving("t", 20)).await;
    assert_eq!((code, messages.len()), (Code::Ok, 1));
    // Its settings are still known: the type need not be said again.
    let heartbeat = HeartbeatRequest {
        group: Some(resource("g")),
        client_type: ClientType::Unspecified.into(),
    };
    let answer = grpc.heartbeat(of("c", heartbeat)).await.unwrap();
    assert_eq!(answer.into_inner().status.unwrap().code(), Code::Ok);
    cluster.stop().await;
}

/// Settings with so many topics of names of a hundred bytes.
fn many_topics(count: usize, round: usize) -> TelemetryCommand {
    let topics = (0..count).map(|n| resource(&format!("t{round:09}-{n:087}")));
    let publishing = Publishing {
        topics: topics.collect(),
        ..Publishing::default()
    };
    settings(ClientType::Producer, PubSub::Publishing(publishing))
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_beyond_any_measure_are_refused() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.with_topic("t").await;
    for (count, fits) in [(1000, true), (100_000, false)] {
        let (up, mut down) = telemetry(&mut grpc, "c").await;
        up.send(many_topics(count, 0)).await.unwrap();
        let told = timeout(PATIENCE, down.next()).await.unwrap().unwrap();
        match told {
            Ok(told) => assert!(fits && told.status.unwrap().code() == Code::Ok),
            Err(status) => {
                assert!(!fits && status.code() == tonic::Code::InvalidArgument);
                assert!(status.message().contains("use fewer topics"), "{status:?}");
            }
        }
    }
    serves(&mut grpc).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_settings_from_one_that_does_not_read_stops_by_itself() {
    let cluster = Cluster::start().await;
    let (mut flooding, mut grpc) = (cluster.with_topic("t").await, cluster.grpc().await);
    let (up, down) = telemetry(&mut flooding, "flood").await;
    let taken = Arc::new(AtomicUsize::new(0));
    let flood = tokio::spawn({
        let taken = Arc::clone(&taken);
        async move {
            // Ten kilobytes each, and each another one.
            for round in 0.. {
                if up.send(many_topics(100, round)).await.is_err() {
                    return;
                }
                taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..300 {
        serves(&mut grpc).await;
    }
    // What buffers and windows of both ends hold is some hundreds.
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < 3000, "{taken} settings were taken and not read");
    flood.abort();
    drop(down);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_a_bounded_number_of_streams() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.with_topic("t").await;
    let mut streams = Vec::new();
    for _ in 0..128 {
        streams.push(telemetry(&mut grpc, "many").await);
    }
    let (_up, mut refused) = telemetry(&mut grpc, "many").await;
    let told = timeout(PATIENCE, refused.message()).await.unwrap().unwrap();
    let status = told.unwrap().status.unwrap();
    assert_eq!(status.code(), Code::TooManyRequests);
    assert!(
        timeout(PATIENCE, refused.message())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
    // Others have theirs, and it has again when one has ended.
    telemetry(&mut grpc, "another").await;
    drop(streams);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline);
        let (up, mut down) = telemetry(&mut grpc, "many").await;
        up.send(settings(ClientType::Producer, publishing("t")))
            .await
            .unwrap();
        let told = timeout(PATIENCE, down.next()).await.unwrap().unwrap();
        if told.unwrap().status.unwrap().code() == Code::Ok {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_after_the_goodbye_are_not_kept() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.with_topic("t").await;
    let hello = || settings(ClientType::Producer, publishing("t"));
    let (up, mut down) = greet(&mut grpc, "p", hello()).await;
    let goodbye = NotifyClientTerminationRequest { group: None };
    grpc.notify_client_termination(of("p", goodbye))
        .await
        .unwrap();
    up.send(hello()).await.unwrap();
    let told = timeout(PATIENCE, down.next()).await.unwrap().unwrap();
    assert_eq!(told.unwrap_err().code(), tonic::Code::InvalidArgument);
    cluster.stop().await;
}

/// Calls with what is no request of the kind.
async fn call<T: prost::Message + Default + 'static>(
    cluster: &Cluster,
    path: &'static str,
    body: T,
) -> tonic::Status {
    let address = format!("http://{}", cluster.proxy.address());
    let channel = tonic::transport::Endpoint::from_shared(address).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<T, SendMessageResponse>::default();
    let path = PathAndQuery::from_static(path);
    let request = of("c", body);
    timeout(PATIENCE, grpc.unary(request, path, codec))
        .await
        .unwrap()
        .unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_none_end_with_a_status_of_grpc() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.with_topic("t").await;
    for path in [
        "/apache.rocketmq.v2.MessagingService/NoSuchCall",
        "/apache.rocketmq.v2.NoSuchService/SendMessage",
        "/",
    ] {
        let status = call(&cluster, path, HeartbeatRequest::default()).await;
        assert_eq!(status.code(), tonic::Code::Unimplemented, "{path}");
    }
    // A number where a message has to be.
    let nonsense = Metric {
        on: true,
        endpoints: None,
    };
    let path = "/apache.rocketmq.v2.MessagingService/SendMessage";
    let status = call(&cluster, path, nonsense).await;
    assert_eq!(status.code(), tonic::Code::Internal, "{status:?}");
    serves(&mut grpc).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_begin_well_and_go_wrong_are_closed() {
    let cluster = Cluster::start().await;
    let mut grpc = cluster.with_topic("t").await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let after = |bytes: &[u8]| [&preface[..], bytes].concat();
    for bytes in [
        // A preface that breaks off into something else.
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n".to_vec(),
        // Frames of lengths and kinds that are none.
        after(&[0xFF; 64]),
        // DATA of a stream that nobody opened.
        after(b"\0\0\x04\x04\0\0\0\0\0\0\0\0\x01\0\0\0\0\x07x"),
        // A TLS record that is no greeting.
        b"\x16\x03\x01\x00\x05hello".to_vec(),
        // A remoting frame with a header longer than itself.
        b"\0\0\0\x08\0\0\0\xFFjunkjunk".to_vec(),
        // A PROXY header without an end.
        [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
    ] {
        let mut stream = TcpStream::connect(cluster.proxy.address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset; what comes before may explain.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .unwrap_or_else(|_| panic!("still open after {bytes:?}"));
    }
    // Those that say nothing at all hold up nobody.
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(cluster.proxy.address()).await.unwrap());
    }
    serves(&mut grpc).await;
    cluster.stop().await;
}
