// SPDX-License-Identifier: Apache-2.0
//! The flags of Apache's start scripts (`mqnamesrv`, `mqbroker`: `ServerUtil.java`,
//! `BrokerStartup.java`), addresses, and the environment that Apache's servers look at.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;

use crate::{config::Listing, logging::LogFlags};

/// Flags that every role has.
#[derive(Debug, Clone, Default, Args)]
pub struct RoleFlags {
    /// Name servers, separated by ';' [else: namesrvAddr of the configuration file, then the environment's NAMESRV_ADDR]
    #[arg(short = 'n', long = "namesrvAddr", value_name = "HOST:PORT;…")]
    pub namesrv_addr: Option<String>,

    /// Configuration file with Apache's keys
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Print all configuration keys with their values and end
    #[arg(short = 'p', long = "printConfigItem")]
    pub print_config_item: bool,

    /// Print the important configuration keys with their values and end
    #[arg(short = 'm', long = "printImportantConfig")]
    pub print_important_config: bool,

    #[expect(
        missing_docs,
        reason = "a doc comment here would replace the help text of the role"
    )]
    #[command(flatten)]
    pub log: LogFlags,
}

impl RoleFlags {
    /// The name servers to use: of the command line, else those configured in the file, else of the
    /// environment, as in Apache's servers. None if there are none.
    #[must_use]
    pub fn namesrv_addr(&self, configured: Option<&str>) -> Option<String> {
        let from_environment = env::var("NAMESRV_ADDR").ok();
        first_given([
            self.namesrv_addr.as_deref(),
            configured,
            from_environment.as_deref(),
        ])
    }

    /// What to print instead of starting, if that is asked for.
    #[must_use]
    pub fn listing(&self) -> Option<Listing> {
        match (self.print_config_item, self.print_important_config) {
            (true, _) => Some(Listing::All),
            (false, true) => Some(Listing::Important),
            (false, false) => None,
        }
    }
}

fn first_given(candidates: [Option<&str>; 3]) -> Option<String> {
    candidates
        .into_iter()
        .flatten()
        .map(str::trim)
        .find(|text| !text.is_empty())
        .map(str::to_owned)
}

/// `ROCKETMQ_HOME`, if set. Unlike Apache's servers we need none: it is one more place to look for
/// files.
#[must_use]
pub fn rocketmq_home() -> Option<PathBuf> {
    env::var_os("ROCKETMQ_HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
}

/// What Java calls `user.home`, below which Apache's servers keep their files by default; the
/// current directory for a user without a home.
#[must_use]
pub fn user_home() -> PathBuf {
    env::home_dir()
        .filter(|home| !home.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new(".").to_owned())
}

/// A host name or address with a port, not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not an address; write HOST:PORT, several separated by ';', as in 127.0.0.1:9876;192.168.0.1:9876"
)]
pub struct AddressError(pub String);

impl FromStr for Address {
    type Err = AddressError;

    /// The port is what follows the last colon, as in Apache's `NetworkUtil.string2SocketAddress`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError(text.to_owned());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(refused)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(refused)?,
            None => host,
        };
        let illegal = |letter: char| letter.is_whitespace() || "/[]@;,".contains(letter);
        let port: u16 = port.parse().map_err(|_| refused())?;
        if host.is_empty() || host.len() > 253 || host.contains(illegal) || port == 0 {
            return Err(refused());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads addresses separated by `;`. Empty places are skipped, repeated addresses appear once.
///
/// # Errors
/// A part is not an address; the error names it.
pub fn parse_addresses(list: &str) -> Result<Vec<Address>, AddressError> {
    let mut addresses = Vec::new();
    for part in list.split(';').map(str::trim) {
        if part.is_empty() {
            continue;
        }
        let address: Address = part.parse()?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        flags: RoleFlags,
    }

    fn flags(line: &str) -> RoleFlags {
        Program::try_parse_from(line.split_whitespace())
            .unwrap()
            .flags
    }

    #[test]
    fn apaches_start_lines_are_understood() {
        let short = flags("mqbroker -n a:1;b:2 -c conf/broker.conf -m");
        let long = flags(
            "mqbroker --namesrvAddr=a:1;b:2 --configFile conf/broker.conf --printImportantConfig",
        );
        for flags in [short, long] {
            assert_eq!(flags.namesrv_addr.as_deref(), Some("a:1;b:2"));
            assert_eq!(flags.config_file, Some(PathBuf::from("conf/broker.conf")));
            assert_eq!(flags.listing(), Some(Listing::Important));
        }
        assert_eq!(flags("mqnamesrv -p").listing(), Some(Listing::All));
        assert_eq!(flags("mqnamesrv").listing(), None);
    }

    #[test]
    fn the_command_line_goes_before_the_file_before_the_environment() {
        let all = [Some("flag:1"), Some("file:1"), Some("env:1")];
        assert_eq!(first_given(all).as_deref(), Some("flag:1"));
        let no_flag = [None, Some("file:1"), Some("env:1")];
        assert_eq!(first_given(no_flag).as_deref(), Some("file:1"));
        let empty_file = [None, Some(" "), Some("env:1")];
        assert_eq!(first_given(empty_file).as_deref(), Some("env:1"));
        assert_eq!(first_given([None, None, Some("")]), None);
    }

    #[test]
    fn addresses_are_read_and_written() {
        let addresses =
            parse_addresses(" localhost:9876; [::1]:9877;fe80::1%eth0:1;;localhost:9876").unwrap();
        let texts: Vec<_> = addresses.iter().map(Address::to_string).collect();
        assert_eq!(texts, ["localhost:9876", "[::1]:9877", "[fe80::1%eth0]:1"]);
        assert_eq!(parse_addresses(" ; ").unwrap(), []);
    }

    #[test]
    fn what_is_no_address_is_named() {
        for bad in [
            "localhost",
            ":9876",
            "a:",
            "a:0",
            "a:65536",
            "a:-1",
            "http://a:1",
            "a b:1",
            "[::1:1",
            "[]:1",
            "a:1,b:2",
        ] {
            let error = parse_addresses(&format!("ok:1;{bad}")).unwrap_err();
            assert_eq!(error, AddressError(bad.to_owned()));
        }
    }
}
