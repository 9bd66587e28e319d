// SPDX-License-Identifier: Apache-2.0

//! What servers acknowledged, held against what consumers got.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use aerobee_compat_tests::{Running, Step};
use libtest_mimic::Failed;

/// Queue and queue offset.
pub(crate) type Place = (i64, i64);

/// Every acknowledged message, by the place that the server told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    places: HashMap<Place, Box<str>>,
}

impl Ledger {
    /// Takes the acknowledged messages of a producer. Two that were told the same place are an error.
    pub(crate) fn note(&mut self, steps: &[Step]) -> Result<(), Failed> {
        for step in steps.iter().filter(|step| &*step.name == "acked") {
            if let Some(other) = self
                .places
                .insert((step.queue, step.offset), step.body.clone())
            {
                let Step {
                    queue,
                    offset,
                    body,
                    ..
                } = step;
                return Err(format!(
                    "queue {queue} offset {offset} was given to {other} and to {body}"
                )
                .into());
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Waits until a consumer that runs has got each message at its place, and nothing else there.
    pub(crate) fn await_all(
        &self,
        consumer: &Running,
        what: &str,
        limit: Duration,
    ) -> Result<(), Failed> {
        let mut missing: HashSet<&Place> = self.places.keys().collect();
        let mut got: HashMap<Place, Box<str>> = HashMap::new();
        let mut clash = None;
        let waited = consumer.wait_until(limit, |step| {
            if &*step.name == "got" {
                missing.remove(&(step.queue, step.offset));
                clash = clash.take().or_else(|| self.clash(&mut got, step));
            }
            missing.is_empty() || clash.is_some()
        });
        if let Some(clash) = clash {
            return Err(format!("{what}: {clash}").into());
        }
        let some: Vec<_> = missing
            .iter()
            .take(5)
            .map(|place| (*place, &self.places[*place]))
            .collect();
        waited.map_err(|error| {
            format!(
                "{what}: {} of {} missing, such as {some:?}: {error}",
                missing.len(),
                self.len()
            )
            .into()
        })
    }

    /// A place that held something else before, for this consumer or for the producer.
    fn clash(&self, got: &mut HashMap<Place, Box<str>>, step: &Step) -> Option<String> {
        let place = (step.queue, step.offset);
        let before = got.insert(place, step.body.clone());
        let acked = self.places.get(&place);
        [before.as_ref(), acked]
            .into_iter()
            .flatten()
            .find(|other| **other != step.body)
            .map(|other| format!("{place:?} holds {} where {other} was", step.body))
    }

    /// Holds the whole topic, read queue by queue, against the acknowledgements: each message at its place, and those
    /// of one sending thread in the order of sending.
    pub(crate) fn check_read(&self, read: &[Step]) -> Result<(), Failed> {
        let found: HashMap<Place, &str> = read
            .iter()
            .map(|step| ((step.queue, step.offset), &*step.body))
            .collect();
        for (place, body) in &self.places {
            match found.get(place) {
                Some(there) if **there == **body => {}
                other => {
                    return Err(format!(
                        "{body} was acknowledged at {place:?}, where {other:?} is"
                    )
                    .into());
                }
            }
        }
        let mut last: HashMap<(i64, &str), u64> = HashMap::new();
        for step in read {
            let Some((word, number)) = step.body.split_once(':') else {
                continue;
            };
            let number: u64 = number.parse()?;
            let before = last.insert((step.queue, word), number);
            if before.is_some_and(|before| before >= number) {
                return Err(format!(
                    "{} comes after {word}:{before:?} in queue {}",
                    step.body, step.queue
                )
                .into());
            }
        }
        Ok(())
    }
}

/// An orderly consumer may get messages again after a crash, but may never skip one: the first sight of each offset
/// follows that of the offset before.
pub(crate) fn check_orderly(steps: &[Step]) -> Result<(), Failed> {
    let mut next: HashMap<i64, i64> = HashMap::new();
    for step in steps.iter().filter(|step| &*step.name == "got") {
        let next = next.entry(step.queue).or_insert(0);
        if step.offset > *next {
            return Err(format!(
                "queue {}: offset {} came when {next} was due",
                step.queue, step.offset
            )
            .into());
        }
        *next = (*next).max(step.offset + 1);
    }
    Ok(())
}
