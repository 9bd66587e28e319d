// SPDX-License-Identifier: Apache-2.0
//! One scrape at a time, on a thread that gives way to all others.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use aerobee_daemon::exposition::{Exposition, Metric};
use hyper::body::{Body, Bytes, Frame, SizeHint};
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
    text: Text,
}

/// An answer, in parts. It is shared by those who read it.
#[derive(Debug, Clone)]
pub(super) struct Text(Arc<Vec<String>>);

/// One of its parts.
struct Part {
    text: Text,
    at: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.text.0[self.at].as_bytes()
    }
}

/// An answer on its way: a part at a time, so that connections of clients which the same thread serves
/// have their turn between two.
#[derive(Debug)]
pub(super) struct Sending {
    text: Text,
    next: usize,
    has_rested: bool,
}

impl Text {
    pub(super) fn send(self) -> Sending {
        Sending {
            text: self,
            next: 0,
            has_rested: true,
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        if !self.has_rested {
            self.has_rested = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let text = self.text.clone();
        let part = Bytes::from_owner(Part {
            text,
            at: self.next,
        });
        self.next += 1;
        self.has_rested = false;
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.text.0.len()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.text.0[self.next..].iter();
        SizeHint::with_exact(left.map(|part| part.len() as u64).sum())
    }
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
    pub(super) async fn text(&self) -> Result<Text, ScrapeError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = &*kept
            && Instant::now() < kept.until
        {
            return Ok(kept.text.clone());
        }
        let (done, text) = oneshot::channel();
        // Unless somebody is still reading it.
        let spare = kept
            .take()
            .and_then(|kept| Arc::try_unwrap(kept.text.0).ok());
        let spare = spare.unwrap_or_default();
        let subject = Arc::clone(&self.subject);
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                // Where that is not allowed it runs as all others do.
                let _ = setpriority_process(None, NICE);
                // Whoever asked may be gone.
                let _ = done.send(make(&subject, spare));
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

fn make(subject: &Subject, spare: Vec<String>) -> (Text, Duration) {
    let started = Instant::now();
    let mut out = Exposition::over(spare);
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
    (Text(Arc::new(out.into_parts())), took)
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
