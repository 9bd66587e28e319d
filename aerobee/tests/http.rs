// SPDX-License-Identifier: Apache-2.0
//! Health and metrics of a running server.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, Server, aerobee, ask};

fn fails_with(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} in {error:?}");
    }
}

#[test]
fn health_and_metrics_are_served() {
    let server = Server::start(&["--http-port", "0"]);
    assert_eq!(server.get("/livez"), (200, "alive\n".to_owned()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(server.get("/nothing").0, 404);
    assert_eq!(ask(server.http, "POST /metrics HTTP/1.1").unwrap().0, 405);
    server.bench(&[
        "bench", "send", "--topic", "orders", "--count", "100", "--warmup", "0",
    ]);
    let in_total = "rocketmq_messages_in_total{cluster=\"DefaultCluster\",node_type=\"broker\",node_id=\"broker-a\",topic=\"orders\",message_type=\"normal\",is_system=\"false\"}";
    let deadline = Instant::now() + PATIENCE;
    let metrics = loop {
        let metrics = server.metrics();
        if metrics.get(in_total).is_some_and(|sent| *sent >= 100.0) {
            break metrics;
        }
        // An answer is kept for a moment.
        assert!(Instant::now() < deadline, "{metrics:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let sum = |name: &str| -> f64 {
        let samples = metrics
            .iter()
            .filter(|(sample, _)| sample.starts_with(name));
        samples.map(|(_, value)| value).sum()
    };
    for present in [
        "rocketmq_broker_permission",
        "rocketmq_topic_number",
        "rocketmq_throughput_in_total",
        "rocketmq_storage_size_bytes",
        "rocketmq_proxy_up",
        "aerobee_build_info",
        "aerobee_namesrv_brokers",
        "aerobee_store_writable",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(sum(present) > 0.0, "{present} in {metrics:?}");
    }
    assert_eq!(
        sum("rocketmq_message_size_count"),
        sum("rocketmq_messages_in_total"),
    );
}

#[test]
fn a_server_that_stops_is_alive_but_not_ready() {
    let mut server = Server::start(&["--http-port", "0"]);
    assert_eq!(server.get("/readyz").0, 200);
    // A held pull of the proxy's or a client's delays the end; here nothing does, so the answer
    // may be that nobody answers any more, but never that it is ready once it is asked to end.
    let pid = Pid::from_raw(server.child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut refused = false;
    while server.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it has to end");
        match ask(server.http, "GET /readyz HTTP/1.1") {
            Some((200, _)) => assert!(!refused, "ready after it was not"),
            Some((status, text)) => {
                refused = true;
                assert_eq!((status, text.contains("stopping")), (503, true), "{text}");
            }
            None => {}
        }
    }
}

#[test]
fn a_port_in_use_is_an_error_only_if_it_was_asked_for() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let args = [
        "--http-port",
        &port,
        "--broker-port",
        "0",
        "--namesrv-port",
        "0",
        "--proxy-port",
        "0",
    ];
    let output = aerobee(&args, &directory).output().unwrap();
    fails_with(&output, &["HTTP", &port, "in use", "--http-port"]);
    // The usual port: whether this test gets it or another program has it, the server starts.
    let _usual = TcpListener::bind("127.0.0.1:8080");
    let server = Server::start(&["--no-http"]);
    assert!(
        server.greeting.contains("HTTP         none"),
        "{}",
        server.greeting
    );
    drop(server);
    let unasked = {
        let directory = tempfile::tempdir().unwrap();
        let args = [
            "--broker-port",
            "0",
            "--namesrv-port",
            "0",
            "--proxy-port",
            "0",
        ];
        let mut child = aerobee(&args, &directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting: Vec<String> = lines
            .map(Result::unwrap)
            .take_while(|line| !line.contains("Ctrl-C"))
            .collect();
        let _ = child.kill();
        let _ = child.wait();
        greeting.join("\n")
    };
    assert!(unasked.contains("is ready"), "{unasked}");
    assert!(unasked.contains("HTTP         none"), "{unasked}");
}

#[test]
fn a_broker_serves_apaches_exporter_and_our_health() {
    let directory = tempfile::tempdir().unwrap();
    let free = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let (http, exporter) = (free(), free());
    let conf = format!(
        "brokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort=0\nstorePathRootDir={}\nmappedFileSizeCommitLog=1048576\n\
         httpListenAddress=127.0.0.1:{http}\nmetricsExporterType=PROM\nmetricsPromExporterPort={exporter}\nmetricsLabel=zone:a\n",
        directory.path().join("store").display()
    );
    fs::write(directory.path().join("broker.conf"), conf).unwrap();
    let mut child = aerobee(&["broker", "-c", "broker.conf"], &directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let ready = loop {
        match ask(http, "GET /readyz HTTP/1.1") {
            Some((200, text)) => break text,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let metrics = ask(exporter, "GET /anything HTTP/1.1");
    let health = ask(exporter, "GET /livez HTTP/1.1");
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(ready, "ready\n");
    let (status, text) = metrics.unwrap();
    assert_eq!(status, 200);
    assert!(
        text.contains("rocketmq_broker_permission{cluster=\"DefaultCluster\""),
        "{text}"
    );
    assert!(text.contains("zone=\"a\""), "{text}");
    assert!(health.unwrap().1.contains("rocketmq_topic_number"));
}
