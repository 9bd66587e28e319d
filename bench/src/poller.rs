// SPDX-License-Identifier: Apache-2.0
//! Which sockets are ready: epoll, level-triggered, with waits of nanosecond grain.

use std::{
    io,
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::event::{Timespec, epoll};

use crate::Error;

/// Events taken in one wait.
const EVENTS: usize = 128;

/// What a socket is ready for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// The number that the socket was added with.
    pub(crate) token: usize,
    /// Bytes can be read, or the end or an error be learnt by reading; otherwise it is writable.
    pub(crate) readable: bool,
}

/// A set of sockets to wait for.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Error::system("make an epoll")(error.into()))?;
        Ok(Self { epoll })
    }

    /// Adds a stream to be told about when it is readable.
    pub(crate) fn add(&self, stream: &TcpStream, token: usize) -> io::Result<()> {
        self.add_fd(stream, token)
    }

    /// Adds a listener to be told about when a connection waits.
    pub(crate) fn add_listener(&self, listener: &TcpListener, token: usize) -> io::Result<()> {
        self.add_fd(listener, token)
    }

    fn add_fd(&self, fd: impl AsFd, token: usize) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?)
    }

    /// Whether to be told as well when `stream` is writable.
    pub(crate) fn want_writable(
        &self,
        stream: &TcpStream,
        token: usize,
        wanted: bool,
    ) -> io::Result<()> {
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, wanted);
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.epoll, stream, data, flags)?)
    }

    /// Waits until a socket is ready, or for `timeout`, and puts what is ready into `ready`;
    /// interrupted, it returns with nothing.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> Result<(), Error> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        ready.clear();
        let mut space = [MaybeUninit::uninit(); EVENTS];
        let (events, _) = match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok(found) => found,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(Error::system("wait for sockets")(error.into())),
        };
        ready.extend(events.iter().map(|event| {
            // A copy, because the kernel's struct is packed.
            let flags = event.flags;
            Ready {
                token: event.data.u64() as usize,
                readable: !(flags - epoll::EventFlags::OUT).is_empty(),
            }
        }));
        Ok(())
    }
}
