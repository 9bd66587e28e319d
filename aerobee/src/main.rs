// SPDX-License-Identifier: Apache-2.0
//! The one program: chooses the role and runs it.

#[cfg(test)]
mod docs;
mod enabled;
mod http;
mod memory;
mod roles;
mod standalone;
mod store;

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    path::Path,
    process::ExitCode,
};

use aerobee_daemon::{
    Shutdown,
    logging::{self, LogFlags},
    signals::DRAIN_LIMIT,
};
use clap::{Parser, Subcommand};

/// A RocketMQ server in one program: name server, broker and proxy, for unmodified RocketMQ clients.
///
/// Without a command it runs the standalone server: everything in one process, data in ./data.
#[derive(Debug, Parser)]
#[command(name = "aerobee", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,

    #[command(flatten)]
    standalone: standalone::Args,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Everything in one process: name server, broker and proxy (the default)
    Standalone(standalone::Args),
    /// A name server, with the flags of Apache's mqnamesrv
    Namesrv(aerobee_namesrv::Args),
    /// A broker, with the flags of Apache's mqbroker and the keys of its broker.conf
    Broker(enabled::BrokerArgs),
    /// A proxy for gRPC clients, with the flags of Apache's mqproxy and the keys of its rmq-proxy.json
    Proxy(aerobee_proxy::Args),
    /// Administer any RocketMQ cluster, with the commands and flags of Apache's mqadmin
    #[command(disable_help_flag = true)]
    Mqadmin(MqadminArgs),
    /// Tell what is wrong with a cluster, and how to mend it: exit code 0 nothing, 1 warnings, 2 errors
    Doctor(aerobee_mqadmin::doctor::Args),
    /// Measure any RocketMQ server
    Bench(aerobee_bench::Args),
    /// Verify, repair or print a store directory, of Apache's broker or ours
    Store(store::Args),
}

/// A command of the admin tool, which reads its flags itself.
#[derive(Debug, clap::Args)]
struct MqadminArgs {
    /// The command and its flags; without any, all commands are listed
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    args: Vec<OsString>,
}

/// Names under which the program plays a role, so that Apache's start lines work.
const NAMES: [(&str, &str); 4] = [
    ("mqadmin", "mqadmin"),
    ("mqnamesrv", "namesrv"),
    ("mqbroker", "broker"),
    ("mqproxy", "proxy"),
];

/// Flags of Apache's proxy: one dash and two letters, which would be two flags elsewhere.
const DOUBLE: [(&str, &str); 3] = [
    ("-pc", "--proxyConfigPath"),
    ("-bc", "--brokerConfigPath"),
    ("-pm", "--proxyMode"),
];

fn main() -> ExitCode {
    memory::give_back_large_blocks();
    let cli = Cli::parse_from(with_role_of_name(std::env::args_os().collect()));
    let role = cli.role.unwrap_or(Role::Standalone(cli.standalone));
    match run(role) {
        Ok(code) => code,
        Err(error) => {
            // If even stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "aerobee: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Puts the role in front of the flags when the program was called by the name of a role.
fn with_role_of_name(mut args: Vec<OsString>) -> Vec<OsString> {
    let called = args.first().and_then(|first| Path::new(first).file_stem());
    let role = NAMES
        .iter()
        .find(|(name, _)| called == Some(OsStr::new(name)));
    if let Some((_, role)) = role {
        args.insert(1, OsString::from(role));
    }
    let proxied = args
        .get(1)
        .is_some_and(|role| role == "proxy" || role == "broker");
    for argument in args.iter_mut().skip(2).filter(|_| proxied) {
        if let Some((_, long)) = DOUBLE.iter().find(|(double, _)| argument == double) {
            *argument = OsString::from(long);
        }
    }
    args
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Process(#[from] aerobee_daemon::StartError),
    #[error(transparent)]
    Namesrv(#[from] aerobee_namesrv::StartError),
    #[error(transparent)]
    Broker(#[from] aerobee_broker::StartError),
    #[error(transparent)]
    Proxy(#[from] aerobee_proxy::StartError),
    #[error(transparent)]
    Bench(#[from] aerobee_bench::Error),
    #[error("cannot start threads: {0}; look at the limits of the process (ulimit -a)")]
    Threads(std::io::Error),
}

fn run(role: Role) -> Result<ExitCode, Error> {
    if let Role::Bench(args) = role {
        return Ok(aerobee_bench::run(args)?);
    }
    if let Role::Store(args) = role {
        return Ok(store::run(args));
    }
    if let Role::Mqadmin(args) = role {
        return Ok(aerobee_mqadmin::run(args.args));
    }
    if let Role::Doctor(args) = role {
        return Ok(aerobee_mqadmin::doctor::run(&args));
    }
    logging::start(log_flags(&role))?;
    allow_many_files();
    let shutdown = Shutdown::on_signals(DRAIN_LIMIT).map_err(Error::Threads)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("network")
        .build()
        .map_err(Error::Threads)?;
    runtime.block_on(async move {
        match role {
            Role::Standalone(args) => standalone::run(args, shutdown).await?,
            Role::Namesrv(args) => roles::run_namesrv(&args, shutdown).await?,
            Role::Broker(args) => enabled::run_broker(args, shutdown).await?,
            Role::Proxy(args) => enabled::run_proxy(&args, shutdown).await?,
            Role::Bench(_) | Role::Store(_) | Role::Mqadmin(_) | Role::Doctor(_) => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn log_flags(role: &Role) -> &LogFlags {
    match role {
        Role::Standalone(args) => &args.log,
        Role::Namesrv(args) => &args.flags.log,
        Role::Broker(args) => &args.broker.flags.log,
        Role::Proxy(args) => &args.log,
        Role::Bench(_) | Role::Store(_) | Role::Mqadmin(_) | Role::Doctor(_) => {
            unreachable!("no server, so no log")
        }
    }
}

/// Raises the limit of open files as far as the system lets us: each client and each file of the
/// store needs one.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn links_by_apaches_names_play_their_role() {
        let parsed = Cli::parse_from(with_role_of_name(args("/bin/mqbroker -n a:1 -c b.conf")));
        assert!(matches!(parsed.role, Some(Role::Broker(_))));
        let line = "mqproxy -n a:1 -pc p.json -pm local -bc b.conf";
        let parsed = Cli::parse_from(with_role_of_name(args(line)));
        let Some(Role::Proxy(proxy)) = parsed.role else {
            panic!("another role")
        };
        assert_eq!(proxy.proxy_mode.as_deref(), Some("local"));
        let line = "mqbroker -n a:1 -c b.conf --enable-proxy -pc p.json";
        let parsed = Cli::parse_from(with_role_of_name(args(line)));
        assert!(matches!(parsed.role, Some(Role::Broker(broker)) if broker.enable_proxy));
        let line = "mqadmin topicRoute -n a:1 -t T -h";
        let parsed = Cli::parse_from(with_role_of_name(args(line)));
        let Some(Role::Mqadmin(admin)) = parsed.role else {
            panic!("another role")
        };
        assert_eq!(admin.args, args("topicRoute -n a:1 -t T -h"));
        let parsed = Cli::parse_from(with_role_of_name(args("bin/mqnamesrv")));
        assert!(matches!(parsed.role, Some(Role::Namesrv(_))));
        assert!(
            Cli::parse_from(with_role_of_name(args("aerobee")))
                .role
                .is_none()
        );
    }
}
