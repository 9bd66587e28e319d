// SPDX-License-Identifier: Apache-2.0
//! One scrape at a time, on a thread that gives way to all others.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aerobee_daemon::exposition::{Exposition, Metric};
use hyper::body::Bytes;
use rustix::process::setpriority_process;
use tokio::sync::{Mutex, oneshot};

use super::{Subject, process};

/// An answer is kept so many times as long as it took to make: whoever asks more often costs no
/// more than a share of one processor.
const KEEP: u32 = 10;
/// But no longer than this.
const KEEP_MAX: Duration = Duration::from_secs(5);
/// The lowest priority: requests go first wherever both want a processor.
const NICE: i32 = 19;

const BUILD_INFO: Metric = Metric::gauge("aerobee_build_info", "What runs; the value is 1.");
const SCRAPE_SECONDS: Metric = Metric::gauge(
    "aerobee_scrape_duration_seconds",
    "Time that it took to make this answer.",
);
const LEFT_OUT: Metric = Metric::gauge(
    "aerobee_metrics_left_out",
    "Series that a metric has beyond its bound (metricsOtelCardinalityLimit).",
);

/// Metrics of the process, whatever its roles.
#[cfg(test)]
pub(super) const ALL: &[Metric] = &[BUILD_INFO, SCRAPE_SECONDS, LEFT_OUT];

/// Makes and keeps the answers.
pub(super) struct Scraper {
    subject: Arc<Subject>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    until: Instant,
    text: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    #[error("no thread for the metrics: {0}")]
    Thread(std::io::Error),
    #[error("the metrics could not be read; the log says why")]
    Lost,
}

impl Scraper {
    pub(super) fn new(subject: Arc<Subject>) -> Self {
        Self {
            subject,
            kept: Mutex::default(),
        }
    }

    /// The metrics, as they are or were a moment ago. Others that ask meanwhile wait for the same
    /// answer.
    pub(super) async fn text(&self) -> Result<Bytes, ScrapeError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = &*kept
            && Instant::now() < kept.until
        {
            return Ok(kept.text.clone());
        }
        let (done, text) = oneshot::channel();
        let subject = Arc::clone(&self.subject);
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                // Where that is not allowed it runs as all others do.
                let _ = setpriority_process(None, NICE);
                // Whoever asked may be gone.
                let _ = done.send(make(&subject));
            })
            .map_err(ScrapeError::Thread)?;
        // A panic of the thread drops the sender.
        let (text, took) = text.await.map_err(|_| ScrapeError::Lost)?;
        *kept = Some(Kept {
            until: Instant::now() + (took * KEEP).min(KEEP_MAX),
            text: text.clone(),
        });
        Ok(text)
    }
}

fn make(subject: &Subject) -> (Bytes, Duration) {
    let started = Instant::now();
    let mut out = Exposition::default();
    let mut info = out.metric(&BUILD_INFO);
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", option_env!("AEROBEE_REVISION").unwrap_or("")),
        ("target", TARGET),
    ];
    info.add(&labels, 1);
    drop(info);
    process::write(&mut out);
    for source in subject.sources() {
        source.write(&mut out);
    }
    let left_out = out.left_out().to_vec();
    let mut samples = out.metric(&LEFT_OUT);
    for (metric, series) in left_out {
        samples.add(&[("metric", metric)], series);
    }
    drop(samples);
    let took = started.elapsed();
    out.single(&SCRAPE_SECONDS, took.as_secs_f64());
    (Bytes::from(out.into_text()), took)
}

/// What it was built for.
#[cfg(target_arch = "x86_64")]
const TARGET: &str = if cfg!(target_env = "musl") {
    "x86_64-linux-musl"
} else {
    "x86_64-linux-gnu"
};
/// What it was built for.
#[cfg(not(target_arch = "x86_64"))]
const TARGET: &str = std::env::consts::ARCH;
