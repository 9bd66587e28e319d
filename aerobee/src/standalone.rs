// SPDX-License-Identifier: Apache-2.0
//! Everything in one process, with an embedded name server.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use aerobee_broker::Broker;
use aerobee_daemon::{Shutdown, TlsKeys, logging::LogFlags};
use aerobee_namesrv::Namesrv;
use aerobee_proxy::Proxy;
use clap::Args as ClapArgs;

use crate::{
    Error,
    http::{Http, Source},
    roles,
};

/// Port of HTTP unless told.
const HTTP_PORT: u16 = 8080;

/// Flags of the standalone server.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Args {
    /// Directory of everything that is kept
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,

    /// Address to listen on and to give to clients; not loopback, it opens the server to others
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,

    /// Port of the name server
    #[arg(long, value_name = "PORT", default_value_t = 9876)]
    namesrv_port: u16,

    /// Port of the broker; the fast port is two below
    #[arg(long, value_name = "PORT", default_value_t = 10911)]
    broker_port: u16,

    /// Port of the proxy: gRPC, with TLS or without, and remoting
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    proxy_port: u16,

    /// Port of HTTP: health and metrics [default: 8080, or none while another program has it]
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,

    /// Serve no HTTP
    #[arg(long, conflicts_with = "http_port")]
    no_http: bool,

    /// A rmq-proxy.json with Apache's keys; the flags here go before it
    #[arg(long, value_name = "FILE")]
    proxy_config: Option<PathBuf>,

    /// A broker.conf with Apache's keys; the flags here go before it
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// Runs name server, broker and proxy until `shutdown` is requested.
pub(crate) async fn run(args: Args, shutdown: Shutdown) -> Result<(), Error> {
    let http = open_http(&args)?;
    let mut config = aerobee_broker::run::load(args.config_file.as_deref())?;
    // What is inside speaks to the ports as they ask for it.
    config.tls.enable |= config.tls.server_mode.eq_ignore_ascii_case("enforcing");
    let tls = config.tls.clone();
    let namesrv = start_namesrv(&args, tls.clone()).await?;
    let broker = match start_broker(&args, config, namesrv.address()).await {
        Ok(broker) => broker,
        Err(error) => {
            namesrv.stop().await;
            return Err(error);
        }
    };
    let proxy = match start_proxy(&args, tls, namesrv.address(), &broker) {
        Ok(proxy) => proxy,
        Err(error) => {
            aerobee_broker::run::stop(broker).await;
            namesrv.stop().await;
            return Err(error);
        }
    };
    let told: Vec<Arc<dyn Source>> = vec![
        Arc::clone(broker.metrics()) as _,
        Arc::clone(proxy.metrics()) as _,
        Arc::clone(namesrv.metrics()) as _,
    ];
    roles::started(http.as_ref(), told);
    let at = http.as_ref().and_then(Http::address);
    greet(&args, &namesrv, &broker, &proxy, at);
    shutdown.requested().await;
    tracing::info!("stopping");
    roles::drain(http.as_ref());
    proxy.stop().await;
    aerobee_broker::run::stop(broker).await;
    namesrv.stop().await;
    roles::stop(http).await;
    Ok(())
}

/// Takes the port for HTTP. The usual one is often taken, by a proxy of Apache's for one, and nothing
/// depends on it: without it the server starts all the same. A port that was asked for has to be free.
fn open_http(args: &Args) -> Result<Option<Http>, Error> {
    if args.no_http {
        return Ok(None);
    }
    let port = args.http_port.unwrap_or(HTTP_PORT);
    let address = SocketAddr::new(args.host, port);
    match roles::open(Some(address), None) {
        Err(error) if args.http_port.is_none() => {
            tracing::warn!(%error, "no HTTP: neither health nor metrics");
            Ok(None)
        }
        opened => opened,
    }
}

async fn start_namesrv(args: &Args, tls: TlsKeys) -> Result<Namesrv, Error> {
    let mut config = aerobee_namesrv::Config::default();
    config.server.listen_port = args.namesrv_port;
    config.server.bind_address = args.host.to_string();
    config.tls = tls;
    let directory = args.data.join("namesrv");
    config.namesrv.kv_config_path = directory.join("kvConfig.json").display().to_string();
    config.namesrv.config_store_path = directory.join("namesrv.properties").display().to_string();
    Ok(Namesrv::start(config).await?)
}

async fn start_broker(
    args: &Args,
    mut config: aerobee_broker::Config,
    namesrv: SocketAddr,
) -> Result<Broker, Error> {
    config.broker.namesrv_addr = Some(namesrv.to_string());
    config.broker.broker_ip1 = args.host.to_string();
    config.broker.broker_ip2 = args.host.to_string();
    if args.config_file.is_none() {
        config.broker.broker_name = "broker-a".to_owned();
    }
    config.server.bind_address = args.host.to_string();
    config.server.listen_port = args.broker_port;
    config.store.store_path_root_dir = args.data.join("store").display().to_string();
    Ok(Broker::start(config).await?)
}

fn start_proxy(
    args: &Args,
    tls: TlsKeys,
    namesrv: SocketAddr,
    broker: &Broker,
) -> Result<Proxy, Error> {
    let mut config = match &args.proxy_config {
        Some(path) => aerobee_proxy::Config::load(path)?,
        None => aerobee_proxy::Config::default(),
    };
    config.namesrv_addr = namesrv.to_string();
    config.upstream = tls;
    config.bind_address = args.host.to_string();
    config.grpc_server_port = args.proxy_port;
    // One port speaks everything; a second one is for those who ask for it.
    config.remoting_listen_port = 0;
    if config.tls_directory.as_os_str().is_empty() {
        config.tls_directory = args.data.join("tls");
    }
    // A developer's Ctrl-C should not wait for long polls of clients that stay.
    config.grpc_shutdown_time_seconds = config.grpc_shutdown_time_seconds.min(5);
    Ok(Proxy::start(config, Some(&roles::beside(broker)))?)
}

/// Says what listens where, and a first thing to try.
fn greet(args: &Args, namesrv: &Namesrv, broker: &Broker, proxy: &Proxy, http: Option<SocketAddr>) {
    let fast = broker
        .fast_address()
        .map_or_else(String::new, |fast| format!(", fast port {}", fast.port()));
    let http = http.map_or_else(
        || "none (--http-port)".to_owned(),
        |http| format!("{http} (/livez, /readyz, /metrics)"),
    );
    let text = format!(
        "aerobee {version} is ready\n\
         \x20 name server  {namesrv}\n\
         \x20 broker       {broker}{fast}\n\
         \x20 proxy        {proxy} (gRPC with or without TLS, remoting)\n\
         \x20 HTTP         {http}\n\
         \x20 data         {data}\n\
         Point a RocketMQ client at it: name server address {namesrv}, or endpoints {proxy}\n\
         for the 5.x SDKs. To see it move:\n\
         \x20 aerobee bench send --namesrv {namesrv} --count 10000\n\
         Ctrl-C stops it; data stays.\n",
        version = env!("CARGO_PKG_VERSION"),
        namesrv = namesrv.address(),
        broker = broker.address(),
        proxy = proxy.address(),
        data = args.data.display(),
    );
    // Nobody may be reading; the log says the rest.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
