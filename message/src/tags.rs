// SPDX-License-Identifier: Apache-2.0
//! Tag hashes as Java computes them, and subscription expressions made of tags.

/// Java's `String.hashCode`: `h = 31 * h + unit` over the UTF-16 units of the text.
#[must_use]
pub fn hash(text: &str) -> i32 {
    hash_on(0, text)
}

/// The hash of a longer text: of one that has this hash, with another behind it.
#[must_use]
pub fn hash_on(start: i32, text: &str) -> i32 {
    let step = |h: i32, unit: i32| h.wrapping_mul(31).wrapping_add(unit);
    if !text.is_ascii() {
        return text
            .encode_utf16()
            .fold(start, |h, unit| step(h, i32::from(unit)));
    }
    // Eight at a time: their products do not wait for each other.
    let (chunks, rest) = text.as_bytes().as_chunks::<8>();
    let h = chunks.iter().fold(start, |h, chunk| {
        let sum = chunk.iter().zip(POWERS).fold(0i32, |sum, (byte, power)| {
            sum.wrapping_add(i32::from(*byte).wrapping_mul(power))
        });
        h.wrapping_mul(POWERS[0].wrapping_mul(31)).wrapping_add(sum)
    });
    rest.iter().fold(h, |h, byte| step(h, i32::from(*byte)))
}

/// Powers of 31, the seventh first.
const POWERS: [i32; 8] = {
    let mut powers = [1i32; 8];
    let mut at = 7;
    while at > 0 {
        powers[at - 1] = powers[at].wrapping_mul(31);
        at -= 1;
    }
    powers
};

/// The tags code of a consume queue entry: the hash of the whole `TAGS` text, sign-extended; 0 without tags.
#[must_use]
pub fn code_of(tags: &str) -> i64 {
    i64::from(hash(tags))
}

/// Why a subscription expression was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Nothing but separators. Java's words for it (`FilterAPI.buildSubscriptionData`).
    #[error("subString split error")]
    OnlySeparators,
}

/// A parsed tag expression: everything, or the messages whose tag hash is in a set.
///
/// The set holds hashes, so two tags with one hash are not told apart here; consumers compare the text again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter {
    /// Sorted, without duplicates; `None` accepts everything.
    codes: Option<Box<[i32]>>,
}

/// Up to here comparing with each code beats a binary search.
const LINEAR_CODES: usize = 8;

impl TagFilter {
    /// The filter that accepts every message.
    pub const ALL: TagFilter = TagFilter { codes: None };

    /// Parses `a || b || c`; an empty text and `*` accept everything. Blank parts are skipped, so an expression of
    /// blanks accepts nothing, as with Java.
    ///
    /// # Errors
    /// [`TagError::OnlySeparators`] for a text such as `||`.
    pub fn parse(expression: &str) -> Result<TagFilter, TagError> {
        if expression.is_empty() || expression == "*" {
            return Ok(TagFilter::ALL);
        }
        if expression.split("||").all(str::is_empty) {
            return Err(TagError::OnlySeparators);
        }
        Ok(TagFilter::of_codes(Self::tags_of(expression).map(hash)))
    }

    /// The tags named in an expression, trimmed, blank ones left out.
    pub fn tags_of(expression: &str) -> impl Iterator<Item = &str> {
        expression
            .split("||")
            .map(|tag| tag.trim_matches(|c: char| c <= ' '))
            .filter(|tag| !tag.is_empty())
    }

    /// A filter of ready-made codes, as clients send them in `codeSet`.
    pub fn of_codes(codes: impl IntoIterator<Item = i32>) -> TagFilter {
        let mut codes: Vec<i32> = codes.into_iter().collect();
        codes.sort_unstable();
        codes.dedup();
        TagFilter {
            codes: Some(codes.into_boxed_slice()),
        }
    }

    /// Whether every message is accepted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.codes.is_none()
    }

    /// The accepted hashes in ascending order; `None` when all are.
    #[must_use]
    pub fn codes(&self) -> Option<&[i32]> {
        self.codes.as_deref()
    }

    /// Whether a consume queue entry with this tags code is accepted. Only the low half counts, as in Java.
    #[must_use]
    pub fn matches(&self, code: i64) -> bool {
        let Some(codes) = &self.codes else {
            return true;
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "Java compares Long.intValue of the code"
        )]
        let code = code as i32;
        if codes.len() <= LINEAR_CODES {
            codes.contains(&code)
        } else {
            codes.binary_search(&code).is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(hash(""), 0);
        assert_eq!(hash("TagA"), 2_598_919);
        assert_eq!(hash("hello world, this overflows"), {
            "hello world, this overflows"
                .encode_utf16()
                .fold(0i32, |h, u| h.wrapping_mul(31).wrapping_add(u.into()))
        });
        assert_eq!(hash("中文"), 646_394);
        assert_eq!(hash_on(hash("topic#"), "key, rather long 0123456789"), {
            hash("topic#key, rather long 0123456789")
        });
        // One character outside the basic plane counts as two units: 0xD83D * 31 + 0xDE00.
        assert_eq!(hash("😀"), 0xD83D * 31 + 0xDE00);
        // Two texts that Java is known to hash to the lowest integer.
        assert_eq!(code_of("polygenelubricants"), i64::from(i32::MIN));
    }

    #[test]
    fn expressions() {
        assert!(TagFilter::parse("").unwrap().is_all() && TagFilter::parse("*").unwrap().is_all());
        assert_eq!(TagFilter::parse("||"), Err(TagError::OnlySeparators));
        let two = TagFilter::parse(" a||b || ").unwrap();
        assert!(
            two.matches(code_of("a")) && two.matches(code_of("b")) && !two.matches(code_of("c"))
        );
        assert!(!two.matches(0));
        assert!(!TagFilter::parse("  ").unwrap().matches(0));
        let odd = TagFilter::parse("|||").unwrap();
        assert!(odd.matches(code_of("|")));
    }

    #[test]
    fn many_codes_are_found() {
        let filter = TagFilter::of_codes((0..100).map(|n| n * 3));
        assert!((0..100).all(|n| filter.matches(n * 3) && !filter.matches(n * 3 + 1)));
    }
}
