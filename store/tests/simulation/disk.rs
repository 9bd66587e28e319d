// SPDX-License-Identifier: Apache-2.0
//! A disk that forgets. The store works on real files of a directory in memory; beside them this keeps what a real disk
//! would be sure to have: the content of each file as of its last sync, and the names of each directory as of its own.
//!
//! A power cut leaves of everything newer an arbitrary part: pages whole, torn at 512 bytes, or not at all; lengths old
//! or new; names of a directory in any mixture that keeps the order of changes to one name. A failed sync leaves its
//! pages clean, as Linux does: some have reached the disk, the others never will unless they are written again, and
//! the next sync says that all is well.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use aerobee_store::{Faults, Operation, Time};
use parking_lot::Mutex;

use crate::random::Random;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

type Tree = BTreeMap<PathBuf, Node>;

/// A change of names that its directory has not yet synced.
#[derive(Debug, Clone)]
enum Change {
    Add(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Change {
    fn names(&self) -> [&Path; 2] {
        match self {
            Change::Add(path, _) | Change::Remove(path) => [path, path],
            Change::Rename(from, to, _) => [from, to],
        }
    }

    fn apply(&self, tree: &mut Tree) {
        match self {
            Change::Add(path, node) => {
                tree.insert(path.clone(), *node);
            }
            Change::Remove(path) => {
                tree.remove(path);
            }
            Change::Rename(from, to, inode) => {
                if tree.get(from) == Some(&Node::File(*inode)) {
                    tree.remove(from);
                }
                tree.insert(to.clone(), Node::File(*inode));
            }
        }
    }
}

#[derive(Debug)]
struct Inode {
    file: File,
    /// What the disk is sure to have.
    durable: Vec<u8>,
    /// Sectors that a failed sync left clean, with the content that is not on the disk.
    lost: BTreeMap<usize, Vec<u8>>,
}

impl Inode {
    fn content(&self) -> Vec<u8> {
        let len = self.file.metadata().unwrap().len();
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// Takes sectors of `content`, no longer than what the disk has, over to it: those that `chosen` names of the dirty
    /// ones.
    fn write_back(&mut self, content: &[u8], mut chosen: impl FnMut(usize) -> bool) {
        if self.durable == content && self.lost.is_empty() {
            return;
        }
        for (index, sector) in content.chunks(SECTOR).enumerate() {
            let at = index * SECTOR;
            if self.is_clean(index, sector) || !chosen(index) {
                continue;
            }
            self.durable[at..at + sector.len()].copy_from_slice(sector);
            self.lost.remove(&index);
        }
    }

    /// Whether the kernel sees nothing to write in a sector.
    fn is_clean(&self, index: usize, sector: &[u8]) -> bool {
        if self
            .lost
            .get(&index)
            .is_some_and(|lost| lost.as_slice() == sector)
        {
            return true;
        }
        let at = index * SECTOR;
        match self.durable.get(at..) {
            Some(rest) if rest.len() >= sector.len() => rest[..sector.len()] == *sector,
            // Behind the end that the disk knows there are zeros.
            _ => sector.iter().all(|byte| *byte == 0),
        }
    }

    /// A sync that went well.
    fn synced(&mut self, content: &[u8]) {
        self.durable.resize(content.len(), 0);
        self.write_back(content, |_| true);
    }

    /// A sync that failed.
    fn sync_failed(&mut self, random: &mut Random) {
        let content = self.content();
        if random.percent(50) {
            self.durable.resize(content.len(), 0);
        }
        let content = content[..content.len().min(self.durable.len())].to_vec();
        let part = *random.one_of(&[0, 50, 100]);
        for (index, sector) in content.chunks(SECTOR).enumerate() {
            if self.is_clean(index, sector) {
                continue;
            }
            if random.percent(part) {
                self.write_back(&content, |other| other == index);
            } else {
                self.lost.insert(index, sector.to_vec());
            }
        }
    }

    /// What is there after a power cut.
    fn after_power_cut(&mut self, random: &mut Random) -> Vec<u8> {
        let content = self.content();
        if random.percent(50) || content.len() == self.durable.len() {
            self.durable.resize(content.len(), 0);
        }
        let (whole, torn) = *random.one_of(&[(0, 0), (100, 0), (50, 0), (40, 30), (0, 100)]);
        let len = self.durable.len();
        let mut page = (usize::MAX, 0);
        let mut choices = random.fork();
        self.write_back(&content[..content.len().min(len)], |index| {
            if page.0 != index * SECTOR / PAGE {
                page = (index * SECTOR / PAGE, choices.below(100));
            }
            page.1 < whole || (page.1 < whole + torn && choices.percent(50))
        });
        self.durable.truncate(len);
        self.durable.clone()
    }
}

/// Kinds of operations that may fail for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Syncs of files or directories end with EIO.
    Sync,
    /// Writes through a descriptor end with EIO.
    Write,
    /// Reads end with EIO.
    Read,
    /// What takes space ends with ENOSPC.
    Full,
    /// Files cannot be opened or mapped: too many are.
    Open,
}

impl Trouble {
    fn meets(self, operation: Operation, is_new: bool) -> bool {
        match self {
            Trouble::Sync => matches!(operation, Operation::Sync | Operation::SyncDir),
            Trouble::Write => operation == Operation::Write,
            Trouble::Read => operation == Operation::Read,
            Trouble::Full => match operation {
                Operation::CreateDir | Operation::Create => is_new,
                Operation::Allocate => true,
                _ => false,
            },
            Trouble::Open => matches!(
                operation,
                Operation::Open | Operation::Map | Operation::List
            ),
        }
    }

    fn error(self) -> io::Error {
        let errno = match self {
            Trouble::Sync | Trouble::Write | Trouble::Read => 5,
            Trouble::Full => 28,
            Trouble::Open => 24,
        };
        io::Error::from_raw_os_error(errno)
    }
}

/// How a run of the store ends when not by closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process is gone, the page cache stays.
    Kill,
    /// So is the page cache.
    PowerCut,
}

#[derive(Debug, Default)]
struct State {
    random: Option<Random>,
    inodes: Vec<Inode>,
    live: Tree,
    durable: Tree,
    pending: Vec<Change>,
    /// Files as they were when the syncs under way began.
    syncing: Vec<(PathBuf, Vec<u8>)>,
    operations: u64,
    /// Hash of all operations.
    trace: u64,
    crash_at: Option<(u64, Crash)>,
    dead: Option<Crash>,
    image: Option<Vec<(PathBuf, Option<Vec<u8>>)>>,
    trouble: Option<(Trouble, u64)>,
    failed_syncs: u64,
    boots: u64,
    short_writes: bool,
    slow: bool,
    verbose: bool,
}

/// Called while a sync of the log is under way.
pub type Meanwhile = Arc<dyn Fn() + Send + Sync>;

/// The disk.
pub struct Disk {
    root: PathBuf,
    state: Mutex<State>,
    pub time: Arc<Clock>,
    meanwhile: Mutex<Option<Meanwhile>>,
}

/// A clock that the simulation sets.
#[derive(Debug, Default)]
pub struct Clock {
    pub wall: AtomicI64,
    pub monotonic: AtomicU64,
}

impl Clock {
    pub fn pass(&self, millis: u64) {
        self.monotonic.fetch_add(millis, Ordering::Relaxed);
        self.wall
            .fetch_add(i64::try_from(millis).unwrap(), Ordering::Relaxed);
    }
}

impl Time for Clock {
    fn wall_millis(&self) -> i64 {
        self.wall.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Ordering::Relaxed))
    }
}

impl Disk {
    /// An empty disk below a directory that exists.
    pub fn new(root: PathBuf, random: Random, verbose: bool) -> Disk {
        Disk {
            root,
            state: Mutex::new(State {
                random: Some(random),
                verbose,
                ..State::default()
            }),
            time: Arc::new(Clock {
                wall: AtomicI64::new(1_700_000_000_000),
                monotonic: AtomicU64::new(0),
            }),
            meanwhile: Mutex::new(None),
        }
    }

    pub fn set_meanwhile(&self, meanwhile: Option<Meanwhile>) {
        *self.meanwhile.lock() = meanwhile;
    }

    pub fn set_trouble(&self, trouble: Option<(Trouble, u64)>) {
        self.state.lock().trouble = trouble;
    }

    pub fn set_habits(&self, slow: bool, short_writes: bool) {
        let mut state = self.state.lock();
        (state.slow, state.short_writes) = (slow, short_writes);
    }

    /// Ends the run at one of the next operations.
    pub fn crash_within(&self, operations: u64, crash: Crash) {
        let mut state = self.state.lock();
        state.crash_at = Some((state.operations + operations, crash));
    }

    /// No more trouble, and no crash ahead.
    pub fn calm(&self) {
        let mut state = self.state.lock();
        (state.trouble, state.crash_at) = (None, None);
    }

    /// Ends the run now.
    pub fn crash(&self, crash: Crash) {
        self.state.lock().crash(crash);
    }

    pub fn is_dead(&self) -> bool {
        self.state.lock().dead.is_some()
    }

    /// Syncs of log, queues or checkpoint that failed since the last start.
    pub fn failed_syncs(&self) -> u64 {
        self.state.lock().failed_syncs
    }

    /// Number of operations and a hash of all of them.
    pub fn trace(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.operations, state.trace)
    }

    /// The kernel writes something back on its own.
    pub fn write_back(&self) {
        let mut state = self.state.lock();
        let mut random = state.random().fork();
        let live: Vec<usize> = state.live.values().filter_map(Node::inode).collect();
        if live.is_empty() {
            return;
        }
        let inode = *random.one_of(&live);
        let content = state.inodes[inode].content();
        let part = *random.one_of(&[30, 100]);
        let inode = &mut state.inodes[inode];
        if random.percent(50) {
            inode.durable.resize(content.len(), 0);
        }
        let len = inode.durable.len().min(content.len());
        inode.write_back(&content[..len], |_| random.percent(part));
    }

    /// Gets ready for the next run. The store is gone; what it left is what the crash leaves, if there was one.
    pub fn restart(&self) -> Option<Crash> {
        let mut state = self.state.lock();
        let dead = state.dead.take();
        state.crash_at = None;
        state.trouble = None;
        state.failed_syncs = 0;
        state.syncing.clear();
        if let Some(image) = state.image.take() {
            state.load(&self.root, image);
            state.boots += 1;
        }
        dead
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root)
            .unwrap_or(Path::new(""))
            .to_owned()
    }
}

impl Node {
    fn inode(&self) -> Option<usize> {
        match self {
            Node::Dir => None,
            Node::File(inode) => Some(*inode),
        }
    }
}

impl State {
    fn random(&mut self) -> &mut Random {
        self.random.as_mut().unwrap()
    }

    fn crash(&mut self, crash: Crash) {
        if self.dead.is_some() {
            return;
        }
        if self.verbose {
            println!("  {:6} {crash:?}", self.operations);
        }
        self.dead = Some(crash);
        if crash == Crash::PowerCut {
            self.image = Some(self.image_after_power_cut());
        }
    }

    fn image_after_power_cut(&mut self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut random = self.random().fork();
        let mut tree = self.durable.clone();
        let mut frozen: BTreeSet<PathBuf> = BTreeSet::new();
        let part = *random.one_of(&[0, 100, 50, 80]);
        for change in &self.pending {
            let names = change.names();
            if names.iter().any(|name| frozen.contains(*name)) || !random.percent(part) {
                frozen.extend(names.map(Path::to_owned));
            } else {
                change.apply(&mut tree);
            }
        }
        let has_parents = |path: &Path| {
            path.ancestors()
                .skip(1)
                .filter(|ancestor| !ancestor.as_os_str().is_empty())
                .all(|ancestor| tree.get(ancestor) == Some(&Node::Dir))
        };
        let mut image = Vec::new();
        let mut contents: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (path, node) in &tree {
            if !has_parents(path) {
                continue;
            }
            let content = node.inode().map(|inode| {
                contents
                    .entry(inode)
                    .or_insert_with(|| self.inodes[inode].after_power_cut(&mut random))
                    .clone()
            });
            image.push((path.clone(), content));
        }
        image
    }

    /// Makes the directory what an image says. Files that are still open are others from now on.
    fn load(&mut self, root: &Path, image: Vec<(PathBuf, Option<Vec<u8>>)>) {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        self.inodes.clear();
        self.pending.clear();
        self.live.clear();
        for (path, content) in image {
            let real = root.join(&path);
            let node = match content {
                None => {
                    fs::create_dir(&real).unwrap();
                    Node::Dir
                }
                Some(content) => {
                    fs::write(&real, &content).unwrap();
                    self.add_inode(&real, content)
                }
            };
            self.live.insert(path, node);
        }
        self.durable = self.live.clone();
    }

    fn add_inode(&mut self, real: &Path, durable: Vec<u8>) -> Node {
        self.inodes.push(Inode {
            file: File::open(real).unwrap(),
            durable,
            lost: BTreeMap::new(),
        });
        Node::File(self.inodes.len() - 1)
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    fn inode(&mut self, path: &Path) -> Option<&mut Inode> {
        let inode = self.live.get(path)?.inode()?;
        self.inodes.get_mut(inode)
    }

    /// A directory's names are durable as they are.
    fn sync_dir(&mut self, dir: &Path) {
        let (synced, pending): (Vec<Change>, Vec<Change>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|change| change.names().iter().any(|name| name.parent() == Some(dir)));
        for change in synced {
            change.apply(&mut self.durable);
        }
        self.pending = pending;
    }

    fn note(&mut self, operation: Operation, path: &Path) {
        self.operations += 1;
        let text = format!("{operation:?} {}", path.display());
        if self.verbose {
            println!("  {:6} {text}", self.operations);
        }
        // FNV-1a
        for byte in text.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

impl Faults for Disk {
    fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        let path = self.relative(path);
        {
            let mut state = self.state.lock();
            if state.dead.is_some() {
                return Err(io::Error::other("the process is gone"));
            }
            state.note(operation, &path);
            if let Some((at, crash)) = state.crash_at
                && state.operations >= at
            {
                state.crash(crash);
                return Err(io::Error::other("the process is gone"));
            }
            let is_new = !state.live.contains_key(&path);
            if let Some((trouble, percent)) = state.trouble
                && trouble.meets(operation, is_new)
                && state.random().percent(percent)
            {
                if state.verbose {
                    println!("  {:6} fails: {}", "", trouble.error());
                }
                if matches!(operation, Operation::Sync | Operation::SyncDir) {
                    // A file of the log that is not yet in use is made again.
                    let is_data = ["consumequeue", "batchentries", "batchconsumequeue"]
                        .iter()
                        .any(|dir| path.starts_with(dir))
                        || path.starts_with("checkpoint")
                        || (path.starts_with("commitlog") && operation == Operation::Sync);
                    state.failed_syncs += u64::from(is_data);
                    let mut random = state.random().fork();
                    if let Some(inode) = state.inode(&path) {
                        inode.sync_failed(&mut random);
                    }
                }
                return Err(trouble.error());
            }
            if operation == Operation::Sync {
                if state.slow && state.random().percent(20) {
                    let millis = state.random().below(8_000);
                    self.time.pass(millis);
                }
                let content = state.inode(&path).map(|inode| inode.content());
                state.syncing.push((path.clone(), content.unwrap()));
            }
        }
        if operation == Operation::Sync && path.starts_with("commitlog") {
            let meanwhile = self.meanwhile.lock().clone();
            if let Some(meanwhile) = meanwhile {
                meanwhile();
            }
        }
        Ok(())
    }

    fn after(&self, operation: Operation, real: &Path) {
        let path = self.relative(real);
        let mut state = self.state.lock();
        if state.dead.is_some() {
            return;
        }
        match operation {
            Operation::Sync => {
                if let Some((of, content)) = state.syncing.pop() {
                    assert_eq!(of, path);
                    if let Some(inode) = state.inode(&path) {
                        inode.synced(&content);
                    }
                }
            }
            Operation::SyncDir => state.sync_dir(&path),
            Operation::Create if !state.live.contains_key(&path) => {
                let node = state.add_inode(real, Vec::new());
                state.change(Change::Add(path, node));
            }
            Operation::CreateDir => {
                let missing: Vec<PathBuf> = path
                    .ancestors()
                    .filter(|dir| !dir.as_os_str().is_empty() && !state.live.contains_key(*dir))
                    .map(Path::to_owned)
                    .collect();
                for dir in missing.into_iter().rev() {
                    state.change(Change::Add(dir, Node::Dir));
                }
            }
            Operation::Remove => {
                let below: Vec<PathBuf> = state
                    .live
                    .keys()
                    .filter(|known| known.starts_with(&path))
                    .cloned()
                    .collect();
                for gone in below.into_iter().rev() {
                    state.change(Change::Remove(gone));
                }
            }
            _ => {}
        }
    }

    fn after_rename(&self, from: &Path, to: &Path) {
        let (from, to) = (self.relative(from), self.relative(to));
        let mut state = self.state.lock();
        if state.dead.is_some() {
            return;
        }
        if let Some(inode) = state.live.get(&from).and_then(Node::inode) {
            state.change(Change::Rename(from, to, inode));
        }
    }

    fn written(&self, path: &Path, at: u64, len: u64) {
        let path = self.relative(path);
        let mut state = self.state.lock();
        if let Some(inode) = state.inode(&path) {
            // What is written again is dirty again.
            let at = usize::try_from(at).unwrap();
            let len = usize::try_from(len).unwrap();
            for index in at / SECTOR..(at + len).div_ceil(SECTOR) {
                inode.lost.remove(&index);
            }
        }
    }

    fn boot(&self) -> Option<String> {
        Some(self.state.lock().boots.to_string())
    }

    fn write_limit(&self, _path: &Path, len: usize) -> usize {
        let mut state = self.state.lock();
        if state.short_writes && len > 1 && state.random().percent(30) {
            let limit = state.random().range(1..len as u64);
            return usize::try_from(limit).unwrap();
        }
        len
    }
}
