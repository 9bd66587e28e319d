// SPDX-License-Identifier: Apache-2.0
//! One port for everything: the first bytes of a connection tell remoting frames, TLS, HTTP/2 and the
//! PROXY protocol apart (Apache: `proxy/grpc/ProxyAndTlsProtocolNegotiator.java`,
//! `proxy/remoting/MultiProtocolRemotingServer.java`).

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aerobee_remoting::Adopter;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    config::{Config, TlsMode},
    forward::Forward,
    fresh::Fresh,
    http::{Front, Open},
    tls::Tls,
};

/// The first bytes, and a TLS handshake, must come within this time.
const OPENING: Duration = Duration::from_secs(10);
/// Longest PROXY header of version 1, and what of version 2 fits the same buffer.
const PROXY_MAX: usize = 536;
/// Signature of a PROXY header of version 2.
const PROXY_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Most connections.
const CONNECTIONS_MAX: usize = 100_000;

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Remoting,
    Tls,
    Http2,
    ProxyV1,
    ProxyV2,
    Unknown,
    /// More bytes are needed.
    Unclear,
}

fn classify(bytes: &[u8]) -> Opening {
    let begins = |text: &[u8]| {
        let both = bytes.len().min(text.len());
        bytes[..both] == text[..both]
    };
    match bytes {
        [] => Opening::Unclear,
        [0 | 1, ..] => Opening::Remoting,
        [0x16, ..] => Opening::Tls,
        _ if begins(b"PRI ") && bytes.len() >= 4 => Opening::Http2,
        _ if begins(b"PROXY ") && bytes.len() >= 6 => Opening::ProxyV1,
        _ if begins(PROXY_V2) && bytes.len() >= PROXY_V2.len() => Opening::ProxyV2,
        _ if begins(b"PRI ") || begins(b"PROXY ") || begins(PROXY_V2) => Opening::Unclear,
        _ => Opening::Unknown,
    }
}

/// What all connections of the proxy share.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) front: Front,
    /// Takes remoting connections over.
    pub(crate) remoting: Adopter<Forward>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) mode: TlsMode,
    pub(crate) config: Arc<Config>,
    /// Becomes true when the proxy is about to end.
    pub(crate) drain: watch::Receiver<bool>,
    /// Open HTTP/2 connections.
    pub(crate) open: AtomicUsize,
}

/// Accepts connections until the proxy ends.
pub(crate) async fn accept(listener: TcpListener, door: Arc<Door>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut drain = door.drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = drain.wait_for(|drain| *drain) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    aerobee_daemon::warn_every!(
                        Duration::from_secs(1),
                        %peer,
                        limit = CONNECTIONS_MAX,
                        "connection refused: limit of connections reached"
                    );
                    continue;
                };
                let door = Arc::clone(&door);
                tokio::spawn(async move {
                    if let Err(error) = door.open(stream, peer).await {
                        tracing::debug!(%peer, %error, "connection closed");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Mostly out of descriptors: waiting lets some connections end, spinning would not.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Door {
    async fn open(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let mut opening = timeout(OPENING, opening(&stream)).await??;
        if matches!(opening, Opening::ProxyV1 | Opening::ProxyV2) {
            if !self.config.enable_proxy_protocol {
                return Err(refused("the PROXY protocol is off: enableProxyProtocol"));
            }
            let told = timeout(OPENING, read_proxy_header(&mut stream, opening)).await??;
            peer = told.unwrap_or(peer);
            opening = timeout(OPENING, self::opening(&stream)).await??;
        }
        match opening {
            Opening::Tls => self.open_tls(stream, peer).await,
            Opening::Remoting | Opening::Http2 if self.mode == TlsMode::Enforcing => {
                Err(refused("tls.server.mode is enforcing: connect with TLS"))
            }
            Opening::Remoting => self.remoting.adopt(stream, Some(peer)),
            Opening::Http2 => self.serve(stream, peer).await,
            _ => Err(refused(
                "this port speaks gRPC (HTTP/2) and remoting frames",
            )),
        }
    }

    async fn open_tls(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let Some(tls) = &self.tls else {
            return Err(refused("TLS is off: tls.server.mode"));
        };
        let mut stream = timeout(OPENING, tls.acceptor().accept(stream)).await??;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return self.serve(stream, peer).await;
        }
        // Without the agreement it is remoting, or HTTP/2 of a client that does not know better.
        let mut first = [0u8; 4];
        timeout(OPENING, stream.read_exact(&mut first)).await??;
        match classify(&first) {
            Opening::Http2 => self.serve(Prefixed::new(&first, stream), peer).await,
            Opening::Remoting => self.tunnel(Prefixed::new(&first, stream), peer).await,
            _ => Err(refused(
                "this port speaks gRPC (HTTP/2) and remoting frames, inside TLS as well",
            )),
        }
    }

    /// Remoting inside TLS: the plain side is a socket that the remoting server takes as the client's.
    async fn tunnel<S>(&self, mut outer: S, peer: SocketAddr) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (inner, accepted) = tokio::try_join!(TcpStream::connect(address), async {
            let accepted = listener.accept().await?;
            Ok(accepted)
        })?;
        let (mut inner, (theirs, from)) = (inner, accepted);
        if inner.local_addr()? != from {
            return Err(refused("another program connected to the tunnel"));
        }
        inner.set_nodelay(true)?;
        self.remoting.adopt(theirs, Some(peer))?;
        copy_bidirectional(&mut outer, &mut inner).await?;
        Ok(())
    }

    /// Serves HTTP/2 until the client goes, does nothing for too long, or the proxy ends.
    async fn serve<S>(&self, stream: S, peer: SocketAddr) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.open.fetch_add(1, Ordering::AcqRel);
        let result = self.serve_counted(stream, peer).await;
        self.open.fetch_sub(1, Ordering::AcqRel);
        result
    }

    async fn serve_counted<S>(&self, stream: S, peer: SocketAddr) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let open = Arc::new(Open::default());
        let service = self.front.service(peer, Arc::clone(&open));
        let calls = Fresh::default();
        let builder = builder(&self.config, calls.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let idle = Duration::from_millis(self.config.grpc_client_idle_time_mills.max(1000));
        let mut drain = self.drain.clone();
        let mut leaving = false;
        loop {
            tokio::select! {
                ended = poll_fn(|context| calls.poll(connection.as_mut(), context)) => {
                    return ended.map_err(io::Error::other);
                }
                () = sleep(idle / 4), if !leaving => {
                    if open.idle_for() >= idle {
                        leaving = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
                _ = drain.wait_for(|drain| *drain), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Windows large enough for batches of large messages; pings find dead peers, and clients may ping as
/// often as they like.
fn builder(config: &Config, calls: Fresh) -> http2::Builder<Fresh> {
    let mut builder = http2::Builder::new(calls);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .max_frame_size(64 << 10)
        .max_send_buf_size(1 << 20)
        .max_concurrent_streams(config.grpc_max_concurrent_calls_per_connection)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// What a connection begins with. Bytes stay in the socket.
async fn opening(stream: &TcpStream) -> io::Result<Opening> {
    let mut bytes = [0u8; 16];
    loop {
        let count = stream.peek(&mut bytes).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match classify(&bytes[..count]) {
            // The kernel reports the same bytes at once; the rest comes soon or not at all.
            Opening::Unclear => sleep(Duration::from_millis(5)).await,
            clear => return Ok(clear),
        }
    }
}

/// Reads a PROXY header and returns the client that it names, if it names one.
async fn read_proxy_header(
    stream: &mut TcpStream,
    opening: Opening,
) -> io::Result<Option<SocketAddr>> {
    if opening == Opening::ProxyV1 {
        let mut line = Vec::with_capacity(128);
        while !line.ends_with(b"\r\n") {
            if line.len() >= 107 {
                return Err(refused("the PROXY header has no end"));
            }
            line.push(stream.read_u8().await?);
        }
        return proxy_v1(&line).ok_or_else(|| refused("malformed PROXY header"));
    }
    let mut head = [0u8; 16];
    stream.read_exact(&mut head).await?;
    let len = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if len > PROXY_MAX || head[12] >> 4 != 2 {
        return Err(refused("malformed PROXY header"));
    }
    let mut rest = vec![0; len];
    stream.read_exact(&mut rest).await?;
    proxy_v2(&head, &rest).ok_or_else(|| refused("malformed PROXY header"))
}

fn proxy_v1(line: &[u8]) -> Option<Option<SocketAddr>> {
    let text = std::str::from_utf8(line).ok()?.trim_end();
    let mut fields = text.split(' ').skip(1);
    match fields.next()? {
        "UNKNOWN" => Some(None),
        "TCP4" | "TCP6" => {
            let (source, port) = (fields.next()?, fields.nth(1)?);
            Some(Some(SocketAddr::new(
                source.parse().ok()?,
                port.parse().ok()?,
            )))
        }
        _ => None,
    }
}

fn proxy_v2(head: &[u8; 16], rest: &[u8]) -> Option<Option<SocketAddr>> {
    let local = head[12] & 0x0F == 0;
    let port = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk()?));
    match head[13] {
        _ if local => Some(None),
        0x11 => {
            let address: [u8; 4] = *rest.first_chunk()?;
            Some(Some(SocketAddr::new(address.into(), port(8)?)))
        }
        0x21 => {
            let address: [u8; 16] = *rest.first_chunk()?;
            Some(Some(SocketAddr::new(address.into(), port(32)?)))
        }
        _ => Some(None),
    }
}

/// A stream whose first bytes were read already.
#[derive(Debug)]
struct Prefixed<S> {
    first: [u8; 4],
    read: usize,
    rest: S,
}

impl<S> Prefixed<S> {
    fn new(first: &[u8; 4], rest: S) -> Self {
        Self {
            first: *first,
            read: 0,
            rest,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        if self.read < self.first.len() {
            let left = &self.first[self.read..];
            let count = left.len().min(buffer.remaining());
            buffer.put_slice(&left[..count]);
            self.read += count;
            return std::task::Poll::Ready(Ok(()));
        }
        std::pin::Pin::new(&mut self.rest).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.rest).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.rest).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.rest).poll_shutdown(context)
    }
}

/// A clock of seconds for idle connections, so that no call reads the system's.
#[derive(Debug)]
pub(crate) struct Coarse {
    started: Instant,
    last: AtomicU64,
}

impl Default for Coarse {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            last: AtomicU64::new(0),
        }
    }
}

impl Coarse {
    pub(crate) fn mark(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    pub(crate) fn since(&self) -> Duration {
        self.started
            .elapsed()
            .saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_a_connection_speaks() {
        for (bytes, opening) in [
            (&b"PRI * HTTP/2.0"[..], Opening::Http2),
            (b"\0\0\x01", Opening::Remoting),
            (b"\x16\x03\x01", Opening::Tls),
            (b"PROXY TCP4 ", Opening::ProxyV1),
            (PROXY_V2, Opening::ProxyV2),
            (b"GET / HTTP/1.1", Opening::Unknown),
            (b"POST /x", Opening::Unknown),
            (b"P", Opening::Unclear),
            (b"PR", Opening::Unclear),
            (b"\r\n", Opening::Unclear),
            (b"", Opening::Unclear),
            (b"\xFF\xFF", Opening::Unknown),
        ] {
            assert_eq!(classify(bytes), opening, "{bytes:?}");
        }
    }

    #[test]
    fn proxy_headers_name_the_client() {
        let v1 = proxy_v1(b"PROXY TCP4 10.0.0.7 10.0.0.1 5000 8081\r\n").unwrap();
        assert_eq!(v1, Some("10.0.0.7:5000".parse().unwrap()));
        assert_eq!(proxy_v1(b"PROXY UNKNOWN\r\n"), Some(None));
        assert_eq!(proxy_v1(b"PROXY TCP4 x\r\n"), None);
        let mut head = [0; 16];
        head[..12].copy_from_slice(PROXY_V2);
        (head[12], head[13], head[15]) = (0x21, 0x11, 12);
        let rest = [10, 0, 0, 7, 10, 0, 0, 1, 0x13, 0x88, 0x1F, 0x91];
        assert_eq!(
            proxy_v2(&head, &rest).unwrap(),
            Some("10.0.0.7:5000".parse().unwrap())
        );
        assert_eq!(proxy_v2(&head, &rest[..3]), None);
    }
}
