// SPDX-License-Identifier: Apache-2.0
//! Receipts of messages that are being consumed, renewed until the client is done (Apache:
//! `proxy/service/receipt/DefaultReceiptHandleManager.java`).
//!
//! The client keeps the handle that it was given first; here stands what the broker calls it now. A
//! broken stream or connection changes nothing, only a client that is gone does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use tokio::sync::Semaphore;

use crate::{
    brokers::Brokers,
    clients::Clients,
    config::Config,
    handle::Handle,
    routes::Routes,
    status::Failure,
    time::now_ms,
    v2::Code,
    wire::{ChangeInvisibleTime, ChangeInvisibleTimeReply},
};

/// Most receipts renewed; more messages come back by themselves.
const RECEIPTS_MAX: usize = 1_000_000;
/// New invisible times, by the number of renewals, ms.
const STEPS_MS: [i64; 6] = [60_000, 180_000, 300_000, 600_000, 1_800_000, 3_600_000];
/// A client without stream or call for so long is gone, and its messages go to others.
const CLIENT_GRACE: Duration = Duration::from_secs(35);
/// Renewals under way at once.
const RENEWALS_MAX: usize = 1024;
/// Longest wait for a renewal that is under way.
const BUSY_WAIT: Duration = Duration::from_secs(3);

/// A message that a client consumes.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) client: Arc<str>,
    pub(crate) group: Arc<str>,
    pub(crate) topic: Arc<str>,
    /// As the broker knows it now.
    pub(crate) current: Handle,
    /// Waits of the group by attempt, for the end of renewal, ms.
    pub(crate) last_wait_ms: i64,
    began: i64,
    renewals: usize,
    failures: u32,
    /// A renewal is under way.
    busy: bool,
}

impl Receipt {
    /// Whose it is, if its message is of a lite topic.
    fn lite_holder(&self) -> Option<Holder> {
        self.current.lite_topic.as_ref()?;
        Some((Arc::clone(&self.client), Arc::clone(&self.group)))
    }
}

/// Group, and the handle that the client has.
type Key = (Arc<str>, String);
/// Client and group.
type Holder = (Arc<str>, Arc<str>);

/// All receipts.
#[derive(Debug)]
pub(crate) struct Receipts {
    table: DashMap<Key, Receipt>,
    /// How many of lite topics a client of a group has.
    lite: DashMap<Holder, i64>,
    brokers: Arc<Brokers>,
    routes: Arc<Routes>,
    clients: Arc<Clients>,
    config: Arc<Config>,
}

impl Receipts {
    pub(crate) fn new(
        brokers: Arc<Brokers>,
        routes: Arc<Routes>,
        clients: Arc<Clients>,
        config: Arc<Config>,
    ) -> Self {
        Self {
            table: DashMap::new(),
            lite: DashMap::new(),
            brokers,
            routes,
            clients,
            config,
        }
    }

    /// Keeps a message invisible until it is taken off.
    pub(crate) fn keep(&self, handle_text: String, handle: Handle, of: &Consumption<'_>) {
        if self.table.len() >= RECEIPTS_MAX {
            return;
        }
        let receipt = Receipt {
            client: Arc::clone(of.client),
            group: Arc::clone(of.group),
            topic: Arc::clone(of.topic),
            current: handle,
            last_wait_ms: of.last_wait_ms,
            began: now_ms(),
            renewals: 0,
            failures: 0,
            busy: false,
        };
        self.insert((Arc::clone(of.group), handle_text), receipt);
    }

    /// Messages of lite topics that are renewed for a client of a group.
    pub(crate) fn lite_of(&self, client: &str, group: &str) -> i64 {
        if self.lite.is_empty() {
            return 0;
        }
        let holder = (Arc::from(client), Arc::from(group));
        self.lite.get(&holder).map_or(0, |count| *count)
    }

    fn insert(&self, key: Key, receipt: Receipt) {
        if let Some(holder) = receipt.lite_holder() {
            *self.lite.entry(holder).or_default() += 1;
        }
        if let Some(before) = self.table.insert(key, receipt) {
            self.uncount(&before);
        }
    }

    fn remove_if(&self, key: &Key, is_right: impl FnOnce(&Receipt) -> bool) -> Option<Receipt> {
        let (_, receipt) = self.table.remove_if(key, |_, receipt| is_right(receipt))?;
        self.uncount(&receipt);
        Some(receipt)
    }

    fn remove(&self, key: &Key) -> Option<Receipt> {
        self.remove_if(key, |_| true)
    }

    fn uncount(&self, receipt: &Receipt) {
        if let Some(holder) = receipt.lite_holder() {
            self.lite.remove_if_mut(&holder, |_, count| {
                *count -= 1;
                *count <= 0
            });
        }
    }

    /// Ends the renewal of a handle; returns what the broker calls it now. Waits for a renewal that
    /// is under way: the name that the broker knows is changing.
    pub(crate) async fn take(&self, group: &str, handle_text: &str) -> Option<Receipt> {
        if self.table.is_empty() {
            // As long as no client wants its messages renewed.
            return None;
        }
        let key = (Arc::from(group), handle_text.to_owned());
        let deadline = Instant::now() + BUSY_WAIT;
        loop {
            if let Some(receipt) = self.remove_if(&key, |receipt| !receipt.busy) {
                return Some(receipt);
            }
            if !self.table.contains_key(&key) {
                return None;
            }
            if Instant::now() >= deadline {
                return self.remove(&key);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Goes on with a receipt whose change or acknowledgement failed: the client will try again.
    pub(crate) fn put_back(&self, handle_text: &str, receipt: Receipt) {
        let key = (Arc::clone(&receipt.group), handle_text.to_owned());
        self.insert(key, receipt);
    }

    /// Lets the messages of clients go that left.
    pub(crate) async fn release(&self, client: &str, group: Option<&str>) {
        let gone: Vec<_> = self
            .table
            .iter()
            .filter(|entry| &*entry.client == client)
            .filter(|entry| group.is_none_or(|group| &*entry.group == group))
            .map(|entry| entry.key().clone())
            .collect();
        for key in gone {
            if let Some(receipt) = self.remove(&key) {
                let wait = self.config.invisible_time_millis_when_clear;
                self.change_quietly(&receipt, wait).await;
            }
        }
    }

    /// Lets everything go: the proxy ends.
    pub(crate) async fn release_all(&self) {
        let keys: Vec<_> = self.table.iter().map(|entry| entry.key().clone()).collect();
        for key in keys {
            if let Some(receipt) = self.remove(&key) {
                let wait = self.config.invisible_time_millis_when_clear;
                self.change_quietly(&receipt, wait).await;
            }
        }
    }

    /// Renews what is due, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let period = Duration::from_millis(self.config.renew_schedule_period_millis.max(100));
        let places = Arc::new(Semaphore::new(RENEWALS_MAX));
        loop {
            tokio::time::sleep(period).await;
            self.renew_due(&places).await;
        }
    }

    async fn renew_due(self: &Arc<Self>, places: &Arc<Semaphore>) {
        let due_before = now_ms() + self.config.renew_ahead_time_millis;
        let mut due = Vec::new();
        for mut entry in self.table.iter_mut() {
            if !entry.busy && entry.current.visible_at() <= due_before {
                entry.busy = true;
                due.push(entry.key().clone());
            }
        }
        for key in due {
            let receipts = Arc::clone(self);
            // The semaphore is never closed.
            let place = Arc::clone(places).acquire_owned().await.ok();
            tokio::spawn(async move {
                receipts.renew(key).await;
                drop(place);
            });
        }
    }

    async fn renew(&self, key: Key) {
        let Some(receipt) = self.table.get(&key).map(|entry| entry.clone()) else {
            return;
        };
        let gone = !self.clients.is_present(&receipt.client, CLIENT_GRACE);
        let over = now_ms() - receipt.began >= self.config.renew_max_time_millis;
        if gone || over {
            self.remove(&key);
            let wait = if gone {
                self.config.invisible_time_millis_when_clear
            } else {
                receipt.last_wait_ms
            };
            return self.change_quietly(&receipt, wait).await;
        }
        let wait = STEPS_MS[receipt.renewals.min(STEPS_MS.len() - 1)];
        let changed = self.change(&receipt, wait).await;
        let Some(mut entry) = self.table.get_mut(&key) else {
            // Acknowledged or changed meanwhile, by the old name; nothing is left to do.
            return;
        };
        entry.busy = false;
        match changed {
            Ok(handle) => {
                entry.current = handle;
                entry.renewals += 1;
                entry.failures = 0;
            }
            Err(failure) => {
                entry.failures += 1;
                let stale = failure.code() == Code::InvalidReceiptHandle;
                if stale || entry.failures >= self.config.max_renew_retry_times {
                    tracing::debug!(error = %failure, "a receipt is renewed no more");
                    drop(entry);
                    self.remove(&key);
                }
            }
        }
    }

    /// Changes the invisible time of a message, from now, and returns its new handle.
    pub(crate) async fn change(
        &self,
        receipt: &Receipt,
        invisible_ms: i64,
    ) -> Result<Handle, Failure> {
        // Of a lite topic it would mean all messages that are out.
        let suspend = receipt.current.lite_topic.is_none().then_some(true);
        change_invisible(
            &self.brokers,
            &self.routes,
            (&receipt.group, &receipt.topic),
            &receipt.current,
            (invisible_ms, suspend),
        )
        .await
    }

    /// The same where nobody waits for the outcome: the message comes back by itself anyway.
    async fn change_quietly(&self, receipt: &Receipt, invisible_ms: i64) {
        if let Err(error) = self.change(receipt, invisible_ms).await {
            tracing::debug!(%error, "a message comes back at the end of its invisible time");
        }
    }
}

/// Who consumes what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consumption<'a> {
    pub(crate) client: &'a Arc<str>,
    pub(crate) group: &'a Arc<str>,
    pub(crate) topic: &'a Arc<str>,
    pub(crate) last_wait_ms: i64,
}

/// Changes the invisible time of a message, from now, and returns its new handle.
pub(crate) async fn change_invisible(
    brokers: &Brokers,
    routes: &Arc<Routes>,
    (group, topic): (&str, &str),
    handle: &Handle,
    (invisible_ms, suspend): (i64, Option<bool>),
) -> Result<Handle, Failure> {
    let address = routes
        .address(topic, &handle.broker)
        .await
        .map_err(Failure::of_receipt)?;
    let real_topic = handle.kind.topic(topic, group);
    let asked = ChangeInvisibleTime {
        consumer_group: group,
        topic: &real_topic,
        queue_id: handle.queue_id,
        extra_info: &handle.extra_info(),
        offset: handle.offset,
        invisible_time: invisible_ms,
        lite_topic: handle.lite_topic.as_deref(),
        suspend,
        broker_name: Some(&handle.broker),
    };
    let response = brokers
        .call(&address, &asked, &[])
        .await
        .map_err(Failure::of_receipt)?;
    let times: ChangeInvisibleTimeReply = response.header()?;
    if times.pop_time == 0 && times.invisible_time == 0 {
        // A message in order that was consumed already.
        return Ok(handle.clone());
    }
    Ok(handle.with_times(times.pop_time, times.invisible_time, times.revive_qid))
}
