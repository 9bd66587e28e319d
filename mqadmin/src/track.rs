// SPDX-License-Identifier: Apache-2.0
//! Who has consumed a message.

use aerobee_remoting::{
    ResponseCode,
    body::{
        heartbeat::{ConsumeType, MessageModel},
        route::MASTER_ID,
    },
};
use serde::Serialize;

use crate::{admin::Admin, error::Error, message::Message};

/// How a group stands to a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Track {
    consumer_group: String,
    track_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_desc: Option<String>,
}

impl Track {
    pub(crate) fn as_java(&self) -> String {
        format!(
            "MessageTrack [consumerGroup={}, trackType={}, exceptionDesc={}]",
            self.consumer_group,
            self.track_type,
            self.exception_desc.as_deref().unwrap_or("null")
        )
    }
}

/// How each group that consumes the topic stands to a message. Nothing when that cannot be found out.
pub(crate) async fn track(admin: &Admin, message: &Message) -> Vec<Track> {
    let Ok(route) = admin.route(&message.topic).await else {
        return Vec::new();
    };
    let Ok(groups) = admin.groups_of_topic(&route, &message.topic).await else {
        return Vec::new();
    };
    let mut tracks = Vec::new();
    for group in groups.group_list {
        let (track_type, exception_desc) = match track_of(admin, message, &group).await {
            Ok(kind) => (kind, None),
            Err(error) => failed(&error),
        };
        tracks.push(Track {
            consumer_group: group,
            track_type,
            exception_desc,
        });
    }
    tracks
}

fn failed(error: &Error) -> (&'static str, Option<String>) {
    match error {
        Error::Refused { code, remark, .. } => {
            let kind = match *code {
                ResponseCode::CONSUMER_NOT_ONLINE => "NOT_ONLINE",
                ResponseCode::BROADCAST_CONSUMPTION => "CONSUME_BROADCASTING",
                _ => "UNKNOWN",
            };
            (kind, Some(format!("CODE:{} DESC:{remark}", code.0)))
        }
        other => ("UNKNOWN", Some(other.to_string())),
    }
}

async fn track_of(admin: &Admin, message: &Message, group: &str) -> Result<&'static str, Error> {
    let members = admin.connections(group).await?;
    match members.consume_type {
        ConsumeType::Actively => return Ok("PULL"),
        ConsumeType::Pop => return Ok("UNKNOWN"),
        ConsumeType::Passively => {}
    }
    let stats = admin.consume_stats(None, group, None).await?;
    if stats.offset_table.is_empty() && members.message_model == MessageModel::Broadcasting {
        return Ok("CONSUME_BROADCASTING");
    }
    let info = admin.cluster_info().await?;
    let store = message.store_host.to_string();
    let consumed = stats.offset_table.iter().any(|(queue, offset)| {
        let master = info
            .broker_addr_table
            .get(&queue.broker_name)
            .and_then(|broker| broker.broker_addrs.get(&MASTER_ID));
        queue.topic == message.topic
            && queue.queue_id == message.queue_id
            && master == Some(&store)
            && offset.consumer_offset > message.queue_offset
    });
    if !consumed {
        return Ok("NOT_CONSUME_YET");
    }
    let filtered = members
        .subscription_table
        .get(&message.topic)
        .is_some_and(|wanted| {
            let tags = &wanted.tags_set;
            let wants = |tag: &str| tags.contains(tag);
            !(tags.is_empty() || wants("*") || message.tags().is_some_and(wants))
        });
    Ok(if filtered {
        "CONSUMED_BUT_FILTERED"
    } else {
        "CONSUMED"
    })
}
