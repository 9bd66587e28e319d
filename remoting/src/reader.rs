// SPDX-License-Identifier: Apache-2.0
//! The task of a connection: reads what the kernel has, runs every whole frame to completion in
//! place, writes all answers at once.
//!
//! Buffers belong to the worker thread, not to the connection: an idle connection holds none, and
//! nothing is allocated per request. Only an incomplete frame is kept between turns.

use std::{
    cell::Cell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::BufMut;

use crate::{
    ResponseCode,
    call::{Replies, Reply},
    command::Decoder,
    connection::{Connection, Ready},
    error::DecodeError,
    first_bytes::{Opening, classify},
    frame::{Cut, Frame, PREFIX_BYTES, cut},
    header::Empty,
    latency::{Answered, Asked},
    output::Output,
    server::{Service, Shared},
    tls::session::Session,
};

/// Bytes read at once. Larger than what usually arrives, so that one read empties the socket.
const INPUT_BYTES: usize = 256 << 10;
/// Answers above this are written before the turn goes on, and the buffer shrinks back to it.
const OUTPUT_BYTES: usize = 1 << 20;
/// An incomplete frame up to this size is not counted against the budget of all connections.
const UNCOUNTED_BYTES: usize = 4 << 10;

/// Buffers of one worker thread; in use only between two awaits.
struct Scratch {
    input: Box<[u8]>,
    output: Output,
    decoder: Decoder,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Why a connection ends.
enum End {
    /// The other end closed it, or the socket failed.
    Closed,
    Malformed(DecodeError),
    NotFrames(Opening),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// What a connection keeps between two turns.
#[derive(Default)]
struct Reader {
    /// The start of a frame whose rest has not come.
    partial: Vec<u8>,
    /// Bytes that the buffer must hold before there is a frame in it.
    need: usize,
    /// Bytes counted against the budget of all connections.
    counted: usize,
    opened: bool,
}

/// Runs a connection until it ends.
pub(crate) async fn run<S: Service>(connection: Arc<Connection>, service: Arc<S>) {
    let mut reader = Reader::default();
    let end = loop {
        match connection.ready().await {
            Ready::Close => break End::Closed,
            Ready::Read => {}
        }
        if !reader.make_room(&connection.shared) {
            // All connections together hold too many incomplete frames: wait until some end.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let mut scratch = SCRATCH.take().unwrap_or_else(|| {
            Box::new(Scratch {
                input: vec![0; INPUT_BYTES].into_boxed_slice(),
                output: Output::default(),
                decoder: Decoder::default(),
            })
        });
        let result = turn(&connection, &*service, &mut reader, &mut scratch);
        SCRATCH.set(Some(scratch));
        if let Err(end) = result {
            break end;
        }
    };
    report(&connection, &end);
    connection.shared.partial_bytes.release(reader.counted);
    connection.finish();
    connection.shared.forget(connection.id());
    service.closed(&connection);
}

#[cold]
fn report(connection: &Connection, end: &End) {
    let peer = connection.peer();
    match end {
        End::Closed => tracing::debug!(%peer, "connection closed"),
        End::Malformed(error) => connection
            .shared
            .refusals
            .warn(|| tracing::warn!(%peer, %error, "connection closed: malformed frame")),
        End::NotFrames(opening) => connection.shared.refusals.warn(|| {
            tracing::warn!(%peer, ?opening, "connection closed: this port speaks remoting frames, with or without TLS as tls.server.mode says");
        }),
    }
}

fn turn<S: Service>(
    connection: &Arc<Connection>,
    service: &S,
    reader: &mut Reader,
    scratch: &mut Scratch,
) -> Result<(), End> {
    let Scratch {
        input,
        output,
        decoder,
    } = scratch;
    let mut large = Vec::new();
    let received: &[u8] = if reader.need > input.len() {
        if !reader.fill(connection)? {
            return Ok(());
        }
        large.append(&mut reader.partial);
        &large
    } else {
        let kept = reader.partial.len();
        let (start, free) = input.split_at_mut(kept);
        start.copy_from_slice(&reader.partial);
        let read = read(connection, free)?;
        reader.partial.clear();
        input.get(..kept + read).unwrap_or_default()
    };
    connection
        .active_at
        .store(connection.shared.seconds(), Ordering::Relaxed);
    if !reader.opened && !received.is_empty() {
        match classify(received) {
            Opening::Frames if connection.may_be_plain() => reader.opened = true,
            Opening::Tls if !connection.is_tls() => return begin_tls(connection, received),
            other => return Err(End::NotFrames(other)),
        }
    }
    if received.is_empty() && !reader.opened {
        return Ok(());
    }
    let latencies = &*connection.shared.latencies;
    let began = latencies.now();
    let mut state = S::Turn::default();
    let mut used = 0;
    let result = loop {
        let rest = received.get(used..).unwrap_or_default();
        match cut(rest) {
            Ok(Cut::Frame(frame, bytes)) => {
                used += bytes;
                if let Err(error) = serve(
                    connection, service, &mut state, began, frame, decoder, output,
                ) {
                    break Err(End::Malformed(error));
                }
                if output.len() > OUTPUT_BYTES {
                    connection.write(output.bytes());
                    output.clear(OUTPUT_BYTES);
                }
            }
            Ok(Cut::Need(bytes)) => {
                reader.keep(rest, bytes, used > 0, connection);
                break Ok(());
            }
            Err(error) => break Err(End::Malformed(error)),
        }
    };
    let mut replies = Replies::new(output, connection);
    let finished = catch_unwind(AssertUnwindSafe(|| {
        service.finish(&mut state, &mut replies);
    }));
    if finished.is_err() {
        // Some requests are left unanswered: their senders learn it from the end of the connection.
        tracing::error!(peer = %connection.peer(), "the end of a turn panicked");
        output.clear(OUTPUT_BYTES);
        output.answers.clear();
        return Err(End::Closed);
    }
    // Producers get their answers before anything else is done with what they sent.
    connection.write(output.bytes());
    output.clear(OUTPUT_BYTES);
    latencies.turn_ended(&mut output.answers, began);
    service.end_turn(&mut state);
    result
}

/// The connection goes on with TLS, if this server does. The handshake has to be over within the time
/// of a frame.
#[cold]
fn begin_tls(connection: &Connection, received: &[u8]) -> Result<(), End> {
    let Some(tls) = &connection.shared.tls else {
        return Err(End::NotFrames(Opening::Tls));
    };
    connection
        .partial_since
        .store(connection.shared.seconds(), Ordering::Relaxed);
    let session = tls.session().map_err(|_| End::Closed)?;
    connection.begin_tls(Session::new(session.into()), received)?;
    Ok(())
}

#[inline]
fn serve<S: Service>(
    connection: &Arc<Connection>,
    service: &S,
    state: &mut S::Turn,
    began: u64,
    frame: Frame<'_>,
    decoder: &mut Decoder,
    output: &mut Output,
) -> Result<(), DecodeError> {
    let command = decoder.decode(frame)?;
    if command.is_response() {
        connection.answered(&command);
        return Ok(());
    }
    let before = output.len();
    let reply = Reply::in_turn(
        output,
        connection,
        command.opaque,
        command.encoding,
        Asked {
            request: command.code,
            answered: if command.is_oneway() {
                Answered::Oneway
            } else {
                Answered::Promptly
            },
            is_late: false,
            at: began,
        },
    );
    let outcome = catch_unwind(AssertUnwindSafe(|| service.handle(state, &command, reply)));
    if outcome.is_err() {
        // What the handler had begun to write is dropped; the panic itself is reported by the hook.
        output.truncate(before);
        tracing::error!(code = command.code, peer = %connection.peer(), "handler panicked");
        if !command.is_oneway() {
            let remark =
                "internal error: the handler of this request panicked; see the server's log";
            let code = ResponseCode::SYSTEM_ERROR.0;
            output.response(command.encoding, code, command.opaque, remark, &Empty, &[]);
        }
    }
    Ok(())
}

/// Reads what the kernel has; nothing when it has nothing after all.
fn read(connection: &Connection, free: &mut [u8]) -> Result<usize, End> {
    match connection.try_read(free) {
        Ok(0) => Err(End::Closed),
        Ok(read) => Ok(read),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}

impl Reader {
    /// Reads the rest of a frame that exceeds the scratch buffer; true when it is whole.
    fn fill(&mut self, connection: &Connection) -> Result<bool, End> {
        let missing = self.need - self.partial.len();
        let free = self.partial.capacity() - self.partial.len();
        let mut free = (&mut self.partial).limit(missing.min(free));
        match connection.try_read_buf(&mut free) {
            Ok(0) => Err(End::Closed),
            Ok(_) => {
                connection
                    .active_at
                    .store(connection.shared.seconds(), Ordering::Relaxed);
                Ok(self.partial.len() == self.need)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Grows the buffer of an incomplete large frame with what has arrived, never to the length
    /// that the frame claims; false when all connections together hold too much.
    fn make_room(&mut self, shared: &Shared) -> bool {
        if self.need <= INPUT_BYTES || self.partial.len() < self.partial.capacity() {
            return true;
        }
        let target = (self.partial.len() * 2).max(INPUT_BYTES).min(self.need);
        if target > self.counted {
            if !shared.partial_bytes.reserve(target - self.counted) {
                return false;
            }
            self.counted = target;
        }
        self.partial.reserve_exact(target - self.partial.len());
        true
    }

    /// Keeps the start of a frame until its rest comes.
    fn keep(&mut self, rest: &[u8], need: usize, is_new: bool, connection: &Connection) {
        let shared = &connection.shared;
        self.need = need.max(PREFIX_BYTES);
        if rest.is_empty() {
            self.partial = Vec::new();
            shared
                .partial_bytes
                .release(std::mem::take(&mut self.counted));
            connection.partial_since.store(0, Ordering::Relaxed);
            return;
        }
        self.partial.extend_from_slice(rest);
        let size = self.partial.capacity();
        if size > UNCOUNTED_BYTES && size > self.counted {
            // Already in memory: counted even beyond the budget, which then stops further growth.
            shared.partial_bytes.force(size - self.counted);
            self.counted = size;
        }
        // A frame has to be whole within its time, however it trickles in.
        if is_new || connection.partial_since.load(Ordering::Relaxed) == 0 {
            connection
                .partial_since
                .store(shared.seconds(), Ordering::Relaxed);
        }
    }
}
