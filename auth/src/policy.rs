// SPDX-License-Identifier: Apache-2.0
//! Access lists: what a subject may do with which resources (Apache: `auth/authorization/model/*.java`,
//! `chain/AclAuthorizationHandler.java`).
//!
//! Entries that match a request are ranked: those for their type of resource before those for any, a name
//! before a prefix before all names, a longer prefix before a shorter one, and among equals DENY before
//! ALLOW. The first one decides. Default policies count only where no custom entry matches; where nothing
//! matches, nothing is allowed.

use std::{cmp::Reverse, net::IpAddr};

use aerobee_remoting::body::auth::{
    Acl as ToldAcl, Policy as ToldPolicy, PolicyEntry as ToldEntry,
};

/// Most entries of one access list.
pub const ENTRIES_MAX: usize = 10_000;

/// What kind of thing is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceType {
    /// Everything.
    Any,
    /// A cluster: its brokers, their configuration, users.
    Cluster,
    /// A namespace.
    Namespace,
    /// A topic.
    Topic,
    /// A group of consumers.
    Group,
}

impl ResourceType {
    const ALL: [Self; 5] = [
        Self::Any,
        Self::Cluster,
        Self::Namespace,
        Self::Topic,
        Self::Group,
    ];

    /// Apache's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "Any",
            Self::Cluster => "Cluster",
            Self::Namespace => "Namespace",
            Self::Topic => "Topic",
            Self::Group => "Group",
        }
    }
}

/// Which names are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This one.
    Literal(String),
    /// Those that begin so.
    Prefixed(String),
    /// All.
    Any,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The type.
    pub kind: ResourceType,
    /// The names.
    pub pattern: Pattern,
}

impl Resource {
    /// Reads `Topic:name`, `Group:prefix*`, `Cluster:*` or `*`. None if it is nothing of the kind. A star
    /// inside a name is refused: Apache takes `Topic:a*b*` for `Topic:a*`, which allows more than it says.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        if key == "*" {
            return Some(Self {
                kind: ResourceType::Any,
                pattern: Pattern::Any,
            });
        }
        let (kind, name) = key.split_once(':').unwrap_or((key, ""));
        let kind = ResourceType::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(kind))?;
        let pattern = match name.strip_suffix('*') {
            Some("") => Pattern::Any,
            Some(prefix) if prefix.contains('*') => return None,
            Some(prefix) => Pattern::Prefixed(prefix.to_owned()),
            None => Pattern::Literal(name.to_owned()),
        };
        // Apache takes every name of the type Any for all resources.
        if kind == ResourceType::Any && pattern != Pattern::Any {
            return None;
        }
        Some(Self { kind, pattern })
    }

    /// The text that [`Resource::parse`] reads.
    #[must_use]
    pub fn key(&self) -> String {
        if self.kind == ResourceType::Any {
            return "*".to_owned();
        }
        let kind = self.kind.name();
        match &self.pattern {
            Pattern::Any => format!("{kind}:*"),
            Pattern::Literal(name) => format!("{kind}:{name}"),
            Pattern::Prefixed(prefix) => format!("{kind}:{prefix}*"),
        }
    }

    /// Whether it means this one.
    #[must_use]
    pub fn matches(&self, kind: ResourceType, name: &str) -> bool {
        if self.kind == ResourceType::Any {
            return true;
        }
        self.kind == kind
            && match &self.pattern {
                Pattern::Any => true,
                Pattern::Literal(literal) => literal == name,
                Pattern::Prefixed(prefix) => name.starts_with(prefix.as_str()),
            }
    }

    /// The smaller, the more it counts.
    fn rank(&self) -> (bool, u8, Reverse<usize>) {
        let (pattern, length) = match &self.pattern {
            Pattern::Literal(_) => (0, 0),
            Pattern::Prefixed(prefix) => (1, prefix.chars().count()),
            Pattern::Any => (2, 0),
        };
        (self.kind == ResourceType::Any, pattern, Reverse(length))
    }
}

/// What is done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// All of them.
    All,
    /// Send to it.
    Pub,
    /// Consume of it, or as it.
    Sub,
    /// Create it.
    Create,
    /// Change it.
    Update,
    /// Delete it.
    Delete,
    /// Look at it.
    Get,
    /// See that it is there.
    List,
}

impl Action {
    const EACH: [Self; 8] = [
        Self::All,
        Self::Pub,
        Self::Sub,
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Get,
        Self::List,
    ];

    /// Apache's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Pub => "Pub",
            Self::Sub => "Sub",
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::Get => "Get",
            Self::List => "List",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::EACH
            .into_iter()
            .find(|action| action.name().eq_ignore_ascii_case(name))
    }
}

/// A set of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Actions(u8);

impl Actions {
    /// These.
    #[must_use]
    pub const fn of(actions: &[Action]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < actions.len() {
            bits |= 1 << actions[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Whether one of `wanted` is among them, or all are.
    #[must_use]
    pub const fn grant(self, wanted: Self) -> bool {
        self.0 & (wanted.0 | Self::of(&[Action::All]).0) != 0
    }
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

impl Decision {
    /// Apache's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Allow, Self::Deny]
            .into_iter()
            .find(|decision| decision.name().eq_ignore_ascii_case(name))
    }
}

/// Addresses that an entry is for: one, or all that begin with the same bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As it was given.
    text: String,
    address: IpAddr,
    bits: u32,
}

impl Source {
    /// Reads an address, or an address and the number of its bits that count: `10.0.0.0/8`. Names are not
    /// looked up.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = width(address);
        let bits = match bits {
            None => all,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= all)?,
        };
        Some(Self {
            text: text.to_owned(),
            address,
            bits,
        })
    }

    /// Whether `peer` is meant.
    #[must_use]
    pub fn matches(&self, peer: IpAddr) -> bool {
        let all = width(self.address);
        let differing = match (self.address, peer) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => u128::from(ours.to_bits() ^ theirs.to_bits()),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => ours.to_bits() ^ theirs.to_bits(),
            _ => return false,
        };
        differing.checked_shr(all - self.bits).unwrap_or(0) == 0
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// What an access list says of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The resource.
    pub resource: Resource,
    /// The actions, in the order in which they were given.
    pub actions: Vec<Action>,
    /// Where requests may come from; empty is anywhere.
    pub sources: Vec<Source>,
    /// The decision.
    pub decision: Decision,
}

impl Entry {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        Actions::of(&self.actions).grant(asked.actions)
            && self.resource.matches(asked.kind, asked.name)
            && (self.sources.is_empty()
                || asked
                    .from
                    .is_some_and(|from| self.sources.iter().any(|source| source.matches(from))))
    }

    fn told(&self) -> ToldEntry {
        let names = self.actions.iter().map(|action| action.name().to_owned());
        let sources = self.sources.iter().map(|source| source.text.clone());
        ToldEntry {
            actions: Some(names.collect()),
            decision: Some(self.decision.name().to_owned()),
            resource: Some(self.resource.key()),
            source_ips: (!self.sources.is_empty()).then(|| sources.collect()),
        }
    }
}

/// Which policy an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyType {
    /// Of this subject.
    Custom,
    /// For where no custom one matches.
    Default,
}

impl PolicyType {
    /// By Apache's name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Custom, Self::Default]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Apache's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Custom => "Custom",
            Self::Default => "Default",
        }
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Type of the resource.
    pub kind: ResourceType,
    /// Its name.
    pub name: &'a str,
    /// One of these is enough.
    pub actions: Actions,
    /// Where the request comes from, if that is known.
    pub from: Option<IpAddr>,
}

/// Why an access list cannot be taken; Apache's words, where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAcl(pub &'static str);

/// The access list of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    custom: Vec<Entry>,
    default: Vec<Entry>,
}

impl Acl {
    /// Reads what was told, and checks it as Apache does.
    ///
    /// # Errors
    /// It says too little, or something that is no resource, action, address or decision.
    pub fn of(told: &ToldAcl) -> Result<Self, BadAcl> {
        let mut acl = Self::default();
        let policies = told.policies.iter();
        let mut any = false;
        for policy in policies.filter(|policy| !policy.entries.is_empty()) {
            any = true;
            let kind = policy
                .policy_type
                .as_deref()
                .and_then(PolicyType::from_name);
            let entries = acl.entries_mut(kind.unwrap_or(PolicyType::Custom));
            if entries.len() + policy.entries.len() > ENTRIES_MAX {
                return Err(TOO_MANY);
            }
            for told in &policy.entries {
                entries.push(entry(told)?);
            }
        }
        if any {
            Ok(acl)
        } else {
            Err(BadAcl("The policies is empty."))
        }
    }

    /// As it is told over the wire, with what has to do with `filter` alone.
    #[must_use]
    pub fn told(&self, subject: &str, filter: Option<&str>) -> ToldAcl {
        let policy = |kind: PolicyType, entries: &[Entry]| {
            let wanted =
                |entry: &&Entry| filter.is_none_or(|filter| entry.resource.key().contains(filter));
            let entries: Vec<_> = entries.iter().filter(wanted).map(Entry::told).collect();
            (!entries.is_empty()).then(|| ToldPolicy {
                entries,
                policy_type: Some(kind.name().to_owned()),
            })
        };
        let policies = [
            policy(PolicyType::Custom, &self.custom),
            policy(PolicyType::Default, &self.default),
        ];
        ToldAcl {
            policies: policies.into_iter().flatten().collect(),
            subject: Some(subject.to_owned()),
        }
    }

    /// Takes the entries of `other`, those of the same resource in the place of ours.
    ///
    /// # Errors
    /// There would be more than [`ENTRIES_MAX`]; the list is of no use then.
    pub fn update(&mut self, other: &Self) -> Result<(), BadAcl> {
        replace(&mut self.custom, &other.custom)?;
        replace(&mut self.default, &other.default)
    }

    /// Removes what is said of a resource.
    pub fn remove(&mut self, kind: PolicyType, resource: &Resource) {
        self.entries_mut(kind)
            .retain(|entry| entry.resource != *resource);
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.custom.is_empty() && self.default.is_empty()
    }

    /// What it says; none if it says nothing, which allows nothing.
    #[must_use]
    pub fn decide(&self, asked: &Asked<'_>) -> Option<Decision> {
        first(&self.custom, asked).or_else(|| first(&self.default, asked))
    }

    fn entries_mut(&mut self, kind: PolicyType) -> &mut Vec<Entry> {
        match kind {
            PolicyType::Custom => &mut self.custom,
            PolicyType::Default => &mut self.default,
        }
    }
}

/// The decision of the matching entry that counts most.
fn first(entries: &[Entry], asked: &Asked<'_>) -> Option<Decision> {
    let matching = entries.iter().filter(|entry| entry.matches(asked));
    let rank = |entry: &&Entry| (entry.resource.rank(), entry.decision == Decision::Allow);
    matching.min_by_key(rank).map(|entry| entry.decision)
}

/// Puts what is said anew of a resource in the place of what was said of it. A list may say several things of
/// one resource, of different actions or against each other: all of them count.
fn replace(entries: &mut Vec<Entry>, others: &[Entry]) -> Result<(), BadAcl> {
    for (at, entry) in others.iter().enumerate() {
        let is_same = |other: &Entry| other.resource == entry.resource;
        if others[..at].iter().any(is_same) {
            continue;
        }
        let place = entries.iter().position(is_same).unwrap_or(entries.len());
        entries.retain(|known| !is_same(known));
        let said = others[at..].iter().filter(|other| is_same(other)).cloned();
        entries.splice(place..place, said);
    }
    if entries.len() > ENTRIES_MAX {
        return Err(TOO_MANY);
    }
    Ok(())
}

/// More than [`ENTRIES_MAX`] entries.
const TOO_MANY: BadAcl = BadAcl(
    "The access list would have more than 10000 entries: use prefixes, such as Topic:orders*.",
);

fn entry(told: &ToldEntry) -> Result<Entry, BadAcl> {
    let resource = told.resource.as_deref().and_then(Resource::parse);
    let resource = resource.ok_or(BadAcl("The resource is null."))?;
    let names = told.actions.as_deref().unwrap_or_default();
    if names.iter().any(|name| name.eq_ignore_ascii_case("Any")) {
        return Err(BadAcl("The actions can not be Any."));
    }
    let actions: Vec<_> = names
        .iter()
        .filter_map(|name| Action::from_name(name))
        .collect();
    if actions.is_empty() {
        return Err(BadAcl("The actions is empty."));
    }
    let mut sources = Vec::new();
    for text in told.source_ips.iter().flatten() {
        if text.trim().is_empty() {
            return Err(BadAcl("The source ip is empty."));
        }
        sources.push(Source::parse(text).ok_or(BadAcl("The source ip is invalid."))?);
    }
    let decision = told.decision.as_deref().and_then(Decision::from_name);
    Ok(Entry {
        resource,
        actions,
        sources,
        decision: decision.ok_or(BadAcl("The decision is null or illegal."))?,
    })
}

#[cfg(test)]
mod tests;
