// SPDX-License-Identifier: Apache-2.0
//! Apache's system properties, as its start scripts take them: `-Dkey=value` in the environment variable `JAVA_OPT`.

use std::env;

const JAVA_OPTIONS: &str = "JAVA_OPT";

/// What `JAVA_OPT` says of a property, or what holds without it.
#[must_use]
pub fn given(key: &str, unset: &str) -> String {
    let options = env::var(JAVA_OPTIONS).unwrap_or_default();
    option_of(&options, key).unwrap_or(unset).to_owned()
}

/// The last `-Dkey=value` of a key.
fn option_of<'a>(options: &'a str, key: &str) -> Option<&'a str> {
    options
        .split_whitespace()
        .filter_map(|option| option.strip_prefix("-D")?.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value.trim_matches('"'))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_apaches_scripts_are_read() {
        let options = "-server -Dtls.server.mode=enforcing -Xmx1g -Dtls.enable=\"true\" -Dtls.server.mode=disabled";
        assert_eq!(option_of(options, "tls.server.mode"), Some("disabled"));
        assert_eq!(option_of(options, "tls.enable"), Some("true"));
        assert_eq!(option_of(options, "tls"), None);
    }
}
