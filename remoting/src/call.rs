// SPDX-License-Identifier: Apache-2.0
//! One answer owed: [`Call`], [`Reply`], and answers collected per connection ([`Corked`]).

use std::{cell::RefCell, fmt::Display, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    Encoding, Response, ResponseCode,
    command::Command,
    connection::Connection,
    header::{Empty, Header, WriteFields},
    latency::{Answered, Asked},
    output::Output,
};

/// Output buffers of deferred answers above this size are given back.
const KEEP_BYTES: usize = 64 << 10;
/// The same for each of the buffers of a cork, of which a thread keeps as many as one cork holds.
const CORKED_KEEP_BYTES: usize = 32 << 10;

/// A request on its way to a processor: typed header and body borrow the bytes received.
#[derive(Debug)]
pub struct Call<'t, R> {
    /// The typed header.
    pub request: R,
    /// The body.
    pub body: &'t [u8],
    /// The command as received, for fields outside the header (version, language, extensions).
    pub command: &'t Command<'t>,
    /// The answer owed.
    pub reply: Reply<'t>,
}

/// Reads the typed header of `command` and hands the call on; a header that does not read is
/// answered here.
#[inline]
pub fn run<'t, R: Header<'t>>(
    command: &'t Command<'t>,
    reply: Reply<'t>,
    handle: impl FnOnce(Call<'t, R>),
) {
    if let Some(call) = Call::read(command, reply) {
        handle(call);
    }
}

impl<'t, R: Header<'t>> Call<'t, R> {
    /// Reads the header of `command`; when that fails, answers so and returns nothing.
    #[inline]
    pub fn read(command: &'t Command<'t>, reply: Reply<'t>) -> Option<Self> {
        match R::read(&command.fields) {
            Ok(request) => Some(Self {
                request,
                body: command.body,
                command,
                reply,
            }),
            Err(error) => {
                reply.fail(ResponseCode::SYSTEM_ERROR, error);
                None
            }
        }
    }
}

/// The answer that a request is owed. Answering consumes it; dropped unanswered it says
/// SYSTEM_ERROR; for a one-way request it is mute.
#[derive(Debug)]
pub struct Reply<'t> {
    sink: Sink<'t>,
    opaque: i32,
    encoding: Encoding,
    owed: bool,
    asked: Asked,
}

/// A reply that outlives its turn: it keeps the connection and answers on it directly.
pub type Deferred = Reply<'static>;

#[derive(Debug)]
enum Sink<'t> {
    /// Answers go out together when the turn ends.
    Turn {
        out: Out<'t>,
        connection: &'t Arc<Connection>,
    },
    Later {
        connection: Arc<Connection>,
        /// Who waits in this process; else the answer is written to the connection.
        caller: Option<oneshot::Sender<Response>>,
    },
    /// Moved into another reply.
    Gone,
}

/// Where the answers of a turn go.
#[derive(Debug)]
enum Out<'t> {
    /// To the other end of the connection.
    Frames(&'t mut Output),
    /// To a caller in this process, who has made one request.
    Caller(&'t mut Answer),
}

impl Out<'_> {
    #[inline]
    fn again(&mut self) -> Out<'_> {
        match self {
            Out::Frames(out) => Out::Frames(out),
            Out::Caller(answer) => Out::Caller(answer),
        }
    }

    /// The answer comes later: a caller in this process waits for it.
    #[inline]
    fn wait(&mut self) -> Option<oneshot::Sender<Response>> {
        match self {
            Out::Frames(_) => None,
            Out::Caller(answer) => {
                let (caller, awaited) = oneshot::channel();
                **answer = Answer::Awaited(awaited);
                Some(caller)
            }
        }
    }
}

/// What became of a request that a caller in this process made.
#[derive(Debug, Default)]
pub(crate) enum Answer {
    /// Nothing: no answer was owed.
    #[default]
    None,
    Given(Response),
    /// It is deferred.
    Awaited(oneshot::Receiver<Response>),
}

impl<'t> Reply<'t> {
    /// A reply that is written into `out`.
    #[inline]
    pub(crate) fn in_turn(
        out: &'t mut Output,
        connection: &'t Arc<Connection>,
        opaque: i32,
        encoding: Encoding,
        asked: Asked,
    ) -> Self {
        Self {
            sink: Sink::Turn {
                out: Out::Frames(out),
                connection,
            },
            opaque,
            encoding,
            owed: asked.answered != Answered::Oneway,
            asked,
        }
    }

    /// A reply to a caller in this process; `connection` is the one that he would have come on.
    pub(crate) fn to_caller(
        answer: &'t mut Answer,
        connection: &'t Arc<Connection>,
        asked: Asked,
    ) -> Self {
        Self {
            sink: Sink::Turn {
                out: Out::Caller(answer),
                connection,
            },
            opaque: 0,
            encoding: Encoding::Json,
            owed: true,
            asked,
        }
    }

    /// The connection that the request came on.
    #[inline]
    pub fn connection(&self) -> &Arc<Connection> {
        match &self.sink {
            Sink::Turn { connection, .. } => connection,
            Sink::Later { connection, .. } => connection,
            Sink::Gone => unreachable!("a moved reply is not reachable"),
        }
    }

    /// Whether a caller in this process waits for the answer: he was let in, and has checked whom he
    /// speaks for.
    #[inline]
    pub fn is_local(&self) -> bool {
        matches!(
            self.sink,
            Sink::Turn {
                out: Out::Caller(_),
                ..
            } | Sink::Later {
                caller: Some(_),
                ..
            }
        )
    }

    /// Whether nobody waits for the answer.
    #[inline]
    pub fn is_oneway(&self) -> bool {
        !self.owed
    }

    /// SUCCESS, nothing else.
    pub fn ok(self) {
        self.respond(ResponseCode::SUCCESS, "", &Empty, &[]);
    }

    /// SUCCESS with a header.
    #[inline]
    pub fn header<H: WriteFields + ?Sized>(self, header: &H) {
        self.respond(ResponseCode::SUCCESS, "", header, &[]);
    }

    /// SUCCESS with a body and no fields.
    pub fn body(self, body: &[u8]) {
        self.respond(ResponseCode::SUCCESS, "", &Empty, &[body]);
    }

    /// A failure and its reason.
    #[cold]
    pub fn fail(self, code: ResponseCode, remark: impl Display) {
        self.respond(code, &remark.to_string(), &Empty, &[]);
    }

    /// REQUEST_CODE_NOT_SUPPORTED, in Apache's words.
    #[cold]
    pub fn unsupported(self, code: i32) {
        self.fail(
            ResponseCode::REQUEST_CODE_NOT_SUPPORTED,
            format_args!(" request type {code} not supported"),
        );
    }

    /// Any answer; the body is the pieces of `body`, one after the other.
    #[inline]
    pub fn respond<H: WriteFields + ?Sized>(
        mut self,
        code: ResponseCode,
        remark: &str,
        header: &H,
        body: &[&[u8]],
    ) {
        self.write(code, remark, header, body);
    }

    /// No answer at all, for requests to which Apache gives none.
    pub fn discard(mut self) {
        self.owed = false;
    }

    /// Puts the answer off to the end of the turn, where [`Replies::reply`] takes the ticket.
    ///
    /// # Panics
    /// The reply is deferred, so that no turn will end: [`Reply::replies`] is `None`.
    pub fn ticket(mut self) -> Ticket {
        assert!(
            matches!(self.sink, Sink::Turn { .. }),
            "a deferred reply has no turn"
        );
        Ticket {
            opaque: self.opaque,
            encoding: self.encoding,
            owed: std::mem::take(&mut self.owed),
            asked: self.asked,
        }
    }

    /// The answers of the turn that this reply belongs to, if it is not over.
    pub fn replies(&mut self) -> Option<Replies<'_>> {
        match &mut self.sink {
            Sink::Turn { out, connection } => Some(Replies {
                out: out.again(),
                connection,
            }),
            _ => None,
        }
    }

    /// Makes the reply outlive the turn.
    pub fn defer(mut self) -> Deferred {
        let sink = match std::mem::replace(&mut self.sink, Sink::Gone) {
            Sink::Turn {
                mut out,
                connection,
            } => {
                connection.owe(1);
                Sink::Later {
                    connection: Arc::clone(connection),
                    caller: out.wait(),
                }
            }
            Sink::Later { connection, caller } => Sink::Later { connection, caller },
            Sink::Gone => unreachable!("a moved reply is not reachable"),
        };
        let owed = std::mem::take(&mut self.owed);
        Reply {
            sink,
            opaque: self.opaque,
            encoding: self.encoding,
            owed,
            asked: Asked {
                is_late: true,
                ..self.asked
            },
        }
    }

    /// Makes the reply outlive the turn, to wait until there is something to tell.
    pub fn hold(self) -> Deferred {
        let mut held = self.defer();
        if held.asked.answered == Answered::Promptly {
            held.asked.answered = Answered::Held;
        }
        held
    }

    #[inline]
    fn write<H: WriteFields + ?Sized>(
        &mut self,
        code: ResponseCode,
        remark: &str,
        header: &H,
        body: &[&[u8]],
    ) {
        let owed = std::mem::take(&mut self.owed);
        if !owed && self.asked.answered != Answered::Oneway {
            return;
        }
        self.count(code);
        if !owed {
            return;
        }
        match &mut self.sink {
            Sink::Turn {
                out: Out::Frames(out),
                ..
            } => out.response(self.encoding, code.0, self.opaque, remark, header, body),
            Sink::Turn {
                out: Out::Caller(answer),
                ..
            } => **answer = Answer::Given(Response::new(code, remark, header, body)),
            Sink::Later { connection, caller } => match caller.take() {
                // The caller may have given up.
                Some(caller) => drop(caller.send(Response::new(code, remark, header, body))),
                None => LATER.with_borrow_mut(|out| {
                    out.response(self.encoding, code.0, self.opaque, remark, header, body);
                    connection.write(out.bytes());
                    out.clear(KEEP_BYTES);
                }),
            },
            Sink::Gone => {}
        }
    }
}

impl Reply<'_> {
    /// Counts the answer and the time that it took; in a turn the clock is read when that is over.
    #[inline]
    fn count(&mut self, code: ResponseCode) {
        match &mut self.sink {
            Sink::Turn {
                out: Out::Frames(out),
                ..
            } if !self.asked.is_late => {
                out.answers.note(self.asked.kind(code.0));
            }
            Sink::Turn { connection, .. } => connection.count(&self.asked, code),
            Sink::Later { connection, .. } => connection.count(&self.asked, code),
            Sink::Gone => {}
        }
    }
}

/// An answer put off to the end of its turn. Whoever holds it sees to it that it is given.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    opaque: i32,
    encoding: Encoding,
    owed: bool,
    asked: Asked,
}

/// The answers of a turn, for those who put theirs off.
#[derive(Debug)]
pub struct Replies<'t> {
    out: Out<'t>,
    connection: &'t Arc<Connection>,
}

impl<'t> Replies<'t> {
    pub(crate) fn new(out: &'t mut Output, connection: &'t Arc<Connection>) -> Self {
        let out = Out::Frames(out);
        Self { out, connection }
    }

    /// The reply of a caller in this process, put off.
    pub(crate) fn to_caller(answer: &'t mut Answer, connection: &'t Arc<Connection>) -> Self {
        let out = Out::Caller(answer);
        Self { out, connection }
    }

    /// The reply that was put off.
    #[inline]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a ticket is good for one answer"
    )]
    pub fn reply(&mut self, ticket: Ticket) -> Reply<'_> {
        let Ticket {
            opaque,
            encoding,
            owed,
            asked,
        } = ticket;
        Reply {
            sink: Sink::Turn {
                out: self.out.again(),
                connection: self.connection,
            },
            opaque,
            encoding,
            owed,
            asked,
        }
    }
}

impl Replies<'_> {
    /// Puts answers off past the turn, all together: those to `tickets`, which are given by
    /// [`Corked::answer`].
    #[inline]
    pub fn defer<'a>(&mut self, tickets: impl ExactSizeIterator<Item = &'a Ticket>) -> Late {
        let owed = u32::try_from(tickets.len()).unwrap_or(u32::MAX);
        self.connection.owe(owed);
        Late {
            connection: Arc::clone(self.connection),
            caller: self.out.wait(),
            owed,
            asked_at: tickets.map(|ticket| ticket.asked.at).min().unwrap_or(0),
        }
    }
}

/// The answers of one turn that are given when it is over. Whoever holds it and the tickets sees to it
/// that they are given.
#[derive(Debug)]
#[must_use]
pub struct Late {
    connection: Arc<Connection>,
    /// Who waits in this process, for the one request that he has made.
    caller: Option<oneshot::Sender<Response>>,
    owed: u32,
    asked_at: u64,
}

impl Drop for Late {
    fn drop(&mut self) {
        self.connection.settle(self.owed);
    }
}

thread_local! {
    /// Where deferred answers are put together before they are written.
    static LATER: RefCell<Output> = RefCell::default();
    /// Empty buffers for corks.
    static SPARE: RefCell<Vec<Output>> = RefCell::default();
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        // A panicking handler is answered by whoever catches the panic.
        if self.owed && !(std::thread::panicking() && matches!(self.sink, Sink::Turn { .. })) {
            self.write(
                ResponseCode::SYSTEM_ERROR,
                "the request was dropped without an answer",
                &Empty,
                &[],
            );
        }
        if let Sink::Later { connection, .. } = &self.sink {
            connection.settle(1);
        }
    }
}

/// Collects answers per connection, so that many completions for one connection make one write.
/// Written by [`Corked::flush`] or when dropped.
#[derive(Debug, Default)]
pub struct Corked {
    outputs: Vec<(Arc<Connection>, Output)>,
}

/// Connections that one cork holds before it writes; keeps the search below a few hundred compares.
const CORKED_MAX: usize = 64;

impl Corked {
    /// The reply `deferred`, answering into this cork.
    pub fn attach(&mut self, mut deferred: Deferred) -> Reply<'_> {
        if let Sink::Later {
            caller: Some(_), ..
        } = &deferred.sink
        {
            // He waits for this answer alone.
            return deferred;
        }
        let Sink::Later { connection, .. } = std::mem::replace(&mut deferred.sink, Sink::Gone)
        else {
            unreachable!("a deferred reply keeps its connection");
        };
        let owed = std::mem::take(&mut deferred.owed);
        connection.settle(1);
        let (connection, out) = self.output(&connection);
        Reply {
            sink: Sink::Turn {
                out: Out::Frames(out),
                connection,
            },
            opaque: deferred.opaque,
            encoding: deferred.encoding,
            owed,
            asked: deferred.asked,
        }
    }

    /// Lets `give` give the answers that were put off past their turn, all of them, into this cork.
    pub fn answer(&mut self, mut late: Late, give: impl FnOnce(&mut Replies<'_>)) {
        if let Some(caller) = late.caller.take() {
            let mut answer = Answer::None;
            give(&mut Replies::to_caller(&mut answer, &late.connection));
            if let Answer::Given(response) = answer {
                // The caller may have given up.
                drop(caller.send(response));
            }
            return;
        }
        let (connection, out) = self.output(&late.connection);
        give(&mut Replies::new(out, connection));
        connection.count_all(&mut out.answers, late.asked_at);
    }

    /// Where answers for that connection are collected.
    fn output(&mut self, connection: &Arc<Connection>) -> (&Arc<Connection>, &mut Output) {
        let known = self
            .outputs
            .iter()
            .rposition(|(known, _)| Arc::ptr_eq(known, connection));
        let at = known.unwrap_or_else(|| {
            if self.outputs.len() >= CORKED_MAX {
                self.flush();
            }
            let out = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
            self.outputs.push((Arc::clone(connection), out));
            self.outputs.len() - 1
        });
        let (connection, out) = &mut self.outputs[at];
        (connection, out)
    }

    /// Writes what was collected.
    pub fn flush(&mut self) {
        for (connection, mut out) in self.outputs.drain(..) {
            connection.write(out.bytes());
            out.clear(CORKED_KEEP_BYTES);
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < CORKED_MAX {
                    spare.push(out);
                }
            });
        }
    }
}

impl Drop for Corked {
    fn drop(&mut self) {
        self.flush();
    }
}
