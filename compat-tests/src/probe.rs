// SPDX-License-Identifier: Apache-2.0

//! Asks a name server which brokers it knows, with one frame made by hand: the harness must not depend on the code that
//! it judges.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// GET_BROKER_CLUSTER_INFO.
const CLUSTER_INFO: u16 = 106;
const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: u32 = 1 << 20;

/// Whether something accepts connections there.
pub(crate) fn listens(port: u16) -> bool {
    connect(port).is_ok()
}

/// The brokers that the name server knows, as its JSON.
pub(crate) fn cluster_info(namesrv: u16) -> io::Result<String> {
    let mut stream = connect(namesrv)?;
    let header =
        format!(r#"{{"code":{CLUSTER_INFO},"flag":0,"language":"OTHER","opaque":1,"version":0}}"#);
    let header_bytes = u32::try_from(header.len()).map_err(io::Error::other)?;
    stream.write_all(&(header_bytes + 4).to_be_bytes())?;
    stream.write_all(&header_bytes.to_be_bytes())?;
    stream.write_all(header.as_bytes())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ANSWER_BYTES {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut answer = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
