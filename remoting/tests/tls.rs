// SPDX-License-Identifier: Apache-2.0
//! One port for frames and for TLS.
#![allow(missing_docs, clippy::unwrap_used, clippy::large_futures)]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_remoting::{
    Bound, Client, ClientError, Command, Empty, Limits, Reply, RequestCode, Server, Service,
    tls::{Pair, Secure, TlsError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Larger than all buffers on the way.
const LARGE: usize = 5 << 20;

struct Echo;

impl Service for Echo {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &Command<'_>, reply: Reply<'_>) {
        if command.code == 2 {
            // Answered from another thread.
            let (reply, body) = (reply.defer(), command.body.to_vec());
            std::thread::spawn(move || reply.body(&body));
        } else {
            reply.body(command.body);
        }
    }
}

fn secure(keys: &[(&str, &str)]) -> Result<Secure, TlsError> {
    Secure::read(|key| {
        let found = keys.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn serve(keys: &[(&str, &str)]) -> Server {
    Bound::new("127.0.0.1:0".parse().unwrap())
        .unwrap()
        .serve(
            Arc::new(Echo),
            Limits::default(),
            secure(keys).unwrap().server,
        )
        .unwrap()
}

fn client(keys: &[(&str, &str)]) -> Client {
    let mut all = vec![("tls.enable", "true")];
    all.extend_from_slice(keys);
    Client::new().secured(secure(&all).unwrap().client)
}

async fn ask(client: &Client, server: &Server, code: i32, body: &[u8]) -> Result<(), ClientError> {
    let address = server.address().to_string();
    let answer = client
        .request(&address, RequestCode(code), &Empty, body, PATIENCE)
        .await?;
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
    Ok(())
}

fn pair(directory: &Path, name: &str) -> (String, String) {
    let place = |end: &str| directory.join(format!("{name}.{end}"));
    let (key, cert) = (place("key"), place("crt"));
    Pair::make_in(&key, &cert).unwrap();
    (key.display().to_string(), cert.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_secure_clients_share_a_port() {
    let server = serve(&[]);
    let (plain, with_tls) = (Client::new(), client(&[]));
    for code in [1, 2] {
        for size in [0, 1, 100, 70_000, LARGE] {
            let body = vec![b'x'; size];
            ask(&plain, &server, code, &body).await.unwrap();
            ask(&with_tls, &server, code, &body).await.unwrap();
        }
    }
    let connections = server.all_connections();
    assert_eq!(connections.len(), 2);
    assert_eq!(connections.iter().filter(|one| one.is_tls()).count(), 1);
    server.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_are_answered_over_one_session() {
    let server = serve(&[]);
    let with_tls = Arc::new(client(&[]));
    let mut asked = tokio::task::JoinSet::new();
    let server = Arc::new(server);
    for n in 0..200_usize {
        let (with_tls, server) = (Arc::clone(&with_tls), Arc::clone(&server));
        asked.spawn(async move {
            let body = vec![u8::try_from(n).unwrap_or(7); n * 300];
            ask(&with_tls, &server, 1 + (n % 2) as i32, &body).await
        });
    }
    while let Some(asked) = asked.join_next().await {
        asked.unwrap().unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_decides_who_is_served() {
    let enforcing = serve(&[("tls.server.mode", "enforcing")]);
    ask(&client(&[]), &enforcing, 1, b"x").await.unwrap();
    let refused = ask(&Client::new(), &enforcing, 1, b"x").await.unwrap_err();
    assert!(matches!(refused, ClientError::Closed(_)), "{refused}");
    let disabled = serve(&[("tls.server.mode", "disabled")]);
    ask(&Client::new(), &disabled, 1, b"x").await.unwrap();
    let refused = ask(&client(&[]), &disabled, 1, b"x").await.unwrap_err();
    assert!(matches!(refused, ClientError::Connect { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_after_the_first_byte_ends_only_its_connection() {
    let server = serve(&[]);
    let mut garbage = TcpStream::connect(server.address()).await.unwrap();
    garbage
        .write_all(&[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5])
        .await
        .unwrap();
    let mut rest = Vec::new();
    // An alert may come before the end.
    let ended = timeout(PATIENCE, garbage.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection stays");
    ask(&client(&[]), &server, 1, b"x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_verified_where_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (key, cert) = pair(directory.path(), "server");
    let (client_key, client_cert) = pair(directory.path(), "client");
    let (other_key, other_cert) = pair(directory.path(), "other");
    let server = serve(&[
        ("tls.server.keyPath", &*key),
        ("tls.server.certPath", &*cert),
        ("tls.server.need.client.auth", "require"),
        ("tls.server.authClient", "true"),
        ("tls.server.trustCertPath", &*client_cert),
    ]);
    let shows = |key: &str, cert: &str, trusts: &str| {
        client(&[
            ("tls.client.keyPath", key),
            ("tls.client.certPath", cert),
            ("tls.client.authServer", "true"),
            ("tls.client.trustCertPath", trusts),
        ])
    };
    let good = shows(&client_key, &client_cert, &cert);
    ask(&good, &server, 1, b"x").await.unwrap();
    let unknown = shows(&other_key, &other_cert, &cert);
    ask(&unknown, &server, 1, b"x").await.unwrap_err();
    ask(&client(&[]), &server, 1, b"x").await.unwrap_err();
    let distrusts = shows(&client_key, &client_cert, &other_cert);
    let refused = ask(&distrusts, &server, 1, b"x").await.unwrap_err();
    assert!(matches!(refused, ClientError::Connect { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_certificate_is_used_and_a_bad_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (key, cert) = pair(directory.path(), "server");
    let server = serve(&[
        ("tls.server.keyPath", &*key),
        ("tls.server.certPath", &*cert),
    ]);
    let trusting = |cert: &str| {
        client(&[
            ("tls.client.authServer", "true"),
            ("tls.client.trustCertPath", cert),
        ])
    };
    ask(&trusting(&cert), &server, 1, b"x").await.unwrap();
    let first = directory.path().join("first.crt");
    std::fs::copy(&cert, &first).unwrap();
    std::fs::write(&cert, "nonsense").unwrap();
    // Time for the server to look at it, if it does; the old one serves on either way.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    ask(&trusting(first.to_str().unwrap()), &server, 1, b"x")
        .await
        .unwrap();
    pair(directory.path(), "server");
    let deadline = Instant::now() + PATIENCE;
    while ask(&trusting(&cert), &server, 1, b"x").await.is_err() {
        assert!(Instant::now() < deadline, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A key as OpenSSL encrypts it, with the password "sesame", and its certificate.
const ENCRYPTED_KEY: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgD9UgCQN9b1gICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEED44cDMyX4LqL/6yS05fhKgEgZDl
rvAayqDzN22I+Jv9CRKHuB+P19DaZkxdJF/uLK+McV7lGjhbHAXl4usVL9xX3sND
ge2nvj3j1gXg0gFK/mYMtPsqWMP4Wm88SxWT7TTZ5M3rONRbh5WMTebtzyhE+Up1
3MFCqzc1KDipZu4kdhF9bvahv6li+4wTQWf+ViT6yxL2IEQqEwKqQeCEpF5WzoI=
-----END ENCRYPTED PRIVATE KEY-----
";
const ITS_CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUYwyu81d44aXjOuBwCqNVTS9JQmgwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjA1MTU1OVoYDzIxMjYxMTAy
MDUxNTU5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQVJJF4QS1VCUfATKUvUftUvfVguLtyNNY9Y+l8iXyMdFZp3QKlam6a
CsMfMyGneCpddpx02R4fK/Pjq7sdWOSxo1MwUTAdBgNVHQ4EFgQUkfhOlk2qvh1p
huUBCnYyai14FbswHwYDVR0jBBgwFoAUkfhOlk2qvh1phuUBCnYyai14FbswDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiAmqZB8rSOZtFr+tdb411pb
qUlTn2lpWOIp9VRbO53tsQIhANlBCdh0DZsRAvXfBWpKsv9muvepU05Z6JzxkEx3
1fm+
-----END CERTIFICATE-----
";

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_is_used_with_its_password_only() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (key, cert) = (place("key", ENCRYPTED_KEY), place("crt", ITS_CERTIFICATE));
    let with = |password: &str| {
        secure(&[
            ("tls.server.keyPath", &key),
            ("tls.server.certPath", &cert),
            ("tls.server.keyPassword", password),
        ])
    };
    assert!(with("").unwrap_err().to_string().contains("no password"));
    let wrong = with("simsim").unwrap_err().to_string();
    assert!(wrong.contains("password is wrong") && wrong.contains("tls.server.keyPassword"));
    let opened = format!("{:?}", with("sesame").unwrap());
    assert!(!opened.contains("sesame"), "{opened}");
    let server = serve(&[
        ("tls.server.keyPath", &key),
        ("tls.server.certPath", &cert),
        ("tls.server.keyPassword", "sesame"),
    ]);
    ask(&client(&[]), &server, 1, b"x").await.unwrap();
    server.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_must_agree_on_a_version_and_a_suite() {
    let old = [("tls.protocols", "TLSv1.2")];
    let new = [("tls.protocols", "TLSv1.3")];
    let server = serve(&old);
    ask(&client(&old), &server, 1, b"x").await.unwrap();
    ask(&client(&[]), &server, 1, b"x").await.unwrap();
    assert!(ask(&client(&new), &server, 1, b"x").await.is_err());
    server.close(PATIENCE).await;
    let one = [("tls.ciphers", "TLS_AES_128_GCM_SHA256")];
    let other = [("tls.ciphers", "TLS_AES_256_GCM_SHA384")];
    let server = serve(&one);
    ask(&client(&one), &server, 1, b"x").await.unwrap();
    assert!(ask(&client(&other), &server, 1, b"x").await.is_err());
    server.close(PATIENCE).await;
}

#[test]
fn settings_that_cannot_hold_are_refused_with_their_fix() {
    let refused = |keys: &[(&str, &str)]| secure(keys).unwrap_err().to_string();
    assert!(refused(&[("tls.server.mode", "maybe")]).contains("permissive"));
    assert!(refused(&[("tls.server.keyPath", "/k")]).contains("both"));
    assert!(refused(&[("tls.ciphers", "RC4")]).contains("TLS_AES"));
    let keys = [("tls.server.need.client.auth", "require")];
    assert!(refused(&keys).contains("tls.server.authClient"));
    let keys = [("tls.enable", "true"), ("tls.client.authServer", "true")];
    assert!(refused(&keys).contains("tls.client.trustCertPath"));
    let keys = [
        ("tls.server.mode", "enforcing"),
        ("tls.test.mode.enable", "false"),
    ];
    assert!(refused(&keys).contains("tls.server.keyPath"));
    let off = secure(&[("tls.test.mode.enable", "false")]).unwrap();
    assert!(off.server.is_none() && off.client.is_none());
}
