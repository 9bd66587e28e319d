// SPDX-License-Identifier: Apache-2.0

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    error::{Error, Result, Trying},
    process::{Process, tail},
    sdk::Sdk,
};

/// More lines than any scenario says; one that says more is broken.
const MAX_STEPS: usize = 5_000_000;
const SHOWN_STEPS: usize = 12;

/// One line that a scenario said.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it is about.
    pub name: Box<str>,
    /// The message's body, for the steps `acked` and `got`.
    pub body: Box<str>,
    /// The queue of the message.
    pub queue: i64,
    /// The queue offset of the message.
    pub offset: i64,
    /// The whole line, for every other step.
    line: Option<Box<str>>,
}

impl Step {
    fn read(line: &str, value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().into();
        let name: Box<str> = text("step");
        let line = (!matches!(&*name, "acked" | "got")).then(|| line.into());
        let number = |key: &str| value[key].as_i64().unwrap_or(-1);
        Self {
            name,
            body: text("body"),
            queue: number("queue"),
            offset: number("offset"),
            line,
        }
    }

    /// The property of the line with that name, as text; empty when there is none.
    pub fn text(&self, key: &str) -> String {
        let value: Value = self
            .line
            .as_deref()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        value[key].as_str().unwrap_or_default().to_owned()
    }
}

/// What one scenario said so far, and how it ended.
#[derive(Debug, Default)]
struct Said {
    steps: Vec<Step>,
    end: Option<std::result::Result<(), String>>,
}

#[derive(Debug, Default)]
struct Record {
    said: Mutex<Said>,
    more: Condvar,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, how: std::result::Result<(), String>) {
        self.lock().end.get_or_insert(how);
        self.more.notify_all();
    }
}

type Records = Arc<Mutex<HashMap<u64, Arc<Record>>>>;

/// A running program on an SDK, which performs scenarios, many at a time.
#[derive(Debug)]
pub struct Driver {
    sdk: Sdk,
    process: Mutex<Option<Process>>,
    stdin: Mutex<ChildStdin>,
    records: Records,
    next: AtomicU64,
    log: PathBuf,
}

impl Driver {
    /// Builds the program when that is needed and starts it; `dir` gets its files.
    pub fn start(sdk: Sdk, dir: &Path) -> Result<Arc<Self>> {
        let home = dir.join(format!("sdk-{sdk}"));
        std::fs::create_dir_all(&home).trying(|| format!("make {}", home.display()))?;
        let log = home.join("errors.log");
        let mut command = sdk.command(&home)?;
        command
            .arg("serve")
            .current_dir(&home)
            .env("HOME", &home)
            .env_remove("NAMESRV_ADDR");
        let (process, stdin, stdout) =
            Process::spawn_piped(&format!("program on the SDK {sdk}"), command, &log)?;
        let records = Records::default();
        let reading = Arc::clone(&records);
        thread::spawn(move || read_lines(stdout, &reading));
        let (process, stdin) = (Mutex::new(Some(process)), Mutex::new(stdin));
        Ok(Arc::new(Self {
            sdk,
            process,
            stdin,
            records,
            next: AtomicU64::new(1),
            log,
        }))
    }

    /// Starts a scenario on the cluster. `prefix` must be unused there: topics and groups get their names by it.
    pub fn begin(
        self: &Arc<Self>,
        scenario: &str,
        on: &Cluster,
        with: &[(&str, &str)],
    ) -> Result<Running> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(Record::default());
        lock(&self.records).insert(id, Arc::clone(&record));
        let mut parameters = json!({
            "namesrv": on.namesrv_addr(), "broker": on.broker_addr(), "endpoints": on.proxy_addr(),
        });
        for (key, value) in with {
            parameters[*key] = json!(value);
        }
        self.say(&json!({"id": id, "scenario": scenario, "with": parameters}))?;
        Ok(Running {
            id,
            scenario: scenario.to_owned(),
            driver: Arc::clone(self),
            record,
        })
    }

    /// Performs a scenario to its end.
    pub fn perform(
        self: &Arc<Self>,
        scenario: &str,
        on: &Cluster,
        with: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Vec<Step>> {
        self.begin(scenario, on, with)?.finish(limit)
    }

    fn say(&self, line: &Value) -> Result<()> {
        let mut text = line.to_string();
        text.push('\n');
        let written = lock(&self.stdin).write_all(text.as_bytes());
        written.map_err(|source| Error::Driver {
            name: self.sdk.to_string(),
            why: format!("takes no more scenarios ({source})"),
            tail: tail(&self.log),
        })
    }

    /// Kills the program (SIGKILL), as a crash of a client.
    pub fn kill(&self) -> Result<()> {
        lock(&self.process).take().map_or(Ok(()), Process::kill)
    }
}

/// Sorts what the program says by scenario, until it ends.
fn read_lines(stdout: ChildStdout, records: &Records) {
    for line in BufReader::new(stdout)
        .lines()
        .map_while(std::result::Result::ok)
    {
        let Ok(value) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let id = value["id"].as_u64().unwrap_or(0);
        let Some(record) = lock(records).get(&id).cloned() else {
            continue;
        };
        if value["done"] == true {
            lock(records).remove(&id);
            let error = value["error"]
                .as_str()
                .map_or_else(|| "failed".to_owned(), str::to_owned);
            record.end(if value["ok"] == true {
                Ok(())
            } else {
                Err(error)
            });
            continue;
        }
        let mut said = record.lock();
        if said.steps.len() < MAX_STEPS {
            said.steps.push(Step::read(&line, &value));
            record.more.notify_all();
        } else {
            said.end
                .get_or_insert(Err(format!("said more than {MAX_STEPS} lines")));
        }
    }
    for record in lock(records).drain().map(|(_, record)| record) {
        record.end(Err("the SDK program is gone".to_owned()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A scenario under way.
#[derive(Debug)]
pub struct Running {
    id: u64,
    scenario: String,
    driver: Arc<Driver>,
    record: Arc<Record>,
}

impl Running {
    /// Tells a scenario that goes on until told to end.
    pub fn stop(&self) -> Result<()> {
        self.driver.say(&json!({"stop": self.id}))
    }

    /// How many steps it said so far.
    pub fn count(&self) -> usize {
        self.record.lock().steps.len()
    }

    /// The steps from that number on, as soon as there are any; an error when none come or the scenario failed.
    pub fn steps_from(&self, number: usize, limit: Duration) -> Result<Vec<Step>> {
        let (said, _) = self
            .record
            .more
            .wait_timeout_while(self.record.lock(), limit, |said| {
                said.steps.len() <= number && said.end.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        match said.steps.get(number..) {
            Some(new) if !new.is_empty() => Ok(new.to_vec()),
            _ => {
                let why = match &said.end {
                    Some(Err(why)) => why.clone(),
                    Some(Ok(())) => "ended".to_owned(),
                    None => format!("said nothing for {limit:?}"),
                };
                Err(self.failed(&why, &said))
            }
        }
    }

    /// Shows every step, in order and as it comes, to `satisfied` until that says that nothing is missing.
    pub fn wait_until(&self, limit: Duration, satisfied: impl FnMut(&Step) -> bool) -> Result<()> {
        self.wait_until_from(0, limit, satisfied)
    }

    /// The same for the steps from that number on.
    pub fn wait_until_from(
        &self,
        from: usize,
        limit: Duration,
        mut satisfied: impl FnMut(&Step) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut seen = from;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let steps = self.steps_from(seen, left)?;
            seen += steps.len();
            for step in &steps {
                if satisfied(step) {
                    return Ok(());
                }
            }
        }
    }

    /// Waits for its end and returns its steps, or the error that it reports.
    pub fn finish(self, limit: Duration) -> Result<Vec<Step>> {
        let (mut said, waited) = self
            .record
            .more
            .wait_timeout_while(self.record.lock(), limit, |said| said.end.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && said.end.is_none() {
            return Err(self.failed(&format!("did not end in {limit:?}"), &said));
        }
        match said.end.take() {
            Some(Err(why)) => Err(self.failed(&why, &said)),
            _ => Ok(std::mem::take(&mut said.steps)),
        }
    }

    fn failed(&self, why: &str, said: &Said) -> Error {
        let first = said.steps.len().saturating_sub(SHOWN_STEPS);
        let shown = said.steps[first..].iter().map(|step| match &step.line {
            Some(line) => format!("  {line}\n"),
            None => format!(
                "  {} {} queue {} offset {}\n",
                step.name, step.body, step.queue, step.offset
            ),
        });
        let log = tail(&self.driver.log);
        let steps = shown.chain([log]).collect();
        Error::Scenario {
            scenario: self.scenario.clone(),
            sdk: self.driver.sdk.to_string(),
            why: why.to_owned(),
            steps,
        }
    }
}
