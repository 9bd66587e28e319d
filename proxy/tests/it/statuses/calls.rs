// SPDX-License-Identifier: Apache-2.0
//! Names, headers, and calls that one of the two does not have.

use aerobee_proxy::v2::{
    self, ClientType, Code, GetOffsetRequest, PullMessageRequest, QueryAssignmentRequest,
    QueryOffsetRequest, QueryRouteRequest, UpdateOffsetRequest,
};
use tonic::Request;

use crate::support::{
    all, message, of, queue, resource,
    statuses::{
        Answer::{Grpc as G, Is as I},
        Trial, endpoints, first, status,
    },
    telemetry::{publishing, settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_may_use_and_what_nobody_made() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let long = "x".repeat(128);
    for (topic, ours, apache) in [
        ("nowhere", Code::TopicNotFound, Code::TopicNotFound),
        ("", Code::IllegalTopic, Code::IllegalTopic),
        ("a b", Code::IllegalTopic, Code::IllegalTopic),
        ("a/b", Code::IllegalTopic, Code::IllegalTopic),
        (&*long, Code::IllegalTopic, Code::IllegalTopic),
        ("TBW102", Code::IllegalTopic, Code::IllegalTopic),
        ("rmq_sys_x", Code::IllegalTopic, Code::IllegalTopic),
    ] {
        let (ours, apache) = (I(ours), I(apache));
        let answer = trial.route(topic).await;
        trial.is(("QueryRoute", topic), answer, ours, apache);
        let answer = trial.send(vec![message(topic, "x")]).await;
        // Apache's proxy asks for the type of the topic first, and it has none.
        let sent = match apache {
            I(Code::TopicNotFound) => I(Code::MessagePropertyConflictWithType),
            same => same,
        };
        trial.is(("SendMessage", topic), answer, ours, sent);
        let request = QueryAssignmentRequest {
            topic: Some(resource(topic)),
            group: Some(resource("g")),
            endpoints: Some(endpoints()),
        };
        let answer = trial.grpc.query_assignment(of("c", request)).await;
        let answer = status(answer, |answer| answer.status);
        trial.is(("QueryAssignment", topic), answer, ours, apache);
    }
    let long = "x".repeat(121);
    for (group, ours, apache) in [
        ("", Code::IllegalConsumerGroup, Code::IllegalConsumerGroup),
        (
            "a b",
            Code::IllegalConsumerGroup,
            Code::IllegalConsumerGroup,
        ),
        (
            &*long,
            Code::IllegalConsumerGroup,
            Code::IllegalConsumerGroup,
        ),
        (
            "CID_RMQ_SYS_x",
            Code::IllegalConsumerGroup,
            Code::IllegalConsumerGroup,
        ),
        ("nobody", Code::Ok, Code::Ok),
    ] {
        let request = QueryAssignmentRequest {
            topic: Some(resource("normal")),
            group: Some(resource(group)),
            endpoints: Some(endpoints()),
        };
        let answer = trial.grpc.query_assignment(of("c", request)).await;
        let answer = status(answer, |answer| answer.status);
        trial.is(("QueryAssignment of", group), answer, I(ours), I(apache));
    }
    let nameless = QueryRouteRequest::default();
    let answer = trial.grpc.query_route(of("c", nameless)).await;
    let answer = status(answer, |answer| answer.status);
    let illegal = I(Code::IllegalTopic);
    trial.is("QueryRoute without topic", answer, illegal, illegal);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_the_headers_that_name_the_client() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    let route = || {
        Request::new(QueryRouteRequest {
            topic: Some(resource("normal")),
            endpoints: Some(endpoints()),
        })
    };
    let required = I(Code::ClientIdRequired);
    let answer = trial.grpc.query_route(route()).await;
    let answer = status(answer, |answer| answer.status);
    trial.is("no header at all", answer, required, required);
    for (client, language, ours, apache) in [
        ("", Some("JAVA"), required, required),
        (" ", Some("JAVA"), required, required),
        ("c", None, I(Code::Ok), I(Code::Ok)),
        ("c", Some("COBOL"), I(Code::Ok), I(Code::Ok)),
    ] {
        let mut request = route();
        let metadata = request.metadata_mut();
        metadata.insert("x-mq-client-id", client.parse().unwrap());
        if let Some(language) = language {
            metadata.insert("x-mq-language", language.parse().unwrap());
        }
        let answer = trial.grpc.query_route(request).await;
        let answer = status(answer, |answer| answer.status);
        trial.is((client, language), answer, ours, apache);
    }
    let (up, stream) = crate::support::telemetry::commands();
    up.send(settings(ClientType::Producer, publishing("normal")))
        .await
        .unwrap();
    let stream = trial.grpc.telemetry(Request::new(stream)).await;
    let answer = match stream {
        Ok(stream) => first(&mut stream.into_inner()).await,
        Err(status) => G(status.code()),
    };
    trial.is("Telemetry", answer, required, required);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_apaches_proxy_does_not_have() {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let missing = G(tonic::Code::Unimplemented);
    let group = Some(resource("g"));
    let place = Some(queue("normal", 0));
    let update = UpdateOffsetRequest {
        group: group.clone(),
        message_queue: place.clone(),
        offset: 0,
    };
    let answer = trial.grpc.update_offset(of("c", update)).await;
    let answer = status(answer, |answer| answer.status);
    trial.is("UpdateOffset", answer, I(Code::Ok), missing);
    let get = GetOffsetRequest {
        group: group.clone(),
        message_queue: place.clone(),
    };
    let answer = trial.grpc.get_offset(of("c", get)).await;
    let answer = status(answer, |answer| answer.status);
    trial.is("GetOffset", answer, I(Code::Ok), missing);
    let query = QueryOffsetRequest {
        message_queue: place.clone(),
        ..QueryOffsetRequest::default()
    };
    let answer = trial.grpc.query_offset(of("c", query)).await;
    let answer = status(answer, |answer| answer.status);
    trial.is("QueryOffset", answer, I(Code::Ok), missing);
    let pull = PullMessageRequest {
        group,
        message_queue: place,
        offset: 0,
        batch_size: 1,
        filter_expression: Some(all()),
        long_polling_timeout: None,
    };
    let answer = match trial.grpc.pull_message(of("c", pull)).await {
        Ok(stream) => match stream.into_inner().message().await {
            Ok(Some(frame)) => match frame.content.unwrap() {
                v2::pull_message_response::Content::Status(status) => I(status.code()),
                other => panic!("{other:?}"),
            },
            Ok(None) => G(tonic::Code::Ok),
            Err(status) => G(status.code()),
        },
        Err(status) => G(status.code()),
    };
    trial.is("PullMessage", answer, I(Code::MessageNotFound), missing);
    trial.end().await;
}
