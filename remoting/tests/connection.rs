// SPDX-License-Identifier: Apache-2.0
//! A real server on a free port, spoken to with raw frames.
#![allow(missing_docs, clippy::unwrap_used, clippy::large_futures)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use aerobee_remoting::{
    Client, ClientError, Command, Connection, Corked, Decoder, Deferred, Empty, Encoding, Late,
    Limits, Output, Replies, Reply, RequestCode, ResponseCode, Server, Service, Ticket,
    frame::{Cut, cut},
};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const ECHO: i32 = 1;
const HOLD: i32 = 2;
const RELEASE: i32 = 3;
const PANIC: i32 = 4;
const DROP: i32 = 5;
const BIG: i32 = 6;
const ASK_BACK: i32 = 7;
const WAIT: i32 = 8;
const NOTE: i32 = 9;
/// A code that has a name: answers to others are not told apart.
const PUT_OFF: i32 = 10;
const BIG_BYTES: usize = 1 << 20;

#[derive(Default)]
struct TestService {
    held: Mutex<Vec<Deferred>>,
    late: Mutex<Vec<(Late, Vec<Ticket>)>>,
    closed: AtomicUsize,
    /// [`WAIT`] waits until the other end of this is gone.
    gate: Mutex<Option<mpsc::Receiver<()>>>,
    waits: AtomicUsize,
    notes: AtomicUsize,
}

impl Service for TestService {
    /// Answers that are put off past the turn.
    type Turn = Vec<Ticket>;

    fn handle(&self, turn: &mut Self::Turn, command: &Command<'_>, reply: Reply<'_>) {
        match command.code {
            ECHO => {
                let fields = command.fields.to_owned_pairs();
                reply.respond(ResponseCode::SUCCESS, "", &fields[..], &[command.body]);
            }
            HOLD => self.held.lock().push(reply.defer()),
            RELEASE => {
                let mut corked = Corked::default();
                for held in self.held.lock().drain(..) {
                    corked.attach(held).ok();
                }
                for (late, tickets) in self.late.lock().drain(..) {
                    corked.answer(late, |replies| {
                        for ticket in tickets {
                            replies.reply(ticket).body(b"late");
                        }
                    });
                }
                drop(corked);
                reply.ok();
            }
            WAIT => {
                self.waits.fetch_add(1, Ordering::SeqCst);
                let gate = self.gate.lock().take();
                tokio::task::block_in_place(|| gate.map(|gate| gate.recv()));
                reply.ok();
            }
            NOTE => {
                self.notes.fetch_add(1, Ordering::SeqCst);
                reply.ok();
            }
            PUT_OFF => turn.push(reply.ticket()),
            PANIC => panic!("asked to"),
            DROP => drop(reply),
            BIG => reply.body(&vec![7; BIG_BYTES]),
            ASK_BACK => {
                let connection = Arc::clone(reply.connection());
                let reply = reply.defer();
                tokio::spawn(async move {
                    let answer = connection
                        .request(RequestCode(99), &Empty, b"?", Duration::from_secs(5))
                        .await;
                    match answer {
                        Ok(answer) => reply.body(&answer.body),
                        Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
                    }
                });
            }
            code => reply.unsupported(code),
        }
    }

    fn finish(&self, turn: &mut Self::Turn, replies: &mut Replies<'_>) {
        if !turn.is_empty() {
            let late = replies.defer(turn.iter());
            self.late.lock().push((late, std::mem::take(turn)));
        }
    }

    fn closed(&self, _: &Arc<Connection>) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

fn serve(limits: Limits) -> (Server, Arc<TestService>) {
    let service = Arc::new(TestService::default());
    let server =
        Server::bind("127.0.0.1:0".parse().unwrap(), Arc::clone(&service), limits).unwrap();
    (server, service)
}

/// A raw client: frames out, frames in.
struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: i32,
    opaque: i32,
    flag: i32,
    remark: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    encoding: Encoding,
}

impl Raw {
    async fn connect(server: &Server) -> Self {
        Self {
            stream: TcpStream::connect(server.address()).await.unwrap(),
            received: Vec::new(),
        }
    }

    async fn send(&mut self, code: i32, opaque: i32, body: &[u8]) {
        self.stream
            .write_all(&frame(Encoding::Json, code, opaque, false, body))
            .await
            .unwrap();
    }

    async fn answer(&mut self) -> Answer {
        timeout(Duration::from_secs(60), self.try_answer())
            .await
            .expect("an answer in time")
            .expect("an answer, not the end")
    }

    async fn try_answer(&mut self) -> Option<Answer> {
        loop {
            if let Cut::Frame(frame, used) = cut(&self.received).unwrap() {
                let mut decoder = Decoder::default();
                let command = decoder.decode(frame).unwrap();
                let answer = Answer {
                    code: command.code,
                    opaque: command.opaque,
                    flag: command.flag,
                    remark: command.remark.to_owned(),
                    fields: command.fields.to_owned_pairs(),
                    body: command.body.to_vec(),
                    encoding: command.encoding,
                };
                self.received.drain(..used);
                return Some(answer);
            }
            let mut chunk = vec![0; 64 << 10];
            let read = self.stream.read(&mut chunk).await.ok()?;
            if read == 0 {
                return None;
            }
            self.received.extend_from_slice(&chunk[..read]);
        }
    }

    async fn is_closed_by_peer(&mut self) -> bool {
        timeout(Duration::from_secs(60), self.try_answer())
            .await
            .is_ok_and(|answer| answer.is_none())
    }
}

fn frame(encoding: Encoding, code: i32, opaque: i32, oneway: bool, body: &[u8]) -> Vec<u8> {
    let mut output = Output::default();
    let fields = [("key".to_owned(), "väl\"ue\u{1}".to_owned())];
    output.request(
        encoding,
        RequestCode(code),
        opaque,
        oneway,
        &fields[..],
        body,
    );
    output.bytes().to_vec()
}

/// Waits for what has to come.
async fn until(is_so: impl Fn() -> bool) {
    let patience = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(60), patience)
        .await
        .expect("it comes in time");
}

async fn works(server: &Server) {
    let mut raw = Raw::connect(server).await;
    raw.send(ECHO, 1, b"alive").await;
    assert_eq!(raw.answer().await.body, b"alive");
}

#[tokio::test]
async fn answers_come_in_the_encoding_of_the_request_with_opaque_and_fields() {
    let (server, _) = serve(Limits::default());
    let mut raw = Raw::connect(&server).await;
    for encoding in [Encoding::Json, Encoding::Compact] {
        let request = frame(encoding, ECHO, -7, false, b"body");
        raw.stream.write_all(&request).await.unwrap();
        let answer = raw.answer().await;
        assert_eq!(
            answer,
            Answer {
                code: 0,
                opaque: -7,
                flag: 1,
                remark: String::new(),
                fields: vec![("key".to_owned(), "väl\"ue\u{1}".to_owned())],
                body: b"body".to_vec(),
                encoding,
            }
        );
    }
}

#[tokio::test]
async fn many_frames_in_one_write_are_answered_in_order() {
    let (server, _) = serve(Limits::default());
    let raw = Raw::connect(&server).await;
    let mut bytes = Vec::new();
    for opaque in 0..2000 {
        bytes.extend(frame(Encoding::Json, ECHO, opaque, false, &[b'x'; 300]));
    }
    let (mut read, mut write) = raw.stream.into_split();
    let writer = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write
    });
    let mut received = Vec::new();
    let mut next = 0;
    while next < 2000 {
        read.read_buf(&mut received).await.unwrap();
        while let Cut::Frame(frame, used) = cut(&received).unwrap() {
            assert_eq!(Decoder::default().decode(frame).unwrap().opaque, next);
            next += 1;
            received.drain(..used);
        }
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let (server, _) = serve(Limits::default());
    let mut raw = Raw::connect(&server).await;
    raw.stream.set_nodelay(true).unwrap();
    for byte in frame(Encoding::Json, ECHO, 3, false, b"slow") {
        raw.stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.answer().await.body, b"slow");
}

#[tokio::test]
async fn frames_larger_than_the_read_buffer_arrive_whole() {
    let (server, _) = serve(Limits::default());
    let mut raw = Raw::connect(&server).await;
    for size in [200 << 10, 256 << 10, 300 << 10, 5 << 20, 15 << 20] {
        let body: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        raw.send(ECHO, 1, &body).await;
        raw.send(ECHO, 2, b"next").await;
        assert!(raw.answer().await.body == body, "{size} bytes");
        assert_eq!(raw.answer().await.body, b"next");
    }
}

#[tokio::test]
async fn a_deferred_answer_holds_nothing_up() {
    let (server, service) = serve(Limits::default());
    let mut raw = Raw::connect(&server).await;
    raw.send(HOLD, 1, b"").await;
    raw.send(HOLD, 2, b"").await;
    raw.send(ECHO, 3, b"").await;
    assert_eq!(raw.answer().await.opaque, 3);
    raw.send(RELEASE, 4, b"").await;
    let mut opaques = [0; 3];
    for opaque in &mut opaques {
        *opaque = raw.answer().await.opaque;
    }
    opaques.sort_unstable();
    assert_eq!(opaques, [1, 2, 4]);
    assert!(service.held.lock().is_empty());
}

#[tokio::test]
async fn answers_put_off_past_their_turn_come_together() {
    let limits = Limits {
        owed_max: 3,
        ..Limits::default()
    };
    let (server, service) = serve(limits);
    let mut raw = Raw::connect(&server).await;
    let frames: Vec<u8> = (1..=5)
        .flat_map(|opaque| frame(Encoding::Json, PUT_OFF, opaque, opaque == 4, b""))
        .collect();
    raw.stream.write_all(&frames).await.unwrap();
    while service.late.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // More is owed to it than may be: it is not read until that is less.
    raw.send(ECHO, 6, b"").await;
    let mut other = Raw::connect(&server).await;
    other.send(RELEASE, 1, b"").await;
    assert_eq!(other.answer().await.opaque, 1);
    for opaque in [1, 2, 3, 5] {
        let answer = raw.answer().await;
        assert_eq!((answer.opaque, &answer.body[..]), (opaque, &b"late"[..]));
    }
    assert_eq!(raw.answer().await.opaque, 6);
    let told = server.latencies().read();
    let late = told.iter().filter(|one| one.request.0 == PUT_OFF);
    let counts: Vec<u64> = late.map(|one| one.spans.iter().sum()).collect();
    assert_eq!(counts, [4, 1]);
}

#[tokio::test]
async fn unknown_codes_panics_and_dropped_replies_are_answered_and_the_connection_stays() {
    let (server, _) = serve(Limits::default());
    let mut raw = Raw::connect(&server).await;
    raw.send(4711, 1, b"").await;
    let answer = raw.answer().await;
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (3, " request type 4711 not supported")
    );
    for code in [PANIC, DROP] {
        raw.send(code, 2, b"").await;
        let answer = raw.answer().await;
        assert_eq!((answer.code, answer.opaque), (1, 2));
    }
    raw.send(ECHO, 3, b"still").await;
    assert_eq!(raw.answer().await.body, b"still");
}

#[tokio::test]
async fn oneway_requests_get_no_answer_even_when_they_fail() {
    let (server, _) = serve(Limits::default());
    let mut raw = Raw::connect(&server).await;
    for code in [ECHO, 4711, PANIC, DROP] {
        let request = frame(Encoding::Json, code, 1, true, b"");
        raw.stream.write_all(&request).await.unwrap();
    }
    raw.send(ECHO, 2, b"").await;
    assert_eq!(raw.answer().await.opaque, 2);
}

#[tokio::test]
async fn bad_frames_close_only_their_connection() {
    let (server, service) = serve(Limits::default());
    let good = frame(Encoding::Json, ECHO, 1, false, b"");
    let bad: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 0, 200],
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(),
        vec![0xFF; 64],
        vec![0, 0, 0, 3, 0, 0, 0, 0],
        vec![0, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3, 4],
        vec![0, 0, 0, 8, 7, 0, 0, 4, 1, 2, 3, 4],
        vec![0, 0, 0, 8, 0, 0, 0, 4, b'n', b'u', b'l', b'l'],
        vec![0, 0, 0, 8, 1, 0, 0, 4, 1, 2, 3, 4],
        vec![1, 0, 0, 1, 0, 0, 0, 4],
        [
            good.clone(),
            vec![0, 0, 0, 8, 0, 0, 0, 4, b'[', b']', b' ', b' '],
        ]
        .concat(),
    ];
    let count = bad.len();
    let mut bystander = Raw::connect(&server).await;
    for bytes in bad {
        let mut raw = Raw::connect(&server).await;
        raw.stream.write_all(&bytes).await.unwrap();
        if bytes.starts_with(&good) {
            assert_eq!(raw.answer().await.opaque, 1, "what came before counts");
        }
        assert!(raw.is_closed_by_peer().await, "{bytes:?}");
    }
    bystander.send(ECHO, 5, b"undisturbed").await;
    assert_eq!(bystander.answer().await.body, b"undisturbed");
    assert_eq!(service.closed.load(Ordering::SeqCst), count);
}

#[tokio::test]
async fn random_bytes_do_not_hurt() {
    let (server, _) = serve(Limits::default());
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    for round in 0..300 {
        let mut raw = Raw::connect(&server).await;
        let mut bytes = Vec::new();
        for _ in 0..64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        if round % 2 == 0 {
            // A plausible frame around the noise, so that the header decoders see it.
            let header = (bytes.len() - 8) as u32;
            bytes[..4].copy_from_slice(&(header + 4).to_be_bytes());
            bytes[4..8].copy_from_slice(&((round as u32 / 2 % 2) << 24 | header).to_be_bytes());
        }
        // The server may close before all is written.
        let _ = raw.stream.write_all(&bytes).await;
    }
    works(&server).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_and_memory_stays_bounded() {
    let limits = Limits {
        outbox_high_bytes: 2 << 20,
        outbox_max_bytes: 8 << 20,
        stuck: Duration::from_secs(3),
        ..Limits::default()
    };
    let (server, service) = serve(limits);
    let mut raw = Raw::connect(&server).await;
    let request = frame(Encoding::Json, BIG, 1, false, b"");
    let started = Instant::now();
    // Far more answers than any buffer holds; the server stops reading, then gives up.
    while service.closed.load(Ordering::SeqCst) == 0 {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "cut off in time"
        );
        let _ = timeout(Duration::from_millis(100), raw.stream.write_all(&request)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    works(&server).await;
}

/// Consumers send their last offsets so: one way, and then they are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sent_before_it_was_gone_is_served() {
    let (server, service) = serve(Limits::default());
    let mut client = Raw::connect(&server).await;
    let (closed_gate, gate) = mpsc::channel();
    *service.gate.lock() = Some(gate);
    client.send(WAIT, 1, b"").await;
    until(|| service.waits.load(Ordering::SeqCst) == 1).await;
    let note = frame(Encoding::Json, NOTE, 2, true, b"");
    client.stream.write_all(&note).await.unwrap();
    // A reset: the answer to the first request cannot be written.
    let socket = SockRef::from(&client.stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    drop(closed_gate);
    until(|| service.closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(service.notes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let limits = Limits {
        outbox_high_bytes: 2 << 20,
        ..Limits::default()
    };
    let (server, _) = serve(limits);
    let mut raw = Raw::connect(&server).await;
    for opaque in 0..40 {
        raw.send(BIG, opaque, b"").await;
    }
    for opaque in 0..40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let answer = raw.answer().await;
        assert_eq!((answer.opaque, answer.body.len()), (opaque, BIG_BYTES));
    }
}

#[tokio::test]
async fn idle_and_half_sent_connections_are_closed() {
    let limits = Limits {
        idle: Duration::from_secs(6),
        partial_frame: Duration::from_secs(2),
        ..Limits::default()
    };
    let (server, _) = serve(limits);
    let started = Instant::now();
    let mut silent = Raw::connect(&server).await;
    let mut half = Raw::connect(&server).await;
    half.stream.write_all(&[0, 0, 1]).await.unwrap();
    assert!(half.is_closed_by_peer().await);
    let half_after = started.elapsed();
    assert!(silent.is_closed_by_peer().await);
    assert!(half_after >= Duration::from_secs(1));
    assert!(started.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let (server, _) = serve(limits);
    let mut first = Raw::connect(&server).await;
    first.send(ECHO, 1, b"").await;
    first.answer().await;
    let mut second = Raw::connect(&server).await;
    second.send(ECHO, 1, b"").await;
    second.answer().await;
    let mut third = Raw::connect(&server).await;
    assert!(third.is_closed_by_peer().await);
    drop(first);
    let started = Instant::now();
    while server.connections() > 1 {
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    works(&server).await;
}

#[tokio::test]
async fn the_server_can_ask_its_client() {
    let (server, _) = serve(Limits::default());
    let mut raw = Raw::connect(&server).await;
    raw.send(ASK_BACK, 9, b"").await;
    let question = raw.answer().await;
    assert_eq!((question.code, question.flag), (99, 0));
    let mut output = Output::default();
    output.response(Encoding::Json, 0, question.opaque, "", &Empty, &[b"told"]);
    raw.stream.write_all(output.bytes()).await.unwrap();
    let answer = raw.answer().await;
    assert_eq!((answer.opaque, answer.body.as_slice()), (9, &b"told"[..]));
}

#[tokio::test]
async fn the_client_asks_reconnects_and_times_out() {
    let (server, _) = serve(Limits::default());
    let address = server.address();
    let client = Client::new();
    let ask = |code: i32, within: u64| {
        let client = &client;
        async move {
            client
                .request(
                    &address.to_string(),
                    RequestCode(code),
                    &Empty,
                    b"hello",
                    Duration::from_millis(within),
                )
                .await
        }
    };
    assert_eq!(ask(ECHO, 5000).await.unwrap().body, &b"hello"[..]);
    assert!(matches!(
        ask(HOLD, 50).await,
        Err(ClientError::Timeout { .. })
    ));
    server.close(Duration::ZERO).await;
    drop(server);
    let refused = ask(ECHO, 1000).await;
    assert!(refused.is_err(), "{refused:?}");
    let service = Arc::new(TestService::default());
    let started = Instant::now();
    let _server = loop {
        match Server::bind(address, Arc::clone(&service), Limits::default()) {
            Ok(server) => break server,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        assert!(started.elapsed() < Duration::from_secs(60));
    };
    let mut answer = ask(ECHO, 1000).await;
    while answer.is_err() {
        assert!(started.elapsed() < Duration::from_secs(60));
        answer = ask(ECHO, 1000).await;
    }
    assert_eq!(answer.unwrap().body, &b"hello"[..]);
}

#[tokio::test]
async fn a_closing_server_answers_what_it_owes() {
    let (server, service) = serve(Limits::default());
    let mut raw = Raw::connect(&server).await;
    raw.send(HOLD, 1, b"").await;
    while service.held.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let closing = async {
        server.close(Duration::from_secs(10)).await;
    };
    let answering = async {
        tokio::task::yield_now().await;
        for held in service.held.lock().drain(..) {
            held.ok();
        }
        raw.answer().await
    };
    let ((), answer) = tokio::join!(closing, answering);
    assert_eq!(answer.opaque, 1);
    assert!(raw.is_closed_by_peer().await);
}
