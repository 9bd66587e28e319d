// SPDX-License-Identifier: Apache-2.0
//! `aerobee broker`: reads flags and configuration, runs until it is asked to end.

use std::{io::Write as _, path::Path};

use aerobee_daemon::{Shutdown, StartError as ProcessError, flags::RoleFlags};
use clap::Args as ClapArgs;

use crate::{Broker, Config, Keys, StartError, config::without_effect};

/// A broker, with the flags of Apache's mqbroker and the keys of its broker.conf.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// What every role takes.
    #[command(flatten)]
    pub flags: RoleFlags,
}

/// Runs a broker until `shutdown` is requested. Prints the configuration instead if asked to.
///
/// # Errors
/// It cannot start; the error names cause and fix. Errors of stopping are logged.
pub async fn run(args: Args, shutdown: Shutdown) -> Result<(), StartError> {
    let Some(config) = configure(&args)? else {
        return Ok(());
    };
    let broker = start(config).await?;
    shutdown.requested().await;
    tracing::info!("broker stops");
    stop(broker).await;
    Ok(())
}

/// The configuration that flags, file and environment make together; nothing if it was to be printed
/// only, and has been.
///
/// # Errors
/// The file cannot be read, or has a value that its key does not take.
pub fn configure(args: &Args) -> Result<Option<Config>, StartError> {
    let mut config = load(args.flags.config_file.as_deref())?;
    let configured = config.broker.namesrv_addr.take();
    config.broker.namesrv_addr = args.flags.namesrv_addr(configured.as_deref());
    if let Some(listing) = args.flags.listing() {
        // Whoever reads the listing may have closed the pipe; there is nobody else to tell.
        let _ = std::io::stdout().write_all(config.listing(listing).as_bytes());
        return Ok(None);
    }
    Ok(Some(config))
}

/// Starts a broker and logs where it listens.
///
/// # Errors
/// It cannot start; the error names cause and fix.
pub async fn start(config: Config) -> Result<Broker, StartError> {
    if config.broker.namesrv_addr.is_none() {
        tracing::warn!(
            "no name server: clients will not find this broker; give one with -n, namesrvAddr or NAMESRV_ADDR"
        );
    }
    let name_servers = config.broker.namesrv_addr.clone().unwrap_or_default();
    let broker = Broker::start(config).await?;
    tracing::info!(
        address = %broker.address(),
        fast = broker.fast_address().map(tracing::field::display),
        advertised = %broker.advertised(),
        name = broker.name(),
        name_servers,
        "broker listens"
    );
    Ok(broker)
}

/// Stops a broker and logs what goes wrong.
pub async fn stop(broker: Broker) {
    match broker.stop().await {
        Ok(()) => tracing::info!("broker stopped; everything is on the disk"),
        Err(error) => {
            tracing::error!(%error, "broker did not stop cleanly; the next start recovers");
        }
    }
}

/// The configuration of a file, or the defaults.
///
/// # Errors
/// The file cannot be read, or has a value that its key does not take.
pub fn load(path: Option<&Path>) -> Result<Config, StartError> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let (mut config, report) = Config::load(Keys::default(), path).map_err(ProcessError::from)?;
    report.log(without_effect);
    config.broker.broker_config_path = path.to_str().map(str::to_owned);
    Ok(config)
}
