// SPDX-License-Identifier: Apache-2.0
//! The settings that clients get back: their own, overwritten where the server decides (Apache:
//! `proxy/grpc/v2/common/GrpcClientSettingsManager.java`). SDKs differ in what they understand:
//! Python reads lists of waits only, Node.js growing waits of whole seconds only.

use aerobee_remoting::body::group::{
    CustomizedRetryPolicy, ExponentialRetryPolicy, RetryPolicyType, SubscriptionGroupConfig,
};

use crate::{
    caller::Sdk,
    config::Config,
    time::span,
    v2::{
        CustomizedBackoff, ExponentialBackoff, Metric, RetryPolicy, Settings,
        retry_policy::Strategy, settings::PubSub,
    },
};

/// Lite topics of one client, unless its group says otherwise.
const LITE_QUOTA: i32 = 2000;
/// Waits in a list made of growing ones.
const LIST_MAX: usize = 18;

/// The settings for a client.
pub(crate) fn answer(
    mut settings: Settings,
    sdk: Sdk,
    config: &Config,
    group: Option<&SubscriptionGroupConfig>,
) -> Settings {
    let ours = SubscriptionGroupConfig::default();
    match &mut settings.pub_sub {
        Some(PubSub::Publishing(publishing)) => {
            publishing.validate_message_type = config.enable_topic_message_type_check;
            publishing.max_body_size = if config.max_message_size > 0 {
                i32::try_from(config.max_message_size).unwrap_or(i32::MAX)
            } else {
                i32::MAX
            };
            settings.backoff_policy = Some(RetryPolicy {
                max_attempts: config.grpc_client_producer_max_attempts,
                strategy: Some(Strategy::ExponentialBackoff(ExponentialBackoff {
                    initial: Some(span(config.grpc_client_producer_backoff_initial_millis)),
                    max: Some(span(config.grpc_client_producer_backoff_max_millis)),
                    multiplier: config.grpc_client_producer_backoff_multiplier as f32,
                })),
            });
        }
        Some(PubSub::Subscription(subscription)) => {
            let group = group.unwrap_or(&ours);
            subscription.fifo = Some(group.consume_message_orderly);
            subscription.receive_batch_size =
                Some(config.grpc_client_consumer_long_polling_batch_size);
            subscription.long_polling_timeout = Some(span(
                config.grpc_client_consumer_max_long_polling_timeout_millis,
            ));
            subscription.lite_subscription_quota = Some(lite_quota(group));
            subscription.max_lite_topic_size =
                Some(i32::try_from(config.max_lite_topic_size).unwrap_or(i32::MAX));
            settings.backoff_policy = Some(consumer_backoff(group, sdk));
        }
        None => {}
    }
    settings.metric = Some(Metric {
        on: false,
        endpoints: None,
    });
    settings
}

/// Lite topics that a client of a group may subscribe to.
pub(crate) fn lite_quota(group: &SubscriptionGroupConfig) -> i32 {
    group
        .attributes
        .get("lite.sub.client.quota")
        .and_then(|text| text.parse().ok())
        .unwrap_or(LITE_QUOTA)
}

fn consumer_backoff(group: &SubscriptionGroupConfig, sdk: Sdk) -> RetryPolicy {
    let policy = &group.group_retry_policy;
    let growing = policy.exponential_retry_policy.clone().unwrap_or_default();
    let list = policy.customized_retry_policy.clone().unwrap_or_default();
    let strategy = match (policy.policy_type, sdk) {
        (RetryPolicyType::Exponential, Sdk::Python) => as_list(&growing),
        (RetryPolicyType::Exponential, _) => Strategy::ExponentialBackoff(ExponentialBackoff {
            initial: Some(span(growing.initial)),
            max: Some(span(growing.max)),
            multiplier: growing.multiplier as f32,
        }),
        (RetryPolicyType::Customized, Sdk::Node) => as_growing(&list),
        (RetryPolicyType::Customized, _) => Strategy::CustomizedBackoff(CustomizedBackoff {
            next: list.next.iter().map(|wait| span(*wait)).collect(),
        }),
    };
    RetryPolicy {
        max_attempts: group.retry_max_times.saturating_add(1),
        strategy: Some(strategy),
    }
}

fn as_list(growing: &ExponentialRetryPolicy) -> Strategy {
    let mut wait = growing.initial.max(1);
    let mut next = Vec::with_capacity(LIST_MAX);
    for _ in 0..LIST_MAX {
        next.push(span(wait.min(growing.max)));
        wait = wait.saturating_mul(growing.multiplier.max(1));
    }
    Strategy::CustomizedBackoff(CustomizedBackoff { next })
}

fn as_growing(list: &CustomizedRetryPolicy) -> Strategy {
    let whole_seconds = |wait: Option<&i64>| span(wait.map_or(1000, |wait| (*wait).max(1000)));
    Strategy::ExponentialBackoff(ExponentialBackoff {
        initial: Some(whole_seconds(list.next.first())),
        max: Some(whole_seconds(list.next.last())),
        multiplier: 2.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v2::{Publishing, Subscription};

    fn consumer(sdk: Sdk, kind: RetryPolicyType) -> RetryPolicy {
        let mut group = SubscriptionGroupConfig {
            retry_max_times: 3,
            ..SubscriptionGroupConfig::default()
        };
        group.group_retry_policy.policy_type = kind;
        let settings = Settings {
            pub_sub: Some(PubSub::Subscription(Subscription::default())),
            ..Settings::default()
        };
        answer(settings, sdk, &Config::default(), Some(&group))
            .backoff_policy
            .unwrap()
    }

    #[test]
    fn producers_always_get_growing_waits() {
        let settings = Settings {
            pub_sub: Some(PubSub::Publishing(Publishing::default())),
            ..Settings::default()
        };
        let settings = answer(settings, Sdk::Go, &Config::default(), None);
        let policy = settings.backoff_policy.unwrap();
        assert_eq!(policy.max_attempts, 3);
        assert!(matches!(
            policy.strategy,
            Some(Strategy::ExponentialBackoff(_))
        ));
        let Some(PubSub::Publishing(publishing)) = settings.pub_sub else {
            panic!("another case")
        };
        assert_eq!(publishing.max_body_size, 4 << 20);
    }

    #[test]
    fn consumers_get_what_their_sdk_reads() {
        let java = consumer(Sdk::Java, RetryPolicyType::Customized);
        assert_eq!(java.max_attempts, 4);
        let Some(Strategy::CustomizedBackoff(list)) = java.strategy else {
            panic!("no list")
        };
        assert_eq!(list.next.len(), 18);
        let node = consumer(Sdk::Node, RetryPolicyType::Customized);
        assert!(matches!(
            node.strategy,
            Some(Strategy::ExponentialBackoff(_))
        ));
        let python = consumer(Sdk::Python, RetryPolicyType::Exponential);
        assert!(matches!(
            python.strategy,
            Some(Strategy::CustomizedBackoff(_))
        ));
    }
}
