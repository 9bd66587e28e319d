// SPDX-License-Identifier: Apache-2.0
//! A non-blocking connection: many frames per read, many per write.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use aerobee_remoting::frame::{Cut, Frame, cut};

use crate::{Error, poller::Poller};

/// First size of the input; grows to the largest frame that arrives, which `cut` bounds.
const INPUT_BYTES: usize = 64 << 10;

/// A connection whose input is cut into frames and whose output is collected before it is written.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    token: usize,
    input: Vec<u8>,
    /// Received bytes not yet cut: `input[start..end]`.
    start: usize,
    end: usize,
    /// How many bytes the frame at `start` needs.
    need: usize,
    /// Frames to write; the load appends to it.
    pub(crate) output: Vec<u8>,
    written: usize,
    wants_writable: bool,
}

impl Connection {
    /// Takes a connected stream; `token` names it at `poller`.
    pub(crate) fn new(stream: TcpStream, poller: &Poller, token: usize) -> Result<Self, Error> {
        let prepare = || {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            poller.add(&stream, token)?;
            stream.peer_addr()
        };
        let peer = prepare().map_err(Error::system("prepare a socket"))?;
        Ok(Self {
            stream,
            peer,
            token,
            input: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
            need: 0,
            output: Vec::new(),
            written: 0,
            wants_writable: false,
        })
    }

    /// Our own address.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Reads once what the kernel has.
    pub(crate) fn fill(&mut self) -> Result<(), Error> {
        self.make_room();
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(0) => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                self.end += read;
                Ok(())
            }
            Err(error) if is_transient(&error) => Ok(()),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.start > 0 && self.input.len() - self.start < self.need.max(INPUT_BYTES / 2) {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.need > self.input.len() {
            self.input.resize(self.need, 0);
        }
    }

    /// The next whole frame that was read.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        match cut(&self.input[self.start..self.end])? {
            Cut::Frame(frame, used) => {
                self.start += used;
                self.need = 0;
                Ok(Some(frame))
            }
            Cut::Need(bytes) => {
                self.need = bytes;
                Ok(None)
            }
        }
    }

    /// Writes the output as far as the kernel takes it, and asks to be told when it takes the rest.
    pub(crate) fn flush(&mut self, poller: &Poller) -> Result<(), Error> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(wrote) => self.written += wrote,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.broken(error)),
            }
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        let wanted = !self.output.is_empty();
        if wanted != self.wants_writable {
            self.wants_writable = wanted;
            poller
                .want_writable(&self.stream, self.token, wanted)
                .map_err(Error::system("change what a socket is polled for"))?;
        }
        Ok(())
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Broken {
            address: self.peer.to_string(),
            source,
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Duration};

    use super::*;

    fn frame(body: usize) -> Vec<u8> {
        let mut bytes = (4 + 2 + body as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&2_u32.to_be_bytes());
        bytes.extend_from_slice(b"{}");
        bytes.resize(bytes.len() + body, b'x');
        bytes
    }

    #[test]
    fn frames_of_all_sizes_arrive_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let poller = Poller::new().unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = Connection::new(stream, &poller, 7).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let sizes = [0, 1, 70_000, 5, 40_000, 300_000, 0, 63_000, 2];
        let sender = std::thread::spawn(move || {
            for size in sizes {
                server.write_all(&frame(size)).unwrap();
            }
        });
        let mut received = Vec::new();
        let mut ready = Vec::new();
        while received.len() < sizes.len() {
            poller
                .wait(Some(Duration::from_secs(10)), &mut ready)
                .unwrap();
            assert!(ready.iter().all(|ready| ready.token == 7 && ready.readable));
            assert!(!ready.is_empty(), "nothing within ten seconds");
            connection.fill().unwrap();
            while let Some(frame) = connection.next_frame().unwrap() {
                assert_eq!(frame.header, b"{}");
                received.push(frame.body.len());
            }
        }
        assert_eq!(received, sizes);
        sender.join().unwrap();
        poller.wait(None, &mut ready).unwrap();
        assert!(matches!(connection.fill(), Err(Error::Broken { .. })));
    }

    #[test]
    fn what_the_kernel_does_not_take_is_written_later() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let poller = Poller::new().unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = Connection::new(stream, &poller, 1).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        connection.output = vec![3; 20 << 20];
        connection.flush(&poller).unwrap();
        assert!(!connection.output.is_empty());
        let reader = std::thread::spawn(move || {
            let mut total = 0;
            let mut buffer = vec![0; 1 << 20];
            while total < 20 << 20 {
                total += server.read(&mut buffer).unwrap();
            }
            total
        });
        let mut ready = Vec::new();
        while !connection.output.is_empty() {
            poller.wait(None, &mut ready).unwrap();
            assert!(!ready[0].readable, "writable");
            connection.flush(&poller).unwrap();
        }
        assert_eq!(reader.join().unwrap(), 20 << 20);
    }
}
