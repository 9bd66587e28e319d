// SPDX-License-Identifier: Apache-2.0
//! What each call needs to be allowed. Apache's table (`DefaultAuthorizationContextBuilder.java`); calls that
//! Apache's proxy does not serve have lines of their own.

use aerobee_auth::{
    authorize::{Want, group, topic, topic_or_group},
    policy::{
        Action::{Get, Pub, Sub, Update},
        Actions,
    },
};

use crate::v2::{
    self, ClientType, MessageQueue, Resource, settings::PubSub, telemetry_command::Command,
};

const PUB: Actions = Actions::of(&[Pub]);
const SUB: Actions = Actions::of(&[Sub]);
const GET: Actions = Actions::of(&[Get]);
const PUB_OR_SUB: Actions = Actions::of(&[Pub, Sub]);
const SUB_OR_GET: Actions = Actions::of(&[Sub, Get]);
const SUB_OR_UPDATE: Actions = Actions::of(&[Sub, Update]);

/// A message of the protocol that begins a call.
pub(crate) trait Needs {
    /// Its full name, by which white lists call it.
    const NAME: &'static str;
    /// What it needs; an empty list is free for every user.
    ///
    /// # Errors
    /// It does not name what it is about; in Apache's words.
    fn needs(&self) -> Result<Vec<Want<'_>>, &'static str>;
}

fn named<'a>(resource: Option<&'a Resource>, what: &'static str) -> Result<&'a str, &'static str> {
    resource
        .map(|resource| resource.name.as_str())
        .filter(|name| !name.trim().is_empty())
        .ok_or(what)
}

fn of_topic(resource: Option<&Resource>, actions: Actions) -> Result<Want<'_>, &'static str> {
    named(resource, "topic is null.").map(|name| topic_or_group(name, actions, actions))
}

fn of_group(resource: Option<&Resource>, actions: Actions) -> Result<Want<'_>, &'static str> {
    named(resource, "group is null.").map(|name| group(name, actions))
}

fn topic_of(queue: Option<&MessageQueue>) -> Result<Option<&Resource>, &'static str> {
    let queue = queue.ok_or("messageQueue is null.")?;
    Ok(queue.topic.as_ref())
}

macro_rules! needs {
    ($($request:ident: |$message:ident| $needs:expr;)+) => {
        $(impl Needs for v2::$request {
            const NAME: &'static str = concat!("apache.rocketmq.v2.", stringify!($request));

            fn needs(&self) -> Result<Vec<Want<'_>>, &'static str> {
                let $message = self;
                Ok($needs)
            }
        })+
    };
}

needs! {
    QueryRouteRequest: |it| {
        let name = named(it.topic.as_ref(), "topic is null.")?;
        vec![topic(name, PUB_OR_SUB)]
    };
    SendMessageRequest: |it| {
        let first = it.messages.first().ok_or("message is null.")?;
        vec![of_topic(first.topic.as_ref(), PUB)?]
    };
    RecallMessageRequest: |it| vec![of_topic(it.topic.as_ref(), PUB)?];
    EndTransactionRequest: |it| vec![of_topic(it.topic.as_ref(), PUB)?];
    HeartbeatRequest: |it| match it.client_type() {
        ClientType::Producer | ClientType::Unspecified => Vec::new(),
        _ => vec![of_group(it.group.as_ref(), SUB)?],
    };
    ReceiveMessageRequest: |it| {
        let topic = topic_of(it.message_queue.as_ref())?;
        vec![of_group(it.group.as_ref(), SUB)?, of_topic(topic, SUB)?]
    };
    AckMessageRequest: |it| vec![of_group(it.group.as_ref(), SUB)?, of_topic(it.topic.as_ref(), SUB)?];
    ForwardMessageToDeadLetterQueueRequest: |it| {
        vec![of_group(it.group.as_ref(), SUB)?, of_topic(it.topic.as_ref(), SUB)?]
    };
    QueryAssignmentRequest: |it| {
        vec![of_group(it.group.as_ref(), SUB)?, of_topic(it.topic.as_ref(), SUB)?]
    };
    ChangeInvisibleDurationRequest: |it| vec![of_group(it.group.as_ref(), SUB)?];
    NotifyClientTerminationRequest: |it| match named(it.group.as_ref(), "") {
        Ok(name) => vec![group(name, SUB)],
        Err(_) => Vec::new(),
    };
    SyncLiteSubscriptionRequest: |it| if it.lite_topic_set.is_empty() {
        Vec::new()
    } else {
        vec![of_group(it.group.as_ref(), SUB)?, of_topic(it.topic.as_ref(), SUB)?]
    };
    PullMessageRequest: |it| {
        let topic = topic_of(it.message_queue.as_ref())?;
        vec![of_group(it.group.as_ref(), SUB)?, of_topic(topic, SUB)?]
    };
    UpdateOffsetRequest: |it| {
        let topic = topic_of(it.message_queue.as_ref())?;
        vec![of_group(it.group.as_ref(), SUB_OR_UPDATE)?, of_topic(topic, SUB_OR_UPDATE)?]
    };
    GetOffsetRequest: |it| {
        let topic = topic_of(it.message_queue.as_ref())?;
        vec![of_group(it.group.as_ref(), SUB_OR_GET)?, of_topic(topic, SUB_OR_GET)?]
    };
    QueryOffsetRequest: |it| vec![of_topic(topic_of(it.message_queue.as_ref())?, GET)?];
    TelemetryCommand: |it| match &it.command {
        Some(Command::Settings(settings)) => of_settings(settings)?,
        _ => Vec::new(),
    };
}

fn of_settings(settings: &v2::Settings) -> Result<Vec<Want<'_>>, &'static str> {
    match &settings.pub_sub {
        Some(PubSub::Publishing(publishing)) => {
            let topics = publishing.topics.iter();
            topics.map(|topic| of_topic(Some(topic), PUB)).collect()
        }
        Some(PubSub::Subscription(subscription)) => {
            let group = of_group(subscription.group.as_ref(), SUB);
            let topics = subscription.subscriptions.iter();
            let topics = topics.map(|entry| of_topic(entry.topic.as_ref(), SUB));
            [group].into_iter().chain(topics).collect()
        }
        None => Err("settings command doesn't have publishing or subscription."),
    }
}

#[cfg(test)]
mod tests {
    use aerobee_auth::policy::ResourceType;

    use super::*;

    fn resource(name: &str) -> Option<Resource> {
        Some(Resource {
            name: name.to_owned(),
            ..Resource::default()
        })
    }

    /// As text: `Topic:t`, whatever the actions.
    fn needs_of(message: &impl Needs) -> String {
        match message.needs() {
            Err(why) => why.to_owned(),
            Ok(wants) => {
                let text = |want: &Want<'_>| {
                    let kind = match want.kind {
                        ResourceType::Topic => "t",
                        ResourceType::Group => "g",
                        _ => "?",
                    };
                    format!("{kind}:{}", want.name)
                };
                wants.iter().map(text).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn calls_need_what_they_are_about() {
        let route = v2::QueryRouteRequest {
            topic: resource("a"),
            ..Default::default()
        };
        assert_eq!(needs_of(&route), "t:a");
        assert_eq!(
            needs_of(&v2::QueryRouteRequest::default()),
            "topic is null."
        );
        assert_eq!(
            needs_of(&v2::SendMessageRequest::default()),
            "message is null."
        );
        let ack = v2::AckMessageRequest {
            group: resource("b"),
            topic: resource("a"),
            ..Default::default()
        };
        assert_eq!(needs_of(&ack), "g:b t:a");
        let retry = v2::AckMessageRequest {
            topic: resource("%RETRY%c"),
            ..ack
        };
        assert_eq!(needs_of(&retry), "g:b g:c");
        assert_eq!(
            needs_of(&v2::ReceiveMessageRequest::default()),
            "messageQueue is null."
        );
        assert_eq!(needs_of(&v2::NotifyClientTerminationRequest::default()), "");
        assert_eq!(
            v2::AckMessageRequest::NAME,
            "apache.rocketmq.v2.AckMessageRequest"
        );
    }

    #[test]
    fn heartbeats_need_the_group_of_whoever_consumes() {
        let beat = |kind: ClientType| {
            needs_of(&v2::HeartbeatRequest {
                group: resource("b"),
                client_type: kind.into(),
            })
        };
        assert_eq!(beat(ClientType::Producer), "");
        assert_eq!(beat(ClientType::PushConsumer), "g:b");
        assert_eq!(beat(ClientType::SimpleConsumer), "g:b");
    }

    #[test]
    fn settings_need_all_that_they_name() {
        let told = |pub_sub| {
            needs_of(&v2::TelemetryCommand {
                command: Some(Command::Settings(v2::Settings {
                    pub_sub,
                    ..Default::default()
                })),
                ..Default::default()
            })
        };
        let publishing = v2::Publishing {
            topics: resource("a").into_iter().chain(resource("c")).collect(),
            ..Default::default()
        };
        assert_eq!(told(Some(PubSub::Publishing(publishing))), "t:a t:c");
        let subscription = v2::Subscription {
            group: resource("b"),
            subscriptions: vec![v2::SubscriptionEntry {
                topic: resource("a"),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(told(Some(PubSub::Subscription(subscription))), "g:b t:a");
        assert!(told(None).contains("doesn't have"));
        assert_eq!(needs_of(&v2::TelemetryCommand::default()), "");
    }
}
