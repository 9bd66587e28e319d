// SPDX-License-Identifier: Apache-2.0
//! The server: HTTP/1 on few connections.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aerobee_daemon::StartError;
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Source, Subject,
    scrape::{Scraper, Sending},
};

/// Most connections; a few scrapers and probes need no more.
const CONNECTIONS_MAX: usize = 64;
/// The head of a request must come within this time, and the next one on the same connection.
const HEAD: Duration = Duration::from_secs(60);
/// Longest life of a connection: one that does not read its answer must not hold its place forever.
const LIFE: Duration = Duration::from_secs(600);
/// Most bytes of the head of a request.
const HEAD_BYTES: usize = 16 << 10;

/// How to choose another port.
const CHOOSE_PORT: &str =
    "--http-port of the standalone server, httpListenAddress or metricsPromExporterPort";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const EXPOSITION: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Health and metrics.
    Everything,
    /// Metrics, whatever is asked for, as Apache's exporter does.
    Exporter,
}

/// Addresses that are ours, on which nothing is served yet.
pub(crate) struct Opened(Vec<(TcpListener, Door)>);

/// Takes the addresses, so that one in use is told before anything else is begun.
///
/// # Errors
/// An address cannot be bound; the error names the fix.
pub(crate) fn bind(doors: &[(SocketAddr, Door)]) -> Result<Opened, StartError> {
    let listen = |address: SocketAddr| {
        let socket = match address.ip() {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(128)
    };
    let opened = doors.iter().map(|(address, door)| {
        let listener = listen(*address)
            .map_err(|error| StartError::listen("HTTP server", *address, CHOOSE_PORT, error))?;
        Ok((listener, *door))
    });
    opened.collect::<Result<_, _>>().map(Opened)
}

impl Opened {
    /// Where it will be served, with real ports.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let listeners = self.0.iter();
        listeners
            .filter_map(|(listener, _)| listener.local_addr().ok())
            .collect()
    }

    /// Serves; until [`Http::started`] what there is to tell is that the process is starting.
    pub(crate) fn serve(self) -> Http {
        let subject = Arc::new(Subject::default());
        let scraper = Arc::new(Scraper::new(Arc::clone(&subject)));
        let (stop, stopped) = watch::channel(false);
        let address = self.addresses().first().copied();
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut tasks = JoinSet::new();
        for (listener, door) in self.0 {
            let desk = Desk {
                door,
                subject: Arc::clone(&subject),
                scraper: Arc::clone(&scraper),
            };
            tasks.spawn(accept(
                listener,
                Arc::new(desk),
                Arc::clone(&places),
                stopped.clone(),
            ));
        }
        Http {
            subject,
            address,
            stop,
            tasks,
        }
    }
}

/// A running server.
pub(crate) struct Http {
    subject: Arc<Subject>,
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Http {
    /// Where it listens, of several addresses the first.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The roles have started.
    pub(crate) fn started(&self, roles: Vec<Arc<dyn Source>>) {
        // Set once, by whoever started them.
        let _ = self.subject.sources.set(roles);
    }

    /// From here on `/readyz` says that the server is stopping; the rest is still served.
    pub(crate) fn drain(&self) {
        self.subject.drain();
    }

    /// Ends.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        self.tasks.shutdown().await;
    }
}

async fn accept(
    listener: TcpListener,
    desk: Arc<Desk>,
    places: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let desk = Arc::clone(&desk);
                    connections.spawn(async move {
                        serve(stream, desk).await;
                        drop(place);
                    });
                }
                Err(_) => aerobee_daemon::warn_every!(
                    Duration::from_secs(10),
                    %peer,
                    limit = CONNECTIONS_MAX,
                    "HTTP connection refused: limit of connections reached"
                ),
            },
            Err(error) => {
                aerobee_daemon::warn_every!(
                    Duration::from_secs(10),
                    %error,
                    "cannot accept an HTTP connection"
                );
                // Mostly out of descriptors: waiting lets some connections end.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, desk: Arc<Desk>) {
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A client that is gone, silent or talks nonsense is no news.
    let _ = timeout(LIFE, connection).await;
}

/// Answers requests of one address.
struct Desk {
    door: Door,
    subject: Arc<Subject>,
    scraper: Arc<Scraper>,
}

type Answer = Response<Either<Full<Bytes>, Sending>>;

impl Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let text = "only GET and HEAD are served here\n";
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, text);
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        match (request.uri().path(), self.door) {
            ("/metrics", _) | (_, Door::Exporter) => self.metrics().await,
            ("/livez", _) => plain(StatusCode::OK, "alive\n"),
            ("/readyz", _) => self.readiness(),
            ("/", _) => plain(
                StatusCode::OK,
                "aerobee\n/livez    the process answers\n/readyz   it can be used, or why not\n/metrics  for Prometheus\n",
            ),
            _ => plain(
                StatusCode::NOT_FOUND,
                "not found; there are /livez, /readyz and /metrics\n",
            ),
        }
    }

    fn readiness(&self) -> Answer {
        let reasons = self.subject.unready();
        if reasons.is_empty() {
            return plain(StatusCode::OK, "ready\n");
        }
        let text = format!("not ready: {}\n", reasons.join("; "));
        plain(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    async fn metrics(&self) -> Answer {
        match self.scraper.text().await {
            Ok(text) => with(StatusCode::OK, EXPOSITION, Either::Right(text.send())),
            Err(error) => {
                tracing::error!(%error, "no metrics");
                plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
            }
        }
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with(status, TEXT, Either::Left(Full::new(text.into())))
}

fn with(status: StatusCode, kind: HeaderValue, body: Either<Full<Bytes>, Sending>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    let fresh = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, fresh);
    answer
}
