// SPDX-License-Identifier: Apache-2.0
//! The calls that come with every message, between HTTP/2 and `rpc`: one message in, and what is known
//! out. What tonic does for calls of any shape costs more there than all the rest; compressed requests
//! are left to it.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use prost::Message;
use tonic::{Status, body::Body, metadata::MetadataMap};

use crate::{rpc::receive::Delivery, v2::ReceiveMessageResponse};

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// A long answer leaves in pieces of about this size.
const PIECE_BYTES: usize = 32 << 10;

/// Whether the messages of a request are what they seem.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get("grpc-encoding")
        .is_none_or(|encoding| encoding == "identity")
}

/// Answers a call of one message by one message.
pub(crate) async fn unary<Q, A, F>(
    request: Request<Incoming>,
    max: usize,
    answer: impl FnOnce(tonic::Request<Q>) -> F,
) -> Response<Answer>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<tonic::Response<A>, Status>>,
{
    let answered = match read(request, max).await {
        Ok(request) => answer(request).await,
        Err(status) => Err(status),
    };
    answered.map_or_else(refused, |answer| {
        let mut out = BytesMut::new();
        push(&mut out, answer.get_ref());
        respond(Answer::One(Some(out.freeze())))
    })
}

/// Answers a receive by messages.
pub(crate) async fn deliver<Q, F>(
    request: Request<Incoming>,
    max: usize,
    answer: impl FnOnce(tonic::Request<Q>) -> F,
) -> Response<Answer>
where
    Q: Message + Default,
    F: Future<Output = Result<tonic::Response<Delivery>, Status>>,
{
    let answered = match read(request, max).await {
        Ok(request) => answer(request).await,
        Err(status) => Err(status),
    };
    answered.map_or_else(refused, |delivery| {
        respond(Answer::Messages(Some(Box::new(delivery.into_inner()))))
    })
}

fn refused(status: Status) -> Response<Answer> {
    status.into_http::<Body>().map(Answer::Tonic)
}

fn respond(answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    let value = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

/// Appends a message and what goes before it.
fn push(out: &mut BytesMut, message: &impl Message) {
    let len = message.encoded_len();
    out.reserve(PREFIX_BYTES + len);
    out.put_u8(0);
    // A message of 4 GiB cannot be made of what brokers send in one frame.
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode_raw(out);
}

/// Reads the one message of a request, to the end of its stream.
async fn read<Q: Message + Default>(
    request: Request<Incoming>,
    max: usize,
) -> Result<tonic::Request<Q>, Status> {
    let (parts, mut body) = request.into_parts();
    let mut gathered = Gathered::default();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| Status::from_error(Box::new(error)))?;
        if let Ok(data) = frame.into_data() {
            gathered.add(data, max)?;
        }
    }
    let message =
        Q::decode(gathered.message()?).map_err(|error| Status::internal(error.to_string()))?;
    let metadata = MetadataMap::from_headers(parts.headers);
    Ok(tonic::Request::from_parts(
        metadata,
        parts.extensions,
        message,
    ))
}

/// What has come of a message; mostly all of it comes at once and is never copied.
#[derive(Debug, Default)]
struct Gathered {
    first: Bytes,
    /// The first piece too, once a second one has come.
    all: BytesMut,
    /// Length of the message with what is before it.
    wanted: Option<usize>,
}

impl Gathered {
    fn add(&mut self, data: Bytes, max: usize) -> Result<(), Status> {
        if self.wanted.is_some_and(|wanted| self.len() >= wanted) {
            // One message was asked for; as tonic, others are passed over.
            return Ok(());
        }
        if self.first.is_empty() && self.all.is_empty() {
            self.first = data;
        } else {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
            self.all.extend_from_slice(&data);
        }
        if self.wanted.is_none() {
            self.wanted = wanted(self.bytes(), max)?;
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        if self.all.is_empty() {
            &self.first
        } else {
            &self.all
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    fn message(self) -> Result<Bytes, Status> {
        let len = self.len();
        let wanted = self.wanted.filter(|wanted| *wanted <= len);
        let Some(wanted) = wanted else {
            return Err(Status::internal(if len == 0 {
                "Missing request message."
            } else {
                "Unexpected EOF decoding stream."
            }));
        };
        let bytes = if self.all.is_empty() {
            self.first
        } else {
            self.all.freeze()
        };
        Ok(bytes.slice(PREFIX_BYTES..wanted))
    }
}

/// How long the message that begins here is, with what is before it, once that is known.
fn wanted(bytes: &[u8], max: usize) -> Result<Option<usize>, Status> {
    let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    if flag != 0 {
        return Err(Status::internal(
            "protocol error: received message with compressed-flag but no grpc-encoding was specified",
        ));
    }
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > max {
        return Err(Status::out_of_range(format!(
            "Error, decoded message length too large: found {len} bytes, the limit is: {max} bytes"
        )));
    }
    Ok(Some(PREFIX_BYTES + len))
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Tonic(Body),
    One(Option<Bytes>),
    Messages(Option<Box<Delivery>>),
    /// All was said.
    Over,
}

impl Answer {
    /// The next piece of the answer; nothing when its end is to be said.
    fn piece(&mut self) -> Option<Bytes> {
        match self {
            Self::One(message) => message.take(),
            Self::Messages(delivery) => {
                let mut out = BytesMut::new();
                while let Some(content) = delivery.as_mut().and_then(|delivery| delivery.next()) {
                    let content = Some(content);
                    push(&mut out, &ReceiveMessageResponse { content });
                    if out.len() >= PIECE_BYTES {
                        break;
                    }
                }
                (!out.is_empty()).then(|| out.freeze())
            }
            Self::Tonic(_) | Self::Over => None,
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut *self {
            Self::Tonic(body) => return Pin::new(body).poll_frame(context),
            Self::Over => return Poll::Ready(None),
            Self::One(_) | Self::Messages(_) => {}
        }
        if let Some(piece) = self.piece() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        *self = Self::Over;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Tonic(body) => body.is_end_stream(),
            Self::One(_) | Self::Messages(_) => false,
            Self::Over => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 10;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flag, 0, 0, 0, message.len() as u8];
        bytes.extend_from_slice(message);
        bytes
    }

    fn gathered(pieces: &[&[u8]]) -> Result<Bytes, tonic::Code> {
        let mut gathered = Gathered::default();
        for piece in pieces {
            let piece = Bytes::copy_from_slice(piece);
            gathered.add(piece, MAX).map_err(|status| status.code())?;
        }
        gathered.message().map_err(|status| status.code())
    }

    #[test]
    fn a_message_is_whole_however_it_comes() {
        let bytes = framed(0, b"message");
        for cut in 0..=bytes.len() {
            for second in cut..=bytes.len() {
                let pieces = [&bytes[..cut], &bytes[cut..second], &bytes[second..]];
                assert_eq!(gathered(&pieces).unwrap(), "message", "{cut} {second}");
            }
        }
        assert_eq!(gathered(&[&framed(0, b"")]).unwrap(), "");
        let two = [framed(0, b"one"), framed(0, b"two")].concat();
        assert_eq!(gathered(&[&two, b"three"]).unwrap(), "one");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        use tonic::Code::{Internal, OutOfRange};
        let bytes = framed(0, b"message");
        assert_eq!(gathered(&[]), Err(Internal));
        assert_eq!(gathered(&[&bytes[..3]]), Err(Internal));
        assert_eq!(gathered(&[&bytes[..9]]), Err(Internal));
        assert_eq!(gathered(&[&framed(1, b"message")]), Err(Internal));
        assert_eq!(gathered(&[&framed(0, &[0; MAX + 1])]), Err(OutOfRange));
    }
}
