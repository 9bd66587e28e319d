// SPDX-License-Identifier: Apache-2.0

//! What the trials of one run share.

use std::{
    env,
    io::{self, Write as _},
    process,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aerobee_compat_tests::{Cluster, Driver, Encoding, Kind, Plan, Process, Sdk};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use crate::{
    access::Guarded,
    results::{self, Outcome},
};

/// How long one scenario may take on a machine that is busy with others.
pub(crate) const SCENARIO_LIMIT: Duration = Duration::from_secs(240);

/// How often a trial that failed must pass to count as unsteady only.
const AGAIN: usize = 3;

/// How many trials of a run may be unsteady.
const UNSTEADY: usize = 3;

/// Every SDK, and Java's in both header encodings.
pub(crate) const JAVA: Sdk = Sdk::Java(Encoding::Json);
pub(crate) const JAVA_ROCKETMQ: Sdk = Sdk::Java(Encoding::Rocketmq);
pub(crate) const OLD_JAVA: Sdk = Sdk::OldJava(Encoding::Json);
/// Java with TLS.
pub(crate) const JAVA_TLS: Sdk = Sdk::JavaTls;
pub(crate) const GO: Sdk = Sdk::Go;
pub(crate) const GO_PLAIN: Sdk = Sdk::GoPlain;
pub(crate) const PYTHON: Sdk = Sdk::Python;
pub(crate) const NODE: Sdk = Sdk::Node;
pub(crate) const RUST: Sdk = Sdk::Rust;

/// Things that start when first wanted. A start that failed is not tried again: every trial tells of it. Building an SDK
/// program takes a while; only who wants that one waits for it.
pub(crate) struct Started<K, V>(Mutex<Vec<(K, Place<V>)>>);

/// Where what was started is, or will be.
type Place<V> = Arc<OnceLock<Start<V>>>;

/// What came of a start; the reason of a failure is told again and again.
type Start<V> = Result<Arc<V>, String>;

impl<K: Copy + PartialEq, V> Started<K, V> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(crate) fn get(
        &self,
        key: K,
        start: impl FnOnce() -> Result<Arc<V>, Failed>,
    ) -> Result<Arc<V>, Failed> {
        let place = self.place(key);
        let value = place.get_or_init(|| {
            start().map_err(|failed| failed.message().unwrap_or("does not start").to_owned())
        });
        value.clone().map_err(Failed::from)
    }

    fn place(&self, key: K) -> Place<V> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, place)) = all.iter().find(|(known, _)| *known == key) {
            return Arc::clone(place);
        }
        let place = Arc::default();
        all.push((key, Arc::clone(&place)));
        place
    }
}

/// How many trials may have servers of their own at a time: more starve a machine of two cores, and then Apache's
/// broker refuses what waited too long.
const OWN_CLUSTERS: usize = 3;

/// The right to start servers of the trial's own; it is given back by drop, so take it before them.
pub(crate) struct Slot<'a>(&'a World);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.slots.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.slot_free.notify_one();
    }
}

/// The servers and SDK programs of this run.
pub(crate) struct World {
    /// Whose servers are judged: `AEROBEE_JUDGE=apache` turns the tests on Apache's own.
    pub(crate) judged: Kind,
    drivers: Started<Sdk, Driver>,
    clusters: Started<Kind, Cluster>,
    proxies: Started<Kind, Process>,
    guarded: Started<(), Guarded>,
    prefixes: AtomicUsize,
    unsteady: AtomicUsize,
    slots: Mutex<usize>,
    slot_free: Condvar,
    dir: Mutex<Option<Arc<TempDir>>>,
}

impl World {
    pub(crate) fn from_env() -> Self {
        let judged = match env::var("AEROBEE_JUDGE").as_deref() {
            Ok("apache") => Kind::Apache,
            Ok("aerobee" | "") | Err(_) => Kind::Aerobee,
            Ok(other) => panic!("AEROBEE_JUDGE is '{other}'; it may be aerobee or apache"),
        };
        Self {
            judged,
            drivers: Started::new(),
            clusters: Started::new(),
            proxies: Started::new(),
            guarded: Started::new(),
            prefixes: AtomicUsize::new(0),
            unsteady: AtomicUsize::new(0),
            slots: Mutex::new(OWN_CLUSTERS),
            slot_free: Condvar::new(),
            dir: Mutex::new(None),
        }
    }

    /// The running program on an SDK that trials share.
    pub(crate) fn driver(&self, sdk: Sdk) -> Result<Arc<Driver>, Failed> {
        self.drivers
            .get(sdk, || Ok(Driver::start(sdk, self.dir()?.path())?))
    }

    /// A program of the trial's own, to be killed. The value goes before the directory it works in.
    pub(crate) fn own_driver(&self, sdk: Sdk) -> Result<Arc<Driver>, Failed> {
        let folder = self.dir()?.path().join(self.prefix());
        Ok(Driver::start(sdk, &folder)?)
    }

    /// The cluster of servers of that kind that trials share.
    pub(crate) fn cluster(&self, kind: Kind) -> Result<Arc<Cluster>, Failed> {
        self.clusters
            .get(kind, || Ok(Arc::new(Cluster::start(Plan::of(kind))?)))
    }

    /// The same cluster, with a proxy of the same kind in front of it.
    pub(crate) fn proxied(&self, kind: Kind) -> Result<Arc<Cluster>, Failed> {
        let cluster = self.cluster(kind)?;
        self.proxies
            .get(kind, || Ok(Arc::new(cluster.proxy(kind)?)))?;
        Ok(cluster)
    }

    /// Judged servers that ask who asks; trials share them.
    pub(crate) fn guarded(&self) -> Result<Arc<Guarded>, Failed> {
        let judged = self.judged;
        self.guarded
            .get((), || Ok(Arc::new(Guarded::start(judged, judged)?)))
    }

    /// Waits until the trial may start servers of its own.
    pub(crate) fn slot(&self) -> Slot<'_> {
        let free = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .slot_free
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Slot(self)
    }

    /// A word with which no other trial's topics and groups begin.
    pub(crate) fn prefix(&self) -> String {
        format!(
            "t{}_{}",
            process::id(),
            self.prefixes.fetch_add(1, Ordering::Relaxed)
        )
    }

    fn dir(&self) -> Result<Arc<TempDir>, Failed> {
        let mut dir = self.dir.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*dir {
            return Ok(Arc::clone(made));
        }
        let mut made = TempDir::with_prefix("aerobee-sdk-")?;
        made.disable_cleanup(env::var_os("AEROBEE_KEEP").is_some());
        Ok(Arc::clone(dir.insert(Arc::new(made))))
    }

    /// A trial that is named and gets this world.
    pub(crate) fn trial(
        self: &Arc<Self>,
        name: impl Into<String>,
        run: impl FnOnce(&Self) -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        self.judge(name.into(), move |world| {
            run(world).map(|()| Outcome::Passed)
        })
    }

    /// A trial on servers that others share, which an SDK that races with itself may spoil: when it fails it must
    /// pass [`AGAIN`] times in a row, and not more than [`UNSTEADY`] trials of a run may need that. Of what must
    /// outlive a crash or a change of brokers nothing is excused so: use [`World::trial`].
    pub(crate) fn scenario(
        self: &Arc<Self>,
        name: impl Into<String>,
        run: impl Fn(&Self) -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        self.judge(name.into(), move |world| {
            let Err(first) = run(world) else {
                return Ok(Outcome::Passed);
            };
            let passes_again = (0..AGAIN).all(|_| run(world).is_ok());
            if !passes_again || world.unsteady.fetch_add(1, Ordering::Relaxed) >= UNSTEADY {
                return Err(first);
            }
            let reason = first.message().unwrap_or("no reason");
            let _ = writeln!(
                io::stderr(),
                "unsteady, failed once and passed {AGAIN} times then: {reason}"
            );
            Ok(Outcome::Unsteady)
        })
    }

    fn judge(
        self: &Arc<Self>,
        name: String,
        run: impl FnOnce(&Self) -> Result<Outcome, Failed> + Send + 'static,
    ) -> Trial {
        let world = Arc::clone(self);
        Trial::test(name.clone(), move || {
            // If it panics it has failed.
            results::note(&name, Outcome::Failed);
            let begin = Instant::now();
            let outcome = run(&world);
            results::took(&name, begin.elapsed());
            results::note(&name, outcome?);
            Ok(())
        })
    }
}
