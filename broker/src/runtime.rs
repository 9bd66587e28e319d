// SPDX-License-Identifier: Apache-2.0
//! What a broker tells of itself at run time (code 28). Apache: `AdminBrokerProcessor`,
//! `DefaultMessageStore.getRuntimeInfo`, `StoreStatsService`.
//!
//! Messages stored are not counted when they are stored: the offsets of the queues say how many
//! there are, and a sample of them every ten seconds says how fast they come. What pulls fetched is
//! counted once a pull.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aerobee_message::topic as names;
use aerobee_remoting::code::version;
use aerobee_store::Store;
use parking_lot::Mutex;
use rustix::fs::statvfs;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    config::Config,
    latency::{Latencies, Taken},
    schedule::progress::Progress,
    timer::{Gate, Standing},
};

/// Time between samples.
const SAMPLE_PERIOD: Duration = Duration::from_secs(10);
/// Samples kept: those of ten minutes, and the one before.
const SAMPLES_MAX: usize = 61;
/// Samples back for the three rates shown: 10 s, 1 min, 10 min.
const SPANS: [usize; 3] = [1, 6, 60];

/// What went in and out, and how long that took.
#[derive(Debug, Default)]
pub struct Traffic {
    found: AtomicU64,
    missed: AtomicU64,
    messages: AtomicU64,
    /// How long it took to store messages, and to read some.
    pub(crate) put: Latencies,
    pub(crate) get: Latencies,
    put_failed: AtomicU64,
}

impl Traffic {
    /// A message was not stored.
    pub(crate) fn put_failed(&self) {
        self.put_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that were not stored.
    pub(crate) fn failed_puts(&self) -> u64 {
        self.put_failed.load(Ordering::Relaxed)
    }

    /// A pull was answered with so many messages; none is a miss.
    #[inline]
    pub fn count(&self, messages: u32) {
        if messages == 0 {
            self.missed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.found.fetch_add(1, Ordering::Relaxed);
            self.messages.fetch_add(messages.into(), Ordering::Relaxed);
        }
    }
}

/// All counts at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    stored: u64,
    found: u64,
    missed: u64,
    fetched: u64,
    /// Timer messages sorted in, and delivered.
    timers: (u64, u64),
}

/// Tells of the running broker.
#[derive(Debug)]
pub struct Runtime {
    store: Arc<Store>,
    /// Where the disk is looked at.
    directory: PathBuf,
    traffic: Arc<Traffic>,
    /// What was stored in the last whole minute, and when it ended.
    minute: Mutex<Option<Taken>>,
    /// Messages stored and fetched at the last two midnights, the older first.
    mornings: Mutex<[(u64, u64); 2]>,
    booted: SystemTime,
    started: Instant,
    /// What was in the store at the start: messages, and bytes of the log.
    stored_before: u64,
    bytes_before: i64,
    samples: Mutex<VecDeque<Sample>>,
    timer: OnceLock<Arc<Gate>>,
    levels: OnceLock<Arc<Progress>>,
}

impl Runtime {
    /// Starts to tell.
    pub fn new(store: Arc<Store>, directory: PathBuf) -> Arc<Self> {
        let stored_before = messages_in(&store);
        let bytes_before = store.max_physical();
        let runtime = Self {
            store,
            directory,
            traffic: Arc::default(),
            minute: Mutex::default(),
            mornings: Mutex::default(),
            booted: SystemTime::now(),
            started: Instant::now(),
            stored_before,
            bytes_before,
            samples: Mutex::default(),
            timer: OnceLock::new(),
            levels: OnceLock::new(),
        };
        runtime.samples.lock().push_back(runtime.sample());
        Arc::new(runtime)
    }

    /// Where reads and writes are counted.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Tells of the timer too.
    pub(crate) fn show_timer(&self, gate: &Arc<Gate>) {
        // Set once, at the start.
        let _ = self.timer.set(Arc::clone(gate));
    }

    /// Tells of the delay levels too.
    pub(crate) fn show_levels(&self, progress: &Arc<Progress>) {
        // Set once, at the start.
        let _ = self.levels.set(Arc::clone(progress));
    }

    fn timer(&self) -> Standing {
        self.timer
            .get()
            .map_or_else(Standing::default, |gate| gate.standing())
    }

    /// Takes samples. Ends with the task that runs it.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = interval(SAMPLE_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let (mut count, mut day) = (0_usize, self.day());
        loop {
            ticks.tick().await;
            let sample = self.sample();
            {
                let mut samples = self.samples.lock();
                samples.push_back(sample);
                if samples.len() > SAMPLES_MAX {
                    samples.pop_front();
                }
            }
            count += 1;
            if count.is_multiple_of(SPANS[1]) {
                *self.minute.lock() = Some(self.traffic.put.take());
            }
            let today = self.day();
            if today != day {
                day = today;
                let stored = sample.stored.saturating_sub(self.stored_before);
                let mut mornings = self.mornings.lock();
                *mornings = [mornings[1], (stored, sample.fetched)];
            }
        }
    }

    /// Days since 1970; a day begins at midnight UTC.
    fn day(&self) -> i64 {
        self.store.clock().millis().div_euclid(86_400_000)
    }

    fn sample(&self) -> Sample {
        let timer = self.timer();
        Sample {
            timers: (timer.enqueued.unsigned_abs(), timer.dequeued.unsigned_abs()),
            at: Instant::now(),
            stored: messages_in(&self.store),
            found: self.traffic.found.load(Ordering::Relaxed),
            missed: self.traffic.missed.load(Ordering::Relaxed),
            fetched: self.traffic.messages.load(Ordering::Relaxed),
        }
    }

    /// The table of code 28. Every value is text; sizes and times are as in Apache's.
    pub fn table(&self, config: &Config) -> BTreeMap<String, String> {
        let mut table = Table::default();
        self.put_process(&mut table, config);
        self.put_traffic(&mut table);
        self.put_log(&mut table);
        self.put_disk(&mut table);
        self.put_timer(&mut table);
        self.put_levels(&mut table);
        put_absent(&mut table);
        table.0
    }

    fn put_process(&self, table: &mut Table, config: &Config) {
        let booted = self.booted.duration_since(UNIX_EPOCH).unwrap_or_default();
        table.put("bootTimestamp", booted.as_millis());
        table.put("runtime", elapsed(self.started.elapsed()));
        table.put("brokerActive", true);
        table.put("brokerVersion", version::V5_5_0);
        table.put("brokerVersionDesc", version::name(version::V5_5_0));
        table.put(
            "startAcceptSendRequestTimeStamp",
            config.broker.start_accept_send_request_time_stamp,
        );
        // Not of Apache: what an operator wrote in vain.
        let vain: Vec<_> = config.unknown().collect();
        if !vain.is_empty() {
            table.put("keysWithoutEffect", vain.join(","));
        }
    }

    fn put_traffic(&self, table: &mut Table) {
        let now = self.sample();
        let stored = now.stored.saturating_sub(self.stored_before);
        let bytes = self.store.max_physical() - self.bytes_before;
        table.put("putMessageTimesTotal", stored.max(1));
        table.put("putMessageSizeTotal", bytes);
        #[expect(clippy::cast_precision_loss, reason = "an average for people to read")]
        table.put(
            "putMessageAverageSize",
            double(bytes as f64 / stored.max(1) as f64),
        );
        let [yesterday, today] = *self.mornings.lock();
        table.put("msgPutTotalYesterdayMorning", yesterday.0);
        table.put("msgPutTotalTodayMorning", today.0);
        table.put("msgGetTotalYesterdayMorning", yesterday.1);
        table.put("msgGetTotalTodayMorning", today.1);
        table.put("putMessageEntireTimeMax", self.traffic.put.longest_millis());
        table.put("getMessageEntireTimeMax", self.traffic.get.longest_millis());
        let failed = self.traffic.put_failed.load(Ordering::Relaxed);
        table.put("putMessageFailedTimes", failed);
        let minute = self.minute.lock().clone();
        let distribution = minute.as_ref().map(|minute| minute.distribution.as_str());
        table.put("putMessageDistributeTime", distribution.unwrap_or("null"));
        let minute = minute.unwrap_or_default();
        table.put("putLatency99", format_args!("{:.2}", minute.p99_millis));
        table.put("putLatency999", format_args!("{:.2}", minute.p999_millis));
        table.put("msgPutTotalTodayNow", stored);
        table.put("msgGetTotalTodayNow", now.fetched);
        let samples = self.samples.lock();
        table.put("putTps", rates(&samples, &now, |sample| sample.stored));
        table.put("getFoundTps", rates(&samples, &now, |sample| sample.found));
        table.put("getMissTps", rates(&samples, &now, |sample| sample.missed));
        table.put(
            "getTotalTps",
            rates(&samples, &now, |sample| sample.found + sample.missed),
        );
        let transferred = rates(&samples, &now, |sample| sample.fetched);
        // Old tools know the misspelt name only.
        table.put("getTransferedTps", &transferred);
        table.put("getTransferredTps", transferred);
    }

    fn put_log(&self, table: &mut Table) {
        let end = self.store.max_physical();
        table.put("commitLogMinOffset", self.store.min_physical());
        table.put("commitLogMaxOffset", end);
        table.put(
            "remainHowManyDataToFlush",
            readable(end - self.store.flushed()),
        );
        table.put("pageCacheLockTimeMills", self.store.lock_held_millis());
        table.put("earliestMessageTimeStamp", self.store.earliest_store_time());
        // Queue entries are written with the message.
        table.put("dispatchBehindBytes", 0);
    }

    fn put_timer(&self, table: &mut Table) {
        let timer = self.timer();
        let stored = self.store.queue(names::WHEEL_TIMER, 0);
        let behind = stored.map_or(0, |queue| queue.max_offset() - timer.queue_offset);
        // Without a wheel nothing is behind.
        let late = match timer.read_time {
            0 => 0,
            time => (self.store.clock().millis() - time).max(0) / 1000,
        };
        table.put("timerReadBehind", late);
        table.put("timerOffsetBehind", behind.max(0));
        table.put("timerCongestNum", timer.waiting.max(0));
        let now = self.sample();
        let samples = self.samples.lock();
        let first = |text: String| text.split(' ').next().unwrap_or("0.0").to_owned();
        table.put(
            "timerEnqueueTps",
            first(rates(&samples, &now, |sample| sample.timers.0)),
        );
        table.put(
            "timerDequeueTps",
            first(rates(&samples, &now, |sample| sample.timers.1)),
        );
    }

    /// How many messages of each delay level were delivered and stored; nothing of levels that were never used.
    /// Apache: `ScheduleMessageService.buildRunningStats`.
    fn put_levels(&self, table: &mut Table) {
        let Some(progress) = self.levels.get() else {
            return;
        };
        let queues = self.store.queues();
        for queue in queues
            .iter()
            .filter(|queue| &**queue.topic() == names::SCHEDULE)
        {
            let (level, end) = (queue.id() + 1, queue.max_offset());
            if end > 0 {
                let key = format!("scheduleMessageOffset_{level}");
                table.put(&key, format_args!("{},{end}", progress.get(level)));
            }
        }
    }

    fn put_disk(&self, table: &mut Table) {
        let Ok(disk) = statvfs(&self.directory) else {
            for key in ["commitLogDiskRatio", "consumeQueueDiskRatio"] {
                table.put(key, "-1.0");
            }
            return;
        };
        let bytes =
            |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
        let mut least = None;
        let dirs = self.store.log_dirs();
        for dir in &dirs {
            let ratio = statvfs(dir).ok().map(|disk| used_ratio(&disk));
            if dirs.len() > 1 {
                let shown = ratio.map_or_else(|| "-1.0".to_owned(), double);
                table.put(&format!("commitLogDiskRatio_{}", dir.display()), shown);
            }
            least = least
                .into_iter()
                .chain(ratio)
                .min_by(|one: &f64, other| one.total_cmp(other));
        }
        let of_root = used_ratio(&disk);
        table.put("commitLogDiskRatio", double(least.unwrap_or(of_root)));
        table.put("consumeQueueDiskRatio", double(of_root));
        let (total, free) = (
            readable(bytes(disk.f_blocks)),
            readable(bytes(disk.f_bfree)),
        );
        table.put(
            "commitLogDirCapacity",
            format_args!("Total : {total}, Free : {free}."),
        );
    }
}

/// How much of a disk is used, as `df` has it.
fn used_ratio(disk: &rustix::fs::StatVfs) -> f64 {
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    let ratio = used as f64 / (used + disk.f_bavail).max(1) as f64;
    ratio
}

/// What this broker has none of, and tools nevertheless want to see: requests run where they are
/// read, so none waits in a queue, and the other parts are not there or not switched on.
fn put_absent(table: &mut Table) {
    for pool in ["send", "pull", "litePull", "query", "ack"] {
        for what in ["Size", "Capacity", "HeadWaitTimeMills"] {
            table.put(&format!("{pool}ThreadPoolQueue{what}"), 0);
        }
    }
    for key in [
        "EndTransactionQueueSize",
        "EndTransactionThreadPoolQueueCapacity",
        "dispatchMaxBuffer",
        "remainTransientStoreBufferNumbs",
    ] {
        table.put(key, 0);
    }
}

#[derive(Default)]
struct Table(BTreeMap<String, String>);

impl Table {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "values are made where they are put"
    )]
    fn put(&mut self, key: &str, value: impl ToString) {
        self.0.insert(key.to_owned(), value.to_string());
    }
}

/// Messages ever stored, as the queues count them.
fn messages_in(store: &Store) -> u64 {
    let queues = store.queues();
    let counts = queues
        .iter()
        .map(|queue| u64::try_from(queue.max_offset()).unwrap_or(0));
    counts.sum()
}

/// Rates per second over the three spans; a span that is longer than the samples reach is as long
/// as they reach.
fn rates(samples: &VecDeque<Sample>, now: &Sample, count: impl Fn(&Sample) -> u64) -> String {
    let rate = |span: usize| {
        let then = samples.get(samples.len().saturating_sub(span))?;
        let seconds = now.at.saturating_duration_since(then.at).as_secs_f64();
        let counted = count(now).saturating_sub(count(then));
        #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
        (seconds > 0.0).then(|| counted as f64 / seconds)
    };
    let texts = SPANS.map(|span| double(rate(span).unwrap_or(0.0)));
    texts.join(" ")
}

/// As Java prints a double that is not very large or small.
fn double(value: f64) -> String {
    format!("{value:?}")
}

/// As `MixAll.humanReadableByteCount` of Apache writes it.
fn readable(bytes: i64) -> String {
    let bytes = bytes.max(0);
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut shown = bytes as f64 / 1024.0;
    let mut units = "KMGTPE".chars().peekable();
    while shown >= 1024.0 && units.clone().nth(1).is_some() {
        shown /= 1024.0;
        units.next();
    }
    let unit = units.peek().copied().unwrap_or('E');
    format!("{shown:.1} {unit}iB")
}

/// As `StoreStatsService.getFormatRuntime` of Apache writes it.
fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "[ {} days, {} hours, {} minutes, {} seconds ]",
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (bytes, text) in [
            (-5, "0 B"),
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_595, "12.3 KiB"),
            (1 << 20, "1.0 MiB"),
            (107_374_182_400, "100.0 GiB"),
            (i64::MAX, "8.0 EiB"),
        ] {
            assert_eq!(readable(bytes), text);
        }
    }

    #[test]
    fn times_are_readable() {
        let time = Duration::from_secs(2 * 86_400 + 3 * 3_600 + 4 * 60 + 5);
        assert_eq!(elapsed(time), "[ 2 days, 3 hours, 4 minutes, 5 seconds ]");
    }

    #[test]
    fn rates_are_of_three_spans() {
        let start = Instant::now();
        let sample = |number: u64, stored| Sample {
            at: start + SAMPLE_PERIOD * u32::try_from(number).unwrap(),
            stored,
            found: 0,
            missed: 0,
            fetched: 0,
            timers: (0, 0),
        };
        // One message a second, and a hundred a second in the last ten.
        let samples: VecDeque<Sample> = (0..61).map(|number| sample(number, number * 10)).collect();
        let now = sample(61, 600 + 1000);
        assert_eq!(
            rates(&samples, &now, |sample| sample.stored),
            "100.0 17.5 2.65"
        );
        let young = VecDeque::from([sample(0, 0)]);
        assert_eq!(
            rates(&young, &sample(0, 5), |sample| sample.stored),
            "0.0 0.0 0.0"
        );
    }
}
