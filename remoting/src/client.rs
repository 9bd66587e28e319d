// SPDX-License-Identifier: Apache-2.0
//! Requests to other servers: one connection an address, made on first use and again when it broke.

use std::{
    collections::HashMap,
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    Language, RequestCode, ResponseCode,
    call::Reply,
    command::{Command, OwnedFields},
    connection::Connection,
    error::{ClientError, FieldError},
    header::{Header, WriteFields},
    local::Local,
    output::{LANGUAGE, VERSION},
    server::{Limits, Service, Shared},
    tls::{ClientTls, session::Session},
};

/// Longest time to connect; as the SDKs have it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// An answer, owned.
#[derive(Debug, Clone)]
pub struct Response {
    /// The response code.
    pub code: ResponseCode,
    /// The remark, empty when there is none.
    pub remark: String,
    /// Version ordinal of the other end.
    pub version: i32,
    /// Language of the other end.
    pub language: Language,
    /// The named fields.
    pub fields: OwnedFields,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// An answer of this process; the body is the pieces of `body`, one after the other.
    pub(crate) fn new<H: WriteFields + ?Sized>(
        code: ResponseCode,
        remark: &str,
        header: &H,
        body: &[&[u8]],
    ) -> Self {
        Self {
            code,
            remark: remark.to_owned(),
            version: VERSION,
            language: LANGUAGE,
            fields: OwnedFields::of(header),
            body: body.concat().into(),
        }
    }

    pub(crate) fn from_command(command: &Command<'_>) -> Self {
        Self {
            code: ResponseCode(command.code),
            remark: command.remark.to_owned(),
            version: command.version,
            language: command.language,
            fields: command.fields.to_owned_fields(),
            body: Bytes::copy_from_slice(command.body),
        }
    }

    /// Whether the code is SUCCESS.
    pub fn is_success(&self) -> bool {
        self.code == ResponseCode::SUCCESS
    }

    /// The typed header of the answer.
    ///
    /// # Errors
    /// A field is missing or does not parse.
    pub fn header<'a, H: Header<'a>>(&'a self) -> Result<H, FieldError> {
        H::read(&self.fields.fields())
    }
}

/// Signs requests, for servers that want to know who asks.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Adds to the fields of a request what proves who sends it.
    fn sign(&self, fields: &mut OwnedFields, body: &[u8]);
}

/// Serves a connection whose other end asks nothing of us.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoRequests;

impl Service for NoRequests {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &Command<'_>, reply: Reply<'_>) {
        reply.unsupported(command.code);
    }
}

/// The connection of one address; its lock is held while connecting, so that one is made.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

/// Makes requests to other servers.
#[derive(Debug)]
pub struct Client<S: Service = NoRequests> {
    shared: Arc<Shared>,
    service: Arc<S>,
    /// How connections are made secure; plain without it.
    tls: Option<Arc<ClientTls>>,
    /// A server of this process: what is for it needs no socket, and no signature.
    local: Option<Local>,
    /// Signs what goes over a socket.
    signer: Option<Arc<dyn Signer>>,
    /// Addresses come from configuration and registered brokers; a broken one is removed.
    slots: Mutex<HashMap<String, Slot>>,
    sweep: tokio::task::JoinHandle<()>,
}

impl Client<NoRequests> {
    /// A client that serves no requests of the other end. Needs a running runtime.
    pub fn new() -> Self {
        Self::with_service(Arc::new(NoRequests))
    }
}

impl Default for Client<NoRequests> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Service> Client<S> {
    /// A client whose connections serve the other end's requests by `service`.
    pub fn with_service(service: Arc<S>) -> Self {
        let shared = Shared::new(Limits::default());
        let sweep = tokio::spawn(Arc::clone(&shared).sweep());
        Self {
            shared,
            service,
            tls: None,
            local: None,
            signer: None,
            slots: Mutex::default(),
            sweep,
        }
    }

    /// The same beside a server of this process: it takes the requests that are for it without a
    /// socket. The connection to it stays, for what the server asks of its clients.
    #[must_use]
    pub fn beside(mut self, local: Option<Local>) -> Self {
        self.local = local;
        self
    }

    /// The same, with TLS on every connection if there is some.
    #[must_use]
    pub fn secured(mut self, tls: Option<Arc<ClientTls>>) -> Self {
        self.tls = tls;
        self
    }

    /// The same, with each request signed if there is somebody to sign them.
    #[must_use]
    pub fn signed(mut self, signer: Option<Arc<dyn Signer>>) -> Self {
        self.signer = signer;
        self
    }

    /// Sends a request to `address` (`host:port`) and waits for the answer.
    ///
    /// # Errors
    /// See [`ClientError`]; an answer with a code other than SUCCESS is not an error here.
    pub async fn request<H: WriteFields + ?Sized>(
        &self,
        address: &str,
        code: RequestCode,
        header: &H,
        body: &[u8],
        within: Duration,
    ) -> Result<Response, ClientError> {
        let (connection, left) = match self.open(address) {
            Some(connection) => (connection, within),
            None => {
                let started = Instant::now();
                let connection = self.connection(address, within).await?;
                (connection, within.saturating_sub(started.elapsed()))
            }
        };
        let Some(local) = &self.local else {
            return self.send(&connection, code, header, body, left).await;
        };
        if let Some(answer) = local.ask(&connection, code, header, body) {
            return answer?.within(&connection, left).await;
        }
        let answer = self.send(&connection, code, header, body, left).await?;
        // Whoever has answered has accepted the connection.
        local.look_for(&connection);
        if answer.code == ResponseCode::NO_PERMISSION
            && let Some(answer) = local.ask(&connection, code, header, body)
        {
            // Over the socket we were a stranger to our own server.
            return answer?.within(&connection, left).await;
        }
        Ok(answer)
    }

    async fn send<H: WriteFields + ?Sized>(
        &self,
        connection: &Connection,
        code: RequestCode,
        header: &H,
        body: &[u8],
        within: Duration,
    ) -> Result<Response, ClientError> {
        match self.fields(header, body) {
            None => connection.request(code, header, body, within).await,
            Some(signed) => connection.request(code, &signed, body, within).await,
        }
    }

    /// The fields of a request with its signature, if there is somebody to sign.
    fn fields<H: WriteFields + ?Sized>(&self, header: &H, body: &[u8]) -> Option<OwnedFields> {
        let signer = self.signer.as_ref()?;
        let mut fields = OwnedFields::of(header);
        signer.sign(&mut fields, body);
        Some(fields)
    }

    /// Sends a request that is not answered.
    ///
    /// # Errors
    /// No connection could be made within `within`, or the request does not fit a frame.
    pub async fn oneway<H: WriteFields + ?Sized>(
        &self,
        address: &str,
        code: RequestCode,
        header: &H,
        body: &[u8],
        within: Duration,
    ) -> Result<(), ClientError> {
        let connection = self.connection(address, within).await?;
        let local = self.local.as_ref();
        if let Some(answer) = local.and_then(|local| local.ask(&connection, code, header, body)) {
            return answer.map(drop);
        }
        match self.fields(header, body) {
            None => connection.oneway(code, header, body),
            Some(signed) => connection.oneway(code, &signed, body),
        }
    }

    /// Makes sure of the connection to `address` and returns its number: another number than before
    /// means that the other end may have forgotten what it was told.
    ///
    /// # Errors
    /// No connection could be made within `within`.
    pub async fn connected(&self, address: &str, within: Duration) -> Result<u64, ClientError> {
        let connection = match self.open(address) {
            Some(connection) => connection,
            None => self.connection(address, within).await?,
        };
        Ok(connection.id())
    }

    /// The connection to `address`, if there is one and nobody is about to make another.
    fn open(&self, address: &str) -> Option<Arc<Connection>> {
        let slots = self.slots.lock();
        let slot = slots.get(address)?.try_lock().ok()?;
        slot.as_ref()
            .filter(|connection| !connection.is_closed())
            .cloned()
    }

    /// The connection to `address`, made when there is none.
    async fn connection(
        &self,
        address: &str,
        within: Duration,
    ) -> Result<Arc<Connection>, ClientError> {
        let slot = Arc::clone(self.slots.lock().entry(address.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        *slot = None;
        let connected = self.connect(address, within.min(CONNECT_TIMEOUT)).await;
        if connected.is_err() {
            self.slots.lock().remove(address);
        }
        let connection = connected?;
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    async fn connect(
        &self,
        address: &str,
        within: Duration,
    ) -> Result<Arc<Connection>, ClientError> {
        let failed = |source: io::Error| ClientError::Connect {
            address: address.to_owned(),
            source,
        };
        let stream = timeout(within, TcpStream::connect(address))
            .await
            .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        let session = match &self.tls {
            None => None,
            Some(tls) => {
                stream.set_nodelay(true).map_err(failed)?;
                let session = tls.session(address).map_err(io::Error::other);
                let session = Session::new(session.map_err(failed)?.into());
                timeout(within, session.handshake(&stream))
                    .await
                    .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
                    .map_err(failed)?;
                Some(session)
            }
        };
        self.shared
            .adopt_as(stream, None, session, &self.service)
            .map_err(failed)?
            .ok_or_else(|| failed(io::Error::other("limit of connections reached")))
    }

    /// Closes all connections.
    pub fn close(&self) {
        for connection in self.shared.all_connections() {
            connection.close();
        }
    }
}

impl<S: Service> Drop for Client<S> {
    fn drop(&mut self) {
        self.sweep.abort();
        self.close();
    }
}
