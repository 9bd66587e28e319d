// SPDX-License-Identifier: Apache-2.0
//! A name server or a broker alone, with HTTP where its configuration asks for it.

use std::{net::SocketAddr, sync::Arc};

use aerobee_broker::Broker;
use aerobee_daemon::Shutdown;
use aerobee_namesrv::Namesrv;
use aerobee_proxy::Beside;

use crate::{
    Error,
    http::{self, Http, Source},
};

/// Runs a name server until `shutdown` is requested.
pub(crate) async fn run_namesrv(
    args: &aerobee_namesrv::Args,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let Some(config) = aerobee_namesrv::run::configure(args)? else {
        return Ok(());
    };
    let http = open(config.server.http_listen_address, None)?;
    let namesrv = Namesrv::start(config).await?;
    tracing::info!(address = %namesrv.address(), "name server listens");
    started(http.as_ref(), vec![Arc::clone(namesrv.metrics()) as _]);
    shutdown.requested().await;
    tracing::info!("name server stops");
    drain(http.as_ref());
    namesrv.stop().await;
    stop(http).await;
    Ok(())
}

/// Runs a broker until `shutdown` is requested.
pub(crate) async fn run_broker(
    args: &aerobee_broker::Args,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let Some(config) = aerobee_broker::run::configure(args)? else {
        return Ok(());
    };
    let (everything, exporter) = config.http_addresses()?;
    let http = open(everything, exporter)?;
    let broker = aerobee_broker::run::start(config).await?;
    started(http.as_ref(), vec![Arc::clone(broker.metrics()) as _]);
    shutdown.requested().await;
    tracing::info!("broker stops");
    drain(http.as_ref());
    aerobee_broker::run::stop(broker).await;
    stop(http).await;
    Ok(())
}

/// A broker of this process, for the proxy of this process.
pub(crate) fn beside(broker: &Broker) -> Beside {
    Beside {
        local: broker.local(),
        tables: Arc::clone(broker.tables()),
        guard: broker.guard().cloned(),
    }
}

/// Serves HTTP, if there are addresses for it, before the roles start: an address in use is told at
/// once, and a long recovery is no silence.
pub(crate) fn open(
    everything: Option<SocketAddr>,
    exporter: Option<SocketAddr>,
) -> Result<Option<Http>, Error> {
    let doors = http::doors(everything, exporter);
    if doors.is_empty() {
        return Ok(None);
    }
    let opened = http::bind(&doors)?;
    for address in opened.addresses() {
        tracing::info!(%address, "HTTP listens");
    }
    Ok(Some(opened.serve()))
}

/// Says what has started.
pub(crate) fn started(http: Option<&Http>, roles: Vec<Arc<dyn Source>>) {
    if let Some(http) = http {
        http.started(roles);
    }
}

/// Says from here on that the process is stopping.
pub(crate) fn drain(http: Option<&Http>) {
    if let Some(http) = http {
        http.drain();
    }
}

/// Ends HTTP, last of all: whoever asks whether the process is ready gets an answer to the end.
pub(crate) async fn stop(http: Option<Http>) {
    if let Some(http) = http {
        http.stop().await;
    }
}
