// SPDX-License-Identifier: Apache-2.0
//! Phases of a run, and the threads that do it.

use std::{
    convert::Infallible,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Error, Figures,
    latency::Latencies,
    process,
    report::{Errors, ServerFigures},
};

/// How long answers are waited for when the load is over.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// How long a load runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Load before anything is measured.
    pub(crate) warmup: Duration,
    /// Load that is measured, at most.
    pub(crate) duration: Duration,
    /// The load ends earlier when so many messages were measured.
    pub(crate) count: Option<u64>,
}

/// The points in time at which a run goes on to its next phase; shared by its threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phases {
    pub(crate) start: Instant,
    /// From here on it is measured.
    warm: Instant,
    /// From here on nothing new is sent.
    end: Instant,
    /// Measured messages after which a thread ends.
    count: u64,
}

impl Phases {
    /// Phases from `start` on, the count divided among `threads`.
    pub(crate) fn new(start: Instant, times: Times, threads: usize) -> Self {
        let warm = start + times.warmup;
        Self {
            start,
            warm,
            end: warm + times.duration,
            count: times
                .count
                .map_or(u64::MAX, |count| count.div_ceil(threads.max(1) as u64)),
        }
    }

    /// When to give up on answers.
    pub(crate) fn give_up(&self) -> Instant {
        self.end + DRAIN
    }

    pub(crate) fn until_end(&self, now: Instant) -> Duration {
        self.end.saturating_duration_since(now)
    }

    fn is_measured(&self, at: Instant) -> bool {
        at >= self.warm && at < self.end
    }
}

/// What one thread has seen.
#[derive(Debug)]
pub(crate) struct Tally {
    phases: Phases,
    pub(crate) latencies: Latencies,
    /// Round trips beside the latencies, where a load has both.
    pub(crate) round_trips: Latencies,
    /// How late delayed messages came.
    pub(crate) lateness: Latencies,
    pub(crate) messages: u64,
    pub(crate) unsent: u64,
    pub(crate) errors: Errors,
    last: Option<Instant>,
}

impl Tally {
    pub(crate) fn new(phases: Phases) -> Self {
        Self {
            phases,
            latencies: Latencies::default(),
            round_trips: Latencies::default(),
            lateness: Latencies::default(),
            messages: 0,
            unsent: 0,
            errors: Errors::default(),
            last: None,
        }
    }

    /// Counts an answer that came at `arrived` and brought or took `messages`. Messages count by
    /// their arrival; a latency counts when its request belongs to the measured part, even when its
    /// answer comes later.
    pub(crate) fn answered(&mut self, started: Instant, arrived: Instant, messages: u64) {
        if self.phases.is_measured(started) {
            self.latencies
                .record(arrived.saturating_duration_since(started));
        }
        if self.phases.is_measured(arrived) && self.messages < self.phases.count {
            self.messages += messages;
            self.last = Some(arrived);
        }
    }

    /// Counts messages that arrived by `at`, whose latency is not of a request.
    pub(crate) fn arrived(&mut self, at: Instant, messages: u64) {
        self.messages += messages;
        self.last = Some(at);
    }

    /// Counts a round trip of the measured part.
    pub(crate) fn round_trip(&mut self, started: Instant, arrived: Instant) {
        if self.phases.is_measured(started) {
            self.round_trips
                .record(arrived.saturating_duration_since(started));
        }
    }

    /// Whether nothing new is to be sent.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.phases.end || self.messages >= self.phases.count
    }
}

/// One thread of a load.
pub(crate) trait Worker: Send {
    /// Runs until its tally says that it is over.
    fn run(self, phases: Phases) -> Result<Tally, Error>;
}

/// Runs the workers, each on a thread, and reads what the processes `pids` used meanwhile.
pub(crate) fn run<W: Worker>(
    load: String,
    workers: Vec<W>,
    times: Times,
    pids: &[u32],
) -> Result<Figures, Error> {
    let own = [std::process::id()];
    let phases = Phases::new(Instant::now(), times, workers.len());
    let mut figures = Figures::new(load);
    thread::scope(|scope| {
        let (running, ends) = mpsc::channel();
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let running = running.clone();
                scope.spawn(move || {
                    let _running = running;
                    worker.run(phases)
                })
            })
            .collect();
        drop(running);
        let usage = || Ok::<_, Error>((process::cpu_time(pids)?, process::cpu_time(&own)?));
        wait(&ends, phases.warm);
        let before = usage()?;
        wait(&ends, phases.end);
        let after = usage()?;
        let anonymous = process::anonymous_bytes(pids)?;
        let ended_at = Instant::now().min(phases.end);

        let mut last = phases.warm;
        for thread in threads {
            let tally = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            last = last.max(tally.last.unwrap_or(last));
            figures.add(&tally);
        }
        figures.elapsed = match times.count {
            Some(_) => last,
            None => ended_at,
        }
        .saturating_duration_since(phases.warm);
        figures.own_cpu = after.1.saturating_sub(before.1);
        figures.server = (!pids.is_empty()).then(|| ServerFigures {
            cpu: after.0.saturating_sub(before.0),
            anonymous_bytes: anonymous,
        });
        Ok(figures)
    })
}

/// Waits until `deadline`, or until all threads have ended, which drop their senders.
fn wait(ends: &mpsc::Receiver<Infallible>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    match ends.recv_timeout(left) {
        Err(_) => {}
        Ok(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_measured_part_counts() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let times = Times {
            warmup: second,
            duration: second,
            count: None,
        };
        let mut tally = Tally::new(Phases::new(start, times, 1));
        let at = |millis| start + Duration::from_millis(millis);
        tally.answered(at(0), at(500), 1);
        assert_eq!((tally.messages, tally.latencies.count()), (0, 0));
        tally.answered(at(900), at(1100), 1);
        assert_eq!((tally.messages, tally.latencies.count()), (1, 0));
        tally.answered(at(1200), at(1300), 1);
        assert_eq!((tally.messages, tally.latencies.count()), (2, 1));
        tally.answered(at(1900), at(2500), 1);
        assert_eq!((tally.messages, tally.latencies.count()), (2, 2));
        assert!(!tally.is_over(at(1999)));
        assert!(tally.is_over(at(2000)));
    }

    #[test]
    fn a_count_ends_a_run_and_is_shared_by_threads() {
        let start = Instant::now();
        let times = Times {
            warmup: Duration::ZERO,
            duration: Duration::from_secs(100),
            count: Some(5),
        };
        let mut tally = Tally::new(Phases::new(start, times, 2));
        for _ in 0..3 {
            assert!(!tally.is_over(start));
            tally.answered(start, start, 1);
        }
        assert!(tally.is_over(start));
    }
}
