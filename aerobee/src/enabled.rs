// SPDX-License-Identifier: Apache-2.0
//! A proxy alone, or with a broker in one process.

use std::{path::PathBuf, sync::Arc};

use aerobee_broker::Broker;
use aerobee_daemon::Shutdown;
use aerobee_proxy::{Config, Proxy};
use clap::Args as ClapArgs;

use crate::{Error, http::Source, roles};

/// A broker, and a proxy beside it if that is wanted.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct BrokerArgs {
    #[command(flatten)]
    pub(crate) broker: aerobee_broker::Args,

    /// Serve gRPC clients as well, in this process
    #[arg(long = "enable-proxy")]
    pub(crate) enable_proxy: bool,

    /// Proxy configuration file with Apache's keys (-pc)
    #[arg(
        long = "proxyConfigPath",
        value_name = "FILE",
        requires = "enable_proxy"
    )]
    pub(crate) proxy_config_path: Option<PathBuf>,
}

/// Runs a broker, with a proxy if that is wanted, until `shutdown` is requested.
pub(crate) async fn run_broker(args: BrokerArgs, shutdown: Shutdown) -> Result<(), Error> {
    if !args.enable_proxy || args.broker.flags.listing().is_some() {
        return roles::run_broker(&args.broker, shutdown).await;
    }
    let flags = args.broker.flags;
    let proxy = aerobee_proxy::Args {
        namesrv_addr: flags.namesrv_addr,
        proxy_config_path: args.proxy_config_path,
        broker_config_path: flags.config_file,
        proxy_mode: Some("local".to_owned()),
        log: flags.log,
    };
    run_proxy(&proxy, shutdown).await
}

/// Runs a proxy, in local mode with its broker, until `shutdown` is requested.
pub(crate) async fn run_proxy(args: &aerobee_proxy::Args, shutdown: Shutdown) -> Result<(), Error> {
    let mut config = args.load()?;
    let (mut everything, mut exporter) = config.http_addresses()?;
    if !aerobee_proxy::run::wants_broker(&config)? {
        let http = roles::open(everything, exporter)?;
        let proxy = Proxy::start(config, None)?;
        tracing::info!(
            address = %proxy.address(),
            also = proxy.remoting_address().map(tracing::field::display),
            "proxy listens"
        );
        roles::started(http.as_ref(), vec![Arc::clone(proxy.metrics()) as _]);
        shutdown.requested().await;
        tracing::info!("proxy stops");
        roles::drain(http.as_ref());
        proxy.stop().await;
        roles::stop(http).await;
        return Ok(());
    }
    let broker_config = broker_config(&mut config)?;
    let of_broker = broker_config.http_addresses()?;
    everything = everything.or(of_broker.0);
    exporter = exporter.or(of_broker.1);
    let http = roles::open(everything, exporter)?;
    let broker = Broker::start(broker_config).await?;
    let proxy = match Proxy::start(config, Some(&roles::beside(&broker))) {
        Ok(proxy) => proxy,
        Err(error) => {
            aerobee_broker::run::stop(broker).await;
            return Err(error.into());
        }
    };
    tracing::info!(broker = %broker.address(), proxy = %proxy.address(), "broker and proxy listen");
    let told: Vec<Arc<dyn Source>> = vec![
        Arc::clone(broker.metrics()) as _,
        Arc::clone(proxy.metrics()) as _,
    ];
    roles::started(http.as_ref(), told);
    shutdown.requested().await;
    tracing::info!("proxy and broker stop");
    roles::drain(http.as_ref());
    proxy.stop().await;
    aerobee_broker::run::stop(broker).await;
    roles::stop(http).await;
    Ok(())
}

/// The broker of a proxy in local mode; both use the same name servers.
fn broker_config(config: &mut Config) -> Result<aerobee_broker::Config, Error> {
    let path = Some(PathBuf::from(&config.broker_config_path));
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let mut broker = aerobee_broker::run::load(path.as_deref())?;
    if config.namesrv_addr.is_empty() {
        config.namesrv_addr = broker.broker.namesrv_addr.clone().unwrap_or_default();
    } else {
        broker.broker.namesrv_addr = Some(config.namesrv_addr.clone());
    }
    Ok(broker)
}
