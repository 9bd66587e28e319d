// SPDX-License-Identifier: Apache-2.0
//! The store on a simulated disk: power cuts, failed syncs, full disks and the rest by the thousand.
//!
//! Everything that happens follows from a seed. The store's threads are not started; the simulation takes their turns
//! itself, between and within the requests of its clients, so a seed replays a run exactly.
//!
//! - `cargo test -p aerobee-store --test simulation` runs a hundred and fifty seeds.
//! - `AEROBEE_SEEDS=10000` runs that many.
//! - `AEROBEE_SEED=17` runs one and prints what it does.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test ends by panicking and prints what it did; its modules are its own"
)]

mod checks;
mod clients;
mod disk;
mod model;
mod random;
mod world;

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use world::World;

/// Seeds that run when nobody says how many.
const SEEDS: u64 = 150;

/// What a run comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Outcome {
    operations: u64,
    trace: u64,
    acknowledged: u64,
}

/// A directory in memory where there is one: the syncs of the real disk are not what is tested.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn run(seed: u64, verbose: bool) -> Result<Outcome, String> {
    let dir = directory();
    let root: PathBuf = dir.path().to_owned();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(root, seed, verbose);
        world.run();
        let (operations, trace) = world.disk.trace();
        Outcome {
            operations,
            trace,
            acknowledged: world.acknowledged(),
        }
    }));
    outcome.map_err(|reason| {
        reason
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| reason.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    })
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn seeds() {
    if let Some(seed) = number("AEROBEE_SEED") {
        let outcome = run(seed, true);
        println!("{outcome:?}");
        assert!(outcome.is_ok());
        return;
    }
    let count = number("AEROBEE_SEEDS").unwrap_or(SEEDS);
    let first = number("AEROBEE_FIRST_SEED").unwrap_or(0);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Each failure is told once, at the end.
    panic::set_hook(Box::new(|_| {}));
    let results: Vec<(u64, Result<Outcome, String>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut results = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + count {
                            return results;
                        }
                        results.push((seed, run(seed, false)));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    let _ = panic::take_hook();
    let mut total = Outcome::default();
    let mut failed: Vec<(u64, &String)> = Vec::new();
    for (seed, result) in &results {
        match result {
            Ok(outcome) => {
                total.operations += outcome.operations;
                total.acknowledged += outcome.acknowledged;
            }
            Err(reason) => failed.push((*seed, reason)),
        }
    }
    failed.sort_unstable();
    println!(
        "{} seeds, {} operations of the disk, {} acknowledged as durable, {} failed",
        results.len(),
        total.operations,
        total.acknowledged,
        failed.len()
    );
    for (seed, reason) in failed.iter().take(30) {
        println!(
            "seed {seed}: {}",
            reason.lines().take(6).collect::<Vec<_>>().join(" | ")
        );
    }
    assert!(failed.is_empty(), "{} of {count} seeds fail", failed.len());
}

/// The same seed does the same things in the same order.
#[test]
fn a_seed_replays_exactly() {
    for seed in 1000..1020 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
