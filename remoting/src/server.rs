// SPDX-License-Identifier: Apache-2.0
//! Listeners and the bounds that all their connections share.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    call::{Replies, Reply},
    command::Command,
    connection::Connection,
    latency::Latencies,
    local::Local,
    reader,
    tls::{ServerTls, session::Session},
};

/// What a server does with the requests that arrive: the name server, the broker, a proxy.
pub trait Service: Send + Sync + 'static {
    /// State of one turn: the frames of one read of one connection.
    type Turn: Default + Send;

    /// Runs one request. It must not block: what has to wait defers its reply.
    fn handle(&self, turn: &mut Self::Turn, command: &Command<'_>, reply: Reply<'_>);

    /// Called when all requests of the turn have been handled, before their answers are written: the
    /// place for what is better done for many requests at once.
    fn finish(&self, turn: &mut Self::Turn, replies: &mut Replies<'_>) {
        let _ = (turn, replies);
    }

    /// Called when the answers of the turn have been written.
    fn end_turn(&self, turn: &mut Self::Turn) {
        let _ = turn;
    }

    /// Called once when a connection has ended.
    fn closed(&self, connection: &Arc<Connection>) {
        let _ = connection;
    }
}

/// Bounds of a server; every one is enforced where it is read.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections; one more is closed at once.
    pub connections: usize,
    /// A connection without a byte in either direction for so long is closed. Java key:
    /// `serverChannelMaxIdleTimeSeconds`.
    pub idle: Duration,
    /// A frame that has begun must be whole within this time.
    pub partial_frame: Duration,
    /// A client that takes no byte of its answers for so long is closed.
    pub stuck: Duration,
    /// Above this outbox a connection is not read.
    pub outbox_high_bytes: usize,
    /// Above this outbox a connection is closed.
    pub outbox_max_bytes: usize,
    /// With so many deferred answers a connection is not read.
    pub owed_max: u32,
    /// Incomplete frames of all connections together.
    pub partial_total_bytes: usize,
    /// Outboxes of all connections together.
    pub outbox_total_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            idle: Duration::from_secs(120),
            partial_frame: Duration::from_secs(30),
            stuck: Duration::from_secs(60),
            outbox_high_bytes: 8 << 20,
            outbox_max_bytes: 32 << 20,
            owed_max: 16_384,
            partial_total_bytes: 256 << 20,
            outbox_total_bytes: 512 << 20,
        }
    }
}

/// A number of bytes shared by many, with a bound.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit,
        }
    }

    /// Takes `bytes`, or nothing when that would exceed the bound.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.limit {
            self.release(bytes);
            return false;
        }
        true
    }

    /// Takes `bytes` that are in use already.
    pub(crate) fn force(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Lets one log line through per second, so that bad clients cannot fill the log.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<Option<Instant>>);

impl Gate {
    pub(crate) fn warn(&self, log: impl FnOnce()) {
        let mut last = self.0.lock();
        let now = Instant::now();
        if last.is_none_or(|last| now.duration_since(last) >= Duration::from_secs(1)) {
            *last = Some(now);
            drop(last);
            log();
        }
    }
}

/// What the connections of one server, or of one client, share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    /// How connections that begin with TLS go on; without it they are closed.
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) partial_bytes: Budget,
    pub(crate) outbox_bytes: Budget,
    pub(crate) refusals: Gate,
    pub(crate) latencies: Arc<Latencies>,
    started: Instant,
    /// Seconds since the start, plus one; renewed by the sweep, read per turn.
    seconds: AtomicU32,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Self::with_tls(limits, None)
    }

    fn with_tls(limits: Limits, tls: Option<Arc<ServerTls>>) -> Arc<Self> {
        Arc::new(Self {
            tls,
            partial_bytes: Budget::new(limits.partial_total_bytes),
            outbox_bytes: Budget::new(limits.outbox_total_bytes),
            limits,
            refusals: Gate::default(),
            latencies: Arc::default(),
            started: Instant::now(),
            seconds: AtomicU32::new(1),
            connections: Mutex::default(),
        })
    }

    pub(crate) fn next_id(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn seconds(&self) -> u32 {
        self.seconds.load(Ordering::Relaxed)
    }

    pub(crate) fn forget(&self, id: u64) {
        self.connections.lock().remove(&id);
    }

    /// The connection that comes from `peer` and ends at `local`.
    pub(crate) fn between(&self, peer: SocketAddr, local: SocketAddr) -> Option<Arc<Connection>> {
        let connections = self.connections.lock();
        let mut all = connections.values();
        all.find(|connection| connection.peer() == peer && connection.local() == local)
            .cloned()
    }

    pub(crate) fn all_connections(&self) -> Vec<Arc<Connection>> {
        self.connections.lock().values().cloned().collect()
    }

    /// Adopts a connected socket and runs it; nothing when the bound of connections is reached.
    pub(crate) fn adopt<S: Service>(
        self: &Arc<Self>,
        stream: TcpStream,
        service: &Arc<S>,
    ) -> io::Result<Option<Arc<Connection>>> {
        self.adopt_as(stream, None, None, service)
    }

    /// The same for a client that came through another socket, and whose address is `peer`.
    /// `tls` is the session of a connection that we made.
    pub(crate) fn adopt_as<S: Service>(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: Option<SocketAddr>,
        tls: Option<Session>,
        service: &Arc<S>,
    ) -> io::Result<Option<Arc<Connection>>> {
        let connection = Arc::new(Connection::new(stream, peer, tls, self)?);
        {
            let mut connections = self.connections.lock();
            if connections.len() >= self.limits.connections {
                return Ok(None);
            }
            connections.insert(connection.id(), Arc::clone(&connection));
        }
        tokio::spawn(reader::run(Arc::clone(&connection), Arc::clone(service)));
        Ok(Some(connection))
    }

    /// Closes all connections once they are quiet, after `grace` in any case.
    async fn close(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline
            && self
                .all_connections()
                .iter()
                .any(|connection| !connection.is_quiet())
        {
            sleep(Duration::from_millis(5)).await;
        }
        for connection in self.all_connections() {
            connection.close();
        }
    }

    /// Renews the clock each second and closes what has exceeded its time.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = u32::try_from(self.started.elapsed().as_secs() + 1).unwrap_or(u32::MAX);
            self.seconds.store(now, Ordering::Relaxed);
            // A pass over all connections every few seconds is precise enough.
            if now % 4 == 0 {
                self.close_overdue(now);
            }
        }
    }

    fn close_overdue(&self, now: u32) {
        for connection in self.all_connections() {
            let over = |since: u32, limit: Duration| {
                since != 0 && u64::from(now.saturating_sub(since)) >= limit.as_secs()
            };
            let limits = &self.limits;
            let reason = if over(connection.stuck_since.load(Ordering::Relaxed), limits.stuck) {
                "the client does not read its answers"
            } else if over(
                connection.partial_since.load(Ordering::Relaxed),
                limits.partial_frame,
            ) {
                "a frame stayed incomplete"
            } else if over(connection.active_at.load(Ordering::Relaxed), limits.idle) {
                "idle"
            } else {
                continue;
            };
            tracing::debug!(peer = %connection.peer(), reason, "closing connection");
            connection.close();
        }
    }
}

/// Serves connections that somebody else accepted, as one who tells protocols apart does.
#[derive(Debug)]
pub struct Adopter<S: Service> {
    shared: Arc<Shared>,
    service: Arc<S>,
    sweep: tokio::task::JoinHandle<()>,
}

impl<S: Service> Adopter<S> {
    /// Needs a running runtime.
    pub fn new(service: Arc<S>, limits: Limits) -> Self {
        let shared = Shared::new(limits);
        let sweep = tokio::spawn(Arc::clone(&shared).sweep());
        Self {
            shared,
            service,
            sweep,
        }
    }

    /// Serves a connected socket from its first unread byte on. `peer` is the client's address where
    /// it is not that of the socket.
    ///
    /// # Errors
    /// The socket failed, or the limit of connections is reached.
    pub fn adopt(&self, stream: TcpStream, peer: Option<SocketAddr>) -> io::Result<()> {
        let adopted = self.shared.adopt_as(stream, peer, None, &self.service)?;
        adopted
            .map(drop)
            .ok_or_else(|| io::Error::other("limit of connections reached"))
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().len()
    }

    /// Waits until every request has its answer, but no longer than `grace`, then closes all
    /// connections.
    pub async fn close(&self, grace: Duration) {
        self.shared.close(grace).await;
    }
}

impl<S: Service> Drop for Adopter<S> {
    fn drop(&mut self) {
        self.sweep.abort();
        for connection in self.shared.all_connections() {
            connection.close();
        }
    }
}

/// A bound listener and its connections.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    local: Local,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Binds `address` and serves until [`Server::close`].
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind<S: Service>(
        address: SocketAddr,
        service: Arc<S>,
        limits: Limits,
    ) -> io::Result<Self> {
        Bound::new(address)?.serve(service, limits, None)
    }

    fn on<S: Service>(
        listener: TcpListener,
        service: Arc<S>,
        limits: Limits,
        tls: Option<Arc<ServerTls>>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Shared::with_tls(limits, tls.clone());
        let (stop, stopped) = watch::channel(false);
        let local = Local::new(&shared, &service);
        tokio::spawn(accept(
            listener,
            Arc::clone(&shared),
            service,
            stopped.clone(),
        ));
        let sweep = Arc::clone(&shared).sweep();
        let watch = async move {
            match tls {
                Some(tls) => tls.watch().await,
                None => std::future::pending().await,
            }
        };
        let mut ended = stopped;
        tokio::spawn(async move {
            tokio::select! {
                () = sweep => {}
                () = watch => {}
                _ = ended.wait_for(|stop| *stop) => {}
            }
        });
        Ok(Self {
            shared,
            local,
            address,
            stop,
        })
    }

    /// The server for clients in this process.
    pub fn local(&self) -> Local {
        self.local.clone()
    }

    /// The address bound, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().len()
    }

    /// All connections.
    pub fn all_connections(&self) -> Vec<Arc<Connection>> {
        self.shared.all_connections()
    }

    /// How long its requests took.
    pub fn latencies(&self) -> &Arc<Latencies> {
        &self.shared.latencies
    }

    /// Accepts no more; the connections stay.
    pub fn stop_accepting(&self) {
        self.stop.send_replace(true);
    }

    /// Accepts no more, waits until every request has its answer, but no longer than `grace`, then
    /// closes all connections.
    pub async fn close(&self, grace: Duration) {
        self.stop_accepting();
        self.shared.close(grace).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting();
        for connection in self.shared.all_connections() {
            connection.close();
        }
    }
}

/// An address that is ours, but on which nobody can connect yet: a server that takes any port
/// learns it before it has anything to serve.
#[derive(Debug)]
pub struct Bound(socket2::Socket);

impl Bound {
    /// Binds `address`; port 0 takes any free port.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM.cloexec().nonblocking(),
            Some(socket2::Protocol::TCP),
        )?;
        if address.is_ipv6() {
            // One socket for both families where the wildcard is asked for.
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        Ok(Self(socket))
    }

    /// The address, with its real port.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Accepts connections and serves them until [`Server::close`]; those that begin with TLS by
    /// `tls`, or not at all.
    ///
    /// # Errors
    /// Another process listens on the address.
    pub fn serve<S: Service>(
        self,
        service: Arc<S>,
        limits: Limits,
        tls: Option<Arc<ServerTls>>,
    ) -> io::Result<Server> {
        self.0.listen(1024)?;
        Server::on(TcpListener::from_std(self.0.into())?, service, limits, tls)
    }
}

async fn accept<S: Service>(
    listener: TcpListener,
    shared: Arc<Shared>,
    service: Arc<S>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let adopted = match accepted {
            Ok((stream, peer)) => shared.adopt(stream, &service).map(|new| (new, peer)),
            Err(error) => Err(error),
        };
        match adopted {
            Ok((Some(_), _)) => {}
            Ok((None, peer)) => shared.refusals.warn(|| {
                let limit = shared.limits.connections;
                tracing::warn!(%peer, limit, "connection refused: limit of connections reached");
            }),
            Err(error) => {
                // Mostly out of descriptors: waiting lets some connections end, spinning would not.
                shared
                    .refusals
                    .warn(|| tracing::warn!(%error, "cannot accept a connection"));
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
