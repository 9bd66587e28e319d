// SPDX-License-Identifier: Apache-2.0
//! The TLS session of one connection: bytes in, bytes out, on the thread that reads or writes. What
//! the socket does not take is bounded; the connection's task writes it when the socket does.

use std::{
    io::{self, Read, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::net::TcpStream;

/// Most plain bytes that wait encrypted for the socket.
const BUFFER_BYTES: usize = 256 << 10;

/// A session of either side.
#[derive(Debug)]
pub(crate) struct Session {
    tls: Mutex<rustls::Connection>,
    /// Plain bytes may be left from the last read.
    more: AtomicBool,
    /// Encrypted bytes wait for the socket.
    unsent: AtomicBool,
}

/// A socket that does not block, as `std::io` sees it.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Session {
    pub(crate) fn new(mut tls: rustls::Connection) -> Self {
        tls.set_buffer_limit(Some(BUFFER_BYTES));
        Self {
            tls: Mutex::new(tls),
            more: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
        }
    }

    /// Takes bytes that were read from the socket before the session began.
    pub(crate) fn begin(&self, mut received: &[u8], socket: &TcpStream) -> io::Result<()> {
        let mut tls = self.tls.lock();
        while !received.is_empty() {
            if tls.read_tls(&mut received)? == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.process(&mut tls, socket)?;
        }
        self.more.store(true, Ordering::Release);
        Ok(())
    }

    fn process(&self, tls: &mut rustls::Connection, socket: &TcpStream) -> io::Result<()> {
        let processed = tls.process_new_packets();
        // The other end learns why it is refused.
        let flushed = self.flush_locked(tls, socket);
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        flushed.map(drop)
    }

    /// Whether a read finds something without the socket.
    pub(crate) fn has_more(&self) -> bool {
        self.more.load(Ordering::Acquire)
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::Acquire)
    }

    /// Reads plain bytes; `WouldBlock` when the socket has nothing, 0 at the end.
    pub(crate) fn read(&self, socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut tls = self.tls.lock();
        self.more.store(false, Ordering::Release);
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    if matches!(read, Ok(count) if count == buffer.len()) {
                        self.more.store(true, Ordering::Release);
                    }
                    return read;
                }
            }
            if tls.read_tls(&mut Socket(socket))? == 0 {
                return Ok(0);
            }
            self.process(&mut tls, socket)?;
        }
    }

    /// Writes as much of `rest` as finds room.
    pub(crate) fn write(&self, socket: &TcpStream, rest: &mut &[u8]) -> io::Result<()> {
        let mut tls = self.tls.lock();
        loop {
            if !self.flush_locked(&mut tls, socket)? || rest.is_empty() {
                return Ok(());
            }
            let taken = tls.writer().write(rest)?;
            *rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// Writes encrypted bytes that wait; whether none are left.
    fn flush_locked(&self, tls: &mut rustls::Connection, socket: &TcpStream) -> io::Result<bool> {
        while tls.wants_write() {
            match tls.write_tls(&mut Socket(socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent.store(true, Ordering::Release);
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.store(false, Ordering::Release);
        Ok(true)
    }

    /// Says that nothing more comes, as far as the socket takes it.
    pub(crate) fn end(&self, socket: &TcpStream) {
        // Whoever holds the session may be in the middle of a write that never ends.
        if let Some(mut tls) = self.tls.try_lock() {
            tls.send_close_notify();
            // The connection ends in any case.
            let _ = self.flush_locked(&mut tls, socket);
        }
    }

    /// Runs the handshake of the side that connects.
    pub(crate) async fn handshake(&self, socket: &TcpStream) -> io::Result<()> {
        loop {
            let flushed = {
                let mut tls = self.tls.lock();
                let flushed = self.flush_locked(&mut tls, socket)?;
                if flushed && !tls.is_handshaking() {
                    return Ok(());
                }
                flushed
            };
            if !flushed {
                socket.writable().await?;
                continue;
            }
            socket.readable().await?;
            let mut tls = self.tls.lock();
            match tls.read_tls(&mut Socket(socket)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.process(&mut tls, socket)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
