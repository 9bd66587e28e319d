// SPDX-License-Identifier: Apache-2.0
use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;

fn told(resource: &str, actions: &[&str], sources: &[&str], decision: &str) -> ToldEntry {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    ToldEntry {
        actions: Some(texts(actions)),
        decision: Some(decision.to_owned()),
        resource: Some(resource.to_owned()),
        source_ips: (!sources.is_empty()).then(|| texts(sources)),
    }
}

fn list(kind: Option<&str>, entries: Vec<ToldEntry>) -> ToldAcl {
    ToldAcl {
        policies: vec![ToldPolicy {
            entries,
            policy_type: kind.map(str::to_owned),
        }],
        subject: None,
    }
}

fn asked<'a>(kind: ResourceType, name: &'a str, actions: &[Action], from: &str) -> Asked<'a> {
    Asked {
        kind,
        name,
        actions: Actions::of(actions),
        from: from.parse().ok(),
    }
}

#[test]
fn resources_are_read_and_written_as_apache_does() {
    for key in ["*", "Topic:a", "Topic:a*", "Topic:*", "Group:", "Cluster:c"] {
        assert_eq!(Resource::parse(key).unwrap().key(), key);
    }
    assert_eq!(Resource::parse("topic:a").unwrap().key(), "Topic:a");
    assert_eq!(Resource::parse("Any:*").unwrap().key(), "*");
    // A star in the middle is part of a name.
    assert_eq!(Resource::parse("Topic:a*b").unwrap().key(), "Topic:a*b");
    for bad in ["", "a", "Unknown:a", "Topic:a*b*", "Any:a", "Any"] {
        assert_eq!(Resource::parse(bad), None, "{bad}");
    }
}

#[test]
fn addresses_are_compared_by_their_bits() {
    let matches = |source: &str, peer: &str| {
        Source::parse(source)
            .unwrap()
            .matches(peer.parse().unwrap())
    };
    assert!(matches("10.1.2.3", "10.1.2.3"));
    assert!(!matches("10.1.2.3", "10.1.2.4"));
    assert!(matches("10.1.2.0/24", "10.1.2.255"));
    assert!(!matches("10.1.2.0/24", "10.1.3.0"));
    assert!(matches("0.0.0.0/0", "255.1.2.3"));
    assert!(matches("::/0", "fe80::1"));
    assert!(matches("fe80::/10", "febf::1"));
    assert!(!matches("fe80::/10", "fec0::1"));
    assert!(!matches("0.0.0.0/0", "::1"));
    for bad in [
        "",
        "localhost",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0",
        "::/129",
    ] {
        assert_eq!(Source::parse(bad), None, "{bad}");
    }
}

#[test]
fn what_says_too_little_is_refused_in_apaches_words() {
    let refusal = |entry: ToldEntry| Acl::of(&list(None, vec![entry])).unwrap_err().0;
    let good = told("Topic:a", &["Pub"], &[], "Allow");
    assert!(Acl::of(&list(None, vec![good])).is_ok());
    assert_eq!(
        refusal(told("nothing", &["Pub"], &[], "Allow")),
        "The resource is null."
    );
    assert_eq!(
        refusal(told("Topic:a", &["Fly"], &[], "Allow")),
        "The actions is empty."
    );
    assert_eq!(
        refusal(told("Topic:a", &["Pub", "any"], &[], "Allow")),
        "The actions can not be Any."
    );
    assert_eq!(
        refusal(told("Topic:a", &["Pub"], &["x"], "Allow")),
        "The source ip is invalid."
    );
    assert_eq!(
        refusal(told("Topic:a", &["Pub"], &[" "], "Allow")),
        "The source ip is empty."
    );
    assert_eq!(
        refusal(told("Topic:a", &["Pub"], &[], "Maybe")),
        "The decision is null or illegal."
    );
    assert_eq!(
        Acl::of(&ToldAcl::default()).unwrap_err().0,
        "The policies is empty."
    );
}

#[test]
fn deny_goes_before_allow_among_equals_and_a_closer_name_before_both() {
    use Action::{Pub, Sub};
    let acl = Acl::of(&list(
        None,
        vec![
            told("*", &["All"], &[], "Allow"),
            told("Topic:*", &["Pub"], &[], "Deny"),
            told("Topic:or*", &["Pub", "Sub"], &[], "Deny"),
            told("Topic:orders*", &["Pub"], &[], "Allow"),
            told("Topic:orders-old", &["Pub"], &[], "Deny"),
        ],
    ))
    .unwrap();
    let decide =
        |name, action| acl.decide(&asked(ResourceType::Topic, name, &[action], "10.0.0.1"));
    assert_eq!(decide("orders-new", Pub), Some(Decision::Allow));
    assert_eq!(decide("orders-old", Pub), Some(Decision::Deny));
    assert_eq!(decide("orders-old", Sub), Some(Decision::Deny));
    assert_eq!(decide("origin", Pub), Some(Decision::Deny));
    assert_eq!(decide("else", Pub), Some(Decision::Deny));
    assert_eq!(decide("else", Sub), Some(Decision::Allow));
    let group = asked(ResourceType::Group, "g", &[Sub], "10.0.0.1");
    assert_eq!(acl.decide(&group), Some(Decision::Allow));
    assert_eq!(Acl::default().decide(&group), None);
}

/// Apache keeps what a first list says of one resource several times, and `copyAcl` brings it here.
#[test]
fn all_that_is_said_of_a_resource_counts() {
    let allow = told("Topic:t", &["Pub"], &[], "Allow");
    let deny = told("Topic:t", &["Pub", "Sub"], &[], "Deny");
    let get = told("Topic:t", &["Get"], &[], "Allow");
    let decide =
        |acl: &Acl, action| acl.decide(&asked(ResourceType::Topic, "t", &[action], "10.0.0.1"));
    for entries in [
        vec![allow.clone(), deny.clone(), get.clone()],
        vec![get, deny, allow.clone()],
    ] {
        let mut acl = Acl::of(&list(None, entries.clone())).unwrap();
        assert_eq!(decide(&acl, Action::Pub), Some(Decision::Deny));
        assert_eq!(decide(&acl, Action::Get), Some(Decision::Allow));
        assert_eq!(acl.told("User:u", None).policies[0].entries, entries);
        // What is said anew takes the place of all of it.
        let anew = Acl::of(&list(None, vec![allow.clone()])).unwrap();
        acl.update(&anew).unwrap();
        assert_eq!(acl, anew);
        assert_eq!(decide(&acl, Action::Get), None);
    }
}

#[test]
fn default_policies_count_where_no_custom_one_matches() {
    let mut acl = Acl::of(&list(
        Some("Default"),
        vec![told("Topic:*", &["Sub"], &[], "Deny")],
    ))
    .unwrap();
    let entries = vec![told("Topic:a", &["Sub"], &["10.0.0.0/8"], "Allow")];
    acl.update(&Acl::of(&list(Some("Custom"), entries)).unwrap())
        .unwrap();
    let decide = |name, from| acl.decide(&asked(ResourceType::Topic, name, &[Action::Sub], from));
    assert_eq!(decide("a", "10.9.9.9"), Some(Decision::Allow));
    assert_eq!(decide("a", "11.9.9.9"), Some(Decision::Deny));
    assert_eq!(decide("a", "nowhere"), Some(Decision::Deny));
    assert_eq!(decide("b", "10.9.9.9"), Some(Decision::Deny));
}

#[test]
fn entries_are_replaced_by_resource_and_told_again() {
    let told_first = list(
        None,
        vec![
            told("Topic:a", &["pub", "sub"], &["127.0.0.1"], "allow"),
            told("Group:g*", &["Sub"], &[], "Deny"),
        ],
    );
    let mut acl = Acl::of(&told_first).unwrap();
    let second = list(None, vec![told("Topic:a", &["Get"], &[], "Deny")]);
    acl.update(&Acl::of(&second).unwrap()).unwrap();
    let all = acl.told("User:u", None);
    assert_eq!(all.subject.as_deref(), Some("User:u"));
    assert_eq!(
        all.policies[0].entries,
        [
            told("Topic:a", &["Get"], &[], "Deny"),
            told("Group:g*", &["Sub"], &[], "Deny"),
        ]
    );
    assert_eq!(Acl::of(&all).unwrap(), acl);
    assert_eq!(
        acl.told("User:u", Some("Group")).policies[0].entries.len(),
        1
    );
    assert!(acl.told("User:u", Some("nowhere")).policies.is_empty());
    acl.remove(PolicyType::Default, &Resource::parse("Topic:a").unwrap());
    acl.remove(PolicyType::Custom, &Resource::parse("Topic:a").unwrap());
    assert!(!acl.is_empty());
    acl.remove(PolicyType::Custom, &Resource::parse("Group:g*").unwrap());
    assert!(acl.is_empty());
}

#[test]
fn a_list_has_a_bound() {
    let entries = (0..=ENTRIES_MAX)
        .map(|at| told(&format!("Topic:{at}"), &["Pub"], &[], "Allow"))
        .collect();
    assert!(Acl::of(&list(None, entries)).is_err());
}

/// Apache's comparator (`AclAuthorizationHandler.comparePolicyEntries`), said once more in other words.
fn compare(one: &Entry, other: &Entry) -> Ordering {
    let any = |entry: &Entry| entry.resource.kind == ResourceType::Any;
    if any(one) != any(other) {
        return any(one).cmp(&any(other));
    }
    let by_pattern = match (&one.resource.pattern, &other.resource.pattern) {
        (Pattern::Prefixed(one), Pattern::Prefixed(other)) => other.len().cmp(&one.len()),
        (Pattern::Literal(_), Pattern::Literal(_)) | (Pattern::Any, Pattern::Any) => {
            Ordering::Equal
        }
        (Pattern::Literal(_), _) => Ordering::Less,
        (_, Pattern::Literal(_)) => Ordering::Greater,
        (Pattern::Prefixed(_), _) => Ordering::Less,
        (_, Pattern::Prefixed(_)) => Ordering::Greater,
    };
    if by_pattern != Ordering::Equal || one.decision == other.decision {
        return by_pattern;
    }
    if one.decision == Decision::Deny {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// All entries that match, sorted by that, the first one.
fn naive(
    acl: &Acl,
    kind: ResourceType,
    name: &str,
    wanted: &[Action],
    from: &str,
) -> Option<Decision> {
    let of = |entries: &[Entry]| {
        let mut matching = Vec::new();
        for entry in entries {
            let is_resource = entry.resource.kind == ResourceType::Any
                || entry.resource.kind == kind
                    && match &entry.resource.pattern {
                        Pattern::Any => true,
                        Pattern::Literal(literal) => literal == name,
                        Pattern::Prefixed(prefix) => {
                            &name[..prefix.len().min(name.len())] == prefix
                        }
                    };
            let is_action = wanted.iter().any(|action| {
                entry.actions.contains(action) || entry.actions.contains(&Action::All)
            });
            let from: Vec<u8> = from.split('.').map(|byte| byte.parse().unwrap()).collect();
            let is_source = entry.sources.is_empty()
                || entry.sources.iter().any(|source| {
                    let (address, bits) =
                        source.text.split_once('/').unwrap_or((&source.text, "32"));
                    let address: Vec<u8> = address
                        .split('.')
                        .map(|byte| byte.parse().unwrap())
                        .collect();
                    (0..bits.parse::<usize>().unwrap()).all(|bit| {
                        address[bit / 8] >> (7 - bit % 8) & 1 == from[bit / 8] >> (7 - bit % 8) & 1
                    })
                });
            if is_resource && is_action && is_source {
                matching.push(entry.clone());
            }
        }
        matching.sort_by(compare);
        matching.first().map(|entry| entry.decision)
    };
    of(&acl.custom).or_else(|| of(&acl.default))
}

fn any_name() -> impl Strategy<Value = String> {
    "[ab]{0,3}"
}

fn any_actions() -> impl Strategy<Value = Vec<Action>> {
    proptest::sample::subsequence(Action::EACH.to_vec(), 1..=3)
}

fn any_entry() -> impl Strategy<Value = ToldEntry> {
    let resource = (
        prop_oneof![Just("Topic"), Just("Group"), Just("Cluster")],
        prop_oneof![
            any_name(),
            any_name().prop_map(|name| name + "*"),
            Just("*".to_owned())
        ],
        0..6,
    )
        .prop_map(|(kind, name, any)| match any {
            0 => "*".to_owned(),
            _ => format!("{kind}:{name}"),
        });
    let source = prop_oneof![
        Just("10.0.0.1".to_owned()),
        (0_u8..4, 0_u32..=32).prop_map(|(byte, bits)| format!("10.0.{byte}.{byte}/{bits}"))
    ];
    (
        resource,
        any_actions(),
        proptest::collection::vec(source, 0..2),
        any::<bool>(),
    )
        .prop_map(|(resource, actions, sources, allow)| ToldEntry {
            actions: Some(
                actions
                    .iter()
                    .map(|action| action.name().to_owned())
                    .collect(),
            ),
            decision: Some(if allow { "Allow" } else { "Deny" }.to_owned()),
            resource: Some(resource),
            source_ips: (!sources.is_empty()).then_some(sources),
        })
}

proptest! {
    #[test]
    fn decisions_are_those_of_a_naive_reading(
        custom in proptest::collection::vec(any_entry(), 0..8),
        default in proptest::collection::vec(any_entry(), 0..4),
        kind in prop_oneof![Just(ResourceType::Topic), Just(ResourceType::Group), Just(ResourceType::Cluster)],
        name in any_name(),
        wanted in any_actions(),
        from in (0_u8..4, 0_u8..4).prop_map(|(one, two)| format!("10.0.{one}.{two}")),
    ) {
        let mut acl = Acl::default();
        for (policy, entries) in [("Custom", custom), ("Default", default)] {
            if !entries.is_empty() {
                acl.update(&Acl::of(&list(Some(policy), entries)).unwrap()).unwrap();
            }
        }
        let ours = acl.decide(&asked(kind, &name, &wanted, &from));
        prop_assert_eq!(ours, naive(&acl, kind, &name, &wanted, &from));
    }
}
