// SPDX-License-Identifier: Apache-2.0
//! Names of lite topics' queues, and which broker of a cluster a lite topic belongs to. Apache:
//! `LiteUtil`, `LiteShardingImpl`.

use crate::tags::hash;

/// What the name of each lite topic's queue begins with.
pub const PREFIX: &str = "%LMQ%$";

/// The queue of a lite topic: `%LMQ%$<parent>$<lite>`.
#[must_use]
pub fn queue_of(parent: &str, lite: &str) -> String {
    format!("{PREFIX}{parent}${lite}")
}

/// Parent and lite topic of a queue's name.
#[must_use]
pub fn parse(queue: &str) -> Option<(&str, &str)> {
    let (parent, lite) = queue.strip_prefix(PREFIX)?.split_once('$')?;
    let is_name = !parent.is_empty() && !lite.is_empty() && !lite.contains('$');
    is_name.then_some((parent, lite))
}

/// Which of so many places, sorted by broker name, a lite topic belongs to: the jump hash of Guava
/// (`Hashing.consistentHash`) over the hash of the name.
#[must_use]
pub fn place_of(lite: &str, places: usize) -> usize {
    // The state of Guava's generator, a linear congruential one.
    let mut state = i64::from(hash(lite)).cast_unsigned();
    let mut candidate = 0_usize;
    loop {
        state = state
            .wrapping_mul(2_862_933_555_777_941_757)
            .wrapping_add(1);
        let fraction =
            f64::from(u32::try_from(state >> 33).unwrap_or(u32::MAX) + 1) / 2_147_483_648.0;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "as the published algorithm computes it; places are few"
        )]
        let next = ((candidate + 1) as f64 / fraction) as usize;
        if next >= places {
            return candidate;
        }
        candidate = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        let queue = queue_of("orders", "customer-1");
        assert_eq!(queue, "%LMQ%$orders$customer-1");
        assert_eq!(parse(&queue), Some(("orders", "customer-1")));
        for wrong in [
            "%LMQ%orders",
            "%LMQ%$orders",
            "%LMQ%$$x",
            "%LMQ%$a$",
            "%LMQ%$a$b$c",
            "a$b",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn places_are_stable_when_some_are_added() {
        for lite in ["a", "customer-1", "customer-2", "zz"] {
            assert_eq!(place_of(lite, 1), 0);
            let few = place_of(lite, 8);
            let more = place_of(lite, 16);
            assert!(
                few < 8 && (more == few || more >= 8),
                "{lite}: {few} {more}"
            );
        }
    }
}
