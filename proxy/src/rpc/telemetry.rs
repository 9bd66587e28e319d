// SPDX-License-Identifier: Apache-2.0
//! Telemetry: settings up and down, commands to the client and its answers (Apache:
//! `proxy/grpc/v2/client/ClientActivity.java`).
//!
//! The answer's headers go out at once: SDKs wait for them before they send. A stream never ends by
//! itself.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use aerobee_remoting::body::group::SubscriptionGroupConfig;
use tokio::sync::mpsc;
use tonic::{Streaming, codegen::tokio_stream::Stream};

use super::Parts;
use crate::{
    access::Credential,
    caller::{Caller, Sdk, group_of, topic_of},
    clients::{COMMANDS_MAX, Client, Commands},
    lite::{BIND_TOPIC, check_bound, is_lite},
    settings,
    status::{Failure, ok},
    v2::{
        ClientType, Code, ReconnectEndpointsCommand, Settings, Subscription, TelemetryCommand,
        settings::PubSub, telemetry_command::Command,
    },
};

/// Commands on their way to a client.
#[derive(Debug)]
pub(crate) struct CommandStream(mpsc::Receiver<Box<Result<TelemetryCommand, tonic::Status>>>);

impl Stream for CommandStream {
    type Item = Result<TelemetryCommand, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .poll_recv(context)
            .map(|command| command.map(|command| *command))
    }
}

/// Begins a stream.
pub(crate) fn open(
    parts: &Arc<Parts>,
    request: tonic::Request<Streaming<TelemetryCommand>>,
) -> Result<CommandStream, Failure> {
    let (caller, client) = parts.client(&request)?;
    let credential = parts.access.as_ref().map(|_| Credential::of(&request));
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let number = parts.clients.stream_began(&client, commands.clone())?;
    let parts = Arc::clone(parts);
    let incoming = request.into_inner();
    tokio::spawn(async move {
        let session = Session {
            parts: &parts,
            caller: &caller,
            client: &client,
            commands: &commands,
            credential: credential.as_ref(),
        };
        session.run(incoming).await;
        parts.clients.stream_ended(&client, number);
    });
    Ok(CommandStream(receiver))
}

/// A stream that answers one failure and ends.
pub(crate) fn refused(failure: &Failure) -> CommandStream {
    let (commands, receiver) = mpsc::channel(1);
    let command = TelemetryCommand {
        status: Some(failure.status()),
        command: None,
    };
    // There is room for one.
    let _ = commands.try_send(Box::new(Ok(command)));
    CommandStream(receiver)
}

struct Session<'a> {
    parts: &'a Arc<Parts>,
    caller: &'a Caller,
    client: &'a Arc<Client>,
    commands: &'a Commands,
    /// Who the client says that it is, where that is asked.
    credential: Option<&'a Credential>,
}

impl Session<'_> {
    async fn run(&self, mut incoming: Streaming<TelemetryCommand>) {
        loop {
            let received = tokio::select! {
                received = incoming.message() => received,
                () = self.commands.closed() => return,
                () = self.parts.draining() => return self.send_away(),
            };
            let command = match received {
                Ok(Some(command)) => command,
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(client = self.client.id, %status, "telemetry ended");
                    return;
                }
            };
            if let Err(failure) = self.admit(&command).await {
                // As Apache: a status, and the end.
                let refused = TelemetryCommand {
                    status: Some(failure.status()),
                    command: None,
                };
                // If it is gone, it is gone.
                let _ = self.commands.send(Box::new(Ok(refused))).await;
                return;
            }
            self.parts.clients.touch(&self.client.id);
            if let Err(failure) = self.take(command).await {
                // As Apache: errors of the client end the stream as such.
                let client_error = (40_000..50_000).contains(&i32::from(failure.code()));
                let status = if client_error {
                    tonic::Status::invalid_argument(failure.to_string())
                } else {
                    tonic::Status::internal(failure.to_string())
                };
                // If it is gone, it is gone.
                let _ = self.commands.send(Box::new(Err(status))).await;
                return;
            }
        }
    }

    /// Whether a command of the client is let in.
    async fn admit(&self, command: &TelemetryCommand) -> Result<(), Failure> {
        match (&self.parts.access, self.credential) {
            (Some(access), Some(credential)) => access.admit(credential, command).await,
            _ => Ok(()),
        }
    }

    /// The proxy ends: clients that know the command go to another one at once.
    fn send_away(&self) {
        if !matches!(self.caller.sdk, Sdk::Java | Sdk::Go | Sdk::Node) {
            return;
        }
        let command = Command::ReconnectEndpointsCommand(ReconnectEndpointsCommand {
            nonce: format!("drain-{}", self.client.id),
        });
        // Who does not read finds the end of the stream instead.
        let _ = self.commands.try_send(Box::new(Ok(TelemetryCommand {
            status: None,
            command: Some(command),
        })));
    }

    async fn take(&self, received: TelemetryCommand) -> Result<(), Failure> {
        match &received.command {
            Some(Command::Settings(settings)) => {
                let answer = self.settle(settings.clone()).await?;
                // The client reads too slowly, or is gone: its stream ends with the next read.
                let _ = self.commands.send(Box::new(Ok(answer))).await;
            }
            Some(Command::ThreadStackTrace(trace)) => {
                let nonce = trace.nonce.clone();
                self.client.answered(&nonce, received);
            }
            Some(Command::VerifyMessageResult(result)) => {
                let nonce = result.nonce.clone();
                self.client.answered(&nonce, received);
            }
            // Node.js repeats the command instead of sending a result.
            Some(Command::VerifyMessageCommand(command)) => {
                let nonce = command.nonce.clone();
                self.client.answered(&nonce, received);
            }
            _ => {}
        }
        Ok(())
    }

    async fn settle(&self, settings: Settings) -> Result<TelemetryCommand, Failure> {
        check(&settings)?;
        let group = match &settings.pub_sub {
            Some(PubSub::Subscription(subscription)) => {
                self.check_group(&settings, subscription).await?
            }
            _ => None,
        };
        self.parts.clients.settle(self.client, settings.clone())?;
        let answer = settings::answer(
            settings,
            self.caller.sdk,
            &self.parts.config,
            group.as_deref(),
        );
        Ok(TelemetryCommand {
            status: Some(ok()),
            command: Some(Command::Settings(answer)),
        })
    }

    /// How the group of a consumer is set up, by the first of its topics that exists; `None` when
    /// nobody can be asked.
    async fn check_group(
        &self,
        settings: &Settings,
        subscription: &Subscription,
    ) -> Result<Option<Arc<SubscriptionGroupConfig>>, Failure> {
        let group = group_of(subscription.group.as_ref())?;
        for entry in &subscription.subscriptions {
            let topic = topic_of(entry.topic.as_ref())?;
            let route = match self.parts.routes.topic(topic).await {
                Ok(route) if !route.masters.is_empty() => route,
                Ok(_) => continue,
                Err(failure) if failure.code() == Code::TopicNotFound => continue,
                Err(failure) => return Err(failure),
            };
            let config = self.parts.routes.group(group, &route).await?;
            if let Some(known) = &config
                && check_lite(settings, known, topic).is_ok()
            {
                return Ok(config);
            }
            // It may have been made, bound, or freed, a moment ago.
            let config = self.parts.routes.group_again(group, &route).await?;
            let config = config.ok_or_else(|| no_group(group))?;
            check_lite(settings, &config, topic)?;
            return Ok(Some(config));
        }
        Ok(self.parts.routes.known_group(group))
    }
}

/// A group that was not made, of brokers that make none by use.
fn no_group(group: &str) -> Failure {
    Failure::new(
        Code::IllegalConsumerGroup,
        format_args!(
            "group not found: {group}; create it: mqadmin updateSubGroup -n <name server> -c <cluster> -g {group}, or let brokers do it with autoCreateSubscriptionGroup=true"
        ),
    )
}

/// A lite group has lite clients on its own topic, and nobody else.
fn check_lite(
    settings: &Settings,
    config: &SubscriptionGroupConfig,
    topic: &str,
) -> Result<(), Failure> {
    if is_lite(settings.client_type()) {
        return check_bound(config, topic);
    }
    if config.attributes.contains_key(BIND_TOPIC) {
        return Err(Failure::new(
            Code::IllegalConsumerGroup,
            format_args!(
                "group {} is for lite consumers: it has {BIND_TOPIC}",
                config.group_name
            ),
        ));
    }
    Ok(())
}

/// Settings must say what the client is, and nothing that contradicts it.
fn check(settings: &Settings) -> Result<(), Failure> {
    let kind = settings.client_type();
    match &settings.pub_sub {
        None => Err(Failure::new(
            Code::BadRequest,
            "settings say neither what is published nor what is subscribed to",
        )),
        Some(PubSub::Publishing(publishing)) => {
            if !matches!(kind, ClientType::Producer | ClientType::Unspecified) {
                return Err(contradiction(kind, "publishing"));
            }
            let mut seen = HashSet::new();
            for topic in &publishing.topics {
                seen.insert(topic_of(Some(topic))?);
            }
            Ok(())
        }
        Some(PubSub::Subscription(_)) if kind == ClientType::Producer => {
            Err(contradiction(kind, "a subscription"))
        }
        Some(PubSub::Subscription(_)) => check_properties(settings),
    }
    .and_then(|()| check_properties(settings))
}

fn contradiction(kind: ClientType, has: &str) -> Failure {
    Failure::new(
        Code::BadRequest,
        format_args!("settings of a {} cannot have {has}", kind.as_str_name()),
    )
}

/// Limits of the protocol for what a client tells about itself.
fn check_properties(settings: &Settings) -> Result<(), Failure> {
    let properties = &settings.client_properties;
    let legal = |name: &str| {
        name.len() <= 64
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    };
    let bytes: usize = properties
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let fits = properties.len() <= 32
        && bytes <= 4096
        && properties
            .iter()
            .all(|(name, value)| legal(name) && value.chars().count() <= 256);
    if fits {
        return Ok(());
    }
    Err(Failure::new(
        Code::InvalidClientProperties,
        "client properties: at most 32, names of 1 to 64 of a-z A-Z 0-9 _ . - that begin with a letter, values up to 256 characters, 4096 bytes in all",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v2::Publishing;

    fn settings(kind: ClientType, pub_sub: Option<PubSub>) -> Settings {
        Settings {
            client_type: Some(kind.into()),
            pub_sub,
            ..Settings::default()
        }
    }

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        let publishing = || Some(PubSub::Publishing(Publishing::default()));
        let subscription = || Some(PubSub::Subscription(Subscription::default()));
        assert!(check(&settings(ClientType::Producer, publishing())).is_ok());
        assert!(check(&settings(ClientType::PushConsumer, subscription())).is_ok());
        for bad in [
            settings(ClientType::Producer, None),
            settings(ClientType::Producer, subscription()),
            settings(ClientType::SimpleConsumer, publishing()),
        ] {
            assert_eq!(check(&bad).unwrap_err().code(), Code::BadRequest);
        }
    }

    #[test]
    fn what_a_client_tells_about_itself_has_limits() {
        let mut of = settings(
            ClientType::Producer,
            Some(PubSub::Publishing(Publishing::default())),
        );
        of.client_properties
            .insert("zone".to_owned(), "a".to_owned());
        assert!(check(&of).is_ok());
        of.client_properties.insert("9".to_owned(), "a".to_owned());
        assert_eq!(
            check(&of).unwrap_err().code(),
            Code::InvalidClientProperties
        );
    }
}
