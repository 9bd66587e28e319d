// SPDX-License-Identifier: Apache-2.0
//! The table of calls: each RPC of `MessagingService` and the file that answers it. Refusals are
//! answers with gRPC status OK and a status of their own; only Telemetry ends otherwise.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use crate::{
    rpc::{
        Frames, Parts, ack, change_invisible, dead_letter, end_transaction, heartbeat, offsets,
        pull, query_assignment, query_route, recall, receive, send, sync_lite, telemetry,
        terminate,
    },
    status::Failure,
    v2::{self, messaging_service_server::MessagingService},
};

/// Serves all calls.
#[derive(Debug, Clone)]
pub(crate) struct Messaging(pub(crate) Arc<Parts>);

/// A refused call as an answer that holds nothing but the reason.
macro_rules! answered {
    ($parts:expr, $request:ident, $outcome:expr, $response:ident) => {{
        #[allow(
            clippy::needless_update,
            reason = "some answers hold nothing but their status"
        )]
        let refused = |failure: Failure| v2::$response {
            status: Some(failure.status()),
            ..Default::default()
        };
        let outcome = match $parts.admit(&$request).await {
            Ok(()) => $outcome,
            Err(failure) => Err(failure),
        };
        Ok(Response::new(outcome.unwrap_or_else(refused)))
    }};
}

#[tonic::async_trait]
impl MessagingService for Messaging {
    async fn query_route(
        &self,
        request: Request<v2::QueryRouteRequest>,
    ) -> Result<Response<v2::QueryRouteResponse>, Status> {
        answered!(
            self.0,
            request,
            query_route::answer(&self.0, request).await,
            QueryRouteResponse
        )
    }

    async fn heartbeat(
        &self,
        request: Request<v2::HeartbeatRequest>,
    ) -> Result<Response<v2::HeartbeatResponse>, Status> {
        answered!(
            self.0,
            request,
            heartbeat::answer(&self.0, &request),
            HeartbeatResponse
        )
    }

    async fn send_message(
        &self,
        request: Request<v2::SendMessageRequest>,
    ) -> Result<Response<v2::SendMessageResponse>, Status> {
        answered!(
            self.0,
            request,
            send::answer(&self.0, request).await,
            SendMessageResponse
        )
    }

    async fn query_assignment(
        &self,
        request: Request<v2::QueryAssignmentRequest>,
    ) -> Result<Response<v2::QueryAssignmentResponse>, Status> {
        answered!(
            self.0,
            request,
            query_assignment::answer(&self.0, request).await,
            QueryAssignmentResponse
        )
    }

    type ReceiveMessageStream = receive::Delivery;

    async fn receive_message(
        &self,
        request: Request<v2::ReceiveMessageRequest>,
    ) -> Result<Response<Self::ReceiveMessageStream>, Status> {
        Ok(Response::new(receive::answer(&self.0, request).await))
    }

    async fn ack_message(
        &self,
        request: Request<v2::AckMessageRequest>,
    ) -> Result<Response<v2::AckMessageResponse>, Status> {
        answered!(
            self.0,
            request,
            ack::answer(&self.0, request).await,
            AckMessageResponse
        )
    }

    async fn forward_message_to_dead_letter_queue(
        &self,
        request: Request<v2::ForwardMessageToDeadLetterQueueRequest>,
    ) -> Result<Response<v2::ForwardMessageToDeadLetterQueueResponse>, Status> {
        answered!(
            self.0,
            request,
            dead_letter::answer(&self.0, request).await,
            ForwardMessageToDeadLetterQueueResponse
        )
    }

    type PullMessageStream = Frames<v2::PullMessageResponse>;

    async fn pull_message(
        &self,
        request: Request<v2::PullMessageRequest>,
    ) -> Result<Response<Self::PullMessageStream>, Status> {
        Ok(Response::new(pull::answer(&self.0, request).await))
    }

    async fn update_offset(
        &self,
        request: Request<v2::UpdateOffsetRequest>,
    ) -> Result<Response<v2::UpdateOffsetResponse>, Status> {
        answered!(
            self.0,
            request,
            offsets::update(&self.0, request).await,
            UpdateOffsetResponse
        )
    }

    async fn get_offset(
        &self,
        request: Request<v2::GetOffsetRequest>,
    ) -> Result<Response<v2::GetOffsetResponse>, Status> {
        answered!(
            self.0,
            request,
            offsets::get(&self.0, request).await,
            GetOffsetResponse
        )
    }

    async fn query_offset(
        &self,
        request: Request<v2::QueryOffsetRequest>,
    ) -> Result<Response<v2::QueryOffsetResponse>, Status> {
        answered!(
            self.0,
            request,
            offsets::query(&self.0, request).await,
            QueryOffsetResponse
        )
    }

    async fn end_transaction(
        &self,
        request: Request<v2::EndTransactionRequest>,
    ) -> Result<Response<v2::EndTransactionResponse>, Status> {
        answered!(
            self.0,
            request,
            end_transaction::answer(&self.0, request).await,
            EndTransactionResponse
        )
    }

    type TelemetryStream = telemetry::CommandStream;

    async fn telemetry(
        &self,
        request: Request<Streaming<v2::TelemetryCommand>>,
    ) -> Result<Response<Self::TelemetryStream>, Status> {
        let stream = telemetry::open(&self.0, request);
        Ok(Response::new(
            stream.unwrap_or_else(|failure| telemetry::refused(&failure)),
        ))
    }

    async fn notify_client_termination(
        &self,
        request: Request<v2::NotifyClientTerminationRequest>,
    ) -> Result<Response<v2::NotifyClientTerminationResponse>, Status> {
        answered!(
            self.0,
            request,
            terminate::answer(&self.0, request).await,
            NotifyClientTerminationResponse
        )
    }

    async fn change_invisible_duration(
        &self,
        request: Request<v2::ChangeInvisibleDurationRequest>,
    ) -> Result<Response<v2::ChangeInvisibleDurationResponse>, Status> {
        answered!(
            self.0,
            request,
            change_invisible::answer(&self.0, request).await,
            ChangeInvisibleDurationResponse
        )
    }

    async fn recall_message(
        &self,
        request: Request<v2::RecallMessageRequest>,
    ) -> Result<Response<v2::RecallMessageResponse>, Status> {
        answered!(
            self.0,
            request,
            recall::answer(&self.0, request).await,
            RecallMessageResponse
        )
    }

    async fn sync_lite_subscription(
        &self,
        request: Request<v2::SyncLiteSubscriptionRequest>,
    ) -> Result<Response<v2::SyncLiteSubscriptionResponse>, Status> {
        answered!(
            self.0,
            request,
            sync_lite::answer(&self.0, request).await,
            SyncLiteSubscriptionResponse
        )
    }
}
