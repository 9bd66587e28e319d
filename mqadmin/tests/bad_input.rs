// SPDX-License-Identifier: Apache-2.0
//! What cannot be done is refused with exit code 1, and before anything was changed.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use aerobee_remoting::{
    Decoder,
    frame::{Cut, cut},
};

/// A server that answers every request with the same bytes, given its opaque; it ends with the test.
struct Fake {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Fake {
    /// `answer` makes the bytes of an answer out of the opaque of the request.
    fn start(answer: impl Fn(i32) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                // A request is there or will be; nobody waits for longer than the tool does.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
                let mut received = Vec::new();
                let mut chunk = [0; 4096];
                while let Ok(read) = stream.read(&mut chunk) {
                    if read == 0 {
                        break;
                    }
                    received.extend_from_slice(&chunk[..read]);
                    let Ok(Cut::Frame(frame, _)) = cut(&received) else {
                        continue;
                    };
                    let opaque = Decoder::default().decode(frame).expect("a request").opaque;
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(&answer(opaque));
                    break;
                }
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An answer with code SUCCESS and a body.
fn success(opaque: i32, body: &[u8]) -> Vec<u8> {
    let header = format!(
        r#"{{"code":0,"flag":1,"language":"JAVA","opaque":{opaque},"serializeTypeCurrentRPC":"JSON","version":513}}"#
    );
    let length = 4 + header.len() + body.len();
    let mut frame = (length as u32).to_be_bytes().to_vec();
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    frame
}

fn run(line: &str) -> ExitCode {
    aerobee_mqadmin::run(line.split(' ').map(OsString::from).collect())
}

#[test]
fn what_is_wrong_is_refused_before_anybody_is_asked() {
    let server = Fake::start(|opaque| success(opaque, b""));
    let b = server.address;
    let dir = tempfile::tempdir().expect("a folder");
    let topics = dir.path().join("topics.json");
    std::fs::write(&topics, r#"[{"topicName":"Good"},{"topicName":"../bad"}]"#).expect("a file");
    let broken = dir.path().join("broken.json");
    std::fs::write(&broken, r#"[{"topicName":"#).expect("a file");
    for line in [
        // Wrong types and out of range.
        format!("updateTopic -b {b} -t T -r eight"),
        format!("updateTopic -b {b} -t T -r 0"),
        format!("updateTopic -b {b} -t T -p 9"),
        format!("updateTopic -b {b} -t T -o perhaps"),
        format!("updateTopic -b {b} -t T -a message.type=FIFO"),
        format!("updateSubGroup -b {b} -g G -p {{"),
        format!("setConsumeMode -b {b} -t T -g G -m PUSH"),
        format!("queryMsgByOffset -n {b} -t T -b a -i -1 -o 0"),
        format!("resetOffsetByTime -n {b} -g G -t T -s yesterday"),
        format!("printMsg -n {b} -t T -b 2024-13-01#00:00:00:000"),
        format!("updateUser -b {b} -u u -p p -t Super"),
        // Flags that are missing or unknown, and commands.
        format!("updateTopic -b {b}"),
        "updateTopic -t T".to_owned(),
        format!("updateTopic -b {b} -t T --unheardof"),
        "unheardOf".to_owned(),
        // Names that are paths, and what belongs to the system.
        format!("updateTopic -b {b} -t ../../etc/passwd"),
        format!("updateSubGroup -b {b} -g a/b"),
        format!("deleteTopic -n {b} -c C -t ../x"),
        format!("deleteTopic -n {b} -c C -t SCHEDULE_TOPIC_XXXX"),
        format!("deleteSubGroup -b {b} -g a/b"),
        // Half of a list would be a half-done change.
        format!("updateTopicList -b {b} -f {}", topics.display()),
        format!("updateTopicList -b {b} -f {}", broken.display()),
        format!(
            "updateTopicList -b {b} -f {}/none.json",
            dir.path().display()
        ),
        // Keys that are none.
        format!("updateBrokerConfig -b {b} -k a=b -v c"),
        format!("updateOrderConf -n {b} -t T -m put -v broker-a"),
        // Addresses that are none.
        "brokerStatus -b localhost".to_owned(),
        "clusterList -n localhost".to_owned(),
    ] {
        assert_eq!(run(&line), ExitCode::FAILURE, "{line}");
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_dead_broker_fails_the_command() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = listener.local_addr().expect("an address");
    drop(listener);
    for line in [
        format!("brokerStatus -b {dead}"),
        format!("updateTopic -b {dead} -t T"),
        format!("clusterList -n {dead}"),
        format!("getControllerMetaData -a {dead}"),
    ] {
        assert_eq!(run(&line), ExitCode::FAILURE, "{line}");
    }
}

#[test]
fn answers_that_cannot_be_read_fail_the_command() {
    let half = Fake::start(|opaque| {
        let whole = success(opaque, br#"{"table":{"brokerActive":"true"}}"#);
        whole[..whole.len() - 9].to_vec()
    });
    let cut_body = Fake::start(|opaque| success(opaque, br#"{"table":{"brokerActive":"tr"#));
    let other = Fake::start(|opaque| success(opaque, b"not JSON at all"));
    let empty = Fake::start(|opaque| success(opaque, b""));
    let noise = Fake::start(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    for server in [half, cut_body, other, empty, noise] {
        let line = format!("brokerStatus -b {}", server.address);
        assert_eq!(run(&line), ExitCode::FAILURE);
        assert_eq!(server.asked(), 1);
    }
}

#[test]
fn what_is_right_succeeds() {
    let server = Fake::start(|opaque| success(opaque, br#"{"table":{"brokerActive":"true"}}"#));
    let b = server.address;
    for line in [
        format!("brokerStatus -b {b}"),
        format!("BROKERSTATUS --brokerAddr={b} -o json"),
        format!("updateTopic -b{b} -t T --readQueueNums=4 -w 4"),
        "deleteTopic -h".to_owned(),
        "help updateTopic".to_owned(),
        "help".to_owned(),
        "completion bash".to_owned(),
    ] {
        assert_eq!(run(&line), ExitCode::SUCCESS, "{line}");
    }
    assert_eq!(server.asked(), 3);
}
