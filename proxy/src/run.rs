// SPDX-License-Identifier: Apache-2.0
//! `aerobee proxy`: reads flags and configuration, runs until it is asked to end.

use std::path::PathBuf;

use aerobee_daemon::{
    Shutdown,
    flags::{RoleFlags, rocketmq_home, user_home},
    logging::LogFlags,
};
use clap::Args as ClapArgs;

use crate::{
    Proxy,
    config::{Config, Mode},
    error::StartError,
};

/// A proxy, with the flags of Apache's mqproxy and the keys of its rmq-proxy.json.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Name servers, separated by ';' [else: namesrvAddr of the configuration file, then the environment's NAMESRV_ADDR]
    #[arg(short = 'n', long = "namesrvAddr", value_name = "HOST:PORT;…")]
    pub namesrv_addr: Option<String>,

    /// Proxy configuration file with Apache's keys (-pc)
    #[arg(long = "proxyConfigPath", alias = "pc", value_name = "FILE")]
    pub proxy_config_path: Option<PathBuf>,

    /// Broker configuration file, for local mode (-bc)
    #[arg(long = "brokerConfigPath", alias = "bc", value_name = "FILE")]
    pub broker_config_path: Option<PathBuf>,

    /// local (with a broker in this process) or cluster (-pm)
    #[arg(long = "proxyMode", alias = "pm", value_name = "MODE")]
    pub proxy_mode: Option<String>,

    #[expect(
        missing_docs,
        reason = "a doc comment here would replace the help text of the role"
    )]
    #[command(flatten)]
    pub log: LogFlags,
}

impl Args {
    /// The configuration that flags, file and environment make together.
    ///
    /// # Errors
    /// The file cannot be read, or has a value that its key does not take.
    pub fn load(&self) -> Result<Config, StartError> {
        let mut config = match &self.proxy_config_path {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        if let Some(mode) = &self.proxy_mode {
            config.proxy_mode.clone_from(mode);
        }
        if let Some(path) = &self.broker_config_path {
            config.broker_config_path = path.display().to_string();
        }
        let flags = RoleFlags {
            namesrv_addr: self.namesrv_addr.clone(),
            ..RoleFlags::default()
        };
        let configured = Some(config.namesrv_addr.as_str());
        config.namesrv_addr = flags.namesrv_addr(configured).unwrap_or_default();
        if config.tls_directory.as_os_str().is_empty() {
            config.tls_directory = match rocketmq_home() {
                Some(home) => home.join("conf/tls"),
                None => user_home().join("rocketmqconf/tls"),
            };
        }
        config.mode()?;
        Ok(config)
    }
}

/// Whether a configuration wants a broker in this process.
///
/// # Errors
/// The mode is unknown.
pub fn wants_broker(config: &Config) -> Result<bool, StartError> {
    Ok(config.mode()? == Mode::Local)
}

/// Runs a proxy until `shutdown` is requested.
///
/// # Errors
/// It cannot start; the error names cause and fix.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), StartError> {
    let proxy = Proxy::start(config, None)?;
    tracing::info!(
        address = %proxy.address(),
        also = proxy.remoting_address().map(tracing::field::display),
        "proxy listens"
    );
    shutdown.requested().await;
    tracing::info!("proxy stops");
    proxy.stop().await;
    Ok(())
}
