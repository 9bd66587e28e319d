// SPDX-License-Identifier: Apache-2.0
//! How long requests take, by request and outcome. Apache: `RemotingMetricsManager`.
//!
//! No clock is read per request: a turn notes its answers by kind, and reads the clock when it begins
//! and when its answers have left, which they do together. Answers that were put off past their turn
//! read it themselves.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use smallvec::SmallVec;

use crate::{RequestCode, ResponseCode};

/// Upper ends of the spans that are counted, milliseconds; one more span is above.
pub const BOUNDS_MILLIS: [u64; 9] = [1, 3, 5, 7, 10, 100, 1_000, 2_000, 3_000];
const SPANS: usize = BOUNDS_MILLIS.len() + 1;
/// Most kinds of answers that are told apart; codes come from strangers. What comes beyond is not
/// counted.
const KINDS_MAX: usize = 256;
/// The same in one turn.
const KINDS_OF_TURN_MAX: usize = 16;
/// Stands for all requests whose code has no name.
const NAMELESS: i32 = i32::MIN;

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    /// As soon as it could be.
    Promptly = 1,
    /// After it was held until there was something to tell.
    Held = 2,
    /// Not at all: nobody waits for the answer.
    Oneway = 3,
}

/// What an answer has to know of its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) request: i32,
    pub(crate) answered: Answered,
    /// Whether the turn that read it is over.
    pub(crate) is_late: bool,
    /// When it was read, microseconds of [`Latencies::now`].
    pub(crate) at: u64,
}

/// Request code, response code and way of one kind of answers, in one word; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind(u64);

impl Kind {
    #[inline]
    fn new(request: i32, response: i32, answered: Answered) -> Self {
        let [_, high, middle, low] = response.to_be_bytes();
        let [a, b, c, d] = request.to_be_bytes();
        Self(u64::from_be_bytes([
            a,
            b,
            c,
            d,
            high,
            middle,
            low,
            answered as u8,
        ]))
    }

    fn parts(self) -> (i32, i32, Option<Answered>) {
        let [a, b, c, d, high, middle, low, answered] = self.0.to_be_bytes();
        let answered = match answered {
            1 => Some(Answered::Promptly),
            2 => Some(Answered::Held),
            3 => Some(Answered::Oneway),
            _ => None,
        };
        let request = i32::from_be_bytes([a, b, c, d]);
        (
            request,
            i32::from_be_bytes([0, high, middle, low]),
            answered,
        )
    }
}

impl Asked {
    #[inline]
    pub(crate) fn kind(&self, response: i32) -> Kind {
        Kind::new(self.request, response, self.answered)
    }
}

/// Answers of one turn, by kind.
#[derive(Debug, Default)]
pub(crate) struct TurnAnswers(SmallVec<[(Kind, u64); 4]>);

impl TurnAnswers {
    #[inline]
    pub(crate) fn note(&mut self, kind: Kind) {
        match self.0.last_mut() {
            Some((last, count)) if *last == kind => *count += 1,
            _ => self.note_other(kind),
        }
    }

    fn note_other(&mut self, kind: Kind) {
        match self.0.iter().position(|(known, _)| *known == kind) {
            Some(at) => self.0[at].1 += 1,
            None if self.0.len() < KINDS_OF_TURN_MAX => self.0.push((kind, 1)),
            None => {}
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Counts of one kind.
#[derive(Debug)]
struct Cell {
    /// The kind's word; 0 while the cell is free.
    kind: AtomicU64,
    spans: [AtomicU64; SPANS],
    sum_millis: AtomicU64,
}

/// Counts of all answers of a server since its start.
#[derive(Debug)]
pub struct Latencies {
    started: Instant,
    /// Open addressing; cells are taken and never given back.
    cells: Box<[Cell]>,
}

/// What [`Latencies::read`] tells of one kind of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The request; a code without a name stands for all such.
    pub request: RequestCode,
    /// The code of the answer.
    pub response: ResponseCode,
    /// How it was answered.
    pub answered: Answered,
    /// Answers within each of the spans of [`BOUNDS_MILLIS`], and above.
    pub spans: [u64; SPANS],
    /// The whole milliseconds of all together.
    pub sum_millis: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let cell = || Cell {
            kind: AtomicU64::new(0),
            spans: [const { AtomicU64::new(0) }; SPANS],
            sum_millis: AtomicU64::new(0),
        };
        Self {
            started: Instant::now(),
            cells: std::iter::repeat_with(cell).take(KINDS_MAX).collect(),
        }
    }
}

impl Latencies {
    /// Microseconds since the server was made.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        let since = self.started.elapsed();
        since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())
    }

    /// The answers of a turn that began at `at` have left.
    #[inline]
    pub(crate) fn turn_ended(&self, answers: &mut TurnAnswers, at: u64) {
        if answers.0.is_empty() {
            return;
        }
        let micros = self.now().saturating_sub(at);
        for (kind, count) in answers.0.drain(..) {
            self.add(kind, micros, count);
        }
    }

    /// One answer leaves now.
    pub(crate) fn answered(&self, asked: &Asked, response: i32) {
        let micros = self.now().saturating_sub(asked.at);
        self.add(asked.kind(response), micros, 1);
    }

    fn add(&self, kind: Kind, micros: u64, count: u64) {
        let Some(cell) = self.cell(kind) else {
            return;
        };
        let millis = micros / 1_000;
        let span = BOUNDS_MILLIS.iter().position(|end| millis <= *end);
        cell.spans[span.unwrap_or(SPANS - 1)].fetch_add(count, Ordering::Relaxed);
        if millis > 0 {
            cell.sum_millis.fetch_add(millis * count, Ordering::Relaxed);
        }
    }

    #[inline]
    fn cell(&self, kind: Kind) -> Option<&Cell> {
        let cell = self.cells.get(start_of(kind))?;
        if cell.kind.load(Ordering::Relaxed) == kind.0 {
            return Some(cell);
        }
        self.find(kind)
    }

    /// Looks further on, and takes a free cell for a kind that is new.
    fn find(&self, kind: Kind) -> Option<&Cell> {
        let (request, response, answered) = kind.parts();
        let kind = match RequestCode(request).name() {
            Some(_) => kind,
            None => Kind::new(NAMELESS, response, answered?),
        };
        let start = start_of(kind);
        let (before, from) = self.cells.split_at(start);
        from.iter().chain(before).find(|cell| {
            let free = cell
                .kind
                .compare_exchange(0, kind.0, Ordering::Relaxed, Ordering::Relaxed);
            match free {
                Ok(_) => true,
                Err(taken) => taken == kind.0,
            }
        })
    }

    /// What was counted, by request, answer and way, in that order.
    pub fn read(&self) -> Vec<Latency> {
        let mut all: Vec<_> = self.cells.iter().filter_map(Cell::read).collect();
        all.sort_unstable_by_key(Latency::key);
        all
    }
}

impl Latency {
    /// What tells kinds apart.
    #[must_use]
    pub fn key(&self) -> (i32, i32, Answered) {
        (self.request.0, self.response.0, self.answered)
    }

    /// Adds the counts of another server.
    pub fn add(&mut self, other: &Self) {
        for (span, more) in self.spans.iter_mut().zip(other.spans) {
            *span += more;
        }
        self.sum_millis += other.sum_millis;
    }
}

impl Cell {
    fn read(&self) -> Option<Latency> {
        let (request, response, answered) = Kind(self.kind.load(Ordering::Relaxed)).parts();
        Some(Latency {
            request: RequestCode(request),
            response: ResponseCode(response),
            answered: answered?,
            spans: self
                .spans
                .each_ref()
                .map(|span| span.load(Ordering::Relaxed)),
            sum_millis: self.sum_millis.load(Ordering::Relaxed),
        })
    }
}

/// Where the cell of a kind is looked for first.
#[inline]
fn start_of(kind: Kind) -> usize {
    const { assert!(KINDS_MAX == 256) }
    // The top byte of a product depends on all bits of the word.
    (kind.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: i32, at: u64) -> Asked {
        Asked {
            request,
            answered: Answered::Promptly,
            is_late: false,
            at,
        }
    }

    #[test]
    fn answers_of_a_turn_are_counted_by_kind() {
        let latencies = Latencies::default();
        let mut answers = TurnAnswers::default();
        for (request, response) in [(10, 0), (10, 0), (11, 19), (10, 0)] {
            answers.note(asked(request, 0).kind(response));
        }
        latencies.turn_ended(&mut answers, latencies.now());
        // What a turn has told is not told again.
        latencies.turn_ended(&mut answers, 0);
        let counts: Vec<_> = latencies
            .read()
            .iter()
            .map(|read| {
                (
                    read.request.0,
                    read.response.0,
                    read.spans.iter().sum::<u64>(),
                )
            })
            .collect();
        assert_eq!(counts, [(10, 0, 3), (11, 19, 1)]);
    }

    #[test]
    fn times_fall_into_apaches_spans() {
        let latencies = Latencies::default();
        let kind = asked(10, 0).kind(0);
        for micros in [0, 1_999, 2_000, 3_999, 4_000, 3_000_999, 3_001_000] {
            latencies.add(kind, micros, 1);
        }
        let read = latencies.read();
        assert_eq!(read[0].spans, [2, 2, 1, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(read[0].sum_millis, 1 + 2 + 3 + 4 + 3_000 + 3_001);
    }

    #[test]
    fn codes_of_strangers_take_one_cell() {
        let latencies = Latencies::default();
        for code in 1_000_000..1_002_000 {
            latencies.add(asked(code, 0).kind(3), 0, 1);
        }
        latencies.add(asked(10, 0).kind(0), 0, 1);
        let read = latencies.read();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].request.name(), read[0].spans[0]), (None, 2_000));
    }

    #[test]
    fn a_full_table_counts_nothing_new() {
        let latencies = Latencies::default();
        for response in 0..1_000 {
            latencies.add(asked(10, 0).kind(response), 0, 1);
        }
        assert_eq!(latencies.read().len(), KINDS_MAX);
        latencies.add(asked(10, 0).kind(0), 0, 1);
        assert_eq!(latencies.read()[0].spans[0], 2);
    }
}
