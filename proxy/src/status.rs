// SPDX-License-Identifier: Apache-2.0
//! Why a call was refused, and the status that clients get (Apache:
//! `proxy/grpc/v2/common/ResponseBuilder.java`, with a fuller map of broker codes).

use std::fmt::Display;

use aerobee_message::topic::NameError;
use aerobee_remoting::{ClientError, FieldError, ResponseCode, fastjson::JsonError};

use crate::v2::{Code, Status};

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// We refuse; the text names cause and fix.
    #[error("{message}")]
    Refused { code: Code, message: String },
    /// A broker or name server refuses.
    #[error("{remark}")]
    Broker { code: ResponseCode, remark: String },
    /// A broker or name server cannot be reached, or does not answer.
    #[error(transparent)]
    Unreachable(#[from] ClientError),
    /// An answer has not the fields that it must have.
    #[error("unreadable answer of the broker: {0}")]
    Answer(#[from] FieldError),
    /// An answer's body cannot be read.
    #[error("unreadable answer of the broker: {0}")]
    Body(#[from] JsonError),
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Display) -> Self {
        Self::Refused {
            code,
            message: message.to_string(),
        }
    }

    /// The code for clients.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Broker { code, .. } => of_broker(*code),
            Self::Unreachable(ClientError::Timeout { .. }) => Code::ProxyTimeout,
            Self::Unreachable(_) | Self::Answer(_) | Self::Body(_) => Code::InternalServerError,
        }
    }

    pub(crate) fn status(&self) -> Status {
        status(self.code(), self.to_string())
    }

    /// The same for a request whose receipt no broker takes: SDKs stop repeating it.
    pub(crate) fn of_receipt(self) -> Self {
        match self {
            Self::Broker {
                code: ResponseCode::MESSAGE_ILLEGAL | ResponseCode::NO_MESSAGE,
                remark,
            } => Self::new(Code::InvalidReceiptHandle, remark),
            // It names a broker that no route has.
            Self::Refused {
                code: Code::BadRequest,
                message,
            } => Self::new(Code::InvalidReceiptHandle, message),
            other => other,
        }
    }
}

fn of_broker(code: ResponseCode) -> Code {
    match code {
        ResponseCode::SUCCESS => Code::Ok,
        ResponseCode::SYSTEM_BUSY | ResponseCode::POLLING_FULL => Code::TooManyRequests,
        ResponseCode::REQUEST_CODE_NOT_SUPPORTED => Code::NotImplemented,
        ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST => Code::ConsumerGroupNotFound,
        ResponseCode::TOPIC_NOT_EXIST => Code::TopicNotFound,
        ResponseCode::NO_PERMISSION => Code::Forbidden,
        ResponseCode::SUBSCRIPTION_PARSE_FAILED => Code::IllegalFilterExpression,
        ResponseCode::MESSAGE_ILLEGAL
        | ResponseCode::INVALID_PARAMETER
        | ResponseCode::ILLEGAL_OPERATION => Code::BadRequest,
        ResponseCode::LMQ_QUOTA_EXCEEDED => Code::LiteTopicQuotaExceeded,
        ResponseCode::LITE_SUBSCRIPTION_QUOTA_EXCEEDED => Code::LiteSubscriptionQuotaExceeded,
        _ => Code::InternalServerError,
    }
}

/// A status of a code and a text.
pub(crate) fn status(code: Code, message: impl Into<String>) -> Status {
    Status {
        code: code.into(),
        message: message.into(),
    }
}

/// All went well.
pub(crate) fn ok() -> Status {
    status(Code::Ok, "OK")
}

/// The status of an outcome.
pub(crate) fn of<T>(outcome: &Result<T, Failure>) -> Status {
    match outcome {
        Ok(_) => ok(),
        Err(failure) => failure.status(),
    }
}

/// The status over many: the common one, else MULTIPLE_RESULTS.
pub(crate) fn over<'a>(entries: impl IntoIterator<Item = &'a Status>) -> Status {
    let mut entries = entries.into_iter();
    let Some(first) = entries.next() else {
        return ok();
    };
    if entries.all(|status| status.code == first.code) {
        first.clone()
    } else {
        status(Code::MultipleResults, "the entries have different results")
    }
}

/// A bad name of a topic.
pub(crate) fn illegal_topic(error: &NameError) -> Failure {
    Failure::new(Code::IllegalTopic, error)
}

/// A bad name of a group.
pub(crate) fn illegal_group(error: &NameError) -> Failure {
    Failure::new(Code::IllegalConsumerGroup, error)
}
