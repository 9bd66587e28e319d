// SPDX-License-Identifier: Apache-2.0
//! Heartbeat (Apache: `proxy/grpc/v2/client/ClientActivity.java`). A client whose settings are not
//! known, after a restart of the proxy, is taken by what it says here: SDKs do not send their settings
//! again because of an error.

use super::Parts;
use crate::{
    caller::group_of,
    status::{Failure, ok},
    v2::{
        ClientType, Code, HeartbeatRequest, HeartbeatResponse, Publishing, Settings, Subscription,
        settings::PubSub,
    },
};

pub(crate) fn answer(
    parts: &Parts,
    request: &tonic::Request<HeartbeatRequest>,
) -> Result<HeartbeatResponse, Failure> {
    let (_, client) = parts.client(request)?;
    let request = request.get_ref();
    let settings = client.settings();
    let kind = match &settings {
        Some(settings) => settings.client_type(),
        None => request.client_type(),
    };
    match kind {
        ClientType::Unspecified => {
            return Err(Failure::new(
                Code::UnrecognizedClientType,
                "unrecognized client type: send settings on the telemetry stream, or the client type",
            ));
        }
        ClientType::Producer => {}
        _ => {
            // The group of the settings counts; one that is given has to be a name.
            if settings.is_none() || request.group.is_some() {
                group_of(request.group.as_ref())?;
            }
        }
    }
    if settings.is_none() {
        parts.clients.settle(&client, assumed(kind, request))?;
    }
    Ok(HeartbeatResponse { status: Some(ok()) })
}

/// Settings made of a heartbeat.
fn assumed(kind: ClientType, request: &HeartbeatRequest) -> Settings {
    let pub_sub = if kind == ClientType::Producer {
        PubSub::Publishing(Publishing::default())
    } else {
        PubSub::Subscription(Subscription {
            group: request.group.clone(),
            ..Subscription::default()
        })
    };
    Settings {
        client_type: Some(kind.into()),
        pub_sub: Some(pub_sub),
        ..Settings::default()
    }
}
