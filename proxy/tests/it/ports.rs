// SPDX-License-Identifier: Apache-2.0
//! One port: gRPC plain and inside TLS, remoting plain and inside TLS, health, reflection, and what
//! is none of them.

use std::sync::Arc;

use aerobee_proxy::{
    Config,
    v2::{Code, QueryRouteRequest, messaging_service_client::MessagingServiceClient},
};
use aerobee_remoting::{
    Client, RequestCode,
    body::route::TopicRoute,
    fastjson,
    header::{
        offset::{GetMaxOffset, OffsetReply},
        route::GetRoute,
        send::SendMessage,
    },
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Endpoint, Uri};

use crate::support::{Cluster, PATIENCE, of, resource};

/// As the SDKs: any certificate will do.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

async fn tls(
    address: std::net::SocketAddr,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Connects tonic inside TLS.
#[derive(Clone)]
struct Connector(std::net::SocketAddr);

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move { tls(address, &[b"h2"]).await.map(TokioIo::new) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_inside_tls_settles_on_http2() {
    let cluster = Cluster::start().await;
    cluster.topic("t", "NORMAL").await;
    let address = cluster.proxy.address();
    let stream = tls(address, &[b"h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(Connector(address))
        .await
        .unwrap();
    let mut grpc = MessagingServiceClient::new(channel);
    let request = QueryRouteRequest {
        topic: Some(resource("t")),
        endpoints: None,
    };
    let answer = grpc
        .query_route(of("c", request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    cluster.stop().await;
}

fn route_of(topic: &str) -> GetRoute<'_> {
    GetRoute {
        topic,
        accept_standard_json_only: Some(true),
        zone_mode: None,
        zone_name: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn remoting_clients_find_every_broker_behind_the_proxy() {
    let cluster = Cluster::start().await;
    cluster.topic("t", "NORMAL").await;
    let proxy = cluster.proxy.address().to_string();
    let client = Client::new();
    let code = RequestCode::GET_ROUTEINFO_BY_TOPIC;
    let answer = client
        .request(&proxy, code, &route_of("t"), &[], PATIENCE)
        .await
        .unwrap();
    assert!(answer.is_success(), "{answer:?}");
    let route: TopicRoute = fastjson::from_slice(&answer.body).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], proxy);
    let unknown = client
        .request(&proxy, code, &route_of("x"), &[], PATIENCE)
        .await
        .unwrap();
    assert_eq!(unknown.code.0, 17);
    let send = SendMessage {
        producer_group: "p",
        topic: "t",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 1,
        sys_flag: 0,
        born_timestamp: 0,
        flag: 0,
        properties: "",
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: Some("broker-a"),
    };
    let code = RequestCode::SEND_MESSAGE_V2;
    let sent = client
        .request(&proxy, code, &send, b"hello", PATIENCE)
        .await
        .unwrap();
    assert!(sent.is_success(), "{sent:?}");
    let asked = GetMaxOffset {
        topic: "t",
        queue_id: 1,
        committed: None,
    };
    let code = RequestCode::GET_MAX_OFFSET;
    let answer = client
        .request(&proxy, code, &asked, &[], PATIENCE)
        .await
        .unwrap();
    assert_eq!(answer.header::<OffsetReply>().unwrap().offset, 1);
    // Nothing of an operator's.
    let code = RequestCode::DELETE_TOPIC_IN_BROKER;
    let refused = client
        .request(&proxy, code, &asked, &[], PATIENCE)
        .await
        .unwrap();
    assert_eq!(refused.code.0, 3);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn remoting_inside_tls_is_answered() {
    let cluster = Cluster::start().await;
    let mut stream = tls(cluster.proxy.address(), &[]).await.unwrap();
    let header = br#"{"code":105,"language":"JAVA","version":433,"opaque":7,"flag":0,"extFields":{"topic":"none"}}"#;
    let mut frame = Vec::new();
    frame.extend_from_slice(&(4 + header.len() as u32).to_be_bytes());
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header);
    stream.write_all(&frame).await.unwrap();
    let mut length = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut length))
        .await
        .unwrap()
        .unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer[4..]);
    assert!(
        text.contains("\"opaque\":7") && text.contains("\"code\":17"),
        "{text}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_protocol_of_ours_is_closed() {
    let cluster = Cluster::start().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\xFF\xFE\xFD\xFC garbage",
        b"PRIZES",
    ] {
        let mut stream = TcpStream::connect(cluster.proxy.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        // Closed, in one way or another.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .expect("an end");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_forces_one_of_the_two() {
    let enforcing = Cluster::start_with(|config: &mut Config| {
        config.tls_server_mode = "enforcing".to_owned();
    })
    .await;
    let plain = format!("http://{}", enforcing.proxy.address());
    let channel = Endpoint::from_shared(plain).unwrap().connect_lazy();
    let request = of("c", QueryRouteRequest::default());
    assert!(
        MessagingServiceClient::new(channel)
            .query_route(request)
            .await
            .is_err()
    );
    assert!(tls(enforcing.proxy.address(), &[b"h2"]).await.is_ok());
    enforcing.stop().await;
    let disabled = Cluster::start_with(|config: &mut Config| {
        config.tls_server_mode = "disabled".to_owned();
    })
    .await;
    assert!(tls(disabled.proxy.address(), &[b"h2"]).await.is_err());
    disabled.grpc().await;
    disabled.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_served() {
    let cluster = Cluster::start().await;
    let address = format!("http://{}", cluster.proxy.address());
    let channel = Endpoint::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let asked = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };
    let serving = health.check(asked).await.unwrap().into_inner().status;
    assert_eq!(serving, 1);
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let asked = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            ),
        ),
    };
    let asked = tonic::codegen::tokio_stream::iter([asked]);
    let mut answers = reflection
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(format!("{answer:?}").contains("apache.rocketmq.v2.MessagingService"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_names_the_client() {
    let cluster = Cluster::start().await;
    let mut stream = TcpStream::connect(cluster.proxy.address()).await.unwrap();
    stream
        .write_all(b"PROXY TCP4 10.0.0.7 10.0.0.1 5000 8081\r\n")
        .await
        .unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut head = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut head))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame");
    cluster.stop().await;
}
