// SPDX-License-Identifier: Apache-2.0
//! Lite topics over gRPC: subscriptions, messages, notices, refusals.

use aerobee_proxy::v2::{
    AckMessageEntry, AckMessageRequest, ChangeInvisibleDurationRequest, ClientType, Code,
    ForwardMessageToDeadLetterQueueRequest, LiteSubscriptionAction as Action, Message, MessageType,
    NotifyClientTerminationRequest, OffsetOption, ReceiveMessageRequest,
    SyncLiteSubscriptionRequest, TelemetryCommand, offset_option::OffsetType,
    receive_message_response::Content, settings::PubSub, telemetry_command::Command,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::{Streaming, codegen::tokio_stream::StreamExt as _};

use crate::support::{
    Cluster, Grpc, PATIENCE, all, message, of, queue, receipt, resource, send,
    telemetry::{settings, subscription, telemetry},
};

const PARENT: &str = "parent";
const GROUP: &str = "readers";

async fn start() -> Cluster {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut aerobee_proxy::Config)) -> Cluster {
    let cluster = Cluster::start_with(change).await;
    cluster.topic(PARENT, "LITE").await;
    bind(&cluster, GROUP, &[]).await;
    cluster
}

/// Makes a group of lite consumers.
async fn bind(cluster: &Cluster, group: &str, more: &[(&str, &str)]) {
    cluster
        .group(group, |config| {
            for (key, value) in [("lite.bind.topic", PARENT)].iter().chain(more) {
                config
                    .attributes
                    .insert(format!("+{key}"), (*value).to_owned());
            }
        })
        .await;
}

/// A consumer with its telemetry stream.
struct Consumer {
    id: &'static str,
    group: &'static str,
    grpc: Grpc,
    _up: mpsc::Sender<TelemetryCommand>,
    down: Streaming<TelemetryCommand>,
    quota: i32,
}

async fn consumer(cluster: &Cluster, id: &'static str, group: &'static str) -> Consumer {
    let mut grpc = cluster.grpc().await;
    let (up, mut down) = telemetry(&mut grpc, id).await;
    let kind = if id.ends_with("simple") {
        ClientType::LiteSimpleConsumer
    } else {
        ClientType::LitePushConsumer
    };
    up.send(settings(kind, subscription(group, PARENT)))
        .await
        .unwrap();
    let answer = timeout(PATIENCE, down.next()).await.unwrap().unwrap();
    let Some(Command::Settings(answer)) = answer.unwrap().command else {
        panic!("no settings")
    };
    let Some(PubSub::Subscription(subscription)) = answer.pub_sub else {
        panic!("no subscription")
    };
    assert_eq!(subscription.max_lite_topic_size, Some(64));
    Consumer {
        id,
        group,
        grpc,
        _up: up,
        down,
        quota: subscription.lite_subscription_quota.unwrap(),
    }
}

impl Consumer {
    async fn sync(&mut self, action: Action, names: &[&str]) -> Code {
        self.sync_at(action, names, None).await
    }

    async fn sync_at(&mut self, action: Action, names: &[&str], at: Option<OffsetType>) -> Code {
        let request = SyncLiteSubscriptionRequest {
            action: action.into(),
            topic: Some(resource(PARENT)),
            group: Some(resource(self.group)),
            lite_topic_set: names.iter().map(|name| (*name).to_owned()).collect(),
            version: None,
            offset_option: at.map(|at| OffsetOption {
                offset_type: Some(at),
            }),
        };
        let answer = self.grpc.sync_lite_subscription(of(self.id, request)).await;
        answer.unwrap().into_inner().status.unwrap().code()
    }

    async fn receive(&mut self, poll_seconds: i64) -> (Code, Vec<Message>) {
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let request = ReceiveMessageRequest {
            group: Some(resource(self.group)),
            message_queue: Some(queue(PARENT, -1)),
            filter_expression: Some(all()),
            batch_size: 32,
            invisible_duration: span(30),
            auto_renew: self.id.ends_with("renewed"),
            long_polling_timeout: span(poll_seconds),
            attempt_id: None,
        };
        let mut stream = self
            .grpc
            .receive_message(of(self.id, request))
            .await
            .unwrap()
            .into_inner();
        let (mut code, mut messages) = (None, Vec::new());
        while let Some(frame) = stream.message().await.unwrap() {
            match frame.content.unwrap() {
                Content::Status(status) => code = Some(status.code()),
                Content::Message(message) => messages.push(message),
                Content::DeliveryTimestamp(_) => {}
            }
        }
        (code.unwrap(), messages)
    }

    /// Receives until something comes.
    async fn await_messages(&mut self) -> Vec<Message> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let (code, messages) = self.receive(3).await;
            if code == Code::Ok {
                return messages;
            }
        }
        panic!("nothing came")
    }

    async fn ack(&mut self, message: &Message, names_lite: bool) -> Code {
        let request = AckMessageRequest {
            group: Some(resource(self.group)),
            topic: Some(resource(PARENT)),
            entries: vec![AckMessageEntry {
                message_id: "id".to_owned(),
                receipt_handle: receipt(message),
                lite_topic: names_lite.then(|| lite_of(message)),
            }],
        };
        let answer = self.grpc.ack_message(of(self.id, request)).await.unwrap();
        answer.into_inner().status.unwrap().code()
    }

    async fn suspend(&mut self, message: &Message) -> (Code, String) {
        let request = ChangeInvisibleDurationRequest {
            group: Some(resource(self.group)),
            topic: Some(resource(PARENT)),
            receipt_handle: receipt(message),
            invisible_duration: Some(prost_types::Duration {
                seconds: 0,
                nanos: 200_000_000,
            }),
            message_id: "id".to_owned(),
            lite_topic: Some(lite_of(message)),
            suspend: Some(true),
        };
        let answer = self
            .grpc
            .change_invisible_duration(of(self.id, request))
            .await
            .unwrap()
            .into_inner();
        (answer.status.unwrap().code(), answer.receipt_handle)
    }
}

fn lite_of(message: &Message) -> String {
    let system = message.system_properties.as_ref().unwrap();
    assert_eq!(system.message_type(), MessageType::Lite);
    system.lite_topic.clone().unwrap()
}

fn attempt(message: &Message) -> i32 {
    let system = message.system_properties.as_ref().unwrap();
    system.delivery_attempt.unwrap()
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| std::str::from_utf8(&message.body).unwrap())
        .collect()
}

async fn produce(grpc: &mut Grpc, lite: &str, body: &str) {
    let mut message = message(PARENT, body);
    let system = message.system_properties.as_mut().unwrap();
    system.message_type = MessageType::Lite.into();
    system.lite_topic = Some(lite.to_owned());
    let answer = send(grpc, vec![message]).await;
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_subscribed_lite_topics_come_in_order_and_are_acknowledged() {
    let cluster = start().await;
    let mut grpc = cluster.grpc().await;
    for id in ["push", "simple"] {
        let group = if id == "push" { GROUP } else { "others" };
        bind(&cluster, group, &[]).await;
        let mut consumer = consumer(&cluster, id, group).await;
        assert_eq!(consumer.quota, 2000);
        assert_eq!(consumer.sync(Action::CompleteAdd, &[]).await, Code::Ok);
        let (one, two) = (&*format!("{id}-1"), &*format!("{id}-2"));
        let code = consumer.sync(Action::PartialAdd, &[one, two]).await;
        assert_eq!(code, Code::Ok);
        for (lite, body) in [(one, "a0"), (two, "b0"), (one, "a1"), ("nobody", "no")] {
            produce(&mut grpc, lite, body).await;
        }
        let mut got: Vec<(String, String)> = Vec::new();
        while got.len() < 3 {
            for message in consumer.await_messages().await {
                assert_eq!(attempt(&message), 1);
                got.push((
                    lite_of(&message),
                    bodies(std::slice::from_ref(&message))[0].to_owned(),
                ));
                // The handle tells the lite topic to those that do not repeat it.
                assert_eq!(consumer.ack(&message, id == "push").await, Code::Ok);
            }
        }
        got.sort();
        let expected = [(one, "a0"), (one, "a1"), (two, "b0")];
        let expected = expected.map(|(lite, body)| (lite.to_owned(), body.to_owned()));
        assert_eq!(got, expected);
        assert_eq!(consumer.receive(0).await.0, Code::MessageNotFound);
        // The next ones come, so what was acknowledged blocks no more; a lite topic given up does not.
        let code = consumer.sync(Action::PartialRemove, &[two]).await;
        assert_eq!(code, Code::Ok);
        produce(&mut grpc, two, "b1").await;
        produce(&mut grpc, one, "a2").await;
        assert_eq!(bodies(&consumer.await_messages().await), ["a2"]);
        assert_eq!(consumer.receive(0).await.0, Code::MessageNotFound);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_receive_is_served_by_the_send() {
    let cluster = start().await;
    let mut consumer = consumer(&cluster, "waits-renewed", GROUP).await;
    consumer.sync(Action::PartialAdd, &["a"]).await;
    let mut grpc = cluster.grpc().await;
    let waiting = tokio::spawn(async move {
        let got = consumer.receive(15).await;
        (consumer, got)
    });
    produce(&mut grpc, "a", "new").await;
    let (mut consumer, (code, got)) = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!((code, bodies(&got)), (Code::Ok, vec!["new"]));
    assert_eq!(consumer.ack(&got[0], true).await, Code::Ok);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lite_topic_given_up_sends_nothing_more_though_it_was_just_acknowledged() {
    let cluster = start().await;
    let mut grpc = cluster.grpc().await;
    let mut consumer = consumer(&cluster, "simple", GROUP).await;
    consumer.sync(Action::PartialAdd, &["a"]).await;
    produce(&mut grpc, "a", "a0").await;
    let got = consumer.await_messages().await;
    // Has the broker look for the next one.
    assert_eq!(consumer.ack(&got[0], true).await, Code::Ok);
    consumer.sync(Action::PartialRemove, &["a"]).await;
    produce(&mut grpc, "a", "a1").await;
    assert_eq!(consumer.receive(0).await.0, Code::MessageNotFound);
    consumer.sync(Action::PartialAdd, &["a"]).await;
    assert_eq!(bodies(&consumer.await_messages().await), ["a1"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_too_many_messages_that_are_renewed_receives_no_more() {
    let cluster = start_with(|config| config.max_lite_renew_num_per_channel = 1).await;
    let mut grpc = cluster.grpc().await;
    let mut greedy = consumer(&cluster, "greedy-renewed", GROUP).await;
    let names = ["a", "b", "c"];
    greedy.sync(Action::PartialAdd, &names).await;
    let mut held = Vec::new();
    for name in &names[..2] {
        produce(&mut grpc, name, name).await;
        held.extend(greedy.await_messages().await);
    }
    assert_eq!(bodies(&held), ["a", "b"]);
    produce(&mut grpc, "c", "c").await;
    assert_eq!(greedy.receive(0).await.0, Code::Forbidden);
    // What another client holds does not count, nor what is not renewed.
    let mut other = consumer(&cluster, "other", GROUP).await;
    other.sync(Action::PartialAdd, &["d"]).await;
    assert_eq!(other.receive(0).await.0, Code::MessageNotFound);
    assert_eq!(greedy.ack(&held[0], true).await, Code::Ok);
    assert_eq!(bodies(&greedy.await_messages().await), ["c"]);
    assert_eq!(greedy.receive(0).await.0, Code::Forbidden);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_comes_again_and_the_rest_waits() {
    let cluster = start().await;
    let mut grpc = cluster.grpc().await;
    let mut consumer = consumer(&cluster, "c", GROUP).await;
    consumer.sync(Action::PartialAdd, &["a"]).await;
    produce(&mut grpc, "a", "first").await;
    let got = consumer.await_messages().await;
    produce(&mut grpc, "a", "second").await;
    let (code, renewed) = consumer.suspend(&got[0]).await;
    assert_eq!(code, Code::Ok);
    assert!(renewed.ends_with(" a"), "{renewed}");
    let again = consumer.await_messages().await;
    assert_eq!(bodies(&again), ["first", "second"]);
    for message in &again {
        assert_eq!(consumer.ack(message, true).await, Code::Ok);
    }
    assert_eq!(consumer.receive(0).await.0, Code::MessageNotFound);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_given_up_becomes_a_dead_letter_and_blocks_no_more() {
    let cluster = start().await;
    let mut grpc = cluster.grpc().await;
    let mut consumer = consumer(&cluster, "c", GROUP).await;
    consumer.sync(Action::PartialAdd, &["a"]).await;
    produce(&mut grpc, "a", "bad").await;
    let got = consumer.await_messages().await;
    let request = ForwardMessageToDeadLetterQueueRequest {
        group: Some(resource(GROUP)),
        topic: Some(resource(PARENT)),
        receipt_handle: receipt(&got[0]),
        message_id: "id".to_owned(),
        delivery_attempt: 1,
        max_delivery_attempts: 1,
        lite_topic: Some("a".to_owned()),
    };
    let answer = grpc
        .forward_message_to_dead_letter_queue(of("c", request))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().status.unwrap().code(), Code::Ok);
    produce(&mut grpc, "a", "good").await;
    assert_eq!(bodies(&consumer.await_messages().await), ["good"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_lite_topic_goes_to_the_last_one_and_the_other_hears_of_it() {
    let cluster = start().await;
    bind(&cluster, "alone", &[("lite.sub.model", "Exclusive")]).await;
    let mut grpc = cluster.grpc().await;
    let mut one = consumer(&cluster, "one", "alone").await;
    let mut other = consumer(&cluster, "other", "alone").await;
    assert_eq!(one.sync(Action::PartialAdd, &["a"]).await, Code::Ok);
    assert_eq!(other.sync(Action::PartialAdd, &["a"]).await, Code::Ok);
    let notice = |told: Option<Result<TelemetryCommand, tonic::Status>>| {
        let Some(Command::NotifyUnsubscribeLiteCommand(notice)) = told.unwrap().unwrap().command
        else {
            panic!("no notice")
        };
        notice.lite_topic
    };
    let told = timeout(PATIENCE, one.down.next()).await.unwrap();
    assert_eq!(notice(told), "a");
    // One that has not heard of it, and repeats its whole list, does not get it back.
    assert_eq!(one.sync(Action::CompleteAdd, &["a", "b"]).await, Code::Ok);
    let told = timeout(PATIENCE, one.down.next()).await.unwrap();
    assert_eq!(notice(told), "a");
    for n in 0..4 {
        produce(&mut grpc, "a", &n.to_string()).await;
        let got = other.await_messages().await;
        assert_eq!(bodies(&got), [n.to_string()]);
        assert_eq!(other.ack(&got[0], true).await, Code::Ok);
    }
    assert_eq!(one.receive(0).await.0, Code::MessageNotFound);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_leaves_goes_to_others() {
    let cluster = start().await;
    let mut grpc = cluster.grpc().await;
    let mut leaver = consumer(&cluster, "leaver-renewed", GROUP).await;
    leaver.sync(Action::PartialAdd, &["a"]).await;
    produce(&mut grpc, "a", "m").await;
    assert_eq!(bodies(&leaver.await_messages().await), ["m"]);
    let mut stays = consumer(&cluster, "stays", GROUP).await;
    stays.sync(Action::PartialAdd, &["a"]).await;
    let request = NotifyClientTerminationRequest {
        group: Some(resource(GROUP)),
    };
    let answer = grpc
        .notify_client_termination(of("leaver-renewed", request))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().status.unwrap().code(), Code::Ok);
    assert_eq!(bodies(&stays.await_messages().await), ["m"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_broker_hears_of_subscriptions_at_once() {
    let cluster = start().await;
    let mut consumer = consumer(&cluster, "c", GROUP).await;
    consumer.sync(Action::PartialAdd, &["a", "b"]).await;
    consumer.sync(Action::PartialRemove, &["b"]).await;
    // A receive is under way, as always with push consumers.
    let waiting = tokio::spawn(async move {
        let got = consumer.receive(15).await;
        (consumer, got)
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let cluster = cluster.restart_broker().await;
    let (mut consumer, (code, _)) = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_ne!(code, Code::Ok);
    let mut grpc = cluster.grpc().await;
    produce(&mut grpc, "b", "no").await;
    produce(&mut grpc, "a", "after").await;
    // The client itself repeats nothing here.
    assert_eq!(bodies(&consumer.await_messages().await), ["after"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_begins_where_it_wants() {
    let cluster = start().await;
    let mut grpc = cluster.grpc().await;
    for n in 0..5 {
        produce(&mut grpc, "a", &n.to_string()).await;
    }
    let mut consumer = consumer(&cluster, "c", GROUP).await;
    let at = Some(OffsetType::Offset(3));
    let code = consumer.sync_at(Action::PartialAdd, &["a"], at).await;
    assert_eq!(code, Code::Ok);
    assert_eq!(bodies(&consumer.await_messages().await), ["3", "4"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_subscriptions_are_refused_with_their_reason() {
    let cluster = start().await;
    cluster.topic("other", "LITE").await;
    cluster.group("plain", |_| {}).await;
    bind(&cluster, "few", &[("lite.sub.client.quota", "5")]).await;
    let mut consumer = consumer(&cluster, "c", GROUP).await;
    let long = "x".repeat(65);
    for bad in ["", "a b", "a$b", "ä", &long] {
        let code = consumer.sync(Action::PartialAdd, &[bad]).await;
        assert_eq!(code, Code::IllegalLiteTopic, "{bad}");
    }
    consumer.group = "plain";
    let code = consumer.sync(Action::PartialAdd, &["a"]).await;
    assert_eq!(code, Code::IllegalTopic);
    consumer.group = "nobody_made_it";
    let code = consumer.sync(Action::CompleteAdd, &["a"]).await;
    assert_eq!(code, Code::IllegalTopic);
    consumer.group = "few";
    let names: Vec<String> = (0..306).map(|n| format!("l{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let code = consumer.sync(Action::CompleteAdd, &names).await;
    assert_eq!(code, Code::LiteSubscriptionQuotaExceeded);
    let code = consumer.sync(Action::CompleteAdd, &names[1..]).await;
    assert_eq!(code, Code::Ok);
    let request = SyncLiteSubscriptionRequest {
        action: Action::PartialAdd.into(),
        topic: Some(resource("other")),
        group: Some(resource(GROUP)),
        ..SyncLiteSubscriptionRequest::default()
    };
    let answer = consumer.grpc.sync_lite_subscription(of("c", request)).await;
    let status = answer.unwrap().into_inner().status.unwrap();
    assert_eq!(status.code(), Code::IllegalTopic);
    // Settings are refused as well: the stream ends.
    let mut grpc = cluster.grpc().await;
    for (kind, group) in [
        (ClientType::LitePushConsumer, "plain"),
        (ClientType::PushConsumer, GROUP),
    ] {
        let (up, mut down) = telemetry(&mut grpc, "refused").await;
        up.send(settings(kind, subscription(group, PARENT)))
            .await
            .unwrap();
        let refused = timeout(PATIENCE, down.next()).await.unwrap().unwrap();
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
    cluster.stop().await;
}
