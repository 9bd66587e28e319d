// SPDX-License-Identifier: Apache-2.0

//! What came of the trials, kept for the table in the documents (`cargo xtask docs`). A run of some trials changes the
//! outcomes of those only.

use std::{
    collections::BTreeMap,
    fs, io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

/// How many of the longest trials are named at the end.
const LONGEST: usize = 12;

#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Passed,
    /// Failed once, then passed each time it was performed again.
    Unsteady,
    Failed,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unsteady => "unsteady",
            Self::Failed => "failed",
        }
    }
}

/// Outcomes of this run, by trial.
static OUTCOMES: Mutex<BTreeMap<String, Outcome>> = Mutex::new(BTreeMap::new());

pub(crate) fn note(trial: &str, outcome: Outcome) {
    let mut outcomes = OUTCOMES.lock().unwrap_or_else(PoisonError::into_inner);
    outcomes.insert(trial.to_owned(), outcome);
}

/// How long the trials of this run took.
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

pub(crate) fn took(trial: &str, time: Duration) {
    let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    times.push((time, trial.to_owned()));
}

/// The longest trials, for who wants a shorter run.
pub(crate) fn longest() -> Vec<(Duration, String)> {
    let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    times.sort_by(|one, other| other.cmp(one));
    times.iter().take(LONGEST).cloned().collect()
}

/// Writes them beside those of runs before.
pub(crate) fn keep() -> io::Result<()> {
    let outcomes = OUTCOMES.lock().unwrap_or_else(PoisonError::into_inner);
    if outcomes.is_empty() {
        return Ok(());
    }
    let path = aerobee_compat_tests::results_file().map_err(io::Error::other)?;
    let before = fs::read(&path).ok();
    let before = before.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let mut trials = before
        .and_then(|before| before.get("trials")?.as_object().cloned())
        .unwrap_or_default();
    let outcomes = outcomes.iter();
    trials.extend(outcomes.map(|(trial, outcome)| (trial.clone(), Value::from(outcome.word()))));
    let text = json!({ "version": env!("CARGO_PKG_VERSION"), "trials": trials });
    fs::write(path, serde_json::to_vec_pretty(&text)?)
}
