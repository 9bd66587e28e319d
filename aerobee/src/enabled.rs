// SPDX-License-Identifier: Apache-2.0
//! A proxy alone, or with a broker in one process.

use std::path::PathBuf;

use aerobee_broker::Broker;
use aerobee_daemon::Shutdown;
use aerobee_proxy::{Config, Proxy};
use clap::Args as ClapArgs;

use crate::Error;

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
        return Ok(aerobee_broker::run(args.broker, shutdown).await?);
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
    if !aerobee_proxy::run::wants_broker(&config)? {
        return Ok(aerobee_proxy::run(config, shutdown).await?);
    }
    let broker = start_broker(&mut config).await?;
    let proxy = match Proxy::start(config) {
        Ok(proxy) => proxy,
        Err(error) => {
            aerobee_broker::run::stop(broker).await;
            return Err(error.into());
        }
    };
    tracing::info!(broker = %broker.address(), proxy = %proxy.address(), "broker and proxy listen");
    shutdown.requested().await;
    tracing::info!("proxy and broker stop");
    proxy.stop().await;
    aerobee_broker::run::stop(broker).await;
    Ok(())
}

/// The broker of a proxy in local mode; both use the same name servers.
async fn start_broker(config: &mut Config) -> Result<Broker, Error> {
    let path = Some(PathBuf::from(&config.broker_config_path));
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let mut broker = aerobee_broker::run::load(path.as_deref())?;
    if config.namesrv_addr.is_empty() {
        config.namesrv_addr = broker.broker.namesrv_addr.clone().unwrap_or_default();
    } else {
        broker.broker.namesrv_addr = Some(config.namesrv_addr.clone());
    }
    Ok(Broker::start(broker).await?)
}
