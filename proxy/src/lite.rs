// SPDX-License-Identifier: Apache-2.0
//! Lite topics as clients see them: which groups may have them, how many, how fast; and what each
//! client subscribes to, so that a broker that was restarted hears of it at once and not with the
//! client's next full list (Apache: `proxy/grpc/v2/consumer/LiteSubscriptionActivity`,
//! `service/lite`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use aerobee_remoting::{
    RequestCode,
    body::{
        group::SubscriptionGroupConfig,
        lite::{LiteAction, LiteSubscription, LiteSubscriptions, OffsetOption},
    },
    fastjson,
    header::Empty,
};
use parking_lot::Mutex;

use crate::{
    brokers::{Brokers, succeeded},
    clients::Client,
    settings::lite_quota,
    status::Failure,
    v2::{ClientType, Code},
};

/// Attribute of a group: the parent of its lite topics.
pub(crate) const BIND_TOPIC: &str = "lite.bind.topic";
/// A client may be so much above its quota: its own view of it may be old.
const TOLERANCE: usize = 300;

/// Whether a client is one of lite topics.
pub(crate) fn is_lite(kind: ClientType) -> bool {
    matches!(
        kind,
        ClientType::LitePushConsumer | ClientType::LiteSimpleConsumer
    )
}

/// Checks that a group is bound to a topic.
pub(crate) fn check_bound(config: &SubscriptionGroupConfig, topic: &str) -> Result<(), Failure> {
    let group = &config.group_name;
    match config.attributes.get(BIND_TOPIC) {
        Some(bound) if bound == topic => Ok(()),
        Some(bound) => Err(Failure::new(
            Code::IllegalTopic,
            format_args!("group {group} is bound to lite topic {bound}, not to {topic}"),
        )),
        None => Err(Failure::new(
            Code::IllegalTopic,
            format_args!(
                "group {group} is not for lite consumers; bind it: mqadmin updateSubGroup -n <name server> -c <cluster> -g {group} -a +{BIND_TOPIC}={topic}"
            ),
        )),
    }
}

/// Checks how many lite topics a client wants.
pub(crate) fn check_quota(config: &SubscriptionGroupConfig, wanted: usize) -> Result<(), Failure> {
    let quota = lite_quota(config);
    let most = i64::from(quota) + TOLERANCE as i64;
    if i64::try_from(wanted).is_ok_and(|wanted| wanted <= most) {
        return Ok(());
    }
    let group = &config.group_name;
    Err(Failure::new(
        Code::LiteSubscriptionQuotaExceeded,
        format_args!(
            "lite subscription quota exceeded: a client of group {group} may have {quota} lite topics; raise it: mqadmin updateSubGroup -n <name server> -c <cluster> -g {group} -a +lite.sub.client.quota=<number>"
        ),
    ))
}

/// Lets so many through in each second.
#[derive(Debug)]
pub(crate) struct Rate {
    most: u32,
    /// Start of the second, and how many it has had.
    second: Mutex<(Instant, u32)>,
}

impl Rate {
    /// `most` of 0 and below lets all through.
    pub(crate) fn new(most: i32) -> Self {
        Self {
            most: u32::try_from(most).unwrap_or(0),
            second: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Whether one more is let through.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        if self.most == 0 {
            return true;
        }
        let mut second = self.second.lock();
        if now.saturating_duration_since(second.0) >= Duration::from_secs(1) {
            *second = (now, 0);
        }
        second.1 = second.1.saturating_add(1);
        second.1 <= self.most
    }
}

/// What a client subscribes to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Subscribed {
    pub(crate) topic: String,
    pub(crate) group: String,
    names: BTreeSet<String>,
    /// Over which connection each broker was told: one that was restarted has another one, and knows
    /// no subscriptions.
    told: HashMap<Arc<str>, u64>,
}

impl Subscribed {
    /// A change that brokers have carried out.
    pub(crate) fn apply(&mut self, topic: &str, group: &str, action: LiteAction, names: &[String]) {
        if self.topic != topic || self.group != group {
            *self = Self {
                topic: topic.to_owned(),
                group: group.to_owned(),
                ..Self::default()
            };
        }
        match action {
            LiteAction::PartialAdd => self.names.extend(names.iter().cloned()),
            LiteAction::PartialRemove => {
                for name in names {
                    self.names.remove(name);
                }
            }
            LiteAction::CompleteAdd => self.names = names.iter().cloned().collect(),
            LiteAction::CompleteRemove => self.names.clear(),
        }
    }

    /// Whether no broker was told all of it yet.
    pub(crate) fn is_new(&self) -> bool {
        self.told.is_empty()
    }

    /// A broker was told all of it.
    pub(crate) fn told(&mut self, address: Arc<str>, connection: u64) {
        self.told.insert(address, connection);
    }

    /// A broker gave a lite topic to another client.
    pub(crate) fn lost(&mut self, name: &str) {
        self.names.remove(name);
    }
}

/// Tells a broker what a client wants.
pub(crate) async fn tell(
    brokers: &Brokers,
    address: &str,
    change: LiteSubscription,
) -> Result<(), Failure> {
    let body = fastjson::to_vec(&LiteSubscriptions {
        subscription_set: vec![change],
    });
    let code = RequestCode::LITE_SUBSCRIPTION_CTL;
    succeeded(brokers.ask(address, code, &Empty, &body).await?)?;
    Ok(())
}

/// A change of what a client wants.
pub(crate) fn change(
    client: &str,
    (topic, group): (&str, &str),
    action: LiteAction,
    names: impl IntoIterator<Item = String>,
    offset_option: Option<OffsetOption>,
) -> LiteSubscription {
    LiteSubscription {
        action,
        client_id: client.to_owned(),
        group: group.to_owned(),
        lite_topic_set: names.into_iter().collect(),
        offset_option,
        topic: topic.to_owned(),
        version: 0,
    }
}

/// Tells a broker everything that a client subscribes to, if it was away since it was told last.
pub(crate) async fn repeat(
    brokers: &Brokers,
    address: &Arc<str>,
    client: &Client,
) -> Result<(), Failure> {
    if client.lite.lock().is_none() {
        return Ok(());
    }
    let connection = brokers.connected(address).await?;
    let known = match &*client.lite.lock() {
        Some(known) if known.told.get(address) != Some(&connection) => known.clone(),
        _ => return Ok(()),
    };
    let all = change(
        &client.id,
        (&known.topic, &known.group),
        LiteAction::CompleteAdd,
        known.names,
        None,
    );
    tell(brokers, address, all).await?;
    if let Some(known) = &mut *client.lite.lock() {
        known.told(Arc::clone(address), connection);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(attributes: &[(&str, &str)]) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            group_name: "g".to_owned(),
            attributes: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..SubscriptionGroupConfig::default()
        }
    }

    #[test]
    fn a_lite_group_has_one_parent() {
        let code = |result: Result<(), Failure>| result.unwrap_err().code();
        let bound = group(&[(BIND_TOPIC, "parent")]);
        assert!(check_bound(&bound, "parent").is_ok());
        assert_eq!(code(check_bound(&bound, "other")), Code::IllegalTopic);
        assert_eq!(code(check_bound(&group(&[]), "parent")), Code::IllegalTopic);
    }

    #[test]
    fn quotas_have_some_tolerance() {
        let few = group(&[("lite.sub.client.quota", "5")]);
        assert!(check_quota(&few, 305).is_ok());
        assert_eq!(
            check_quota(&few, 306).unwrap_err().code(),
            Code::LiteSubscriptionQuotaExceeded
        );
        assert!(check_quota(&group(&[]), 2300).is_ok());
        assert!(check_quota(&group(&[]), 2301).is_err());
    }

    #[test]
    fn a_second_lets_so_many_through() {
        let rate = Rate::new(2);
        let now = Instant::now();
        assert!(rate.admit(now) && rate.admit(now) && !rate.admit(now));
        assert!(rate.admit(now + Duration::from_secs(1)));
        let none = Rate::new(0);
        assert!((0..9).all(|_| none.admit(now)));
    }

    #[test]
    fn changes_add_up() {
        let mut known = Subscribed::default();
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        known.apply("p", "g", LiteAction::PartialAdd, &names(&["a", "b"]));
        known.apply("p", "g", LiteAction::PartialAdd, &names(&["c"]));
        known.apply("p", "g", LiteAction::PartialRemove, &names(&["b"]));
        known.lost("c");
        assert_eq!(known.names, BTreeSet::from(["a".to_owned()]));
        known.apply("p", "g", LiteAction::CompleteAdd, &names(&["x"]));
        assert_eq!(known.names, BTreeSet::from(["x".to_owned()]));
        known.apply("q", "g", LiteAction::PartialAdd, &names(&["y"]));
        assert_eq!(known.names, BTreeSet::from(["y".to_owned()]));
    }
}
