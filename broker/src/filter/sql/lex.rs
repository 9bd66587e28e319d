// SPDX-License-Identifier: Apache-2.0
//! Text → tokens. Words are told apart without regard to case, names keep theirs. Apache: the token
//! rules of `SelectorParser.jj`.

use super::SqlError;

/// One token, with the texts of names and numbers as they stand.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Name(&'a str),
    /// The text between the quotes, `''` made one quote.
    Text(String),
    /// Digits, without the `L` that may follow.
    Integer(&'a str),
    Float(&'a str),
    Word(Word),
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Open,
    Close,
    Comma,
    End,
}

/// Reserved words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
}

const WORDS: [(&str, Word); 12] = [
    ("NOT", Word::Not),
    ("AND", Word::And),
    ("OR", Word::Or),
    ("BETWEEN", Word::Between),
    ("IN", Word::In),
    ("TRUE", Word::True),
    ("FALSE", Word::False),
    ("NULL", Word::Null),
    ("IS", Word::Is),
    ("CONTAINS", Word::Contains),
    ("STARTSWITH", Word::StartsWith),
    ("ENDSWITH", Word::EndsWith),
];

/// Reads tokens from a text, one at a time: what stands behind the last token asked for is not
/// looked at.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the next token begins, or the space before it.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn next(&mut self) -> Result<Token<'a>, SqlError> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let Some(first) = rest.bytes().next() else {
            return Ok(Token::End);
        };
        if first.is_ascii_alphabetic() || matches!(first, b'_' | b'$') {
            return Ok(self.name());
        }
        if first.is_ascii_digit() || is_fraction(rest) {
            return Ok(self.number());
        }
        if first == b'\'' {
            return self.quoted();
        }
        let (token, len) = match (first, rest.as_bytes().get(1)) {
            (b'<', Some(b'>')) => (Token::Unequal, 2),
            (b'<', Some(b'=')) => (Token::LessOrEqual, 2),
            (b'>', Some(b'=')) => (Token::GreaterOrEqual, 2),
            (b'<', _) => (Token::Less, 1),
            (b'>', _) => (Token::Greater, 1),
            (b'=', _) => (Token::Equal, 1),
            (b'+', _) => (Token::Plus, 1),
            (b'-', _) => (Token::Minus, 1),
            (b'(', _) => (Token::Open, 1),
            (b')', _) => (Token::Close, 1),
            (b',', _) => (Token::Comma, 1),
            _ => {
                let found = rest.chars().next().unwrap_or_default();
                return Err(SqlError::Character { found, at: self.at });
            }
        };
        self.at += len;
        Ok(token)
    }

    fn skip_space(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("--") {
                // Only the end of the line ends it: without one it is no comment.
                trimmed.find(['\n', '\r']).map(|end| end + 1)
            } else {
                let inside = trimmed.strip_prefix("/*");
                inside.and_then(|inside| inside.find("*/").map(|end| end + 4))
            };
            match comment {
                Some(len) => self.at += len,
                None => return,
            }
        }
    }

    fn take(&mut self, len: usize) -> &'a str {
        let taken = &self.text[self.at..self.at + len];
        self.at += len;
        taken
    }

    fn name(&mut self) -> Token<'a> {
        let rest = &self.text[self.at..];
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let len = rest.bytes().take_while(|byte| is_part(*byte)).count();
        let name = self.take(len);
        WORDS
            .iter()
            .find(|(word, _)| name.eq_ignore_ascii_case(word))
            .map_or(Token::Name(name), |(_, word)| Token::Word(*word))
    }

    /// The longest of an integer and a float that begin here.
    fn number(&mut self) -> Token<'a> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = |from: usize| {
            rest[from..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count()
        };
        let whole = digits(0);
        let has_point = rest.get(whole) == Some(&b'.');
        let mut end = whole;
        if has_point {
            end += 1 + digits(whole + 1);
        }
        if let Some(b'e' | b'E') = rest.get(end) {
            let sign = usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits((end + 1 + sign).min(rest.len()));
            if exponent > 0 {
                return Token::Float(self.take(end + 1 + sign + exponent));
            }
        }
        if has_point {
            return Token::Float(self.take(end));
        }
        if rest[0] == b'0' {
            // A leading zero is a number of its own.
            return Token::Integer(self.take(1));
        }
        let token = Token::Integer(self.take(whole));
        if let Some(b'l' | b'L') = rest.get(whole) {
            self.at += 1;
        }
        token
    }

    fn quoted(&mut self) -> Result<Token<'a>, SqlError> {
        let start = self.at;
        let rest = &self.text[start + 1..];
        let mut text = String::new();
        let mut parts = rest.split('\'');
        let mut used = 0;
        loop {
            let Some(part) = parts.next() else {
                return Err(SqlError::OpenText { at: start });
            };
            used += part.len() + 1;
            if used > rest.len() {
                return Err(SqlError::OpenText { at: start });
            }
            text.push_str(part);
            if rest.as_bytes().get(used) != Some(&b'\'') {
                break;
            }
            text.push('\'');
            // The second quote of the pair begins an empty part.
            parts.next();
            used += 1;
        }
        self.at = start + 1 + used;
        Ok(Token::Text(text))
    }
}

fn is_fraction(rest: &str) -> bool {
    let mut bytes = rest.bytes();
    bytes.next() == Some(b'.') && bytes.next().is_some_and(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            match lexer.next().unwrap() {
                Token::End => return tokens,
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn names_and_words() {
        assert_eq!(
            all("a _b$1 And nOt"),
            [
                Token::Name("a"),
                Token::Name("_b$1"),
                Token::Word(Word::And),
                Token::Word(Word::Not)
            ]
        );
    }

    #[test]
    fn numbers() {
        assert_eq!(
            all("0 12 3L 007 5.5 5. .5 5E10 5.E-1 1ex"),
            [
                Token::Integer("0"),
                Token::Integer("12"),
                Token::Integer("3"),
                Token::Integer("0"),
                Token::Integer("0"),
                Token::Integer("7"),
                Token::Float("5.5"),
                Token::Float("5."),
                Token::Float(".5"),
                Token::Float("5E10"),
                Token::Float("5.E-1"),
                Token::Integer("1"),
                Token::Name("ex"),
            ]
        );
    }

    #[test]
    fn texts() {
        let text = |value: &str| Token::Text(value.to_owned());
        assert_eq!(
            all("'' 'a''b' '''' 'é'"),
            [text(""), text("a'b"), text("'"), text("é")]
        );
        for open in ["'", "'a", "'a''", "'''"] {
            let error = Lexer::new(open).next().unwrap_err();
            assert_eq!(error, SqlError::OpenText { at: 0 }, "{open}");
        }
    }

    #[test]
    fn operators_and_comments() {
        assert_eq!(
            all("a<>1 -- no\n>= /* ** / */ <= ( )"),
            [
                Token::Name("a"),
                Token::Unequal,
                Token::Integer("1"),
                Token::GreaterOrEqual,
                Token::LessOrEqual,
                Token::Open,
                Token::Close
            ]
        );
        // Only a line that ends can be a comment.
        assert_eq!(all("--a"), [Token::Minus, Token::Minus, Token::Name("a")]);
        let error = Lexer::new("  !=").next().unwrap_err();
        assert_eq!(error, SqlError::Character { found: '!', at: 2 });
    }
}
