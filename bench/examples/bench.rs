// SPDX-License-Identifier: Apache-2.0
//! The load generator alone: `cargo run --release -p aerobee-bench --example bench -- send …`, the
//! same as `aerobee bench send …`, without building the servers.

use std::process::ExitCode;

use clap::Parser as _;

/// Takes the word `bench` or leaves it, so that this program can start itself as `aerobee` does.
fn main() -> ExitCode {
    let arguments = std::env::args();
    let arguments = arguments
        .enumerate()
        .filter(|(at, word)| *at != 1 || word != "bench");
    let args = aerobee_bench::Args::parse_from(arguments.map(|(_, word)| word));
    aerobee_bench::run(args).unwrap_or_else(|error| {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error}\n"));
        ExitCode::FAILURE
    })
}
