// SPDX-License-Identifier: Apache-2.0
//! The text of Java's `.properties` files: read, written, and edited in place.
//!
//! Reading follows `java.util.Properties.load`: keys end at the first `=`, `:` or blank that is not
//! escaped, `#` and `!` start comment lines, a line that ends in an odd number of backslashes goes on
//! in the next one, `\uXXXX` names a UTF-16 unit, the last of two equal keys counts. Unlike Java,
//! which always reads ISO-8859-1, bytes that are UTF-8 are read as such.

use std::{
    collections::HashMap,
    fmt, fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest file read, in bytes: a configuration has a few hundred short lines.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a text is not a `.properties` text, or could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes: not a configuration", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// `\u` is not followed by four hexadecimal digits, or names half a character.
    #[error("{}line {line}: bad unicode escape \"{escape}\"", in_file(source_path.as_deref()))]
    Escape {
        /// The file, when the text came from one.
        source_path: Option<Arc<Path>>,
        /// Line of the entry, from 1.
        line: u32,
        /// The escape as it stands there.
        escape: String,
    },
}

fn in_file(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| format!("{}, ", path.display()))
}

/// Keys and values in the order of their first appearance.
#[derive(Debug, Clone, Default)]
pub struct Properties {
    entries: Vec<Entry>,
    /// Place of each key in `entries`.
    index: HashMap<String, usize>,
    source: Option<Arc<Path>>,
}

#[derive(Debug, Clone)]
struct Entry {
    key: String,
    value: String,
    line: Option<u32>,
}

impl Properties {
    /// No entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a file; entries remember its name and their lines for messages.
    ///
    /// # Errors
    /// The file cannot be read, is larger than 1 MiB, or holds a broken escape.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = read_file(path)?;
        Self::parse_from(&text, Some(&Arc::from(path)))
    }

    /// Reads bytes that came over the wire.
    ///
    /// # Errors
    /// A broken escape.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse(&decode(bytes))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// A broken escape.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_from(text, None)
    }

    fn parse_from(text: &str, source: Option<&Arc<Path>>) -> Result<Self, Error> {
        let mut properties = Self {
            source: source.cloned(),
            ..Self::default()
        };
        for line in LogicalLines::new(text) {
            let Some(content) = line.content else {
                continue;
            };
            let broken = |escape| Error::Escape {
                source_path: source.cloned(),
                line: line.number,
                escape,
            };
            let (key, value) = split(&content);
            let key = unescape(key).map_err(broken)?;
            let value = unescape(value).map_err(broken)?;
            properties.put(key, value, Some(line.number));
        }
        Ok(properties)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let place = *self.index.get(key)?;
        self.entries.get(place).map(|entry| entry.value.as_str())
    }

    /// Line of `key` in the text it was read from, from 1.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<u32> {
        let place = *self.index.get(key)?;
        self.entries.get(place).and_then(|entry| entry.line)
    }

    /// The file that was read, if any.
    #[must_use]
    pub fn source(&self) -> Option<&Arc<Path>> {
        self.source.as_ref()
    }

    /// Sets `key`; a new key goes to the end.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.put(key.into(), value.into(), None);
    }

    fn put(&mut self, key: String, value: String, line: Option<u32>) {
        if let Some(entry) = self
            .index
            .get(&key)
            .and_then(|place| self.entries.get_mut(*place))
        {
            entry.value = value;
            entry.line = line;
            return;
        }
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push(Entry { key, value, line });
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.as_str()))
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The same entries in the order of their keys, as Apache's configuration answers are sorted.
    #[must_use]
    pub fn sorted(&self) -> Self {
        let mut pairs: Vec<_> = self.iter().collect();
        pairs.sort_unstable();
        pairs.into_iter().collect()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut properties = Self::new();
        for (key, value) in pairs {
            properties.set(key, value);
        }
        properties
    }
}

impl PartialEq for Properties {
    /// Equal keys with equal values in equal order; lines and files do not count.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// The text, one `key=value` a line.
///
/// Only what would be read differently is escaped, so that common values (`127.0.0.1:9876`) stand as
/// they are, as in Apache's `MixAll.properties2String`, which escapes nothing. Characters beyond ASCII
/// are escaped: Java reads the bytes as ISO-8859-1.
impl fmt::Display for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in self.iter() {
            writeln!(formatter, "{}", line_of(key, value))?;
        }
        Ok(())
    }
}

/// The text with the entries of `changes`: each stands where its key stood before, or at the end.
/// Comments, order and the spelling of all other lines stay as they are.
///
/// # Errors
/// A broken escape in `text`.
pub fn edit(text: &str, changes: &Properties) -> Result<String, Error> {
    let before = Properties::parse(text)?;
    let mut edited = String::with_capacity(text.len());
    for line in LogicalLines::new(text) {
        let key = match &line.content {
            Some(content) => unescape(split(content).0).ok(),
            None => None,
        };
        let change = key.and_then(|key| changes.get(&key).map(|value| line_of(&key, value)));
        match change {
            Some(replacement) => {
                edited.push_str(&replacement);
                edited.push('\n');
            }
            None => edited.push_str(line.raw),
        }
    }
    for (key, value) in changes.iter() {
        if before.get(key).is_none() {
            if !edited.is_empty() && !edited.ends_with(['\n', '\r']) {
                edited.push('\n');
            }
            edited.push_str(&line_of(key, value));
            edited.push('\n');
        }
    }
    Ok(edited)
}

/// Reads a file as text, UTF-8 if it is that, else ISO-8859-1.
///
/// # Errors
/// The file cannot be read or is larger than 1 MiB.
pub fn read_file(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(decode(&bytes))
}

fn decode(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // The first 256 characters of Unicode are those of ISO-8859-1.
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// A line together with those that continue it.
struct LogicalLine<'t> {
    /// Line of its beginning, from 1.
    number: u32,
    /// The text with its line ends.
    raw: &'t str,
    /// Joined and without leading blanks; none for comments and blank lines.
    content: Option<String>,
}

struct LogicalLines<'t> {
    rest: &'t str,
    number: u32,
}

impl<'t> LogicalLines<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            rest: text,
            number: 1,
        }
    }

    /// Takes one natural line: its content, and how long it is with its end.
    fn natural(text: &str) -> (&str, usize) {
        match text.find(['\n', '\r']) {
            None => (text, text.len()),
            Some(end) => {
                let (content, rest) = text.split_at(end);
                let width = if rest.starts_with("\r\n") { 2 } else { 1 };
                (content, end + width)
            }
        }
    }
}

impl<'t> Iterator for LogicalLines<'t> {
    type Item = LogicalLine<'t>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = self.rest;
        let number = self.number;
        let mut taken = 0;
        let mut content = String::new();
        loop {
            let (natural, width) = Self::natural(whole.get(taken..).unwrap_or_default());
            taken += width;
            self.number = self.number.saturating_add(1);
            let text = natural.trim_start_matches(BLANKS);
            let comment = content.is_empty() && text.starts_with(['#', '!']);
            if comment {
                break;
            }
            let backslashes = text.len() - text.trim_end_matches('\\').len();
            let continued = backslashes % 2 == 1;
            content.push_str(if continued {
                text.strip_suffix('\\').unwrap_or(text)
            } else {
                text
            });
            if !continued || taken >= whole.len() {
                break;
            }
        }
        let (raw, rest) = whole.split_at(taken);
        self.rest = rest;
        Some(LogicalLine {
            number,
            raw,
            content: (!content.is_empty()).then_some(content),
        })
    }
}

/// What Java takes as blank: space, tab, form feed.
const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Splits a line into key and value, both still escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let mut key_end = line.len();
    for (place, letter) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if letter == '=' || letter == ':' || BLANKS.contains(&letter) {
            key_end = place;
            break;
        }
    }
    let (key, rest) = line.split_at(key_end);
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(BLANKS))
}

/// Resolves escapes; the error is the escape that is none.
fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    let mut high: Option<(u16, String)> = None;
    while let Some(letter) = letters.next() {
        let mut resolved = letter;
        if letter == '\\' {
            match letters.next() {
                None => break,
                Some('u') => {
                    let digits: String = letters.by_ref().take(4).collect();
                    let escape = format!("\\u{digits}");
                    let unit = utf16_unit(&digits).ok_or_else(|| escape.clone())?;
                    let units = match high.take() {
                        Some((first, _)) => vec![first, unit],
                        None => vec![unit],
                    };
                    match String::from_utf16(&units) {
                        Ok(text) => plain.push_str(&text),
                        Err(_) if units.len() == 1 && (0xd800..0xdc00).contains(&unit) => {
                            high = Some((unit, escape));
                        }
                        Err(_) => return Err(escape),
                    }
                    continue;
                }
                Some('t') => resolved = '\t',
                Some('n') => resolved = '\n',
                Some('r') => resolved = '\r',
                Some('f') => resolved = '\u{c}',
                Some(other) => resolved = other,
            }
        }
        if let Some((_, escape)) = high {
            return Err(escape);
        }
        plain.push(resolved);
    }
    match high {
        Some((_, escape)) => Err(escape),
        None => Ok(plain),
    }
}

fn utf16_unit(digits: &str) -> Option<u16> {
    let complete = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if complete {
        u16::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

fn line_of(key: &str, value: &str) -> String {
    let mut line = String::with_capacity(key.len() + value.len() + 1);
    for (place, letter) in key.chars().enumerate() {
        let ends_key = matches!(letter, '=' | ':' | ' ');
        if ends_key || (place == 0 && matches!(letter, '#' | '!')) {
            line.push('\\');
            line.push(letter);
        } else {
            push_escaped(&mut line, letter);
        }
    }
    line.push('=');
    for (place, letter) in value.chars().enumerate() {
        if place == 0 && letter == ' ' {
            line.push('\\');
            line.push(letter);
        } else {
            push_escaped(&mut line, letter);
        }
    }
    line
}

fn push_escaped(line: &mut String, letter: char) {
    match letter {
        '\\' => line.push_str("\\\\"),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        ' '..='~' => line.push(letter),
        _ => {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let properties = Properties::parse(text).unwrap();
        properties
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn one(text: &str) -> (String, String) {
        let pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{pairs:?}");
        pairs.into_iter().next().unwrap()
    }

    /// Expected pairs are what `java.util.Properties.load` of JDK 17 gives for these lines.
    #[test]
    fn lines_are_read_as_java_reads_them() {
        let cases = [
            ("a=b", "a", "b"),
            ("a = b", "a", "b"),
            ("  a : b ", "a", "b "),
            ("a b", "a", "b"),
            ("a\t\u{c}b", "a", "b"),
            ("a", "a", ""),
            ("a==b", "a", "=b"),
            ("a = = b", "a", "= b"),
            ("a:=b", "a", "=b"),
            ("a\\=b=c", "a=b", "c"),
            ("a\\ b c", "a b", "c"),
            ("=b", "", "b"),
            ("a=b\\\n   c", "a", "bc"),
            ("a=b\\\r\n#c", "a", "b#c"),
            ("a=b\\\\", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a=\\t\\n\\r\\f\\q\\\"", "a", "\t\n\r\u{c}q\""),
            ("a=\\u00e4\\u20AC", "a", "ä€"),
            ("a=\\ud83d\\ude00", "a", "😀"),
            ("a=x#y!z", "a", "x#y!z"),
            (
                "namesrvAddr=127.0.0.1:9876;[::1]:9876",
                "namesrvAddr",
                "127.0.0.1:9876;[::1]:9876",
            ),
        ];
        for (text, key, value) in cases {
            assert_eq!(one(text), (key.to_owned(), value.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn comments_and_blank_lines_say_nothing() {
        let text = "\n  # one = 1\\\n! two = 2\r\r\n \t\na=b\n#";
        assert_eq!(pairs(text), [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn lines_are_counted_for_messages() {
        let properties = Properties::parse("# x\na=1\nb=2\\\n 3\r\nc=4\n").unwrap();
        let lines: Vec<_> = ["a", "b", "c", "d"]
            .iter()
            .map(|key| properties.line(key))
            .collect();
        assert_eq!(lines, [Some(2), Some(3), Some(5), None]);
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(
            pairs("a=1\nb=2\na=3"),
            [
                ("a".to_owned(), "3".to_owned()),
                ("b".to_owned(), "2".to_owned())
            ]
        );
    }

    #[test]
    fn broken_escapes_are_named() {
        for text in [
            "x=1\na=\\u12",
            "x=1\na=\\u+123",
            "x=1\na=\\ud83dz",
            "x=1\na=\\udc00",
        ] {
            let error = Properties::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("line 2: bad unicode escape"), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_latin1() {
        let latin1 = Properties::from_bytes(b"a=\xe4").unwrap();
        let utf8 = Properties::from_bytes("\u{feff}a=ä".as_bytes()).unwrap();
        assert_eq!(latin1.get("a"), Some("ä"));
        assert_eq!(latin1, utf8);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut properties = Properties::new();
        properties.set("#k =:\\", " v\\ \t\r\n\u{c}");
        properties.set("!", "#x=:");
        properties.set("ä😀", "€😀 ");
        properties.set("addr", "127.0.0.1:9876;127.0.0.2:9876");
        properties.set("empty", "");
        let text = properties.to_string();
        assert!(text.is_ascii());
        assert!(text.contains("addr=127.0.0.1:9876;127.0.0.2:9876\n"));
        assert_eq!(Properties::parse(&text).unwrap(), properties);
    }

    #[test]
    fn an_edit_keeps_everything_else() {
        let text = "# mine\nbrokerName : a\\\n  b\n\nother=1";
        let changes = Properties::from_iter([("brokerName", "c"), ("new", "2")]);
        assert_eq!(
            edit(text, &changes).unwrap(),
            "# mine\nbrokerName=c\n\nother=1\nnew=2\n"
        );
        assert_eq!(edit("", &changes).unwrap(), "brokerName=c\nnew=2\n");
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        // A small generator with a fixed seed: every run reads the same texts.
        let alphabet = b"ab=: \t\\u0d8#!\r\n\xc3\xa4";
        let mut state = 1u32;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    alphabet[(state >> 16) as usize % alphabet.len()]
                })
                .collect();
            if let Ok(properties) = Properties::from_bytes(&bytes) {
                let again = Properties::parse(&properties.to_string()).unwrap();
                assert_eq!(again, properties, "{bytes:?}");
            }
        }
    }
}
