// SPDX-License-Identifier: Apache-2.0
//! The table of a comparison, in Markdown.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use super::{Kind, Row, Sample};
use crate::{
    Figures,
    latency::{Latencies, Short},
};

/// Medians of all rounds: one line a load and server, then one line a server.
pub(crate) fn markdown(rows: &[Row], servers: &[Kind], samples: &[Sample]) -> String {
    let mut text = String::new();
    write(&mut text, rows, servers, samples).expect("a string takes everything");
    text
}

fn write(
    out: &mut String,
    rows: &[Row],
    servers: &[Kind],
    samples: &[Sample],
) -> Result<(), fmt::Error> {
    writeln!(
        out,
        "| load | server | messages/s | CPU-s per million | × Apache | × echo | p50 | × echo | p99 |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    for row in rows {
        let p50 = |kind| quantile(&figures(samples, kind, row), 0.5);
        let cost = |kind| median(&figures(samples, kind, row), Figures::cpu_per_million);
        for &kind in servers {
            let of_kind = figures(samples, kind, row);
            if of_kind.is_empty() {
                continue;
            }
            let rate = median(&of_kind, |figures| {
                (figures.messages > 0).then(|| figures.rate())
            });
            let own = cost(kind);
            let ratio = |own: Option<f64>, other: Option<f64>| {
                Some(own? / other?).filter(|times| times.is_finite())
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                kind.name(),
                Cell(rate, 0),
                Cell(own, 2),
                Cell(ratio(own, cost(Kind::Apache)), 3),
                Cell(ratio(own, cost(Kind::Echo)), 2),
                Time(p50(kind)),
                Cell(ratio(p50(kind), p50(Kind::Echo)), 2),
                Time(quantile(&of_kind, 0.99)),
            )?;
        }
    }
    writeln!(
        out,
        "\n| server | start to first answer | idle CPU | idle memory | memory after the loads |\n\
         |---|--:|--:|--:|--:|"
    )?;
    for &kind in servers {
        let of_kind: Vec<&Sample> = samples.iter().filter(|s| s.server == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let median_of = |value: fn(&Sample) -> f64| median(&of_kind, |sample| Some(value(sample)));
        writeln!(
            out,
            "| {} | {} s | {} % of a core | {} MB | {} MB |",
            kind.name(),
            Cell(median_of(|sample| sample.start.as_secs_f64()), 3),
            Cell(median_of(|sample| sample.idle_cpu.as_secs_f64() * 100.0), 2),
            Cell(median_of(|sample| sample.idle_bytes as f64 / 1e6), 1),
            Cell(median_of(|sample| sample.loaded_bytes as f64 / 1e6), 1),
        )?;
    }
    for sample in samples {
        for (name, figures) in &sample.rows {
            if !figures.errors.is_empty() {
                let server = sample.server.name();
                writeln!(out, "\nFailed at {server}, {name}: {}", figures.errors)?;
            }
        }
    }
    Ok(())
}

fn figures<'s>(samples: &'s [Sample], kind: Kind, row: &Row) -> Vec<&'s Figures> {
    samples
        .iter()
        .filter(|sample| sample.server == kind)
        .flat_map(|sample| &sample.rows)
        .filter(|(name, _)| *name == row.name)
        .map(|(_, figures)| figures)
        .collect()
}

/// Median of a quantile, in seconds.
fn quantile(figures: &[&Figures], quantile: f64) -> Option<f64> {
    let of = |latencies: &Latencies| {
        (latencies.count() > 0).then(|| latencies.quantile(quantile).as_secs_f64())
    };
    median(figures, |figures| of(&figures.latencies))
}

/// Seconds in the unit that suits them, or a dash.
struct Time(Option<f64>);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(seconds) => Short(Duration::from_secs_f64(seconds)).fmt(f),
            None => f.write_str("–"),
        }
    }
}

/// The middle value, or the mean of the two in the middle.
fn median<T>(of: &[&T], value: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = of.iter().filter_map(|one| value(one)).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => None,
        1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// A number with so many decimals, or a dash.
struct Cell(Option<f64>, usize);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value:.*}", self.1),
            None => f.write_str("–"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compare::ROWS, report::ServerFigures};

    fn sample(server: Kind, cpu_millis: u64) -> Sample {
        let mut figures = Figures::new("x".to_owned());
        figures.messages = 1_000_000;
        figures.elapsed = Duration::from_secs(10);
        figures.server = Some(ServerFigures {
            cpu: Duration::from_millis(cpu_millis),
            anonymous_bytes: 0,
        });
        figures.latencies.record(Duration::from_micros(400));
        Sample {
            server,
            start: Duration::from_millis(50),
            idle_cpu: Duration::ZERO,
            idle_bytes: 10_000_000,
            loaded_bytes: 20_000_000,
            rows: vec![(ROWS[0].name, figures)],
        }
    }

    #[test]
    fn the_table_has_medians_and_ratios() {
        let samples = [
            sample(Kind::Apache, 20_000),
            sample(Kind::Aerobee, 1_000),
            sample(Kind::Aerobee, 9_000),
            sample(Kind::Aerobee, 2_000),
            sample(Kind::Echo, 1_000),
        ];
        let servers = [Kind::Echo, Kind::Aerobee, Kind::Apache];
        let text = markdown(&ROWS[..1], &servers, &samples);
        let line =
            "| 128 B, 4 × 64 | aerobee | 100000 | 2.00 | 0.100 | 2.00 | 400 µs | 1.00 | 400 µs |";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("| aerobee | 0.050 s | 0.00 % of a core | 10.0 MB | 20.0 MB |"));
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let text = markdown(&ROWS[..1], &[Kind::Aerobee], &[sample(Kind::Aerobee, 5)]);
        assert!(text.contains("| – | – |"), "{text}");
    }

    #[test]
    fn failures_are_said() {
        let mut sample = sample(Kind::Apache, 5);
        sample.rows[0].1.errors.code(2, "busy");
        let text = markdown(&ROWS[..1], &[Kind::Apache], &[sample]);
        let line = "Failed at Apache, 128 B, 4 × 64: 1 × code 2 (busy)";
        assert!(text.contains(line), "{text}");
    }
}
