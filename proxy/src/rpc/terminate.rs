// SPDX-License-Identifier: Apache-2.0
//! NotifyClientTermination (Apache: `proxy/grpc/v2/client/ClientActivity.java`): the client leaves all
//! its groups, and what it has not acknowledged goes to others.

use super::{Parts, sync_lite};
use crate::{
    caller::{Caller, group_of},
    status::{Failure, ok},
    v2::{ClientType, Code, NotifyClientTerminationRequest, NotifyClientTerminationResponse},
};

pub(crate) async fn answer(
    parts: &Parts,
    request: tonic::Request<NotifyClientTerminationRequest>,
) -> Result<NotifyClientTerminationResponse, Failure> {
    let caller = Caller::of(&request)?;
    let Some(settings) = parts
        .clients
        .get(&caller.client_id)
        .and_then(|client| client.settings())
    else {
        return Err(Failure::new(
            Code::UnrecognizedClientType,
            "unrecognized client type: this proxy has no settings of the client",
        ));
    };
    let request = request.into_inner();
    if settings.client_type() != ClientType::Producer && request.group.is_some() {
        group_of(request.group.as_ref())?;
    }
    let client = parts.clients.remove(&caller.client_id);
    parts.receipts.release(&caller.client_id, None).await;
    if let Some(client) = client {
        sync_lite::leave(parts, &client).await;
    }
    Ok(NotifyClientTerminationResponse { status: Some(ok()) })
}
