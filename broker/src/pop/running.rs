// SPDX-License-Identifier: Apache-2.0
//! Pop consumption as it runs in a broker: its state, those who wait, and its thread.

use std::{path::Path, sync::Arc, thread::JoinHandle};

use aerobee_message::topic::REVIVE_LOG_PREFIX;
use tokio::task::spawn_blocking;

use crate::{
    error::StartError,
    longpoll::pop::Polls,
    pop::{Parts, Pops, journal::Journal, order::Orders},
    processor::assignment::Modes,
    table::PersistError,
    topics::{PERM_READ, PERM_WRITE},
};

/// Running pop consumption. Dropped without [`Popping::stop`] its thread ends by itself, soon.
pub(crate) struct Popping {
    pub(crate) pops: Arc<Pops>,
    pub(crate) polls: Arc<Polls>,
    pub(crate) modes: Arc<Modes>,
    thread: Option<JoinHandle<()>>,
}

impl Popping {
    /// Reads back what is popped, and starts the thread.
    ///
    /// # Errors
    /// A file in `directory` cannot be read, or the system gives no thread.
    pub(crate) async fn start(parts: Parts, directory: &Path) -> Result<Self, StartError> {
        let orders = Orders::open(directory.join("consumerOrderInfo.json"))?;
        let modes = Modes::open(directory.join("messageRequestMode.json"))?;
        let name = format!("{REVIVE_LOG_PREFIX}{}", parts.identity.cluster);
        let queues = parts.switches.config().broker.revive_queue_num;
        let (topic, _) = parts
            .topics
            .ensure(&name, queues, PERM_READ | PERM_WRITE, 0);
        let host = parts.identity.address;
        let open = move || {
            let journal = Journal::new(Arc::clone(&parts.store), topic, host);
            Pops::open(parts, journal, orders)
        };
        let pops = spawn_blocking(open)
            .await
            .map_err(|_| StartError::Interrupted)?;
        let polls = Polls::new(Arc::clone(&pops));
        let thread = pops.start().map_err(|source| StartError::Thread {
            name: "pop-revive",
            source,
        })?;
        Ok(Self {
            pops,
            polls,
            modes,
            thread: Some(thread),
        })
    }

    /// Ends the thread and writes the files.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) async fn stop(mut self) -> Result<(), PersistError> {
        if let Some(thread) = self.thread.take() {
            let pops = Arc::clone(&self.pops);
            let stopping = spawn_blocking(move || pops.stop(thread));
            if stopping.await.is_err() {
                tracing::error!("the revive thread was not waited for");
            }
        }
        let orders = self.pops.orders().close().await;
        self.modes.close().await?;
        orders
    }
}

impl Drop for Popping {
    fn drop(&mut self) {
        self.pops.end();
    }
}
