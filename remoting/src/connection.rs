// SPDX-License-Identifier: Apache-2.0
//! One TCP connection: who is at the other end, what is still to be written to it, which of our
//! requests it has not answered.
//!
//! Its task reads; any thread may write. Writes go to the socket at once; what the socket does not
//! take waits in the outbox until the task sees it writable. While the outbox is too full, or too
//! many requests are unanswered, the task stops reading: TCP carries that back to the sender.

use std::{
    any::Any,
    collections::HashMap,
    future::poll_fn,
    io::{self, Read as _},
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use atomic_waker::AtomicWaker;
use bytes::{Buf, BufMut, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream, sync::oneshot, time::timeout};

use crate::{
    Encoding, RequestCode, ResponseCode,
    client::Response,
    command::Command,
    error::ClientError,
    frame::FRAME_MAX_BYTES,
    header::WriteFields,
    latency::{Asked, TurnAnswers},
    output::Output,
    server::Shared,
    tls::{Mode, session::Session},
};

/// A connection, accepted or made.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    stream: TcpStream,
    /// The session of a connection that began with TLS, or that we made with TLS.
    tls: OnceLock<Box<Session>>,
    pub(crate) shared: Arc<Shared>,
    /// Written by any thread; the lock also keeps frames whole.
    outbox: Mutex<BytesMut>,
    /// Bytes in the outbox, for the task to look at without the lock.
    unsent: AtomicUsize,
    /// Requests whose answers are deferred.
    owed: AtomicU32,
    /// [`OPEN`], [`DEAF`] or [`CLOSED`]; it only goes up.
    state: AtomicU8,
    /// Wakes the task: there is something to write, room to read, or the end.
    task: AtomicWaker,
    /// Seconds of the shared coarse clock: last byte read or written, start of the frame that is
    /// still incomplete (0 = none), last progress of a filled outbox (0 = empty).
    pub(crate) active_at: AtomicU32,
    pub(crate) partial_since: AtomicU32,
    pub(crate) stuck_since: AtomicU32,
    next_opaque: AtomicI32,
    /// The other end, where it was looked for and is a server of this process.
    pub(crate) twin: OnceLock<Option<Arc<Connection>>>,
    /// What the service remembers of the connection.
    attached: OnceLock<Box<dyn Any + Send + Sync>>,
    /// Requests of ours that wait for an answer; bounded by [`PENDING_MAX`].
    pending: Mutex<HashMap<i32, oneshot::Sender<Response>>>,
}

/// Most unanswered requests of ours on one connection.
const PENDING_MAX: usize = 65_536;

/// Both ways.
const OPEN: u8 = 0;
/// The other end is gone and hears nothing more; what it said before is still to be read.
const DEAF: u8 = 1;
/// Over, or about to be.
const CLOSED: u8 = 2;

/// What the task may do next.
pub(crate) enum Ready {
    Read,
    Close,
}

impl Connection {
    /// Counts an answer that leaves now.
    pub(crate) fn count(&self, asked: &Asked, code: ResponseCode) {
        self.shared.latencies.answered(asked, code.0);
    }

    /// Counts answers to requests read at `asked_at`, which leave now.
    pub(crate) fn count_all(&self, answers: &mut TurnAnswers, asked_at: u64) {
        self.shared.latencies.turn_ended(answers, asked_at);
    }

    /// `peer` is the other end's address where the socket leads to somebody between.
    pub(crate) fn new(
        stream: TcpStream,
        peer: Option<SocketAddr>,
        tls: Option<Session>,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            id: shared.next_id(),
            peer: unmapped(peer.map_or_else(|| stream.peer_addr(), Ok)?),
            local: unmapped(stream.local_addr()?),
            stream,
            tls: tls.map_or_else(OnceLock::new, |tls| OnceLock::from(Box::new(tls))),
            shared: Arc::clone(shared),
            outbox: Mutex::default(),
            unsent: AtomicUsize::new(0),
            owed: AtomicU32::new(0),
            state: AtomicU8::new(OPEN),
            task: AtomicWaker::new(),
            active_at: AtomicU32::new(shared.seconds()),
            partial_since: AtomicU32::new(0),
            stuck_since: AtomicU32::new(0),
            next_opaque: AtomicI32::new(0),
            twin: OnceLock::new(),
            attached: OnceLock::new(),
            pending: Mutex::default(),
        })
    }

    /// A number that no other connection of this process has had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What the service remembers of the connection as long as that lives, made on first use; none if it
    /// remembers something of another type already.
    #[inline]
    pub fn attached<T: Any + Default + Send + Sync>(&self) -> Option<&T> {
        let attached = self.attached.get_or_init(|| Box::<T>::default());
        attached.downcast_ref()
    }

    /// Whether nobody hears an answer any more: the connection is over or about to be.
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) != OPEN
    }

    /// Ends the connection; what the outbox holds is lost.
    pub fn close(&self) {
        if self.state.swap(CLOSED, Ordering::AcqRel) != CLOSED {
            if let Some(tls) = self.tls.get() {
                tls.end(&self.stream);
            }
            // The other end learns at once; an error here means that it is gone already.
            let _ = SockRef::from(&self.stream).shutdown(std::net::Shutdown::Both);
            self.task.wake();
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// No answer in time or ever; whether the other end carried the request out is unknown.
    pub async fn request<H: WriteFields + ?Sized>(
        &self,
        code: RequestCode,
        header: &H,
        body: &[u8],
        within: Duration,
    ) -> Result<Response, ClientError> {
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        let answer = self.expect_answer(opaque)?;
        let sent = self.send(code, opaque, false, header, body);
        let answered = match sent {
            Ok(()) => timeout(within, answer).await,
            Err(error) => {
                self.pending.lock().remove(&opaque);
                return Err(error);
            }
        };
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(ClientError::Closed(self.peer.to_string())),
            Err(_) => {
                self.pending.lock().remove(&opaque);
                Err(ClientError::Timeout {
                    address: self.peer.to_string(),
                    timeout: within,
                })
            }
        }
    }

    /// Sends a request that is not answered.
    ///
    /// # Errors
    /// The connection is closed, or the request does not fit a frame.
    pub fn oneway<H: WriteFields + ?Sized>(
        &self,
        code: RequestCode,
        header: &H,
        body: &[u8],
    ) -> Result<(), ClientError> {
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        self.send(code, opaque, true, header, body)
    }

    fn expect_answer(&self, opaque: i32) -> Result<oneshot::Receiver<Response>, ClientError> {
        let (sender, receiver) = oneshot::channel();
        let mut pending = self.pending.lock();
        // Checked under the lock: whoever closes the connection empties the table afterwards.
        if self.is_closed() || pending.len() >= PENDING_MAX {
            return Err(ClientError::Closed(self.peer.to_string()));
        }
        pending.insert(opaque, sender);
        Ok(receiver)
    }

    fn send<H: WriteFields + ?Sized>(
        &self,
        code: RequestCode,
        opaque: i32,
        oneway: bool,
        header: &H,
        body: &[u8],
    ) -> Result<(), ClientError> {
        if self.is_closed() {
            return Err(ClientError::Closed(self.peer.to_string()));
        }
        let mut out = Output::default();
        // JSON is what every SDK reads.
        out.request(Encoding::Json, code, opaque, oneway, header, body);
        if out.len() > FRAME_MAX_BYTES {
            return Err(ClientError::TooLarge(out.len()));
        }
        self.write(out.bytes());
        Ok(())
    }

    /// Hands an answer to whoever waits for it; answers that nobody waits for are dropped.
    pub(crate) fn answered(&self, command: &Command<'_>) {
        let waiting = self.pending.lock().remove(&command.opaque);
        if let Some(waiting) = waiting {
            // The waiter may have given up in this very moment.
            let _ = waiting.send(Response::from_command(command));
        }
    }

    /// Writes whole frames, now or as soon as the socket takes them.
    pub(crate) fn write(&self, mut frames: &[u8]) {
        if frames.is_empty() || self.is_closed() {
            return;
        }
        let mut outbox = self.outbox.lock();
        if outbox.is_empty() {
            match self.write_some(&mut frames) {
                Ok(()) if frames.is_empty() => {
                    if self.has_encrypted() {
                        self.task.wake();
                    }
                    return;
                }
                Ok(()) => self
                    .stuck_since
                    .store(self.shared.seconds(), Ordering::Relaxed),
                Err(error) => return self.unwritten(&error, outbox),
            }
        }
        let limits = &self.shared.limits;
        let fits = outbox.len() + frames.len() <= limits.outbox_max_bytes
            && self.shared.outbox_bytes.reserve(frames.len());
        if !fits {
            drop(outbox);
            self.shared.refusals.warn(|| {
                tracing::warn!(peer = %self.peer, "closed: the client does not read its answers");
            });
            return self.close();
        }
        outbox.extend_from_slice(frames);
        self.unsent.store(outbox.len(), Ordering::Release);
        drop(outbox);
        self.task.wake();
    }

    /// The socket takes nothing more. Where that is because the other end is gone, what it sent before it went is still
    /// served, which may be the last offsets of a consumer; anything else ends the connection.
    #[cold]
    fn unwritten(&self, error: &io::Error, mut outbox: MutexGuard<'_, BytesMut>) {
        let is_gone = matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        );
        if !is_gone {
            drop(outbox);
            return self.close();
        }
        self.empty(&mut outbox);
        drop(outbox);
        self.state.fetch_max(DEAF, Ordering::AcqRel);
        self.task.wake();
    }

    /// Drops what was to be written.
    fn empty(&self, outbox: &mut BytesMut) {
        self.shared.outbox_bytes.release(outbox.len());
        *outbox = BytesMut::new();
        self.stuck_since.store(0, Ordering::Relaxed);
        self.unsent.store(0, Ordering::Release);
    }

    /// Writes what the outbox holds, as far as the socket takes it.
    fn drain(&self) {
        let mut outbox = self.outbox.lock();
        let before = outbox.len();
        let mut rest: &[u8] = &outbox;
        let result = self.write_some(&mut rest);
        let written = before - rest.len();
        outbox.advance(written);
        self.shared.outbox_bytes.release(written);
        if outbox.is_empty() {
            *outbox = BytesMut::new();
            self.stuck_since.store(0, Ordering::Relaxed);
        } else if written > 0 {
            self.stuck_since
                .store(self.shared.seconds(), Ordering::Relaxed);
        }
        self.unsent.store(outbox.len(), Ordering::Release);
        if let Err(error) = result {
            self.unwritten(&error, outbox);
        }
    }

    /// Waits until there is something to read and room for its answers. Drains the outbox meanwhile.
    pub(crate) async fn ready(&self) -> Ready {
        poll_fn(|context| self.poll_ready(context)).await
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Ready> {
        self.task.register(context.waker());
        while !self.is_closed() && (self.unsent.load(Ordering::Acquire) > 0 || self.has_encrypted())
        {
            match self.stream.poll_write_ready(context) {
                Poll::Ready(Ok(())) => self.drain(),
                Poll::Ready(Err(_)) => self.close(),
                Poll::Pending => break,
            }
        }
        if self.state.load(Ordering::Acquire) == CLOSED {
            return Poll::Ready(Ready::Close);
        }
        let limits = &self.shared.limits;
        let paused = self.unsent.load(Ordering::Acquire) > limits.outbox_high_bytes
            || self.owed.load(Ordering::Acquire) >= limits.owed_max;
        if paused {
            return Poll::Pending;
        }
        if self.tls.get().is_some_and(|tls| tls.has_more()) {
            return Poll::Ready(Ready::Read);
        }
        match ready!(self.stream.poll_read_ready(context)) {
            Ok(()) => Poll::Ready(Ready::Read),
            Err(_) => Poll::Ready(Ready::Close),
        }
    }

    /// Reads what the socket has, decrypted where need be.
    #[inline]
    pub(crate) fn try_read(&self, free: &mut [u8]) -> io::Result<usize> {
        match self.tls.get() {
            None => read_some(&self.stream, free),
            Some(tls) => tls.read(&self.stream, free),
        }
    }

    /// The same into room that is not initialised.
    pub(crate) fn try_read_buf(&self, free: &mut impl BufMut) -> io::Result<usize> {
        let Some(tls) = self.tls.get() else {
            return self.stream.try_read_buf(free);
        };
        let mut chunk = [0; 16 << 10];
        let wanted = chunk.len().min(free.remaining_mut());
        let read = tls.read(&self.stream, chunk.get_mut(..wanted).unwrap_or_default())?;
        free.put_slice(chunk.get(..read).unwrap_or_default());
        Ok(read)
    }

    /// Goes on with TLS; `received` was read already.
    pub(crate) fn begin_tls(&self, session: Session, received: &[u8]) -> io::Result<()> {
        self.tls
            .get_or_init(|| Box::new(session))
            .begin(received, &self.stream)
    }

    /// Whether frames may come as they are: they are inside TLS, or TLS is not asked for.
    pub(crate) fn may_be_plain(&self) -> bool {
        let tls = self.shared.tls.as_ref();
        self.is_tls() || tls.is_none_or(|tls| tls.mode() != Mode::Enforcing)
    }

    /// Whether the connection speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.get().is_some()
    }

    /// Whether encrypted bytes wait for the socket.
    #[inline]
    fn has_encrypted(&self) -> bool {
        self.tls.get().is_some_and(|tls| tls.has_unsent())
    }

    /// Writes until `rest` is empty or the socket takes no more.
    #[inline]
    fn write_some(&self, rest: &mut &[u8]) -> io::Result<()> {
        match self.tls.get() {
            None => write_some(&self.stream, rest),
            Some(tls) => tls.write(&self.stream, rest),
        }
    }

    /// So many more answers are deferred.
    pub(crate) fn owe(&self, answers: u32) {
        self.owed.fetch_add(answers, Ordering::AcqRel);
    }

    /// Something has come or gone that no socket has seen.
    pub(crate) fn touch(&self) {
        self.active_at
            .store(self.shared.seconds(), Ordering::Relaxed);
    }

    /// Whether so many answers are deferred that one more request has to be refused.
    pub(crate) fn owes_too_much(&self) -> bool {
        self.owed.load(Ordering::Acquire) as usize >= PENDING_MAX
    }

    /// So many deferred answers were given, or given up.
    pub(crate) fn settle(&self, answers: u32) {
        let before = self.owed.fetch_sub(answers, Ordering::AcqRel);
        let most = self.shared.limits.owed_max;
        if before >= most && before.wrapping_sub(answers) < most {
            self.task.wake();
        }
    }

    /// Whether everything asked has been answered and written.
    pub(crate) fn is_quiet(&self) -> bool {
        self.owed.load(Ordering::Acquire) == 0
            && self.unsent.load(Ordering::Acquire) == 0
            && !self.has_encrypted()
    }

    /// The task is over: nobody waits any longer.
    pub(crate) fn finish(&self) {
        self.close();
        self.pending.lock().clear();
        self.empty(&mut self.outbox.lock());
    }
}

/// Reads once. What is less than there is room for was all: the socket counts as empty from then on, without another
/// call that would say so. What arrives meanwhile makes it readable again.
fn read_some(stream: &TcpStream, free: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    let result = stream.try_io(Interest::READABLE, || {
        let socket = SockRef::from(stream);
        read = (&*socket).read(free)?;
        if 0 < read && read < free.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match result {
        Err(error) if read == 0 => Err(error),
        _ => Ok(read),
    }
}

/// Writes until `rest` is empty or the socket takes no more.
fn write_some(stream: &TcpStream, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match stream.try_write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => *rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An IPv4 address that came through a dual-stack socket, as the IPv4 address that it is: C++
/// consumers cannot read messages whose born host is IPv6.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_read_that_was_not_filled_leaves_the_socket_empty() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut far = TcpStream::connect(address).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        let is_ready = || near.try_io(Interest::READABLE, || Ok(())).is_ok();
        let mut free = [0; 8];
        for _ in 0..3 {
            far.write_all(b"abcd").await.unwrap();
            near.readable().await.unwrap();
            assert_eq!(read_some(&near, &mut free).unwrap(), 4);
            assert!(!is_ready());
            assert!(read_some(&near, &mut free).is_err());
        }
        far.write_all(b"abcdefghij").await.unwrap();
        near.readable().await.unwrap();
        assert_eq!(read_some(&near, &mut free).unwrap(), 8);
        assert!(is_ready());
        assert_eq!(read_some(&near, &mut free).unwrap(), 2);
        drop(far);
        near.readable().await.unwrap();
        assert_eq!(read_some(&near, &mut free).unwrap(), 0);
    }
}
