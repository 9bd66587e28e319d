// SPDX-License-Identifier: Apache-2.0

//! Official SDKs against our servers, Apache's, and both together. See README.md of this crate.
//!
//! The servers and the SDK programs start when the first trial wants them and end with the run.

mod access;
mod clients;
mod crash;
mod grpc;
mod grpc_cross;
mod ledger;
mod light;
mod lite;
mod many_queues;
mod metrics;
mod mixed;
mod mqadmin;
mod pending;
mod pops;
mod results;
mod scenarios;
mod store;
mod tls;
mod transactions;
mod world;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use libtest_mimic::{Arguments, Trial};

use crate::world::World;

/// Trials wait much more than they compute.
const THREADS: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let world = Arc::new(World::from_env());
    // Those with servers of their own first and last, so that they do not all stand in line at once.
    let trials: Vec<Trial> = [
        crash::trials,
        mqadmin::trials,
        access::trials,
        clients::trials,
        grpc::trials,
        grpc_cross::trials,
        light::trials,
        lite::trials,
        tls::trials,
        scenarios::trials,
        mixed::trials,
        store::trials,
        many_queues::trials,
        transactions::trials,
        pending::trials,
        metrics::trials,
        pops::trials,
    ]
    .into_iter()
    .flat_map(|trials| trials(&world))
    .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(world);
    for (time, trial) in results::longest() {
        let _ = writeln!(io::stdout(), "{:6.0} s {trial}", time.as_secs_f64());
    }
    if let Err(error) = results::keep() {
        // The trials count, not the record of them.
        let _ = writeln!(io::stderr(), "the results are not kept: {error}");
    }
    conclusion.exit_code()
}
