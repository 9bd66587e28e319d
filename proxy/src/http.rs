// SPDX-License-Identifier: Apache-2.0
//! Which service a request is for: ours, health or reflection. Calls that come with every message take
//! the shortest way.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use aerobee_auth::guard::Verdicts;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tonic::{body::Body, service::Routes};
use tower_service::Service as _;

use crate::{
    caller::Peer,
    listen::Coarse,
    plain::{self, Answer},
    rpc::Parts,
    service::Messaging,
    v2::messaging_service_server::{MessagingService as _, MessagingServiceServer},
};

/// Where all calls of `MessagingService` begin.
const MESSAGING: &str = "/apache.rocketmq.v2.MessagingService/";
/// Descriptors of the protobuf files, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// All services.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    messaging: Messaging,
    /// Most bytes of a request.
    message_max: usize,
    /// The same service, for calls of any shape.
    any: MessagingServiceServer<Messaging>,
    others: Routes,
}

impl Front {
    pub(crate) fn new(parts: &Arc<Parts>, message_max: usize) -> Self {
        let messaging = Messaging(Arc::clone(parts));
        let any = MessagingServiceServer::new(messaging.clone())
            .max_decoding_message_size(message_max)
            .max_encoding_message_size(usize::MAX);
        let (_, health) = tonic_health::server::health_reporter();
        let mut others = Routes::new(health);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Descriptors that we made ourselves are well-formed; without them there is no reflection.
        if let (Ok(v1), Ok(alpha)) = (reflection().build_v1(), reflection().build_v1alpha()) {
            others = others.add_service(v1).add_service(alpha);
        }
        Self {
            messaging,
            message_max,
            any,
            others,
        }
    }

    /// The services, for the calls of one connection.
    pub(crate) fn service(&self, peer: SocketAddr, open: Arc<Open>) -> Calls {
        let access = self.messaging.0.access.as_ref();
        Calls {
            front: self.clone(),
            peer,
            open,
            verdicts: access.map(|_| Arc::default()),
        }
    }
}

/// The open calls of a connection.
#[derive(Debug, Default)]
pub(crate) struct Open {
    count: AtomicUsize,
    last: Coarse,
}

impl Open {
    /// How long there has been no open call.
    pub(crate) fn idle_for(&self) -> Duration {
        if self.count.load(Ordering::Acquire) > 0 {
            Duration::ZERO
        } else {
            self.last.since()
        }
    }
}

/// Counts a call until its answer is written.
#[derive(Debug)]
struct Counted(Arc<Open>);

impl Counted {
    fn new(open: &Arc<Open>) -> Self {
        open.count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.last.mark();
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of an answer, which keeps its call open.
#[derive(Debug)]
pub(crate) struct OpenBody {
    body: Answer,
    _open: Counted,
}

impl http_body::Body for OpenBody {
    type Data = bytes::Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The calls of one connection.
#[derive(Debug)]
pub(crate) struct Calls {
    front: Front,
    peer: SocketAddr,
    open: Arc<Open>,
    /// What the connection was allowed, where that is asked.
    verdicts: Option<Arc<Verdicts>>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<OpenBody>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<OpenBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        let open = Counted::new(&self.open);
        request.extensions_mut().insert(Peer(self.peer));
        if let Some(verdicts) = &self.verdicts {
            request.extensions_mut().insert(Arc::clone(verdicts));
        }
        let Some(method) = request.uri().path().strip_prefix(MESSAGING) else {
            let answer = self.front.others.clone().call(request.map(Body::new));
            return Box::pin(async move { answer.await.map(|answer| of_tonic(answer, open)) });
        };
        let service = self.front.messaging.clone();
        let max = self.front.message_max;
        match method {
            "SendMessage" if plain::is_plain(request.headers()) => Box::pin(async move {
                let send = async |request| service.send_message(request).await;
                Ok(keep_open(plain::unary(request, max, send).await, open))
            }),
            "AckMessage" if plain::is_plain(request.headers()) => Box::pin(async move {
                let ack = async |request| service.ack_message(request).await;
                Ok(keep_open(plain::unary(request, max, ack).await, open))
            }),
            "ReceiveMessage" if plain::is_plain(request.headers()) => Box::pin(async move {
                let receive = async |request| service.receive_message(request).await;
                Ok(keep_open(plain::deliver(request, max, receive).await, open))
            }),
            _ => {
                let answer = self.front.any.clone().call(request);
                Box::pin(async move { answer.await.map(|answer| of_tonic(answer, open)) })
            }
        }
    }
}

fn keep_open(answer: Response<Answer>, open: Counted) -> Response<OpenBody> {
    answer.map(|body| OpenBody { body, _open: open })
}

fn of_tonic(answer: Response<Body>, open: Counted) -> Response<OpenBody> {
    keep_open(answer.map(Answer::Tonic), open)
}
