// SPDX-License-Identifier: Apache-2.0
//! The door to brokers and name servers: every request that leaves the proxy goes through here. A broker
//! of the same process takes them without a socket.
//!
//! Short calls and polls have connections of their own, so that a broker that stops reading one with
//! very many held polls does not hold up sends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aerobee_remoting::{
    Client, Local, Request, RequestCode, Response, ResponseCode, client::Signer,
    header::WriteFields, tls::ClientTls,
};

use crate::{relay::Relay, status::Failure};

/// How long a broker may take for anything but a poll; as Apache's `DEFAULT_TIMEOUT_MILLS`.
pub(crate) const WITHIN: Duration = Duration::from_secs(2);
/// How long a name server may take.
const NAME_SERVER_WITHIN: Duration = Duration::from_secs(3);
/// What a broker may add to the time of a poll before we give up waiting.
const POLL_SLACK: Duration = Duration::from_secs(1);

/// Connections to brokers and name servers.
#[derive(Debug)]
pub(crate) struct Brokers {
    name_servers: Vec<String>,
    /// The one to begin with; moves on when it fails.
    name_server: AtomicUsize,
    calls: Client<Relay>,
    /// How connections are made secure.
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// Signs requests.
    pub(crate) signer: Option<Arc<dyn Signer>>,
    /// The broker of this process.
    pub(crate) local: Option<Local>,
    polls: Vec<Client<Relay>>,
}

impl Brokers {
    pub(crate) fn new(
        name_servers: Vec<String>,
        poll_connections: usize,
        relay: &Arc<Relay>,
        tls: Option<Arc<ClientTls>>,
        signer: Option<Arc<dyn Signer>>,
        local: Option<&Local>,
    ) -> Self {
        let client = || {
            Client::with_service(Arc::clone(relay))
                .secured(tls.clone())
                .signed(signer.clone())
                .beside(local.cloned())
        };
        Self {
            name_servers,
            name_server: AtomicUsize::new(0),
            calls: client(),
            polls: (0..poll_connections.clamp(1, 64))
                .map(|_| client())
                .collect(),
            tls,
            signer,
            local: local.cloned(),
        }
    }

    /// Asks a broker; an answer of any code is not an error.
    pub(crate) async fn ask<H: WriteFields + ?Sized>(
        &self,
        address: &str,
        code: RequestCode,
        header: &H,
        body: &[u8],
    ) -> Result<Response, Failure> {
        Ok(self
            .calls
            .request(address, code, header, body, WITHIN)
            .await?)
    }

    /// The number of the connection on which a broker is asked: it changes when the broker was away.
    pub(crate) async fn connected(&self, address: &str) -> Result<u64, Failure> {
        Ok(self.calls.connected(address, WITHIN).await?)
    }

    /// Asks a broker for something that must succeed.
    pub(crate) async fn call<H: Request>(
        &self,
        address: &str,
        header: &H,
        body: &[u8],
    ) -> Result<Response, Failure> {
        succeeded(self.ask(address, H::CODE, header, body).await?)
    }

    /// Asks a broker for something that it may hold for `hold`; `key` chooses the connection.
    pub(crate) async fn poll<H: Request>(
        &self,
        address: &str,
        key: u64,
        header: &H,
        hold: Duration,
    ) -> Result<Response, Failure> {
        let at = key as usize % self.polls.len();
        let within = hold + POLL_SLACK;
        Ok(self.polls[at]
            .request(address, H::CODE, header, &[], within)
            .await?)
    }

    /// Asks the name servers, one after the other, until one answers.
    pub(crate) async fn ask_name_server<H: Request>(
        &self,
        header: &H,
    ) -> Result<Response, Failure> {
        let count = self.name_servers.len();
        let first = self.name_server.load(Ordering::Relaxed);
        let mut last = None;
        for step in 0..count {
            let at = (first + step) % count;
            let address = &self.name_servers[at];
            match self
                .calls
                .request(address, H::CODE, header, &[], NAME_SERVER_WITHIN)
                .await
            {
                Ok(response) => {
                    self.name_server.store(at, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(
            || Failure::Broker {
                code: ResponseCode::SYSTEM_ERROR,
                remark: "the proxy knows no name server".to_owned(),
            },
            Failure::from,
        ))
    }

    /// Closes all connections.
    pub(crate) fn close(&self) {
        self.calls.close();
        for client in &self.polls {
            client.close();
        }
    }
}

/// The answer, if it says that the request was carried out.
pub(crate) fn succeeded(response: Response) -> Result<Response, Failure> {
    if response.is_success() {
        Ok(response)
    } else {
        Err(Failure::Broker {
            code: response.code,
            remark: response.remark,
        })
    }
}
