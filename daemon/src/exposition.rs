// SPDX-License-Identifier: Apache-2.0
//! Metrics as text, in the form that Prometheus reads.
//!
//! The text grows in parts: no move of the whole when it is large, and whoever sends it can do
//! something else between two of them.
//!
//! Each metric is declared once, as a [`Metric`]; a metric without a sample leaves no trace, as with
//! Apache's exporter. The number of samples of one metric is bounded, because topics and groups come
//! from clients; what was left out is counted.

use std::fmt::Write as _;

/// Most series of one metric. Java key: `metricsOtelCardinalityLimit`.
pub const SERIES_MAX: usize = 50_000;

/// Bytes of a part, but for the rest of the series that makes it full.
const PART_BYTES: usize = 64 << 10;

/// What the samples of a metric are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, and begins at 0 with the process.
    Counter,
    /// Counts by size.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// What is known of a metric before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, unit included.
    pub name: &'static str,
    /// What its samples are.
    pub kind: Kind,
    /// Its meaning.
    pub help: &'static str,
}

impl Metric {
    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Gauge;
        Self { name, kind, help }
    }

    /// A counter; its name ends in `_total`.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Counter;
        Self { name, kind, help }
    }

    /// A histogram.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Histogram;
        Self { name, kind, help }
    }
}

/// Labels of one sample: names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A number of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number, written as such.
    Whole(i128),
    /// Any number.
    Real(f64),
}

macro_rules! whole {
    ($($number:ty),+) => {
        $(impl From<$number> for Number {
            fn from(value: $number) -> Self {
                Self::Whole(i128::from(value))
            }
        })+
    };
}

whole!(i32, u32, i64, u64, u16);

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::Whole(i128::try_from(value).unwrap_or(i128::MAX))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl Number {
    fn write(self, text: &mut String) {
        match self {
            Self::Whole(value) => text.push_str(itoa::Buffer::new().format(value)),
            Self::Real(value) if value.is_nan() => text.push_str("NaN"),
            Self::Real(value) if value.is_infinite() => {
                text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
            }
            // Writing into a string cannot fail.
            Self::Real(value) => {
                let _ = write!(text, "{value}");
            }
        }
    }
}

/// The text of one scrape, while it grows.
#[derive(Debug)]
pub struct Exposition {
    /// The part that grows.
    text: String,
    /// Parts before it.
    full: Vec<String>,
    /// Parts of an earlier text, to be written over.
    spare: Vec<String>,
    /// Labels that every sample of a role carries, rendered.
    common: String,
    /// Labels of the sample being written, rendered, the common ones included.
    labels: String,
    series_max: usize,
    /// Metrics of which series were left out, and how many.
    left_out: Vec<(&'static str, usize)>,
}

impl Default for Exposition {
    fn default() -> Self {
        Self::new(SERIES_MAX)
    }
}

impl Exposition {
    /// An empty one, with at most so many series of one metric.
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        Self {
            text: String::new(),
            full: Vec::new(),
            spare: Vec::new(),
            common: String::new(),
            labels: String::new(),
            series_max,
            left_out: Vec::new(),
        }
    }

    /// One that is written over the parts of an earlier text: memory that is there already.
    #[must_use]
    pub fn over(spare: Vec<String>) -> Self {
        Self {
            spare,
            ..Self::default()
        }
    }

    /// Labels that the samples from here on carry before their own.
    pub fn set_common(&mut self, labels: Labels<'_>) {
        self.common.clear();
        for (name, value) in labels {
            write_label(&mut self.common, name, value);
        }
    }

    /// Most series of each metric from here on.
    pub fn set_series_max(&mut self, series_max: usize) {
        self.series_max = series_max;
    }

    /// Begins a metric. All its samples come before those of the next.
    pub fn metric(&mut self, metric: &Metric) -> Samples<'_> {
        Samples {
            metric: *metric,
            series: 0,
            begun: false,
            of: self,
        }
    }

    /// A metric of one sample without labels of its own.
    pub fn single(&mut self, metric: &Metric, value: impl Into<Number>) {
        self.metric(metric).add(&[], value);
    }

    /// Metrics of which series were left out because there were too many, and how many.
    #[must_use]
    pub fn left_out(&self) -> &[(&'static str, usize)] {
        &self.left_out
    }

    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.into_parts().concat()
    }

    /// The text, in parts of a bounded size.
    #[must_use]
    pub fn into_parts(mut self) -> Vec<String> {
        if !self.text.is_empty() {
            self.full.push(self.text);
        }
        self.full
    }

    /// Begins another part when this one is full.
    fn turn(&mut self) {
        if self.text.capacity() == 0 {
            self.text = self.fresh();
        } else if self.text.len() >= PART_BYTES {
            let fresh = self.fresh();
            self.full.push(std::mem::replace(&mut self.text, fresh));
        }
    }

    fn fresh(&mut self) -> String {
        match self.spare.pop() {
            Some(mut part) => {
                part.clear();
                part
            }
            // With room for the series that is begun just before the end.
            None => String::with_capacity(PART_BYTES + PART_BYTES / 16),
        }
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Samples<'e> {
    metric: Metric,
    series: usize,
    begun: bool,
    of: &'e mut Exposition,
}

impl Samples<'_> {
    /// Whether one more series is taken; begins the metric with the first.
    fn admit(&mut self) -> bool {
        self.series += 1;
        if self.series > self.of.series_max {
            return false;
        }
        self.of.turn();
        if !self.begun {
            self.begun = true;
            let Metric { name, kind, help } = self.metric;
            let kind = kind.name();
            // Writing into a string cannot fail.
            let _ = write!(self.of.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        true
    }

    /// One sample.
    pub fn add(&mut self, labels: Labels<'_>, value: impl Into<Number>) {
        if self.admit() {
            self.render(labels);
            self.line("", None, value.into());
        }
    }

    /// One histogram. `counts` are those of each span up to a bound, not of all spans below it, and
    /// one more for what is above the last bound.
    pub fn histogram(
        &mut self,
        labels: Labels<'_>,
        bounds: &[&str],
        counts: impl IntoIterator<Item = u64>,
        sum: impl Into<Number>,
    ) {
        if !self.admit() {
            return;
        }
        self.render(labels);
        let mut total = 0;
        let mut bounds = bounds.iter();
        for count in counts {
            total += count;
            if let Some(bound) = bounds.next() {
                self.line("_bucket", Some(bound), total.into());
            }
        }
        self.line("_bucket", Some("+Inf"), total.into());
        self.line("_sum", None, sum.into());
        self.line("_count", None, total.into());
    }

    /// Renders the labels of a sample once, however many lines it takes.
    fn render(&mut self, labels: Labels<'_>) {
        let Exposition {
            common,
            labels: rendered,
            ..
        } = &mut *self.of;
        rendered.clear();
        rendered.push_str(common);
        for (name, value) in labels {
            write_label(rendered, name, value);
        }
    }

    fn line(&mut self, suffix: &str, bound: Option<&str>, value: Number) {
        let Exposition { text, labels, .. } = &mut *self.of;
        text.push_str(self.metric.name);
        text.push_str(suffix);
        if !labels.is_empty() || bound.is_some() {
            text.push('{');
            text.push_str(labels);
            if let Some(bound) = bound {
                write_label(text, "le", bound);
            }
            // Each label ends in a comma; the last one ends the list.
            text.pop();
            text.push('}');
        }
        text.push(' ');
        value.write(text);
        text.push('\n');
    }
}

impl Drop for Samples<'_> {
    fn drop(&mut self) {
        if let Some(left) = self.series.checked_sub(self.of.series_max)
            && left > 0
        {
            self.of.left_out.push((self.metric.name, left));
        }
    }
}

fn write_label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    let is_escaped = |byte| matches!(byte, b'\\' | b'"' | b'\n');
    if !value.bytes().any(is_escaped) {
        text.push_str(value);
        text.push_str("\",");
        return;
    }
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
    text.push_str("\",");
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAUGE: Metric = Metric::gauge("things", "How many.");
    const SIZES: Metric = Metric::histogram("sizes", "How large.");

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut out = Exposition::default();
        out.single(&GAUGE, 3_u64);
        out.set_common(&[("node", "a")]);
        let mut samples = out.metric(&SIZES);
        samples.histogram(&[("topic", "t")], &["1", "10"], [2, 3, 4], 60_u64);
        drop(samples);
        out.metric(&GAUGE).add(&[("x", "a\"b\\c\nd")], 0.5);
        assert_eq!(
            out.into_text(),
            "# HELP things How many.\n# TYPE things gauge\nthings 3\n\
             # HELP sizes How large.\n# TYPE sizes histogram\n\
             sizes_bucket{node=\"a\",topic=\"t\",le=\"1\"} 2\n\
             sizes_bucket{node=\"a\",topic=\"t\",le=\"10\"} 5\n\
             sizes_bucket{node=\"a\",topic=\"t\",le=\"+Inf\"} 9\n\
             sizes_sum{node=\"a\",topic=\"t\"} 60\nsizes_count{node=\"a\",topic=\"t\"} 9\n\
             # HELP things How many.\n# TYPE things gauge\n\
             things{node=\"a\",x=\"a\\\"b\\\\c\\nd\"} 0.5\n"
        );
    }

    #[test]
    fn a_long_text_comes_in_parts_and_the_next_is_written_over_them() {
        let write = |out: &mut Exposition| {
            let mut samples = out.metric(&GAUGE);
            for number in 0..20_000_u32 {
                samples.add(&[("name", &number.to_string())], number);
            }
        };
        let mut out = Exposition::default();
        write(&mut out);
        let parts = out.into_parts();
        assert!(parts.len() > 5, "{}", parts.len());
        for part in &parts {
            assert!(part.len() < PART_BYTES + 100, "{}", part.len());
            // A series is in one part.
            assert!(part.ends_with('\n'));
        }
        let text = parts.concat();
        assert_eq!(text.lines().count(), 20_002);
        let mut places: Vec<*const u8> = parts.iter().map(|part| part.as_ptr()).collect();
        places.sort_unstable();
        let mut out = Exposition::over(parts);
        write(&mut out);
        let parts = out.into_parts();
        let mut again: Vec<*const u8> = parts.iter().map(|part| part.as_ptr()).collect();
        again.sort_unstable();
        assert_eq!(again, places);
        assert_eq!(parts.concat(), text);
    }

    #[test]
    fn a_metric_without_samples_leaves_no_trace() {
        let mut out = Exposition::default();
        drop(out.metric(&GAUGE));
        assert_eq!(out.into_text(), "");
    }

    #[test]
    fn series_are_bounded_and_counted() {
        let mut out = Exposition::new(2);
        let mut samples = out.metric(&GAUGE);
        for name in ["a", "b", "c", "d"] {
            samples.add(&[("name", name)], 1_u64);
        }
        drop(samples);
        assert_eq!(out.left_out(), [("things", 2)]);
        assert_eq!(out.into_text().matches("name=").count(), 2);
    }
}
