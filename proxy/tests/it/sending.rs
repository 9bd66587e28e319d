// SPDX-License-Identifier: Apache-2.0
//! What producers see: routes, answers to sends, refusals; and what was sent, pulled again.

use aerobee_proxy::v2::{
    Code, GetOffsetRequest, MessageType, Permission, PullMessageRequest, QueryOffsetPolicy,
    QueryOffsetRequest, QueryRouteRequest, SendMessageRequest, UpdateOffsetRequest,
    pull_message_response::Content,
};

use crate::support::{Cluster, Grpc, all, message, of, queue, resource, send};

async fn route_code(grpc: &mut Grpc, topic: &str) -> Code {
    let request = QueryRouteRequest {
        topic: Some(resource(topic)),
        endpoints: None,
    };
    grpc.query_route(of("c", request))
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap()
        .code()
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_tell_queues_types_and_what_is_missing() {
    let cluster = Cluster::start().await;
    cluster.topic("normal", "NORMAL").await;
    let mut grpc = cluster.grpc().await;
    let request = QueryRouteRequest {
        topic: Some(resource("normal")),
        endpoints: None,
    };
    let answer = grpc
        .query_route(of("c", request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    assert_eq!(answer.message_queues.len(), 2);
    for (id, queue) in answer.message_queues.iter().enumerate() {
        assert_eq!(queue.id, id as i32);
        assert_eq!(queue.permission(), Permission::ReadWrite);
        assert_eq!(queue.accept_message_types, [i32::from(MessageType::Normal)]);
        assert_eq!(queue.broker.as_ref().unwrap().name, "broker-a");
    }
    assert_eq!(route_code(&mut grpc, "nowhere").await, Code::TopicNotFound);
    assert_eq!(route_code(&mut grpc, "a b").await, Code::IllegalTopic);
    assert_eq!(route_code(&mut grpc, "TBW102").await, Code::IllegalTopic);
    // What is made later is seen.
    cluster.topic("nowhere", "FIFO").await;
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(route_code(&mut grpc, "nowhere").await, Code::Ok);
    let unnamed = tonic::Request::new(QueryRouteRequest::default());
    let refused = grpc.query_route(unnamed).await.unwrap().into_inner();
    assert_eq!(refused.status.unwrap().code(), Code::ClientIdRequired);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_batch_has_its_entry_and_is_pulled_again() {
    let cluster = Cluster::start().await;
    cluster.topic("t", "NORMAL").await;
    let mut grpc = cluster.grpc().await;
    let messages: Vec<_> = (0..5).map(|n| message("t", &format!("body {n}"))).collect();
    let ids: Vec<_> = messages
        .iter()
        .map(|message| message.system_properties.clone().unwrap().message_id)
        .collect();
    let answer = send(&mut grpc, messages).await;
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    let answered: Vec<_> = answer
        .entries
        .iter()
        .map(|entry| entry.message_id.clone())
        .collect();
    assert_eq!(answered, ids);
    let offsets: Vec<_> = answer.entries.iter().map(|entry| entry.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    let request = PullMessageRequest {
        group: Some(resource("g")),
        message_queue: Some(queue("t", 0)),
        offset: 1,
        batch_size: 32,
        filter_expression: Some(all()),
        long_polling_timeout: None,
    };
    let mut stream = grpc
        .pull_message(of("c", request))
        .await
        .unwrap()
        .into_inner();
    let (mut bodies, mut next) = (Vec::new(), 0);
    while let Some(frame) = stream.message().await.unwrap() {
        match frame.content.unwrap() {
            Content::Status(status) => assert_eq!(status.code(), Code::Ok, "{status:?}"),
            Content::Message(message) => {
                let system = message.system_properties.unwrap();
                assert_eq!(system.body_digest.unwrap().checksum.len(), 32);
                bodies.push(String::from_utf8(message.body.to_vec()).unwrap());
            }
            Content::NextOffset(offset) => next = offset,
        }
    }
    assert_eq!(bodies, ["body 1", "body 2", "body 3", "body 4"]);
    assert_eq!(next, 5);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_read_written_and_found() {
    let cluster = Cluster::start().await;
    cluster.topic("t", "NORMAL").await;
    let mut grpc = cluster.grpc().await;
    send(&mut grpc, vec![message("t", "a"), message("t", "b")]).await;
    let get = GetOffsetRequest {
        group: Some(resource("g")),
        message_queue: Some(queue("t", 1)),
    };
    let none = grpc
        .get_offset(of("c", get.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(none.status.unwrap().code(), Code::OffsetNotFound);
    let update = UpdateOffsetRequest {
        group: Some(resource("g")),
        message_queue: Some(queue("t", 1)),
        offset: 1,
    };
    let nobody = grpc
        .update_offset(of("c", update.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(nobody.status.unwrap().code(), Code::ConsumerGroupNotFound);
    cluster.group("g", |_| {}).await;
    let updated = grpc
        .update_offset(of("c", update.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        updated.status.as_ref().unwrap().code(),
        Code::Ok,
        "{updated:?}"
    );
    let got = grpc.get_offset(of("c", get)).await.unwrap().into_inner();
    assert_eq!((got.status.unwrap().code(), got.offset), (Code::Ok, 1));
    let below = UpdateOffsetRequest {
        offset: -1,
        ..update
    };
    let refused = grpc
        .update_offset(of("c", below))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(refused.status.unwrap().code(), Code::IllegalOffset);
    for (policy, timestamp, code, offset) in [
        (QueryOffsetPolicy::Beginning, None, Code::Ok, 0),
        (QueryOffsetPolicy::End, None, Code::Ok, 2),
        (QueryOffsetPolicy::Timestamp, None, Code::BadRequest, 0),
        (
            QueryOffsetPolicy::Timestamp,
            Some(prost_types::Timestamp::default()),
            Code::Ok,
            0,
        ),
    ] {
        let request = QueryOffsetRequest {
            message_queue: Some(queue("t", 0)),
            query_offset_policy: policy.into(),
            timestamp,
        };
        let answer = grpc
            .query_offset(of("c", request))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (answer.status.unwrap().code(), answer.offset),
            (code, offset)
        );
    }
    let elsewhere = QueryOffsetRequest {
        message_queue: Some(queue("t", 9)),
        ..QueryOffsetRequest::default()
    };
    let refused = grpc
        .query_offset(of("c", elsewhere))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(refused.status.unwrap().code(), Code::BadRequest);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_sends_name_code_and_fix() {
    let cluster = Cluster::start().await;
    cluster.topic("t", "NORMAL").await;
    cluster.topic("fifo", "FIFO").await;
    let mut grpc = cluster.grpc().await;
    let mut code = async |messages: Vec<_>| {
        let answer = send(&mut grpc, messages).await;
        let status = answer.status.unwrap();
        (status.code(), status.message)
    };
    assert_eq!(code(vec![]).await.0, Code::MessageCorrupted);
    assert_eq!(
        code(vec![message("nowhere", "x")]).await.0,
        Code::TopicNotFound
    );
    assert_eq!(
        code(vec![message("t", "x"), message("fifo", "x")]).await.0,
        Code::MessageCorrupted
    );
    assert_eq!(code(vec![message("t", "")]).await.0, Code::MessageBodyEmpty);
    let (conflict, fix) = code(vec![message("fifo", "x")]).await;
    assert_eq!(conflict, Code::MessagePropertyConflictWithType);
    assert!(
        fix.contains("mqadmin updateTopic") && fix.contains("+message.type=NORMAL"),
        "{fix}"
    );
    let grouped = |group: &str| {
        let mut message = message("fifo", "x");
        message.system_properties.as_mut().unwrap().message_group = Some(group.to_owned());
        message
    };
    assert_eq!(
        code(vec![grouped("a"), grouped("b")]).await.0,
        Code::MessageCorrupted
    );
    assert_eq!(code(vec![grouped("a"), grouped("a")]).await.0, Code::Ok);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_group_keeps_to_one_queue() {
    let cluster = Cluster::start().await;
    cluster.topic("fifo", "FIFO").await;
    let mut grpc = cluster.grpc().await;
    for round in 0..6 {
        let mut message = message("fifo", "x");
        message.system_properties.as_mut().unwrap().message_group = Some("group".to_owned());
        let answer = send(&mut grpc, vec![message]).await;
        assert_eq!(answer.entries[0].offset, round);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_passes_and_a_too_large_one_does_not() {
    let cluster = Cluster::start().await;
    cluster.topic("t", "NORMAL").await;
    let mut grpc = cluster.grpc().await;
    let answer = send(&mut grpc, vec![message("t", &"x".repeat(4 << 20))]).await;
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    let request = SendMessageRequest {
        messages: vec![message("t", &"x".repeat((4 << 20) + 1))],
    };
    let answer = grpc
        .send_message(of("p", request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.status.unwrap().code(), Code::MessageBodyTooLarge);
    cluster.stop().await;
}
