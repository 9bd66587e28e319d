// SPDX-License-Identifier: Apache-2.0
//! How long requests took, on all ports of the broker together.

use std::collections::BTreeMap;

use aerobee_daemon::exposition::Exposition;
use aerobee_remoting::latency::{Answered, BOUNDS_MILLIS, Latency};

use super::{Metrics, flag, names};

impl Metrics {
    pub(super) fn write_rpc(&self, out: &mut Exposition) {
        let bounds = BOUNDS_MILLIS.map(|end| format!("{end}.0"));
        let bounds = bounds.each_ref().map(String::as_str);
        let mut samples = out.metric(&names::RPC_LATENCY);
        for latency in together(self.rpc.iter().map(|latencies| latencies.read())) {
            let labels = [
                ("protocol_type", "remoting"),
                ("is_long_polling", flag(latency.answered == Answered::Held)),
                ("request_code", &*described(latency.request.name(), None)),
                (
                    "response_code",
                    &*described(latency.response.name(), Some(latency.response.0)),
                ),
                (
                    "result",
                    if latency.answered == Answered::Oneway {
                        "oneway"
                    } else {
                        "success"
                    },
                ),
            ];
            samples.histogram(&labels, &bounds, latency.spans, latency.sum_millis);
        }
    }
}

/// Counts of several ports, added up.
fn together(ports: impl Iterator<Item = Vec<Latency>>) -> Vec<Latency> {
    let mut all = BTreeMap::<_, Latency>::new();
    for latency in ports.flatten() {
        all.entry(latency.key())
            .and_modify(|sum| sum.add(&latency))
            .or_insert(latency);
    }
    all.into_values().collect()
}

/// The name of a code as Apache writes it; a code without a name is its number, if that is known.
fn described(name: Option<&str>, code: Option<i32>) -> String {
    match (name, code) {
        (Some(name), _) => name.to_lowercase(),
        (None, Some(code)) => code.to_string(),
        (None, None) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use aerobee_remoting::{RequestCode, ResponseCode};

    use super::*;

    #[test]
    fn ports_are_added_up() {
        let latency = |request, sum_millis| Latency {
            request: RequestCode(request),
            response: ResponseCode::SUCCESS,
            answered: Answered::Promptly,
            spans: [1, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            sum_millis,
        };
        let ports = [vec![latency(10, 5)], vec![latency(10, 6), latency(11, 7)]];
        let all = together(ports.into_iter());
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].sum_millis, all[0].spans[9]), (11, 4));
        assert_eq!((all[1].sum_millis, all[1].spans[9]), (7, 2));
    }

    #[test]
    fn codes_are_named_as_apaches() {
        assert_eq!(
            described(RequestCode::SEND_MESSAGE_V2.name(), None),
            "send_message_v2"
        );
        assert_eq!(described(None, Some(77)), "77");
    }
}
