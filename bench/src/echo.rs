// SPDX-License-Identifier: Apache-2.0
//! `bench echo`: a server that answers sends without storing anything, the bound for every server.
//!
//! The plain one runs on the connection loop of the real servers and decodes every header, so that
//! what it costs is the protocol; the raw one only finds where frames end and so costs little more
//! than the sockets do.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use aerobee_remoting::{
    Command, Encoding, Limits, Output, Reply, RequestCode, Server, Service,
    header::{Empty, send::SendReply},
};
use tokio::runtime::Runtime;

use crate::{
    Error,
    answer::Scanner,
    connection::Connection,
    inflight::OPAQUE_MIN,
    poller::{Poller, Ready},
};

/// Options of `bench echo`.
#[derive(Debug, Clone, clap::Args)]
pub struct EchoArgs {
    /// Port on loopback to serve on; 0 takes a free one, which is printed.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    serve: u16,
    /// Do not even decode headers: one thread that finds frames and writes a constant answer.
    #[arg(long)]
    raw: bool,
}

impl EchoArgs {
    /// Serves until the process is ended.
    pub(crate) fn run(&self) -> Result<(), Error> {
        if self.raw {
            let mut server = RawEcho::bind(self.serve)?;
            announce(server.address()?)?;
            loop {
                server.turn(None)?;
            }
        }
        let server = EchoServer::start(self.serve)?;
        announce(server.address())?;
        loop {
            std::thread::park();
        }
    }
}

fn announce(address: SocketAddr) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "echo server on {address}")
        .and_then(|()| out.flush())
        .map_err(Error::Output)
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The answer to every send.
fn reply() -> SendReply<'static> {
    SendReply {
        msg_id: "7F00000100002A9F0000000000000000",
        queue_id: 0,
        queue_offset: 0,
        transaction_id: Some("7F000001000000000000000000000000"),
        batch_uniq_id: None,
        recall_handle: None,
        region: Some("DefaultRegion"),
        trace_on: Some(true),
    }
}

struct Echo;

impl Service for Echo {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &Command<'_>, answer: Reply<'_>) {
        match RequestCode(command.code) {
            RequestCode::SEND_MESSAGE
            | RequestCode::SEND_MESSAGE_V2
            | RequestCode::SEND_BATCH_MESSAGE => answer.header(&reply()),
            // Topics and heartbeats: whatever a load prepares is welcome.
            _ => answer.ok(),
        }
    }
}

/// An echo server on threads of its own; ends when dropped.
#[derive(Debug)]
pub struct EchoServer {
    server: Option<Server>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl EchoServer {
    /// Serves on `port` of loopback, 0 for a free one.
    ///
    /// # Errors
    /// The port is in use, or threads cannot be made.
    pub fn start(port: u16) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Error::system("start threads"))?;
        let server = {
            let _context = runtime.enter();
            Server::bind(loopback(port), Arc::new(Echo), Limits::default())
                .map_err(Error::system("bind the echo server"))?
        };
        Ok(Self {
            address: server.address(),
            server: Some(server),
            runtime: Some(runtime),
        })
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.server.take();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

const _: () = assert!(OPAQUE_MIN.ilog10() == 9, "ten digits");

/// Token of the listener; connections have smaller ones.
const LISTENER: usize = usize::MAX;

/// A server that only finds frames.
#[derive(Debug)]
struct RawEcho {
    listener: TcpListener,
    poller: Poller,
    connections: HashMap<usize, Connection>,
    next_token: usize,
    scanner: Scanner,
    answer: Vec<u8>,
    /// Where the ten digits of the opaque stand in `answer`.
    opaque: usize,
}

impl RawEcho {
    fn bind(port: u16) -> Result<Self, Error> {
        let poller = Poller::new()?;
        let bind = || {
            let listener = TcpListener::bind(loopback(port))?;
            listener.set_nonblocking(true)?;
            poller.add_listener(&listener, LISTENER)?;
            Ok(listener)
        };
        let listener = bind().map_err(Error::system("bind the echo server"))?;
        let mut output = Output::default();
        output.response(Encoding::Json, 0, OPAQUE_MIN, "", &reply(), &[]);
        let pattern = format!("\"opaque\":{OPAQUE_MIN}");
        let at = memchr::memmem::find(output.bytes(), pattern.as_bytes());
        let opaque = at.expect("the answer was written with it") + pattern.len() - 10;
        Ok(Self {
            listener,
            poller,
            connections: HashMap::new(),
            next_token: 0,
            scanner: Scanner::default(),
            answer: output.bytes().to_vec(),
            opaque,
        })
    }

    fn address(&self) -> Result<SocketAddr, Error> {
        self.listener
            .local_addr()
            .map_err(Error::system("read the port"))
    }

    /// Serves what is ready.
    fn turn(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let mut events = Vec::new();
        self.poller.wait(timeout, &mut events)?;
        for event in events {
            if event.token == LISTENER {
                self.accept()?;
            } else if let Err(error) = self.serve(event) {
                // A client that goes away, or does not speak the protocol, takes its connection along.
                let _ = error;
                self.connections.remove(&event.token);
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Error> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                let token = self.next_token;
                self.next_token += 1;
                let connection = Connection::new(stream, &self.poller, token)?;
                self.connections.insert(token, connection);
                Ok(())
            }
            // The client has gone again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(source) => Err(Error::System {
                what: "accept a connection",
                source,
            }),
        }
    }

    fn serve(&mut self, event: Ready) -> Result<(), Error> {
        let Some(connection) = self.connections.get_mut(&event.token) else {
            return Ok(());
        };
        if event.readable {
            connection.fill()?;
            let mut answers = std::mem::take(&mut connection.output);
            while let Some(frame) = connection.next_frame()? {
                let request = self.scanner.scan(frame)?;
                if frame.encoding == Encoding::Json && request.opaque >= OPAQUE_MIN {
                    let at = answers.len() + self.opaque;
                    answers.extend_from_slice(&self.answer);
                    let digits = request.opaque.to_string();
                    answers[at..at + 10].copy_from_slice(digits.as_bytes());
                } else {
                    let mut output = Output::default();
                    output.response(frame.encoding, 0, request.opaque, "", &Empty, &[]);
                    answers.extend_from_slice(output.bytes());
                }
            }
            connection.output = answers;
        }
        connection.flush(&self.poller)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{args::Target, run::Times, send::SendLoad};

    #[test]
    fn the_raw_server_answers_what_it_does_not_read() {
        let mut server = RawEcho::bind(0).unwrap();
        let target = Target {
            address: server.address().unwrap(),
            broker_name: "broker-a".to_owned(),
            topic: "t".to_owned(),
            queues: 2,
        };
        let client = thread::spawn(move || {
            let load = SendLoad {
                target: &target,
                keys: None,
                encoding: Encoding::Json,
                size: 10,
                connections: 3,
                window: 5,
                rate: None,
                threads: 1,
            };
            let times = Times {
                warmup: Duration::ZERO,
                duration: Duration::from_secs(60),
                count: Some(1000),
            };
            load.measure(times, &[]).unwrap()
        });
        while !client.is_finished() {
            server.turn(Some(Duration::from_millis(10))).unwrap();
        }
        let figures = client.join().unwrap();
        assert_eq!(figures.messages, 1000);
        assert!(figures.errors.is_empty(), "{}", figures.errors);
    }
}
