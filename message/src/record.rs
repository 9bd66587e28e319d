// SPDX-License-Identifier: Apache-2.0
//! The stored record, which is also what consumers receive. All numbers are big-endian.
//!
//! | field | bytes | at (both hosts IPv4) |
//! |---|---|---|
//! | length of the record | 4 | 0 |
//! | magic | 4 | 4 |
//! | CRC-32 of the body, without its top bit | 4 | 8 |
//! | queue id | 4 | 12 |
//! | flag of the user | 4 | 16 |
//! | queue offset | 8 | 20 |
//! | physical offset | 8 | 28 |
//! | system flag | 4 | 36 |
//! | born timestamp | 8 | 40 |
//! | born host: address, port | 4 + 4 or 16 + 4 | 48 |
//! | store timestamp | 8 | 56 |
//! | store host | 4 + 4 or 16 + 4 | 64 |
//! | reconsume times | 4 | 72 |
//! | prepared transaction offset | 8 | 76 |
//! | body length, body | 4 + n | 84 |
//! | topic length, topic | 1 (first version) or 2 (second) + t | 88 + n |
//! | properties length, properties | 2 + p | |
//!
//! Apache: `store/MessageExtEncoder.java`, `common/message/MessageDecoder.java`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    properties::{self, Properties},
    sysflag,
};

/// A record whose topic length takes one byte.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32.cast_signed();
/// A record whose topic length takes two bytes.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32.cast_signed();
/// Fills the rest of a log file; only its length and magic count.
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32.cast_signed();
/// Bytes of a blank record that are written; so many stay free at the end of each log file.
pub const BLANK_BYTES: usize = 4 + 4;

/// Position of the magic.
pub const AT_MAGIC: usize = 4;
/// Position of the queue id.
pub const AT_QUEUE_ID: usize = 12;
/// Position of the queue offset.
pub const AT_QUEUE_OFFSET: usize = 20;
/// Position of the physical offset.
pub const AT_PHYSICAL_OFFSET: usize = 28;
/// Position of the system flag.
pub const AT_SYS_FLAG: usize = 36;
/// Position of the born host, behind which positions depend on the address family.
pub const AT_BORN_HOST: usize = 48;
/// Bytes of a host with an IPv4 address.
pub const HOST_V4_BYTES: usize = 4 + 4;
/// Bytes of a host with an IPv6 address.
pub const HOST_V6_BYTES: usize = 16 + 4;
/// Bytes between the store host and the body.
const AFTER_HOSTS_BYTES: usize = 4 + 8 + 4;
/// Bytes of a first-version record without body, topic and properties, both hosts IPv4.
pub const FIXED_BYTES: usize =
    AT_BORN_HOST + HOST_V4_BYTES + 8 + HOST_V4_BYTES + AFTER_HOSTS_BYTES + 1 + 2;
/// Topics of more UTF-16 units than this need the second version (`autoMessageVersionOnTopicLen`).
pub const V1_TOPIC_UNITS: usize = 127;
/// Longest topic in bytes.
pub const MAX_TOPIC_BYTES: usize = 255;

const _: () = {
    assert!(MAGIC_V1 == -626_843_481 && MAGIC_V2 == -626_843_477 && MAGIC_BLANK == -875_286_124);
    assert!(FIXED_BYTES == 91);
    assert!(AT_QUEUE_ID == AT_MAGIC + 8 && AT_QUEUE_OFFSET == AT_QUEUE_ID + 8);
    assert!(AT_PHYSICAL_OFFSET == AT_QUEUE_OFFSET + 8 && AT_SYS_FLAG == AT_PHYSICAL_OFFSET + 8);
    assert!(AT_BORN_HOST == AT_SYS_FLAG + 4 + 8);
};

/// What goes into the tags code of the queue entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagsCode {
    /// The hash of the tags, see [`crate::tags::code_of`].
    Hash(i64),
    /// The delivery time: store time plus this, for `SCHEDULE_TOPIC_XXXX`.
    AfterStoreMillis(i64),
}

impl TagsCode {
    /// The number for a record stored at a time.
    #[must_use]
    pub const fn at(self, store_timestamp: i64) -> i64 {
        match self {
            TagsCode::Hash(code) => code,
            TagsCode::AfterStoreMillis(delay) => store_timestamp.saturating_add(delay),
        }
    }
}

/// A message to be stored, borrowed from wherever it came.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Topic; at most [`MAX_TOPIC_BYTES`].
    pub topic: &'a str,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Flag bits of [`sysflag`]; the two address family bits are set by encoding.
    pub sys_flag: i32,
    /// When the producer made the message, milliseconds since 1970.
    pub born_timestamp: i64,
    /// Where the producer is.
    pub born_host: SocketAddr,
    /// Where consumers reach the broker.
    pub store_host: SocketAddr,
    /// How often the message was consumed in vain.
    pub reconsume_times: i32,
    /// Physical offset of the half message that this one commits; else 0.
    pub prepared_transaction_offset: i64,
    /// Body as sent.
    pub body: &'a [u8],
    /// Property text in pieces that are written one after the other.
    pub properties: &'a [&'a [u8]],
    /// Tags code of the queue entry.
    pub tags_code: TagsCode,
}

/// What only the log knows about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index in the queue.
    pub queue_offset: i64,
    /// Position of the record's first byte in the log.
    pub physical_offset: i64,
    /// When it is stored, milliseconds since 1970.
    pub store_timestamp: i64,
}

fn host_bytes(host: SocketAddr) -> usize {
    if host.is_ipv4() {
        HOST_V4_BYTES
    } else {
        HOST_V6_BYTES
    }
}

fn is_v2(topic: &str) -> bool {
    // A text has at most as many UTF-16 units as bytes.
    topic.len() > V1_TOPIC_UNITS
        && (topic.encode_utf16().count() > V1_TOPIC_UNITS || topic.len() > usize::from(u8::MAX))
}

/// Writes fields one after the other.
struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline]
    fn host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put(&u32::from(host.port()).to_be_bytes());
    }
}

/// Writes into an encoded record what only the log knows about it.
///
/// # Panics
/// When `record` is shorter than a record.
#[inline]
pub fn set_place(record: &mut [u8], place: Place) {
    let sys_flag = i32::from(record[AT_SYS_FLAG + 3]);
    let born_host = if sys_flag & sysflag::BORN_HOST_V6 == 0 {
        HOST_V4_BYTES
    } else {
        HOST_V6_BYTES
    };
    let mut put = |at: usize, value: i64| {
        record[at..at + 8].copy_from_slice(&value.to_be_bytes());
    };
    put(AT_QUEUE_OFFSET, place.queue_offset);
    put(AT_PHYSICAL_OFFSET, place.physical_offset);
    put(AT_BORN_HOST + born_host, place.store_timestamp);
}

/// CRC-32 of a body as records hold it: without the top bit, 0 for an empty body.
#[must_use]
pub fn crc_of(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "lengths are bounded by the store before a record is encoded; a longer one would be cut, not misplaced"
)]
impl Record<'_> {
    /// Bytes of all property pieces.
    #[must_use]
    pub fn properties_len(&self) -> usize {
        self.properties.iter().map(|piece| piece.len()).sum()
    }

    /// Bytes of the encoded record.
    #[must_use]
    #[inline]
    pub fn encoded_len(&self) -> usize {
        FIXED_BYTES - 2 * HOST_V4_BYTES
            + host_bytes(self.born_host)
            + host_bytes(self.store_host)
            + usize::from(is_v2(self.topic))
            + self.body.len()
            + self.topic.len()
            + self.properties_len()
    }

    /// The CRC that the record will hold.
    #[must_use]
    #[inline]
    pub fn body_crc(&self) -> u32 {
        crc_of(self.body)
    }

    /// Writes the record into `out[..encoded_len()]` and returns that length. `body_crc` is [`Record::body_crc`],
    /// computed before any lock is taken.
    ///
    /// # Panics
    /// When `out` is shorter.
    #[inline]
    pub fn encode(&self, out: &mut [u8], place: Place, body_crc: u32) -> usize {
        let len = self.encoded_len();
        let v2 = is_v2(self.topic);
        let mut sys_flag = self.sys_flag & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            sys_flag |= sysflag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            sys_flag |= sysflag::STORE_HOST_V6;
        }
        let mut head = [0u8; AT_BORN_HOST];
        head[0..4].copy_from_slice(&(len as u32).to_be_bytes());
        head[4..8].copy_from_slice(&if v2 { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        head[8..12].copy_from_slice(&body_crc.to_be_bytes());
        head[12..16].copy_from_slice(&self.queue_id.to_be_bytes());
        head[16..20].copy_from_slice(&self.flag.to_be_bytes());
        head[20..28].copy_from_slice(&place.queue_offset.to_be_bytes());
        head[28..36].copy_from_slice(&place.physical_offset.to_be_bytes());
        head[36..40].copy_from_slice(&sys_flag.to_be_bytes());
        head[40..48].copy_from_slice(&self.born_timestamp.to_be_bytes());
        let mut cursor = Cursor {
            out: &mut out[..len],
            at: 0,
        };
        cursor.put(&head);
        cursor.host(self.born_host);
        cursor.put(&place.store_timestamp.to_be_bytes());
        cursor.host(self.store_host);
        cursor.put(&self.reconsume_times.to_be_bytes());
        cursor.put(&self.prepared_transaction_offset.to_be_bytes());
        cursor.put(&(self.body.len() as i32).to_be_bytes());
        cursor.put(self.body);
        if v2 {
            cursor.put(&(self.topic.len() as u16).to_be_bytes());
        } else {
            cursor.put(&[self.topic.len() as u8]);
        }
        cursor.put(self.topic.as_bytes());
        cursor.put(&(self.properties_len() as u16).to_be_bytes());
        for piece in self.properties {
            cursor.put(piece);
        }
        debug_assert_eq!(cursor.at, len);
        len
    }
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the record says it has, or than any record has.
    #[error("the record is cut off")]
    Truncated,
    /// The record says it has this many bytes, which no record has.
    #[error("the record says it has {0} bytes")]
    Length(i32),
    /// Not the magic of a record; zeros are what lies behind the end of a log.
    #[error("the magic {0:#010x} is not that of a record")]
    Magic(i32),
    /// The rest of a log file, of so many bytes.
    #[error("the rest of the file, {0} bytes, is blank")]
    Blank(i32),
    /// The lengths of the parts do not add up to the length of the record.
    #[error("the parts of the record do not add up to its length")]
    Parts,
    /// The topic is empty or not UTF-8.
    #[error("the topic of the record is empty or not UTF-8")]
    Topic,
}

/// A stored record, checked and borrowed.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    store_timestamp_at: usize,
    body: (usize, usize),
    topic: (usize, usize),
    properties: (usize, usize),
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'a> RecordView<'a> {
    /// Reads the record at the start of `bytes`, which may go on behind it. Every length is checked; the body CRC is
    /// not, see [`RecordView::crc_matches`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<RecordView<'a>, RecordError> {
        let total = int(bytes, 0).ok_or(RecordError::Truncated)?;
        let topic_len_bytes = match int(bytes, AT_MAGIC).ok_or(RecordError::Truncated)? {
            MAGIC_V1 => 1,
            MAGIC_V2 => 2,
            MAGIC_BLANK => return Err(RecordError::Blank(total)),
            other => return Err(RecordError::Magic(other)),
        };
        let len = usize::try_from(total)
            .ok()
            .filter(|len| *len > FIXED_BYTES)
            .ok_or(RecordError::Length(total))?;
        let bytes = bytes.get(..len).ok_or(RecordError::Truncated)?;
        Self::parts(bytes, topic_len_bytes)
            .ok_or(RecordError::Parts)
            .and_then(|view| {
                let topic =
                    std::str::from_utf8(view.topic_bytes()).map_err(|_| RecordError::Topic)?;
                if topic.is_empty() {
                    Err(RecordError::Topic)
                } else {
                    Ok(view)
                }
            })
    }

    fn parts(bytes: &'a [u8], topic_len_bytes: usize) -> Option<RecordView<'a>> {
        let sys_flag = int(bytes, AT_SYS_FLAG)?;
        let host = |flag: i32| {
            if sys_flag & flag == 0 {
                HOST_V4_BYTES
            } else {
                HOST_V6_BYTES
            }
        };
        let store_timestamp_at = AT_BORN_HOST + host(sysflag::BORN_HOST_V6);
        let after_hosts = store_timestamp_at + 8 + host(sysflag::STORE_HOST_V6);
        let body_at = after_hosts + AFTER_HOSTS_BYTES;
        let body_end = body_at.checked_add(usize::try_from(int(bytes, body_at - 4)?).ok()?)?;
        let topic_at = body_end.checked_add(topic_len_bytes)?;
        let topic_len = bytes
            .get(body_end..topic_at)?
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte));
        let topic_end = topic_at + topic_len;
        let properties_at = topic_end + 2;
        let properties_len = bytes.get(topic_end..properties_at)?;
        let properties_len =
            usize::from(u16::from_be_bytes([properties_len[0], properties_len[1]]));
        if properties_len > properties::MAX_BYTES || properties_at + properties_len != bytes.len() {
            return None;
        }
        Some(RecordView {
            bytes,
            store_timestamp_at,
            body: (body_at, body_end),
            topic: (topic_at, topic_end),
            properties: (properties_at, bytes.len()),
        })
    }

    fn int(&self, at: usize) -> i32 {
        int(self.bytes, at).unwrap_or_default()
    }

    fn long(&self, at: usize) -> i64 {
        long(self.bytes, at).unwrap_or_default()
    }

    fn host(&self, at: usize, v6_flag: i32) -> SocketAddr {
        let bytes = &self.bytes[at..];
        let (ip, port_at) = if self.sys_flag() & v6_flag == 0 {
            (
                Ipv4Addr::from(bytes.first_chunk().copied().unwrap_or([0; 4])).into(),
                at + 4,
            )
        } else {
            (
                IpAddr::from(Ipv6Addr::from(
                    bytes.first_chunk().copied().unwrap_or([0; 16]),
                )),
                at + 16,
            )
        };
        // Java keeps ports in four bytes; only the low half can be one.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "see above"
        )]
        SocketAddr::new(ip, self.int(port_at) as u16)
    }

    /// The record's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
    /// Bytes of the whole record.
    #[must_use]
    pub fn total_len(&self) -> usize {
        self.bytes.len()
    }
    /// [`MAGIC_V1`] or [`MAGIC_V2`].
    #[must_use]
    pub fn magic(&self) -> i32 {
        self.int(AT_MAGIC)
    }
    /// The body CRC as stored.
    #[must_use]
    pub fn body_crc(&self) -> u32 {
        self.int(8).cast_unsigned()
    }
    /// Whether the stored CRC is that of the body.
    #[must_use]
    pub fn crc_matches(&self) -> bool {
        self.body_crc() == crc_of(self.body())
    }
    /// Queue within the topic.
    #[must_use]
    pub fn queue_id(&self) -> i32 {
        self.int(AT_QUEUE_ID)
    }
    /// The user's flag.
    #[must_use]
    pub fn flag(&self) -> i32 {
        self.int(16)
    }
    /// Index in the queue.
    #[must_use]
    pub fn queue_offset(&self) -> i64 {
        self.long(AT_QUEUE_OFFSET)
    }
    /// Position in the log.
    #[must_use]
    pub fn physical_offset(&self) -> i64 {
        self.long(AT_PHYSICAL_OFFSET)
    }
    /// Flag bits of [`sysflag`].
    #[must_use]
    pub fn sys_flag(&self) -> i32 {
        self.int(AT_SYS_FLAG)
    }
    /// When the producer made the message.
    #[must_use]
    pub fn born_timestamp(&self) -> i64 {
        self.long(40)
    }
    /// Where the producer was.
    #[must_use]
    pub fn born_host(&self) -> SocketAddr {
        self.host(AT_BORN_HOST, sysflag::BORN_HOST_V6)
    }
    /// When the message was stored.
    #[must_use]
    pub fn store_timestamp(&self) -> i64 {
        self.long(self.store_timestamp_at)
    }
    /// The broker that stored it.
    #[must_use]
    pub fn store_host(&self) -> SocketAddr {
        self.host(self.store_timestamp_at + 8, sysflag::STORE_HOST_V6)
    }
    /// How often the message was consumed in vain.
    #[must_use]
    pub fn reconsume_times(&self) -> i32 {
        self.int(self.body.0 - AFTER_HOSTS_BYTES)
    }
    /// Physical offset of the half message, or 0.
    #[must_use]
    pub fn prepared_transaction_offset(&self) -> i64 {
        self.long(self.body.0 - AFTER_HOSTS_BYTES + 4)
    }
    /// The body as stored.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body.0..self.body.1]
    }
    /// The topic, as bytes to compare.
    #[must_use]
    pub fn topic_bytes(&self) -> &'a [u8] {
        &self.bytes[self.topic.0..self.topic.1]
    }
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        std::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }
    /// The property text.
    #[must_use]
    pub fn properties(&self) -> Properties<'a> {
        Properties(&self.bytes[self.properties.0..self.properties.1])
    }
}

/// The store timestamp of the record that starts `bytes`, without reading further than the header; `None` when there
/// are too few bytes.
#[must_use]
pub fn store_timestamp_of(bytes: &[u8]) -> Option<i64> {
    let v6 = int(bytes, AT_SYS_FLAG)? & sysflag::BORN_HOST_V6 != 0;
    long(
        bytes,
        AT_BORN_HOST + if v6 { HOST_V6_BYTES } else { HOST_V4_BYTES },
    )
}

/// Whether `bytes` start like the record of `len` bytes that belongs at a place: length, magic, queue id and physical
/// offset. A cheap test for records about to be handed out.
#[must_use]
#[inline]
pub fn starts_record(bytes: &[u8], len: i32, queue_id: i32, physical_offset: i64) -> bool {
    let Some(head) = bytes.first_chunk::<AT_SYS_FLAG>() else {
        return false;
    };
    let field =
        |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    field(0) == len
        && matches!(field(AT_MAGIC), MAGIC_V1 | MAGIC_V2)
        && field(AT_QUEUE_ID) == queue_id
        && head[AT_PHYSICAL_OFFSET..] == physical_offset.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(topic: &'a str, properties: &'a [&'a [u8]]) -> Record<'a> {
        Record {
            topic,
            queue_id: 3,
            flag: 9,
            sys_flag: sysflag::COMPRESSED,
            born_timestamp: 1,
            born_host: "1.2.3.4:5".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 77,
            body: b"hello",
            properties,
            tags_code: TagsCode::Hash(0),
        }
    }

    const PLACE: Place = Place {
        queue_offset: 11,
        physical_offset: 1 << 40,
        store_timestamp: 1_700_000_000_000,
    };

    #[test]
    fn bytes_are_javas() {
        let record = record("T", &[b"a\x01b\x02"]);
        let mut out = vec![0; record.encoded_len()];
        assert_eq!(
            record.encode(&mut out, PLACE, record.body_crc()),
            91 + 5 + 1 + 4
        );
        let mut expected = Vec::new();
        expected.extend(101i32.to_be_bytes());
        expected.extend((-626_843_481i32).to_be_bytes());
        expected.extend((0x3610_A686u32).to_be_bytes());
        expected.extend([0, 0, 0, 3, 0, 0, 0, 9]);
        expected.extend(11i64.to_be_bytes());
        expected.extend((1i64 << 40).to_be_bytes());
        expected.extend([0, 0, 0, 1]);
        expected.extend(1i64.to_be_bytes());
        expected.extend([1, 2, 3, 4, 0, 0, 0, 5]);
        expected.extend(1_700_000_000_000i64.to_be_bytes());
        expected.extend([127, 0, 0, 1, 0, 0, 0x2A, 0x9F]);
        expected.extend([0, 0, 0, 2]);
        expected.extend(77i64.to_be_bytes());
        expected.extend(b"\0\0\0\x05hello\x01T\0\x04a\x01b\x02");
        assert_eq!(out, expected);
        assert_eq!(store_timestamp_of(&out), Some(PLACE.store_timestamp));
        assert!(starts_record(&out, 101, 3, 1 << 40) && !starts_record(&out, 101, 3, 1));
    }

    #[test]
    fn versions_and_families() {
        let long = "t".repeat(128);
        let mut record = record(&long, &[]);
        record.born_host = "[::1]:7".parse().unwrap();
        record.store_host = "[2001:db8::1]:65535".parse().unwrap();
        let mut out = vec![0; record.encoded_len()];
        assert_eq!(
            record.encode(&mut out, PLACE, record.body_crc()),
            91 + 24 + 1 + 5 + 128
        );
        let view = RecordView::parse(&out).unwrap();
        assert_eq!((view.magic(), view.topic()), (MAGIC_V2, long.as_str()));
        assert_eq!(
            (view.born_host(), view.store_host()),
            (record.born_host, record.store_host)
        );
        assert_eq!(view.sys_flag(), 0x31);
        // 64 characters of three bytes: 192 bytes, yet few enough units for the first version.
        let wide = "中".repeat(64);
        assert!(!is_v2(&wide) && is_v2(&"中".repeat(128)) && is_v2(&"中".repeat(100)));
    }

    #[test]
    fn blank_and_broken() {
        let record = record("T", &[]);
        let mut out = vec![0; record.encoded_len()];
        record.encode(&mut out, PLACE, record.body_crc());
        assert!(RecordView::parse(&out).unwrap().crc_matches());
        for cut in 0..out.len() {
            assert!(RecordView::parse(&out[..cut]).is_err());
        }
        let mut blank = vec![0; 64];
        blank[..4].copy_from_slice(&64i32.to_be_bytes());
        blank[4..8].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        assert_eq!(
            RecordView::parse(&blank).unwrap_err(),
            RecordError::Blank(64)
        );
        assert_eq!(
            RecordView::parse(&[0; 200]).unwrap_err(),
            RecordError::Magic(0)
        );
        out[0] = 0xFF;
        assert!(matches!(
            RecordView::parse(&out),
            Err(RecordError::Length(_))
        ));
    }

    #[test]
    fn a_place_set_later_is_the_same_as_one_known_before() {
        for born_host in ["1.2.3.4:5", "[2001:db8::1]:5"] {
            let record = Record {
                topic: "t",
                queue_id: 1,
                flag: 2,
                sys_flag: 0,
                born_timestamp: 3,
                born_host: born_host.parse().unwrap(),
                store_host: "9.8.7.6:10911".parse().unwrap(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: b"body",
                properties: &[b"a\x01b\x02"],
                tags_code: TagsCode::Hash(0),
            };
            let nowhere = Place {
                queue_offset: 0,
                physical_offset: 0,
                store_timestamp: 0,
            };
            let place = Place {
                queue_offset: 7,
                physical_offset: 1 << 40,
                store_timestamp: 1_700_000_000_000,
            };
            let mut wanted = vec![0; record.encoded_len()];
            record.encode(&mut wanted, place, record.body_crc());
            let mut bytes = vec![0; record.encoded_len()];
            record.encode(&mut bytes, nowhere, record.body_crc());
            set_place(&mut bytes, place);
            assert_eq!(bytes, wanted);
        }
    }
}
