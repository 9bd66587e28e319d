// SPDX-License-Identifier: Apache-2.0
//! The bytes of an index file: a hash table from keys to positions in the log (Apache: `store/index/IndexFile.java`,
//! `IndexHeader.java`, `IndexService.java`). All numbers are big-endian.
//!
//! | at | what |
//! |---|---|
//! | 0 | [`Header`], 40 bytes |
//! | 40 | a slot of 4 bytes for each hash value: number of its newest entry, 0 for none |
//! | 40 + 4 × slots | entries of 20 bytes, see [`Entry`]; number 0 is never used |
//!
//! A file is named after the local time at which it was made, `yyyyMMddHHmmssSSS`.

use aerobee_message::{RecordView, keys, sysflag, tags};

/// Bytes before the slots.
pub const HEADER_BYTES: usize = 8 + 8 + 8 + 8 + 4 + 4;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 4;
/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 4 + 8 + 4 + 4;
/// Digits of a file name.
const NAME_DIGITS: usize = 17;

const _: () = assert!(HEADER_BYTES == 40 && ENTRY_BYTES == 20);

/// How many slots and entries a file has; a directory keeps to one geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Slots (`maxHashSlotNum`).
    pub slots: u32,
    /// Entries, the unused first one included (`maxIndexNum`).
    pub entries: u32,
}

impl Default for Geometry {
    fn default() -> Self {
        Self {
            slots: 5_000_000,
            entries: 20_000_000,
        }
    }
}

impl Geometry {
    /// Length of a file.
    #[must_use]
    pub fn file_bytes(self) -> u64 {
        self.entry_at(self.entries)
    }

    /// Where a slot stands.
    #[must_use]
    pub fn slot_at(self, slot: u32) -> u64 {
        HEADER_BYTES as u64 + u64::from(slot) * SLOT_BYTES as u64
    }

    /// Where an entry stands.
    #[must_use]
    pub fn entry_at(self, number: u32) -> u64 {
        self.slot_at(self.slots) + u64::from(number) * ENTRY_BYTES as u64
    }

    /// The slot of a hash.
    #[must_use]
    #[inline]
    pub fn slot_of(self, hash: u32) -> u32 {
        hash % self.slots
    }
}

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Store time of the first record.
    pub begin_timestamp: i64,
    /// Store time of the last record.
    pub end_timestamp: i64,
    /// Position of the first record in the log.
    pub begin_physical: i64,
    /// Position of the last record in the log.
    pub end_physical: i64,
    /// Slots in use.
    pub slots_used: u32,
    /// Number of the next entry, so one more than there are entries; 1 in an empty file.
    pub count: u32,
}

impl Header {
    /// Reads a header; counts of 0, as in a file just made, and those that are no counts read as none.
    #[must_use]
    pub fn of_bytes(bytes: &[u8; HEADER_BYTES]) -> Header {
        let count = |at| u32::try_from(int(bytes, at)).unwrap_or(0);
        Header {
            begin_timestamp: long(bytes, 0),
            end_timestamp: long(bytes, 8),
            begin_physical: long(bytes, 16),
            end_physical: long(bytes, 24),
            slots_used: count(32),
            count: count(36).max(1),
        }
    }

    /// The bytes of a header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let longs = [
            self.begin_timestamp,
            self.end_timestamp,
            self.begin_physical,
            self.end_physical,
        ];
        for (bytes, long) in bytes.chunks_exact_mut(8).zip(longs) {
            bytes.copy_from_slice(&long.to_be_bytes());
        }
        bytes[32..36].copy_from_slice(&self.slots_used.to_be_bytes());
        bytes[36..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// Whether the file may hold records stored in a stretch of time, both ends included (`isTimeMatched`).
    #[must_use]
    pub fn overlaps(&self, begin: i64, end: i64) -> bool {
        let within = |time| self.begin_timestamp <= time && time <= self.end_timestamp;
        (begin < self.begin_timestamp && end > self.end_timestamp) || within(begin) || within(end)
    }

    /// What an entry says of the time of a record: seconds since the first one.
    #[must_use]
    #[inline]
    pub fn seconds_of(&self, store_timestamp: i64) -> i32 {
        if self.begin_timestamp <= 0 {
            return 0;
        }
        let seconds = store_timestamp.saturating_sub(self.begin_timestamp) / 1000;
        i32::try_from(seconds.max(0)).unwrap_or(i32::MAX)
    }
}

/// One key of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// See [`hash_of`].
    pub hash: u32,
    /// Position of the record in the log.
    pub physical: i64,
    /// Seconds from the begin of the file to the record.
    pub seconds: i32,
    /// Number of the entry before in the same slot; 0 for none.
    pub previous: u32,
}

impl Entry {
    /// Reads an entry.
    #[must_use]
    pub fn of_bytes(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        Entry {
            hash: int(bytes, 0).cast_unsigned(),
            physical: long(bytes, 4),
            seconds: int(bytes, 12),
            previous: int(bytes, 16).cast_unsigned(),
        }
    }

    /// The bytes of an entry, as words.
    #[must_use]
    #[inline]
    pub fn to_words(self) -> [u32; ENTRY_BYTES / 4] {
        let physical = self.physical.cast_unsigned();
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (high, low) = ((physical >> 32) as u32, physical as u32);
        [
            self.hash,
            high,
            low,
            self.seconds.cast_unsigned(),
            self.previous,
        ]
    }
}

fn int(bytes: &[u8], at: usize) -> i32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| i32::from_be_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> i64 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// Which key of a message is meant. Keys and unique keys share one space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// One of the words of `KEYS`, or the unique key.
    #[default]
    Key,
    /// The whole of `TAGS`.
    Tags,
}

/// The hash under which a key of a topic is found: Java's of `topic#key` or `topic#T#tags`, without its sign.
#[must_use]
pub fn hash_of(topic: &str, kind: KeyKind, key: &str) -> u32 {
    let separator = match kind {
        KeyKind::Key => "#",
        KeyKind::Tags => TAGS_SEPARATOR,
    };
    unsigned(tags::hash_on(
        tags::hash_on(tags::hash(topic), separator),
        key,
    ))
}

const TAGS_SEPARATOR: &str = "#T#";

/// Java's `Math.abs`, of whose results the only negative one counts as 0.
fn unsigned(hash: i32) -> u32 {
    match hash.unsigned_abs() {
        0x8000_0000 => 0,
        hash => hash,
    }
}

/// The topic that keys were hashed for last, with what all its keys and all its tags begin with hashed: the next record
/// mostly has it too.
#[derive(Debug, Clone, Default)]
pub struct LastTopic {
    name: String,
    key: i32,
    tags: i32,
}

impl LastTopic {
    fn set(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        let topic = tags::hash(name);
        self.key = tags::hash_on(topic, "#");
        self.tags = tags::hash_on(topic, TAGS_SEPARATOR);
    }
}

/// The hashes under which a record is found, in the order in which they are entered: its unique key, its keys, its
/// tags. None for the mark of a transaction rolled back.
pub fn hashes_of(record: &RecordView<'_>, topic: &mut LastTopic, mut each: impl FnMut(u32)) {
    if record.sys_flag() & sysflag::TRANSACTION_MASK == sysflag::TRANSACTION_ROLLBACK {
        return;
    }
    let (mut unique, mut words, mut tags) = (None, None, None);
    for (name, value) in record.properties().iter() {
        match name {
            keys::UNIQ_KEY => unique = Some(value),
            keys::KEYS => words = Some(value),
            keys::TAGS => tags = Some(value),
            _ => {}
        }
    }
    if unique.is_none() && words.is_none() && tags.is_none() {
        return;
    }
    if topic.name.as_bytes() != record.topic_bytes() {
        topic.set(record.topic());
    }
    unique
        .into_iter()
        .chain(words.into_iter().flat_map(|words| words.split(' ')))
        .filter(|word| !word.is_empty())
        .for_each(|word| each(unsigned(tags::hash_on(topic.key, word))));
    if let Some(tags) = tags.filter(|tags| !tags.is_empty()) {
        each(unsigned(tags::hash_on(topic.tags, tags)));
    }
}

/// The number that a file name stands for; `None` for names of other things.
#[must_use]
pub fn number_of(name: &str) -> Option<u64> {
    if name.len() != NAME_DIGITS || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}

/// The file name of a number.
#[must_use]
pub fn name_of(number: u64) -> String {
    format!("{number:0NAME_DIGITS$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_numbers() {
        assert_eq!(Geometry::default().file_bytes(), 420_000_040);
        assert_eq!(Geometry::default().entry_at(1), 20_000_060);
        // "a#b".hashCode() in Java.
        assert_eq!(hash_of("a", KeyKind::Key, "b"), 94_400);
        assert_eq!(
            hash_of("a", KeyKind::Tags, "b"),
            tags::hash("a#T#b").unsigned_abs()
        );
        assert_eq!(unsigned(i32::MIN), 0);
        assert_eq!(unsigned(-5), 5);
        assert_eq!(number_of("20261125202401123"), Some(20_261_125_202_401_123));
        assert_eq!(name_of(20_261_125_202_401_123), "20261125202401123");
        assert_eq!(number_of("2026112520240112x"), None);
    }

    #[test]
    fn headers_and_entries_keep_their_places() {
        let header = Header {
            begin_timestamp: 1,
            end_timestamp: 2,
            begin_physical: 3,
            end_physical: 4,
            slots_used: 5,
            count: 6,
        };
        let bytes = header.to_bytes();
        assert_eq!((bytes[7], bytes[15], bytes[23], bytes[31]), (1, 2, 3, 4));
        assert_eq!((bytes[35], bytes[39]), (5, 6));
        assert_eq!(Header::of_bytes(&bytes), header);
        assert_eq!(Header::of_bytes(&[0; HEADER_BYTES]).count, 1);
        let entry = Entry {
            hash: 7,
            physical: (8 << 32) + 9,
            seconds: 10,
            previous: 11,
        };
        assert_eq!(entry.to_words(), [7, 8, 9, 10, 11]);
        let mut bytes = [0; ENTRY_BYTES];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(entry.to_words()) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        assert_eq!(Entry::of_bytes(&bytes), entry);
    }

    #[test]
    fn times_overlap_as_in_java() {
        let header = Header {
            begin_timestamp: 10_000,
            end_timestamp: 20_000,
            ..Header::of_bytes(&[0; HEADER_BYTES])
        };
        for (begin, end, overlaps) in [
            (0, 9_999, false),
            (0, 10_000, true),
            (15_000, 16_000, true),
            (0, 30_000, true),
            (20_001, 30_000, false),
        ] {
            assert_eq!(header.overlaps(begin, end), overlaps, "{begin} {end}");
        }
        assert_eq!(header.seconds_of(12_999), 2);
        assert_eq!(header.seconds_of(9_000), 0);
        assert_eq!(header.seconds_of(i64::MAX), i32::MAX);
    }
}
