// SPDX-License-Identifier: Apache-2.0
//! Tokens → expression, loosest binding first: OR; AND; equality; order, lists and searches; signs
//! and NOT; literals, names, parentheses.

use super::{
    DEPTH_MAX, Literal, Node, Order, Search, Slot, SqlError, TERMS_MAX, TEXT_MAX_BYTES,
    eval::compare_literals,
    lex::{Lexer, Token, Word},
};

pub(super) fn parse(text: &str) -> Result<(Node, Vec<Box<str>>), SqlError> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(SqlError::TooLong { bytes: text.len() });
    }
    let mut lexer = Lexer::new(text);
    let mut parser = Parser {
        token: lexer.next()?,
        lexer,
        names: Vec::new(),
        depth: 0,
        terms: 0,
    };
    let node = parser.or()?;
    // Apache's grammar has no end: what cannot continue the expression is passed over.
    let node = parser.boolean(node)?;
    Ok((node, parser.names))
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next token.
    token: Token<'a>,
    names: Vec<Box<str>>,
    depth: usize,
    terms: usize,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<Token<'a>, SqlError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    /// Goes on if the next token is that one.
    fn eat(&mut self, token: &Token<'_>) -> Result<bool, SqlError> {
        let found = self.token == *token;
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, token: &Token<'_>, expected: &'static str) -> Result<(), SqlError> {
        if self.eat(token)? {
            Ok(())
        } else {
            Err(self.expected(expected))
        }
    }

    fn expected(&self, expected: &'static str) -> SqlError {
        SqlError::Expected {
            expected,
            at: self.lexer.position(),
        }
    }

    /// The word behind the next token, if that is one.
    fn word_behind(&self) -> Option<Word> {
        match self.lexer.clone().next() {
            Ok(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn slot(&mut self, name: &str) -> Slot {
        let known = self.names.iter().position(|known| **known == *name);
        known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        })
    }

    fn count(&mut self, node: Node) -> Result<Node, SqlError> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(SqlError::TooLarge);
        }
        Ok(node)
    }

    /// A node that serves as a condition.
    fn boolean(&self, node: Node) -> Result<Node, SqlError> {
        match node {
            Node::Property(name) => Ok(Node::Cast(name)),
            node if is_boolean(&node) => Ok(node),
            _ => Err(SqlError::NotBoolean {
                at: self.lexer.position(),
            }),
        }
    }

    fn or(&mut self) -> Result<Node, SqlError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SqlError::TooLarge);
        }
        let mut left = self.and()?;
        while self.eat(&Token::Word(Word::Or))? {
            let right = self.and()?;
            let (left_side, right) = (self.boolean(left)?, self.boolean(right)?);
            left = self.count(Node::Or(Box::new(left_side), Box::new(right)))?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Node, SqlError> {
        let mut left = self.equality()?;
        while self.eat(&Token::Word(Word::And))? {
            let right = self.equality()?;
            let (left_side, right) = (self.boolean(left)?, self.boolean(right)?);
            left = self.count(Node::And(Box::new(left_side), Box::new(right)))?;
        }
        Ok(left)
    }

    fn equality(&mut self) -> Result<Node, SqlError> {
        let mut left = self.comparison()?;
        loop {
            left = match self.token {
                Token::Equal => {
                    self.advance()?;
                    self.equal(left)?
                }
                Token::Unequal => {
                    self.advance()?;
                    Node::Not(Box::new(self.equal(left)?))
                }
                Token::Word(Word::Is) => {
                    self.advance()?;
                    let negated = self.eat(&Token::Word(Word::Not))?;
                    self.expect(&Token::Word(Word::Null), "NULL or NOT NULL after IS")?;
                    let null = Box::new(Node::Literal(Literal::Null));
                    let equal = Node::Equal(Box::new(left), null);
                    if negated {
                        Node::Not(Box::new(equal))
                    } else {
                        equal
                    }
                }
                _ => return Ok(left),
            };
            left = self.count(left)?;
        }
    }

    fn equal(&mut self, left: Node) -> Result<Node, SqlError> {
        let right = self.comparison()?;
        let at = self.lexer.position();
        for side in [&left, &right] {
            if matches!(side, Node::Literal(Literal::Null)) {
                let what = "NULL, which only IS takes,";
                return Err(SqlError::Operand { what, at });
            }
        }
        if let (Node::Literal(Literal::Bool(_)), Node::Literal(other)) = (&left, &right)
            && !matches!(other, Literal::Bool(_))
        {
            let what = "a boolean and a literal that is none";
            return Err(SqlError::Operand { what, at });
        }
        Ok(Node::Equal(Box::new(left), Box::new(right)))
    }

    fn comparison(&mut self) -> Result<Node, SqlError> {
        let mut left = self.unary()?;
        loop {
            let (negated, word) = match self.token {
                Token::Word(Word::Not) => (true, self.word_behind()),
                Token::Word(word) => (false, Some(word)),
                _ => (false, None),
            };
            left = match (&self.token, word) {
                (Token::Less, _) => self.ordered(Order::Less, left)?,
                (Token::LessOrEqual, _) => self.ordered(Order::LessOrEqual, left)?,
                (Token::Greater, _) => self.ordered(Order::Greater, left)?,
                (Token::GreaterOrEqual, _) => self.ordered(Order::GreaterOrEqual, left)?,
                (_, Some(word)) => {
                    let search = match word {
                        Word::Contains => Some(Search::Contains),
                        Word::StartsWith => Some(Search::StartsWith),
                        Word::EndsWith => Some(Search::EndsWith),
                        Word::Between | Word::In => None,
                        _ => return Ok(left),
                    };
                    if negated {
                        self.advance()?;
                    }
                    self.advance()?;
                    match (search, word) {
                        (Some(search), _) => Node::Search {
                            search,
                            operand: Box::new(left),
                            text: self.text()?,
                            negated,
                        },
                        (None, Word::Between) => self.between(left, negated)?,
                        (None, _) => self.list(&left, negated)?,
                    }
                }
                _ => return Ok(left),
            };
            left = self.count(left)?;
        }
    }

    fn ordered(&mut self, order: Order, left: Node) -> Result<Node, SqlError> {
        self.advance()?;
        let right = self.unary()?;
        self.check_order(&left)?;
        self.check_order(&right)?;
        Ok(Node::Order(order, Box::new(left), Box::new(right)))
    }

    /// Only properties and numbers have an order.
    fn check_order(&self, node: &Node) -> Result<(), SqlError> {
        let what = match node {
            Node::Literal(Literal::Int(_) | Literal::Long(_) | Literal::Double(_)) => {
                return Ok(());
            }
            Node::Literal(_) => "a literal that is no number",
            node if is_boolean(node) => "a condition",
            _ => return Ok(()),
        };
        Err(SqlError::Operand {
            what,
            at: self.lexer.position(),
        })
    }

    fn between(&mut self, value: Node, negated: bool) -> Result<Node, SqlError> {
        let low = self.unary()?;
        self.expect(
            &Token::Word(Word::And),
            "AND between the two values of BETWEEN",
        )?;
        let high = self.unary()?;
        if !negated
            && let (Node::Literal(low), Node::Literal(high)) = (&low, &high)
            && !compare_literals(high, low).is_some_and(std::cmp::Ordering::is_ge)
        {
            return Err(SqlError::Between {
                at: self.lexer.position(),
            });
        }
        for node in [&value, &low, &high] {
            self.check_order(node)?;
        }
        let other = Box::new(copy(&value));
        let value = Box::new(value);
        let (low, high) = (Box::new(low), Box::new(high));
        Ok(if negated {
            Node::Or(
                Box::new(Node::Order(Order::Less, value, low)),
                Box::new(Node::Order(Order::Greater, other, high)),
            )
        } else {
            Node::And(
                Box::new(Node::Order(Order::GreaterOrEqual, value, low)),
                Box::new(Node::Order(Order::LessOrEqual, other, high)),
            )
        })
    }

    fn list(&mut self, operand: &Node, negated: bool) -> Result<Node, SqlError> {
        let Node::Property(property) = *operand else {
            return Err(SqlError::Operand {
                what: "something that is no property, IN",
                at: self.lexer.position(),
            });
        };
        self.expect(&Token::Open, "( after IN")?;
        let mut texts = vec![self.text()?];
        while self.eat(&Token::Comma)? {
            texts.push(self.text()?);
        }
        self.expect(&Token::Close, ") after the texts of IN")?;
        Ok(Node::In {
            property,
            texts,
            negated,
        })
    }

    fn text(&mut self) -> Result<Box<str>, SqlError> {
        if !matches!(self.token, Token::Text(_)) {
            return Err(self.expected("a text in single quotes"));
        }
        match self.advance()? {
            Token::Text(text) => Ok(text.into_boxed_str()),
            _ => Err(self.expected("a text in single quotes")),
        }
    }

    fn unary(&mut self) -> Result<Node, SqlError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SqlError::TooLarge);
        }
        let node = match self.token {
            Token::Plus => {
                self.advance()?;
                self.unary()?
            }
            Token::Minus => {
                self.advance()?;
                Node::Negated(Box::new(self.unary()?))
            }
            Token::Word(Word::Not) => {
                self.advance()?;
                let operand = self.unary()?;
                Node::Not(Box::new(self.boolean(operand)?))
            }
            _ => self.primary()?,
        };
        self.depth -= 1;
        Ok(node)
    }

    fn primary(&mut self) -> Result<Node, SqlError> {
        let expected = "a property, a literal or (";
        if matches!(
            self.token,
            Token::End | Token::Equal | Token::Unequal | Token::Close | Token::Comma
        ) {
            return Err(self.expected(expected));
        }
        let literal = match self.advance()? {
            Token::Open => {
                let node = self.or()?;
                self.expect(&Token::Close, ")")?;
                return Ok(node);
            }
            Token::Name(name) => {
                let slot = self.slot(name);
                return self.count(Node::Property(slot));
            }
            Token::Text(text) => Literal::Text(text.into_boxed_str()),
            Token::Integer(text) => integer(text)?,
            Token::Float(text) => float(text)?,
            Token::Word(Word::True) => Literal::Bool(true),
            Token::Word(Word::False) => Literal::Bool(false),
            Token::Word(Word::Null) => Literal::Null,
            _ => return Err(self.expected(expected)),
        };
        self.count(Node::Literal(literal))
    }
}

/// A number of 32 bits where it fits, else of 64.
fn integer(text: &str) -> Result<Literal, SqlError> {
    let value: i64 = text.parse().map_err(|_| SqlError::Number {
        text: text.to_owned(),
    })?;
    Ok(i32::try_from(value).map_or(Literal::Long(value), Literal::Int))
}

fn float(text: &str) -> Result<Literal, SqlError> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(Literal::Double(value)),
        _ => Err(SqlError::Number {
            text: text.to_owned(),
        }),
    }
}

/// Whether Apache's class of the node is a condition.
fn is_boolean(node: &Node) -> bool {
    match node {
        Node::Literal(literal) => matches!(literal, Literal::Bool(_) | Literal::Null),
        Node::Property(_) | Node::Negated(_) => false,
        Node::Cast(_)
        | Node::Not(_)
        | Node::And(..)
        | Node::Or(..)
        | Node::Equal(..)
        | Node::Order(..)
        | Node::In { .. }
        | Node::Search { .. } => true,
    }
}

/// A second copy of what BETWEEN compares: only signs, literals and properties get there.
fn copy(node: &Node) -> Node {
    match node {
        Node::Property(slot) => Node::Property(*slot),
        Node::Literal(literal) => Node::Literal(literal.clone()),
        Node::Negated(inner) => Node::Negated(Box::new(copy(inner))),
        // A condition was refused before.
        _ => Node::Literal(Literal::Null),
    }
}
