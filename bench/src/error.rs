// SPDX-License-Identifier: Apache-2.0
//! Why a run ended without figures.

use std::{io, path::PathBuf};

use aerobee_remoting::{DecodeError, FieldError, fastjson::JsonError};

/// Why a run ended without figures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made; is the server running, and is this its address?
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port` as given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A connection broke, or its server closed it.
    #[error("connection to {address} broke: {source}")]
    Broken {
        /// The other end.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// What the server sent is not a frame, or not a header.
    #[error("bytes that are no answer: {0}")]
    Decode(#[from] DecodeError),
    /// An answer lacks a field or has a wrong one.
    #[error("answer to {request}: {source}")]
    Field {
        /// What was asked.
        request: &'static str,
        /// Why.
        source: FieldError,
    },
    /// The body of an answer cannot be read.
    #[error("body of the answer to {request}: {source}")]
    Body {
        /// What was asked.
        request: &'static str,
        /// Why.
        source: JsonError,
    },
    /// The server refused what the load needs.
    #[error("{request} was answered with code {code}: {remark}")]
    Refused {
        /// What was asked.
        request: &'static str,
        /// Response code.
        code: i32,
        /// Remark of the server.
        remark: String,
    },
    /// The name server knows no broker that takes writes.
    #[error("name server {namesrv} knows no master broker")]
    NoBroker {
        /// Its address.
        namesrv: String,
    },
    /// The topic was created, but its route did not appear.
    #[error("name server {namesrv} has no route of topic {topic}; is the broker registered there?")]
    NoRoute {
        /// Its address.
        namesrv: String,
        /// The topic.
        topic: String,
    },
    /// There is less to pull than expected, because sends failed or were not dispatched in time.
    #[error("{found} messages to pull in topic {topic}, {wanted} wanted")]
    NotThere {
        /// The topic.
        topic: String,
        /// Messages in its queues.
        found: u64,
        /// Messages wanted.
        wanted: u64,
    },
    /// A frame of the load would exceed what the protocol allows.
    #[error("a message of {0} bytes does not fit a frame")]
    TooLarge(usize),
    /// A time on the command line is not a number of seconds.
    #[error("{0:?} is not a number of seconds, such as 10 or 0.5")]
    Seconds(String),
    /// No process of that id, or its figures are not readable.
    #[error("figures of process {pid}: {source}")]
    Process {
        /// Process id.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// The system refused something the generator itself needs.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file or folder of a server to start could not be made.
    #[error("{path}: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A server could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A server ended, or never answered, instead of serving.
    #[error("{server} did not answer within {seconds} s; its output:\n{output}")]
    Silent {
        /// Which server.
        server: &'static str,
        /// How long was waited.
        seconds: u64,
        /// The last lines of its output.
        output: String,
    },
    /// A load of the comparison failed.
    #[error("{load} against {server}: {source}")]
    Load {
        /// The row.
        load: &'static str,
        /// The server.
        server: &'static str,
        /// Why.
        source: Box<Error>,
    },
    /// A proxy cannot be reached by gRPC.
    #[error("cannot reach the proxy by gRPC: {0}")]
    Grpc(Box<tonic::transport::Error>),
    /// A call over gRPC was not answered.
    #[error("a call over gRPC failed: {0}")]
    Call(Box<tonic::Status>),
    /// Standard output could not be written.
    #[error("cannot print: {0}")]
    Output(#[source] io::Error),
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

impl Error {
    /// Turns an error of the system into ours.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
