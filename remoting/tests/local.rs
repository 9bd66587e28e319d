// SPDX-License-Identifier: Apache-2.0
//! Clients beside a server of the same process.
#![allow(missing_docs, clippy::unwrap_used, clippy::large_futures)]

use std::{sync::Arc, time::Duration};

use aerobee_remoting::{
    Client, ClientError, Command, Corked, Deferred, Empty, Header, Late, Limits, Replies, Reply,
    RequestCode, Response, ResponseCode, Server, Service, Ticket,
};
use parking_lot::Mutex;

const WHERE: RequestCode = RequestCode(1);
const HOLD: RequestCode = RequestCode(2);
const RELEASE: RequestCode = RequestCode(3);
const PANIC: RequestCode = RequestCode(4);
const DROP: RequestCode = RequestCode(5);
const ASK_BACK: RequestCode = RequestCode(6);
const PUT_OFF: RequestCode = RequestCode(7);
const PUT_OFF_FURTHER: RequestCode = RequestCode(8);

/// Longest wait for anything that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Header)]
struct Place<'a> {
    /// Where the body stood when the request was run.
    body_at: i64,
    connection: i64,
    name: &'a str,
    flag: bool,
    absent: Option<&'a str>,
}

#[derive(Default)]
struct TestService {
    held: Mutex<Vec<Deferred>>,
    late: Mutex<Vec<(Late, Ticket)>>,
}

impl Service for TestService {
    /// An answer that is put off, and whether it is past the turn.
    type Turn = Option<(Ticket, bool)>;

    fn handle(&self, turn: &mut Self::Turn, command: &Command<'_>, reply: Reply<'_>) {
        match RequestCode(command.code) {
            WHERE => {
                let asked = Place::read(&command.fields).unwrap();
                let place = Place {
                    body_at: command.body.as_ptr().addr() as i64,
                    connection: reply.connection().id() as i64,
                    ..asked
                };
                reply.respond(ResponseCode::SUCCESS, "here", &place, &[command.body, b"!"]);
            }
            HOLD => self.held.lock().push(reply.defer()),
            RELEASE => {
                let mut corked = Corked::default();
                for held in self.held.lock().drain(..) {
                    corked.attach(held).body(b"released");
                }
                for (late, ticket) in self.late.lock().drain(..) {
                    corked.answer(late, |replies| replies.reply(ticket).body(b"late"));
                }
                drop(corked);
                reply.ok();
            }
            PANIC => panic!("asked to"),
            DROP => drop(reply),
            PUT_OFF => *turn = Some((reply.ticket(), false)),
            PUT_OFF_FURTHER => *turn = Some((reply.ticket(), true)),
            ASK_BACK => {
                let connection = Arc::clone(reply.connection());
                let reply = reply.defer();
                tokio::spawn(async move {
                    let answer = connection
                        .request(RequestCode(99), &Empty, b"?", PATIENCE)
                        .await;
                    match answer {
                        Ok(answer) => reply.body(&answer.body),
                        Err(error) => reply.fail(ResponseCode::SYSTEM_ERROR, error),
                    }
                });
            }
            code => reply.unsupported(code.0),
        }
    }

    fn finish(&self, turn: &mut Self::Turn, replies: &mut Replies<'_>) {
        match turn.take() {
            Some((ticket, true)) => {
                let late = replies.defer(std::iter::once(&ticket));
                self.late.lock().push((late, ticket));
            }
            Some((ticket, false)) => replies.reply(ticket).body(b"at the end"),
            None => {}
        }
    }
}

/// Answers what the server asks.
struct Back;

impl Service for Back {
    type Turn = ();

    fn handle(&self, (): &mut (), _: &Command<'_>, reply: Reply<'_>) {
        reply.body(b"back");
    }
}

fn serve() -> Server {
    let address = "127.0.0.1:0".parse().unwrap();
    Server::bind(address, Arc::new(TestService::default()), Limits::default()).unwrap()
}

struct Beside {
    client: Client<Back>,
    address: String,
}

impl Beside {
    fn of(asked: &Server, local: &Server) -> Self {
        Self {
            client: Client::with_service(Arc::new(Back)).beside(Some(local.local())),
            address: asked.address().to_string(),
        }
    }

    async fn ask(&self, code: RequestCode) -> Result<Response, ClientError> {
        self.ask_within(code, PATIENCE).await
    }

    async fn ask_within(
        &self,
        code: RequestCode,
        within: Duration,
    ) -> Result<Response, ClientError> {
        self.client
            .request(&self.address, code, &Empty, b"", within)
            .await
    }

    /// The connection on which a request was run, and whether it was run where its body stood.
    async fn place(&self) -> (i64, bool) {
        let body = b"a body".to_vec();
        let asked = Place {
            body_at: -1,
            connection: -1,
            name: "an \"escaped\" näme",
            flag: true,
            absent: None,
        };
        let answer = self
            .client
            .request(&self.address, WHERE, &asked, &body, PATIENCE)
            .await
            .unwrap();
        assert_eq!(
            (answer.code, &*answer.remark),
            (ResponseCode::SUCCESS, "here")
        );
        assert_eq!(&answer.body[..], b"a body!");
        let place: Place<'_> = answer.header().unwrap();
        assert_eq!((place.name, place.flag), (asked.name, true));
        assert_eq!(place.absent, None);
        (
            place.connection,
            place.body_at == body.as_ptr().addr() as i64,
        )
    }
}

#[tokio::test]
async fn a_request_is_run_where_it_is_made_on_the_connection_that_it_would_take() {
    let server = serve();
    let beside = Beside::of(&server, &server);
    let (first, was_local) = beside.place().await;
    assert!(!was_local, "nothing was answered yet");
    for _ in 0..3 {
        assert_eq!(beside.place().await, (first, true));
    }
    let other = Beside::of(&server, &server);
    other.place().await;
    let (second, was_local) = other.place().await;
    assert!(was_local && second != first);
}

#[tokio::test]
async fn requests_are_counted_as_those_of_the_socket_are() {
    let server = serve();
    let beside = Beside::of(&server, &server);
    for _ in 0..3 {
        beside.place().await;
    }
    let latencies = server.latencies().read();
    let mut good = latencies
        .iter()
        .filter(|latency| latency.response == ResponseCode::SUCCESS);
    // The first one went over the socket: it is counted when its turn has ended.
    let counted: u64 = good.next().unwrap().spans.iter().sum();
    assert!((2..=3).contains(&counted), "{counted}");
}

#[tokio::test]
async fn another_server_is_asked_over_its_socket() {
    let (server, local) = (serve(), serve());
    let beside = Beside::of(&server, &local);
    for _ in 0..3 {
        assert!(!beside.place().await.1);
    }
}

#[tokio::test]
async fn an_answer_may_be_put_off_deferred_or_missing() {
    let server = serve();
    let beside = Beside::of(&server, &server);
    beside.place().await;
    assert_eq!(&beside.ask(PUT_OFF).await.unwrap().body[..], b"at the end");
    let dropped = beside.ask(DROP).await.unwrap();
    assert_eq!(dropped.code, ResponseCode::SYSTEM_ERROR);
    let release = async {
        // The other request comes first: it is polled first, and run when it is polled.
        assert!(beside.ask(RELEASE).await.unwrap().is_success());
    };
    let (held, ()) = tokio::join!(beside.ask(HOLD), release);
    assert_eq!(&held.unwrap().body[..], b"released");
    let release = async { assert!(beside.ask(RELEASE).await.unwrap().is_success()) };
    let (late, ()) = tokio::join!(beside.ask(PUT_OFF_FURTHER), release);
    assert_eq!(&late.unwrap().body[..], b"late");
    let unknown = beside.ask(RequestCode(77)).await.unwrap();
    assert_eq!(unknown.code, ResponseCode::REQUEST_CODE_NOT_SUPPORTED);
}

#[tokio::test]
async fn a_deferred_answer_is_waited_for_as_long_as_was_said() {
    let server = serve();
    let beside = Beside::of(&server, &server);
    beside.place().await;
    let late = beside.ask_within(HOLD, Duration::from_millis(1)).await;
    assert!(matches!(late, Err(ClientError::Timeout { .. })), "{late:?}");
    // Nobody waits any longer; that is no fault.
    assert!(beside.ask(RELEASE).await.unwrap().is_success());
}

#[tokio::test]
async fn a_handler_that_panics_is_answered() {
    let server = serve();
    let beside = Beside::of(&server, &server);
    beside.place().await;
    let answer = beside.ask(PANIC).await.unwrap();
    assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR);
    assert!(answer.remark.contains("panicked"), "{}", answer.remark);
    assert!(beside.place().await.1);
}

#[tokio::test]
async fn what_the_server_asks_comes_over_the_connection() {
    let server = serve();
    let beside = Beside::of(&server, &server);
    beside.place().await;
    assert_eq!(&beside.ask(ASK_BACK).await.unwrap().body[..], b"back");
}

#[tokio::test]
async fn a_server_that_ends_takes_no_more_requests() {
    let server = serve();
    let beside = Beside::of(&server, &server);
    beside.place().await;
    server.close(Duration::ZERO).await;
    let refused = beside.ask(RELEASE).await;
    assert!(
        matches!(refused, Err(ClientError::Closed(_))),
        "{refused:?}"
    );
}
