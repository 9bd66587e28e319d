// SPDX-License-Identifier: Apache-2.0
//! How often a second one core matches an SQL92 expression of three terms with the properties of a
//! message as an SDK sends it: `cargo bench -p aerobee-broker --bench sql`.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{hint::black_box, time::Instant};

use aerobee_broker::filter::sql::{Sql, SqlError};
use aerobee_message::properties::Properties;

const EXPRESSION: &str = "region = 'eu' AND amount > 100 AND kind IN ('a', 'b', 'c')";
const PROPERTIES: [(&str, &str); 10] = [
    ("KEYS", "order-1"),
    ("UNIQ_KEY", "7F0000010BC218B4AAC2A1B2C3D40001"),
    ("CLUSTER", "DefaultCluster"),
    ("TAGS", "new"),
    ("region", "eu"),
    ("amount", "250"),
    ("kind", "b"),
    ("MSG_REGION", "DefaultRegion"),
    ("TRACE_ON", "true"),
    ("WAIT", "true"),
];
const EVALUATIONS: u32 = 5_000_000;

fn main() -> Result<(), SqlError> {
    let sql = Sql::parse(EXPRESSION)?;
    let mut text = Vec::new();
    for (name, value) in PROPERTIES {
        Properties::push(&mut text, name, value);
    }
    let started = Instant::now();
    let mut matched = 0;
    for _ in 0..EVALUATIONS {
        matched += u32::from(black_box(&sql).matches(Properties(black_box(&text))));
    }
    let rate = f64::from(EVALUATIONS) / started.elapsed().as_secs_f64() / 1e6;
    println!("{matched} of {EVALUATIONS} matched, {rate:.2} million evaluations a second");
    Ok(())
}
