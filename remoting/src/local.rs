// SPDX-License-Identifier: Apache-2.0
//! Requests to a server of this process: its service runs them on the thread that asks, without a frame
//! and without a socket.
//!
//! The client has a connection to the server all the same. Its other end says who asks, is known to the
//! server as every connection is, and carries what the server asks of its clients. Whether a connection
//! leads to this server is told by its two addresses, once it was answered for the first time: until
//! then, and where the server is another one, requests go over the socket.

use std::{
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    Encoding, RequestCode, Response, ResponseCode,
    call::{Answer, Replies, Reply},
    command::{Command, OwnedFields},
    connection::Connection,
    error::ClientError,
    frame::FRAME_MAX_BYTES,
    header::{Empty, WriteFields},
    latency::{Answered, Asked},
    output::{LANGUAGE, VERSION},
    server::{Service, Shared},
};

/// A server of this process.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
    service: Arc<dyn Serve>,
}

impl fmt::Debug for Local {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Local").finish_non_exhaustive()
    }
}

/// A service, whatever its turns are.
trait Serve: Send + Sync {
    /// Runs one request as a turn of its own.
    fn serve(&self, connection: &Arc<Connection>, command: &Command<'_>, asked: Asked) -> Answer;
}

impl<S: Service> Serve for S {
    fn serve(&self, connection: &Arc<Connection>, command: &Command<'_>, asked: Asked) -> Answer {
        let mut answer = Answer::None;
        let run = AssertUnwindSafe(|| {
            let mut turn = S::Turn::default();
            self.handle(
                &mut turn,
                command,
                Reply::to_caller(&mut answer, connection, asked),
            );
            self.finish(&mut turn, &mut Replies::to_caller(&mut answer, connection));
            self.end_turn(&mut turn);
        });
        if catch_unwind(run).is_err() {
            tracing::error!(code = command.code, "handler panicked");
            let remark =
                "internal error: the handler of this request panicked; see the server's log";
            answer = Answer::Given(Response::new(
                ResponseCode::SYSTEM_ERROR,
                remark,
                &Empty,
                &[],
            ));
        }
        answer
    }
}

thread_local! {
    /// Where the fields of a request stand while it is run.
    static FIELDS: Cell<OwnedFields> = Cell::default();
}

impl Local {
    pub(crate) fn new<S: Service>(shared: &Arc<Shared>, service: &Arc<S>) -> Self {
        Self {
            shared: Arc::clone(shared),
            service: Arc::clone(service) as _,
        }
    }

    /// Finds out whether `connection`, which was answered, leads to this server.
    pub(crate) fn look_for(&self, connection: &Connection) {
        connection
            .twin
            .get_or_init(|| self.shared.between(connection.local(), connection.peer()));
    }

    /// Runs a request, if `connection` is known to lead to this server.
    pub(crate) fn ask<H: WriteFields + ?Sized>(
        &self,
        connection: &Connection,
        code: RequestCode,
        header: &H,
        body: &[u8],
    ) -> Option<Result<Answer, ClientError>> {
        let twin = connection.twin.get()?.as_ref()?;
        if twin.is_closed() || twin.owes_too_much() {
            let address = connection.peer().to_string();
            return Some(Err(ClientError::Closed(address)));
        }
        // Neither end is idle, though nothing passes the socket.
        connection.touch();
        twin.touch();
        let mut fields = FIELDS.take();
        header.write(&mut fields);
        let answer = if fields.len() + body.len() > FRAME_MAX_BYTES {
            Err(ClientError::TooLarge(fields.len() + body.len()))
        } else {
            let command = Command {
                code: code.0,
                language: LANGUAGE,
                version: VERSION,
                opaque: 0,
                flag: 0,
                remark: "",
                fields: fields.fields(),
                body,
                encoding: Encoding::Json,
            };
            let asked = Asked {
                request: code.0,
                answered: Answered::Promptly,
                // Nothing gathers the answers of this turn: there is one.
                is_late: true,
                at: self.shared.latencies.now(),
            };
            Ok(self.service.serve(twin, &command, asked))
        };
        fields.clear();
        FIELDS.set(fields);
        Some(answer)
    }
}

impl Answer {
    /// The answer, when it comes in time.
    pub(crate) async fn within(
        self,
        connection: &Connection,
        within: Duration,
    ) -> Result<Response, ClientError> {
        let awaited = match self {
            Self::Given(response) => return Ok(response),
            Self::Awaited(awaited) => awaited,
            Self::None => return Err(ClientError::Closed(connection.peer().to_string())),
        };
        match timeout(within, awaited).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(ClientError::Closed(connection.peer().to_string())),
            Err(_) => Err(ClientError::Timeout {
                address: connection.peer().to_string(),
                timeout: within,
            }),
        }
    }
}
