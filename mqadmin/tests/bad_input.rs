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
                    let Ok(Cut::Frame(frame, taken)) = cut(&received) else {
                        continue;
                    };
                    let opaque = Decoder::default().decode(frame).expect("a request").opaque;
                    received.drain(..taken);
                    count.fetch_add(1, Ordering::SeqCst);
                    let bytes = answer(opaque);
                    let _ = stream.write_all(&bytes);
                    if cut(&bytes).is_ok_and(|cut| matches!(cut, Cut::Frame(..))) {
                        continue;
                    }
                    // What is no whole answer is all that ever comes.
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

/// Runs commands that must fail before they ask anybody; `B` stands for the server.
fn refused_unasked(lines: &[&str]) {
    let server = Fake::start(|opaque| success(opaque, b""));
    let address = server.address.to_string();
    for line in lines {
        let words = line.split(' ').map(|word| match word {
            "B" => OsString::from(&address),
            word => OsString::from(word),
        });
        let outcome = aerobee_mqadmin::run(words.collect());
        assert_eq!(outcome, ExitCode::FAILURE, "{line}");
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn values_of_the_wrong_type_or_out_of_range_are_refused() {
    refused_unasked(&[
        "updateTopic -b B -t T -r eight",
        "updateTopic -b B -t T -r 0",
        "updateTopic -b B -t T -r 99999999999",
        "updateTopic -b B -t T -p 9",
        "updateTopic -b B -t T -o perhaps",
        "updateTopic -b B -t T -a message.type=FIFO",
        "updateSubGroup -b B -g G -p {",
        "setConsumeMode -b B -t T -g G -m PUSH",
        "queryMsgByOffset -n B -t T -b a -i -1 -o 0",
        "resetOffsetByTime -n B -g G -t T -s yesterday",
        "printMsg -n B -t T -b 2024-13-01#00:00:00:000",
        "updateUser -b B -u u -p p -t Super",
        "updateOrderConf -n B -t T -m put -v broker-a",
    ]);
}

#[test]
fn flags_and_commands_that_are_missing_or_unknown_are_refused() {
    refused_unasked(&[
        "updateTopic -b B",
        "updateTopic -t T",
        "updateTopic -b B -t T --unheardof",
        "unheardOf",
    ]);
}

#[test]
fn keys_that_cannot_be_keys_are_refused() {
    refused_unasked(&[
        "updateBrokerConfig -b B -k a=b -v c",
        "updateBrokerConfig -b B -k # -v c",
        "updateNamesrvConfig -n B -k a=b -v c",
    ]);
}

#[test]
fn keys_that_the_server_does_not_have_fail_the_command() {
    let server = Fake::start(|opaque| success(opaque, b"known=1\n"));
    let b = server.address;
    let known = format!("updateBrokerConfig -b {b} -k known -v 1");
    assert_eq!(run(&known), ExitCode::SUCCESS);
    for line in [
        format!("updateBrokerConfig -b {b} -k unheardOf -v 1"),
        format!("updateNamesrvConfig -n {b} -k unheardOf -v 1"),
        format!("updateControllerConfig -a {b} -k unheardOf -v 1"),
    ] {
        assert_eq!(run(&line), ExitCode::FAILURE, "{line}");
    }
}

#[test]
fn names_that_are_paths_are_refused() {
    refused_unasked(&[
        "updateTopic -b B -t ../../etc/passwd",
        "updateSubGroup -b B -g a/b",
        "deleteTopic -n B -c C -t ../x",
        "deleteSubGroup -b B -g a/b",
    ]);
}

#[test]
fn topics_of_the_system_are_not_deleted() {
    refused_unasked(&[
        "deleteTopic -n B -c C -t SCHEDULE_TOPIC_XXXX",
        "deleteTopic -n B -c C -t TBW102",
        "deleteTopic -n B -c C -t RMQ_SYS_TRANS_HALF_TOPIC",
    ]);
}

#[test]
fn a_list_with_one_fault_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let topics = dir.path().join("topics.json");
    std::fs::write(&topics, r#"[{"topicName":"Good"},{"topicName":"../bad"}]"#).expect("a file");
    let broken = dir.path().join("broken.json");
    std::fs::write(&broken, r#"[{"topicName":"#).expect("a file");
    let none = dir.path().join("none.json");
    for file in [topics, broken, none] {
        refused_unasked(&[&format!("updateTopicList -b B -f {}", file.display())]);
    }
}

#[test]
fn addresses_that_are_none_are_refused() {
    refused_unasked(&["brokerStatus -b localhost", "clusterList -n localhost"]);
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
