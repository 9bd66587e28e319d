// SPDX-License-Identifier: Apache-2.0
//! `aerobee namesrv`: reads flags and configuration, runs until it is asked to end.

use std::{io::Write as _, path::Path};

use aerobee_daemon::{Shutdown, StartError as ProcessError, flags::RoleFlags};
use clap::Args as ClapArgs;

use crate::{Config, Keys, Namesrv, StartError};

/// A name server, with the flags of Apache's mqnamesrv and the keys of its configuration file.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// What every role takes.
    #[command(flatten)]
    pub flags: RoleFlags,
}

/// Runs a name server until `shutdown` is requested. Prints the configuration instead if asked to.
///
/// # Errors
/// It cannot start; the error names cause and fix.
pub async fn run(args: Args, shutdown: Shutdown) -> Result<(), StartError> {
    let Some(config) = configure(&args)? else {
        return Ok(());
    };
    let namesrv = Namesrv::start(config).await?;
    tracing::info!(address = %namesrv.address(), "name server listens");
    shutdown.requested().await;
    tracing::info!("name server stops");
    namesrv.stop().await;
    Ok(())
}

/// The configuration that flags and file make together; nothing if it was to be printed only, and
/// has been.
///
/// # Errors
/// The file cannot be read, or has a value that its key does not take.
pub fn configure(args: &Args) -> Result<Option<Config>, StartError> {
    let config = load(args.flags.config_file.as_deref())?;
    if let Some(listing) = args.flags.listing() {
        // Whoever reads the listing may have closed the pipe; there is nobody else to tell.
        let _ = std::io::stdout().write_all(config.listing(listing).as_bytes());
        return Ok(None);
    }
    Ok(Some(config))
}

/// The configuration of a file, or the defaults. Changes at run time go to that file.
///
/// # Errors
/// The file cannot be read, or has a value that its key does not take.
pub fn load(path: Option<&Path>) -> Result<Config, StartError> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let (mut config, report) = Config::load(Keys::default(), path).map_err(ProcessError::from)?;
    report.log(|_| None);
    config.namesrv.config_store_path = path.display().to_string();
    Ok(config)
}
