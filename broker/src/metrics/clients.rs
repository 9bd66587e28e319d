// SPDX-License-Identifier: Apache-2.0
//! Who is connected.

use std::collections::BTreeMap;

use aerobee_daemon::exposition::Exposition;
use aerobee_remoting::{Language, body::heartbeat::ConsumeType, code::version};

use super::{Metrics, flag, is_system_group, names};
use crate::clients::Member;

/// Clients of one kind: language and version.
type Kinds = BTreeMap<(&'static str, i32), u64>;

impl Metrics {
    pub(super) fn write_clients(&self, out: &mut Exposition) {
        let mut kinds = Kinds::new();
        for (_, members) in self.clients.producers.all() {
            count(&mut kinds, &members);
        }
        let mut samples = out.metric(&names::PRODUCER_CONNECTIONS);
        for ((language, version), count) in kinds {
            let labels = [
                ("language", &*language.to_lowercase()),
                ("version", &*version_of(version)),
                ("protocol_type", "remoting"),
            ];
            samples.add(&labels, count);
        }
        drop(samples);
        let mut groups = self.clients.consumers.groups();
        groups.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        let mut samples = out.metric(&names::CONSUMER_CONNECTIONS);
        for group in groups {
            let mut kinds = Kinds::new();
            count(&mut kinds, &group.members());
            for ((language, version), count) in kinds {
                let labels = [
                    ("consumer_group", &**group.name()),
                    ("language", &*language.to_lowercase()),
                    ("version", &*version_of(version)),
                    ("consume_mode", mode(group.mode().consume_type)),
                    ("protocol_type", "remoting"),
                    ("is_system", flag(is_system_group(group.name()))),
                ];
                samples.add(&labels, count);
            }
        }
    }
}

fn count<C>(kinds: &mut Kinds, members: &[Member<C>]) {
    for member in members {
        let language: Language = member.client.language;
        *kinds
            .entry((language.name(), member.client.version))
            .or_default() += 1;
    }
}

fn version_of(ordinal: i32) -> String {
    version::name(ordinal).to_lowercase()
}

fn mode(consume_type: ConsumeType) -> &'static str {
    match consume_type {
        ConsumeType::Actively => "pull",
        ConsumeType::Passively => "push",
        ConsumeType::Pop => "pop",
    }
}
