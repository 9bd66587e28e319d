// SPDX-License-Identifier: Apache-2.0
//! All queues of a store, and what they share.
//!
//! There may be hundreds of thousands, most of them idle. A handle of an idle queue is small and holds neither a
//! mapping nor a descriptor; the files of a queue are listed when somebody reads from it, and mapped for writing only
//! when it gets many messages. How many queues have their files at hand is bounded, and those that nobody uses give
//! them up.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use crate::{
    batch_queue::Units, config::Config, consume_queue::Queue, env::Env, log_dirs::Homes,
    signal::Signal, watermark::Watermarks,
};

/// Bytes of entries that may wait in memory for being written, over all queues.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// Queues of one topic, in order of their ids. Light queues are alone in their topic.
#[derive(Debug, Default)]
pub(crate) struct Ids(SmallVec<[Arc<Queue>; 1]>);

impl Ids {
    pub(crate) fn get(&self, id: i32) -> Option<&Arc<Queue>> {
        // Ids are dense, mostly.
        if let Some(queue) = usize::try_from(id).ok().and_then(|at| self.0.get(at))
            && queue.id() == id
        {
            return Some(queue);
        }
        let at = self.0.binary_search_by_key(&id, |queue| queue.id()).ok()?;
        self.0.get(at)
    }

    pub(crate) fn insert(&mut self, queue: Arc<Queue>) {
        match self.0.binary_search_by_key(&queue.id(), |known| known.id()) {
            Ok(at) => self.0[at] = queue,
            Err(at) => self.0.insert(at, queue),
        }
    }

    pub(crate) fn values(&self) -> std::slice::Iter<'_, Arc<Queue>> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives back room for queues that are not there.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }
}

/// Queues by topic and id.
pub(crate) type QueueTable = HashMap<Arc<str>, Ids>;

/// All queues, in an order that does not depend on chance.
pub(crate) fn sorted(table: &QueueTable) -> Vec<Arc<Queue>> {
    let mut topics: Vec<_> = table.iter().collect();
    topics.sort_unstable_by_key(|(name, _)| *name);
    let queues = topics.into_iter().flat_map(|(_, ids)| ids.values());
    queues.cloned().collect()
}

/// The queue of that name in a table, made if it is not there.
pub(crate) fn queue_in(
    table: &mut QueueTable,
    shared: &Arc<Shared>,
    topic: &str,
    id: i32,
) -> Result<Arc<Queue>, crate::AppendError> {
    if let Some(queue) = table.get(topic).and_then(|ids| ids.get(id)) {
        return Ok(Arc::clone(queue));
    }
    let topic = match table.get_key_value(topic) {
        Some((known, _)) => Arc::clone(known),
        None => topic.into(),
    };
    let queue = Queue::create(Arc::clone(&topic), id, Arc::clone(shared))?;
    table.entry(topic).or_default().insert(Arc::clone(&queue));
    Ok(queue)
}

/// What the queues of a store share.
pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) marks: Arc<Watermarks>,
    /// The root of the store.
    pub(crate) root: PathBuf,
    /// Bytes of one consume queue file.
    pub(crate) file_bytes: u64,
    pub(crate) log_file_bytes: u64,
    /// Bytes of one file of a queue of batches.
    pub(crate) unit_file_bytes: u64,
    /// Topics whose queues are queues of batches.
    batch_topics: RwLock<HashSet<Arc<str>>>,
    /// Where the log is.
    pub(crate) homes: Arc<Homes>,
    /// Delays of the delay levels.
    pub(crate) delay_levels: Vec<i64>,
    /// Queues that may have their files at hand at once.
    open_max: usize,
    /// Queues with their files at hand, those that came first in front.
    open: Mutex<VecDeque<Arc<Queue>>>,
    /// Bytes of entries that wait in memory for being written.
    pending: AtomicUsize,
    /// How far the units of queues of batches go, by the address of the queue, which is its own as long as it lives. Few
    /// queues are of that kind, so it is not theirs.
    units: Mutex<HashMap<usize, Arc<Mutex<Units>>>>,
    /// Queues that will soon need room.
    asks: Mutex<Vec<Arc<Queue>>>,
    /// Wakes the thread that makes room.
    pub(crate) prepare_signal: Signal,
}

/// The handle of the store, or of a start that has not made one yet: when it goes, the queues that are kept at hand go.
#[derive(Debug)]
pub(crate) struct SharedOwner(Arc<Shared>);

impl SharedOwner {
    pub(crate) fn new(shared: Arc<Shared>) -> SharedOwner {
        SharedOwner(shared)
    }
}

impl std::ops::Deref for SharedOwner {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for SharedOwner {
    fn drop(&mut self) {
        self.0.forget();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        config: &Config,
        env: &Env,
        marks: &Arc<Watermarks>,
        homes: &Arc<Homes>,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            env: env.clone(),
            marks: Arc::clone(marks),
            root: config.dir.clone(),
            file_bytes: u64::from(config.queue_file_entries) * crate::layout::ENTRY_BYTES as u64,
            log_file_bytes: config.commit_log_file_bytes,
            unit_file_bytes: u64::from(config.batch_queue_file_entries)
                * crate::batch_queue::UNIT_BYTES as u64,
            batch_topics: RwLock::new(
                config
                    .batch_topics
                    .iter()
                    .map(|topic| topic.as_str().into())
                    .collect(),
            ),
            homes: Arc::clone(homes),
            delay_levels: config.delay_levels.clone(),
            open_max: config.open_queues.max(1),
            open: Mutex::default(),
            pending: AtomicUsize::new(0),
            units: Mutex::default(),
            asks: Mutex::default(),
            prepare_signal: Signal::default(),
        })
    }

    /// Whether queues of a topic are queues of batches.
    pub(crate) fn is_batch_topic(&self, topic: &str) -> bool {
        let topics = self.batch_topics.read();
        !topics.is_empty() && topics.contains(topic)
    }

    /// Makes the queues of a topic queues of batches, those that are made from now on.
    pub(crate) fn add_batch_topic(&self, topic: &str) {
        if !self.is_batch_topic(topic) {
            self.batch_topics.write().insert(topic.into());
        }
    }

    pub(crate) fn remove_batch_topic(&self, topic: &str) {
        self.batch_topics.write().remove(topic);
    }

    /// How far the units of a queue of batches go.
    pub(crate) fn units_of(&self, queue: &Queue) -> Arc<Mutex<Units>> {
        let address = std::ptr::from_ref(queue).addr();
        Arc::clone(self.units.lock().entry(address).or_default())
    }

    /// Forgets the units of a queue that goes.
    pub(crate) fn forget_units_of(&self, queue: &Queue) {
        let address = std::ptr::from_ref(queue).addr();
        self.units.lock().remove(&address);
    }

    #[inline]
    pub(crate) fn add_pending(&self, bytes: usize) {
        self.pending.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub_pending(&self, bytes: usize) {
        self.pending.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether so much waits in memory that more must not.
    pub(crate) fn has_much_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed) > PENDING_BYTES_MAX
    }

    /// Notes that a queue has its files at hand; queues that were not used for long give theirs up if there are too
    /// many.
    pub(crate) fn opened(&self, queue: Arc<Queue>) {
        self.open.lock().push_back(queue);
        self.close_surplus(4);
    }

    /// Lets queues give up their files while too many have them, at most `most`. Some may be in use: then a few more
    /// than wanted are open until the keeper has written what they wait for.
    pub(crate) fn close_surplus(&self, most: usize) {
        let mut victims: SmallVec<[Arc<Queue>; 4]> = SmallVec::new();
        {
            let mut open = self.open.lock();
            let mut tries = 2 * open.len().min(most.saturating_mul(16));
            while open.len() > self.open_max && victims.len() < most && tries > 0 {
                tries -= 1;
                let Some(first) = open.pop_front() else { break };
                if first.take_touched() {
                    open.push_back(first);
                } else {
                    victims.push(first);
                }
            }
        }
        for victim in victims {
            if !victim.give_up_files() {
                self.open.lock().push_back(victim);
            }
        }
    }

    /// Lets queues give up their files that were not used since this was last called.
    pub(crate) fn close_idle(&self) {
        let idle: Vec<Arc<Queue>> = {
            let mut open = self.open.lock();
            let (idle, used) = std::mem::take(&mut *open)
                .into_iter()
                .partition(|queue| !queue.take_touched());
            let idle: VecDeque<Arc<Queue>> = idle;
            *open = used;
            idle.into()
        };
        for queue in idle {
            if !queue.give_up_files() {
                self.open.lock().push_back(queue);
            }
        }
    }

    /// Lets go of all queues: they hold this, too.
    fn forget(&self) {
        let open = std::mem::take(&mut *self.open.lock());
        let asks = std::mem::take(&mut *self.asks.lock());
        drop((open, asks));
    }

    /// How many queues have their files at hand.
    pub(crate) fn open_count(&self) -> usize {
        self.open.lock().len()
    }

    /// Asks for room for a queue, to be made in the background.
    #[cold]
    pub(crate) fn ask_for_room(&self, queue: Arc<Queue>) {
        self.asks.lock().push(queue);
        self.prepare_signal.kick();
    }

    /// Queues that have asked for room.
    pub(crate) fn take_asks(&self) -> Vec<Arc<Queue>> {
        std::mem::take(&mut *self.asks.lock())
    }
}
