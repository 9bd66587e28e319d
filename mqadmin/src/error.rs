// SPDX-License-Identifier: Apache-2.0
//! What can go wrong between a command and the servers that it asks.

use std::{io, path::PathBuf};

use aerobee_remoting::{ClientError, FieldError, RequestCode, ResponseCode, fastjson::JsonError};

/// Why a command failed. [`Error::fix`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the command line nor the environment names a name server.
    #[error("no name server is given")]
    NoNamesrv,
    /// An address is not `host:port`.
    #[error("{0}")]
    Address(#[from] aerobee_daemon::flags::AddressError),
    /// No answer came.
    #[error("{request} failed: {source}")]
    Unanswered {
        /// What was asked.
        request: RequestCode,
        /// Why there is no answer.
        source: ClientError,
    },
    /// The server said no.
    #[error("CODE: {}  DESC: {remark} (asked of {address}: {request})", code.0)]
    Refused {
        /// Who was asked.
        address: String,
        /// What was asked.
        request: RequestCode,
        /// The answer's code.
        code: ResponseCode,
        /// The answer's remark.
        remark: String,
    },
    /// The body of an answer is not what it should be.
    #[error("the answer of {address} to {request} cannot be read: {source}")]
    Body {
        /// Who was asked.
        address: String,
        /// What was asked.
        request: RequestCode,
        /// Where it is wrong.
        source: JsonError,
    },
    /// The header of an answer is not what it should be.
    #[error("the answer of {address} to {request} cannot be read: {source}")]
    Header {
        /// Who was asked.
        address: String,
        /// What was asked.
        request: RequestCode,
        /// What is wrong.
        source: FieldError,
    },
    /// An answer lacks its body.
    #[error("the answer of {address} to {request} has no body")]
    NoBody {
        /// Who was asked.
        address: String,
        /// What was asked.
        request: RequestCode,
    },
    /// The name server knows no such cluster.
    #[error("there is no cluster {cluster:?}; the name server knows: {known}")]
    NoCluster {
        /// The one asked for.
        cluster: String,
        /// Those there are.
        known: String,
    },
    /// A cluster has no broker that could be asked.
    #[error("no broker of cluster {0:?} has a master")]
    NoMaster(String),
    /// The name server knows no such broker.
    #[error("there is no broker {broker:?}; the name server knows: {known}")]
    NoBroker {
        /// The one asked for.
        broker: String,
        /// Those there are.
        known: String,
    },
    /// The topic has no broker to be asked.
    #[error("no broker serves topic {0:?}")]
    NoRoute(String),
    /// A flag has a value that cannot be.
    #[error("{flag} has the value {value:?}: {reason}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Some of several servers failed; each was told of.
    #[error("{failed} of {asked} failed")]
    Partly {
        /// How many failed.
        failed: usize,
        /// How many were asked.
        asked: usize,
    },
    /// The command is not run by this tool.
    #[error("{what}: {reason}")]
    Unsupported {
        /// The command.
        what: &'static str,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// Whoever was asked for confirmation said no.
    #[error("not confirmed; nothing was done")]
    NotConfirmed,
    /// What the commands print cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// The code of a refusal.
    pub(crate) fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// What to do about it, when there is something to say.
    pub fn fix(&self) -> Option<String> {
        let text = match self {
            Self::NoNamesrv => {
                "give it with -n host:9876 or in the environment as NAMESRV_ADDR; several are separated by ';'"
            }
            Self::Address(_) => "write it as host:port",
            Self::Unanswered { source, .. } => match source {
                ClientError::Connect { .. } => {
                    "is the server running, and is the address the one it listens on? `aerobee doctor -n HOST:PORT` looks at all of them"
                }
                ClientError::Timeout { .. } | ClientError::Closed(_) => {
                    "whether the request was carried out is unknown: look before you repeat it"
                }
                _ => return None,
            },
            Self::Refused { code, request, .. } => return refused(*code, *request),
            Self::Body { .. } | Self::Header { .. } | Self::NoBody { .. } => {
                "is that a RocketMQ server of this kind? A broker was asked where a name server listens, or the reverse"
            }
            Self::NoCluster { .. } | Self::NoMaster(_) | Self::NoBroker { .. } => {
                "`mqadmin clusterList` shows what is there"
            }
            Self::NoRoute(_) => "`mqadmin topicList` shows the topics",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn refused(code: ResponseCode, request: RequestCode) -> Option<String> {
    let text = match code {
        ResponseCode::TOPIC_NOT_EXIST => {
            "`mqadmin topicList` shows the topics; `mqadmin updateTopic -c CLUSTER -t TOPIC` creates one"
        }
        ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST => {
            "`mqadmin updateSubGroup -c CLUSTER -g GROUP` creates a group"
        }
        ResponseCode::CONSUMER_NOT_ONLINE => {
            "no member of the group is connected: start one, or ask when it runs"
        }
        ResponseCode::NO_PERMISSION => "what is asked for is forbidden by configuration or rights",
        ResponseCode::REQUEST_CODE_NOT_SUPPORTED if request.0 < 1000 => {
            "that server does not do this: is the address that of a broker where a broker is meant?"
        }
        _ => return None,
    };
    Some(text.to_owned())
}
