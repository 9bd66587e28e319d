// SPDX-License-Identifier: Apache-2.0
//! Figures of a run, and how they are printed.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde_json::{Value, json};

use crate::{
    latency::{Latencies, micros},
    run::Tally,
};

/// What went wrong in a run, by kind.
#[derive(Debug, Clone, Default)]
pub struct Errors {
    /// Response code → how often, and the first remark.
    codes: BTreeMap<i32, (u64, String)>,
    /// Requests that got no answer.
    unanswered: u64,
    /// Answers to nothing that was asked.
    unasked: u64,
    /// Messages that are not the ones that follow the last ones pulled.
    out_of_order: u64,
}

impl Errors {
    /// Whether nothing went wrong.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty() && self.unanswered + self.unasked + self.out_of_order == 0
    }

    pub(crate) fn code(&mut self, code: i32, remark: &str) {
        let entry = self.codes.entry(code);
        entry.or_insert_with(|| (0, remark.to_owned())).0 += 1;
    }

    pub(crate) fn unanswered(&mut self, requests: u64) {
        self.unanswered += requests;
    }

    pub(crate) fn unasked(&mut self) {
        self.unasked += 1;
    }

    pub(crate) fn out_of_order(&mut self) {
        self.out_of_order += 1;
    }

    fn add(&mut self, other: &Self) {
        for (code, (times, remark)) in &other.codes {
            let entry = self.codes.entry(*code);
            entry.or_insert_with(|| (0, remark.clone())).0 += times;
        }
        self.unanswered += other.unanswered;
        self.unasked += other.unasked;
        self.out_of_order += other.out_of_order;
    }

    fn to_json(&self) -> Value {
        let codes: serde_json::Map<_, _> = self
            .codes
            .iter()
            .map(|(code, (times, remark))| {
                (code.to_string(), json!({"times": times, "remark": remark}))
            })
            .collect();
        json!({
            "codes": codes,
            "unanswered": self.unanswered,
            "unasked": self.unasked,
            "out_of_order": self.out_of_order,
        })
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut parts: Vec<String> = self
            .codes
            .iter()
            .map(|(code, (times, remark))| format!("{times} × code {code} ({remark})"))
            .collect();
        for (times, what) in [
            (self.unanswered, "without an answer"),
            (self.unasked, "answers to nothing asked"),
            (self.out_of_order, "pulls out of order"),
        ] {
            if times > 0 {
                parts.push(format!("{times} {what}"));
            }
        }
        f.write_str(&parts.join(", "))
    }
}

/// What the server's processes used.
#[derive(Debug, Clone, Copy)]
pub struct ServerFigures {
    /// CPU time during the measured part.
    pub cpu: Duration,
    /// Anonymous memory at its end, in bytes.
    pub anonymous_bytes: u64,
}

/// What a run has measured; the warm-up is in none of it.
#[derive(Debug, Clone)]
pub struct Figures {
    /// The load in words.
    pub load: String,
    /// Messages sent and acknowledged, or pulled.
    pub messages: u64,
    /// How long it was measured.
    pub elapsed: Duration,
    /// Request to answer; in an open loop from the intended time; for deliveries from the send call
    /// to the arrival at the consumer.
    pub latencies: Latencies,
    /// Further latencies by name.
    pub others: Vec<(&'static str, Latencies)>,
    /// Messages of an open loop that ought to have left, but found the window full until the end.
    pub unsent: u64,
    /// What went wrong, warm-up included.
    pub errors: Errors,
    /// CPU time of the generator.
    pub own_cpu: Duration,
    /// What the server used, when its processes were given.
    pub server: Option<ServerFigures>,
}

impl Figures {
    pub(crate) fn new(load: String) -> Self {
        Self {
            load,
            messages: 0,
            elapsed: Duration::ZERO,
            latencies: Latencies::default(),
            others: Vec::new(),
            unsent: 0,
            errors: Errors::default(),
            own_cpu: Duration::ZERO,
            server: None,
        }
    }

    pub(crate) fn add(&mut self, tally: &Tally) {
        self.messages += tally.messages;
        self.unsent += tally.unsent;
        self.latencies.add(&tally.latencies);
        self.errors.add(&tally.errors);
        if tally.round_trips.count() > 0 {
            self.others.push(("round trip", tally.round_trips.clone()));
        }
        if tally.lateness.count() > 0 {
            self.others.push(("late", tally.lateness.clone()));
        }
    }

    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// CPU-seconds of the server per million messages.
    pub fn cpu_per_million(&self) -> Option<f64> {
        let server = self.server?;
        (self.messages > 0).then(|| per_million(server.cpu, self.messages))
    }

    /// All of it as one JSON object; times in microseconds where their name does not say seconds.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "load": self.load,
            "messages": self.messages,
            "seconds": self.elapsed.as_secs_f64(),
            "messages_per_second": self.rate(),
            "latency_us": self.latencies.to_json(),
            "unsent": self.unsent,
            "errors": self.errors.to_json(),
            "generator_cpu_seconds": self.own_cpu.as_secs_f64(),
            "generator_cpu_seconds_per_million": per_million(self.own_cpu, self.messages.max(1)),
        });
        for (name, latencies) in &self.others {
            value[format!("{}_us", name.replace(' ', "_"))] = latencies.to_json();
        }
        if let Some(server) = self.server {
            value["server_cpu_seconds"] = json!(server.cpu.as_secs_f64());
            value["server_cpu_seconds_per_million"] = json!(self.cpu_per_million());
            value["server_anonymous_bytes"] = json!(server.anonymous_bytes);
        }
        value
    }
}

fn per_million(cpu: Duration, messages: u64) -> f64 {
    micros(cpu) / messages as f64
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.load)?;
        writeln!(
            f,
            "  messages    {} in {:.2} s, {:.0} per second",
            self.messages,
            self.elapsed.as_secs_f64(),
            self.rate()
        )?;
        writeln!(f, "  latency     {}", self.latencies)?;
        for (name, latencies) in &self.others {
            writeln!(f, "  {name:<11} {latencies}")?;
        }
        if self.unsent > 0 {
            writeln!(f, "  unsent      {}: the rate was not reached", self.unsent)?;
        }
        if let Some(server) = self.server {
            writeln!(
                f,
                "  server      {:.2} CPU-s, {:.2} per million messages, {:.1} MB anonymous memory",
                server.cpu.as_secs_f64(),
                self.cpu_per_million().unwrap_or_default(),
                server.anonymous_bytes as f64 / 1e6
            )?;
        }
        writeln!(
            f,
            "  generator   {:.2} CPU-s, {:.2} per million messages",
            self.own_cpu.as_secs_f64(),
            per_million(self.own_cpu, self.messages.max(1))
        )?;
        write!(f, "  errors      {}", self.errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_cpu_time_by_messages() {
        let mut figures = Figures::new("x".to_owned());
        figures.messages = 2_000_000;
        figures.elapsed = Duration::from_secs(10);
        figures.server = Some(ServerFigures {
            cpu: Duration::from_secs(3),
            anonymous_bytes: 1 << 20,
        });
        assert_eq!(figures.cpu_per_million(), Some(1.5));
        assert_eq!(figures.to_json()["messages_per_second"], json!(200_000.0));
        assert!(figures.to_string().contains("1.50 per million messages"));
        assert!(figures.to_string().ends_with("errors      none"));
    }

    #[test]
    fn errors_are_named() {
        let mut errors = Errors::default();
        errors.code(2, "busy");
        errors.code(2, "later remark");
        errors.unanswered(3);
        let mut sum = Errors::default();
        assert!(sum.is_empty());
        sum.add(&errors);
        assert_eq!(sum.to_string(), "2 × code 2 (busy), 3 without an answer");
    }
}
