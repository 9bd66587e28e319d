// SPDX-License-Identifier: Apache-2.0
//! The calls of `MessagingService`, one file each.

pub(crate) mod ack;
pub(crate) mod change_invisible;
pub(crate) mod dead_letter;
pub(crate) mod end_transaction;
pub(crate) mod heartbeat;
pub(crate) mod offsets;
pub(crate) mod pull;
pub(crate) mod query_assignment;
pub(crate) mod query_route;
pub(crate) mod recall;
pub(crate) mod receive;
pub(crate) mod receive_lite;
pub(crate) mod send;
pub(crate) mod sync_lite;
pub(crate) mod telemetry;
pub(crate) mod terminate;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::watch;
use tonic::codegen::tokio_stream::Stream;

use crate::{
    access::{Access, Credential},
    brokers::Brokers,
    caller::Caller,
    clients::{Client, Clients},
    config::Config,
    lite::Rate,
    needs::Needs,
    receipts::Receipts,
    routes::Routes,
    status::Failure,
};

/// What calls work with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) brokers: Arc<Brokers>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) receipts: Arc<Receipts>,
    /// Bounds how fast clients subscribe to lite topics.
    pub(crate) lite_rate: Rate,
    /// Who may make which call, where that is asked.
    pub(crate) access: Option<Arc<Access>>,
    /// Becomes true when the proxy is about to end.
    pub(crate) drain: watch::Receiver<bool>,
}

impl Parts {
    /// Whether a call is let in.
    #[inline]
    pub(crate) async fn admit<T: Needs>(&self, request: &tonic::Request<T>) -> Result<(), Failure> {
        match &self.access {
            None => Ok(()),
            Some(access) => {
                let caller = Credential::of(request);
                access.admit(&caller, request.get_ref()).await
            }
        }
    }

    /// The caller of a request; it has been heard of.
    pub(crate) fn caller<T>(&self, request: &tonic::Request<T>) -> Result<Caller, Failure> {
        let caller = Caller::of(request)?;
        self.clients.touch(&caller.client_id);
        Ok(caller)
    }

    /// The same, and the client as we know it.
    pub(crate) fn client<T>(
        &self,
        request: &tonic::Request<T>,
    ) -> Result<(Caller, Arc<Client>), Failure> {
        let caller = Caller::of(request)?;
        let client = self.clients.enter(&caller)?;
        Ok((caller, client))
    }

    /// Resolves when the proxy is about to end.
    pub(crate) async fn draining(&self) {
        let mut drain = self.drain.clone();
        // An error means that whoever would tell is gone: it has ended.
        let _ = drain.wait_for(|drain| *drain).await;
    }
}

/// A stream of what is known already: all of it is handed over at once, so that it shares frames.
#[derive(Debug)]
pub(crate) struct Frames<T>(VecDeque<T>);

impl<T> Frames<T> {
    pub(crate) fn new(frames: impl IntoIterator<Item = T>) -> Self {
        Self(frames.into_iter().collect())
    }
}

impl<T: Unpin> Stream for Frames<T> {
    type Item = Result<T, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
