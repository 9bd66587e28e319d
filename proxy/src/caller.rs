// SPDX-License-Identifier: Apache-2.0
//! Who makes a call, told by its metadata, and until when it waits (Apache:
//! `proxy/grpc/interceptor/HeaderInterceptor.java`, `common/ProxyContext.java`).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use aerobee_message::topic;
use tonic::metadata::MetadataMap;

use crate::{
    status::{Failure, illegal_group, illegal_topic},
    v2::{Code, Resource},
};

/// The SDK that a client is made with, as far as the proxy has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sdk {
    Java,
    Go,
    Rust,
    Cpp,
    DotNet,
    Python,
    /// Calls itself HTTP.
    Node,
    Other,
}

impl Sdk {
    fn of(language: &str) -> Self {
        match language {
            "JAVA" => Self::Java,
            "GO" | "GOLANG" => Self::Go,
            "RUST" => Self::Rust,
            "CPP" => Self::Cpp,
            "DOTNET" => Self::DotNet,
            "PYTHON" => Self::Python,
            "HTTP" | "NODE_JS" => Self::Node,
            _ => Self::Other,
        }
    }
}

/// Address of the other end of a connection, put into each request by the listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who makes a call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Never empty.
    pub(crate) client_id: String,
    pub(crate) sdk: Sdk,
    pub(crate) peer: Option<SocketAddr>,
    /// When the client stops waiting.
    pub(crate) deadline: Option<Instant>,
}

/// Longest client id; anything that clients may fill has a bound.
const CLIENT_ID_MAX: usize = 1024;

impl Caller {
    /// The caller of a request.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Failure> {
        let metadata = request.metadata();
        let client_id = text(metadata, "x-mq-client-id").unwrap_or_default().trim();
        if client_id.is_empty() || client_id.len() > CLIENT_ID_MAX {
            return Err(Failure::new(
                Code::ClientIdRequired,
                "client id cannot be empty: send it in the metadata x-mq-client-id, at most 1024 characters",
            ));
        }
        Ok(Self {
            client_id: client_id.to_owned(),
            sdk: Sdk::of(text(metadata, "x-mq-language").unwrap_or_default()),
            peer: request.extensions().get::<Peer>().map(|peer| peer.0),
            deadline: text(metadata, "grpc-timeout")
                .and_then(grpc_timeout)
                .and_then(|timeout| Instant::now().checked_add(timeout)),
        })
    }

    /// How long the client waits still; `None` when it does not say.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

fn text<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name).and_then(|value| value.to_str().ok())
}

/// `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The name of a topic that clients may use. As with Apache, the namespace of a resource is part of
/// the name only if the client put it there.
pub(crate) fn topic_of(resource: Option<&Resource>) -> Result<&str, Failure> {
    let name = resource
        .map(|resource| resource.name.as_str())
        .unwrap_or_default();
    topic::validate_topic(name).map_err(|error| illegal_topic(&error))?;
    if topic::is_system(name) {
        return Err(Failure::new(
            Code::IllegalTopic,
            format_args!("cannot access system topic {name}: choose a topic of your own"),
        ));
    }
    Ok(name)
}

/// The name of a group that clients may use.
pub(crate) fn group_of(resource: Option<&Resource>) -> Result<&str, Failure> {
    let name = resource
        .map(|resource| resource.name.as_str())
        .unwrap_or_default();
    topic::validate_group(name).map_err(|error| illegal_group(&error))?;
    if name.starts_with(topic::SYSTEM_GROUP_PREFIX) {
        return Err(Failure::new(
            Code::IllegalConsumerGroup,
            format_args!("cannot use system consumer group {name}: choose a group of your own"),
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_grpc_are_read() {
        assert_eq!(grpc_timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(
            grpc_timeout("2999908u"),
            Some(Duration::from_micros(2_999_908))
        );
        assert_eq!(grpc_timeout("60m"), Some(Duration::from_millis(60)));
        for bad in ["", "S", "3", "-1S", "3é", "3X"] {
            assert_eq!(grpc_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_that_clients_may_not_use_are_refused() {
        let named = |name: &str| Resource {
            name: name.to_owned(),
            ..Resource::default()
        };
        for bad in ["", " ", "a b", "TBW102", "rmq_sys_x", &"x".repeat(128)] {
            let failure = topic_of(Some(&named(bad))).unwrap_err();
            assert_eq!(failure.code(), Code::IllegalTopic, "{bad}");
        }
        for bad in ["", "a b", "CID_RMQ_SYS_x", &"x".repeat(121)] {
            let failure = group_of(Some(&named(bad))).unwrap_err();
            assert_eq!(failure.code(), Code::IllegalConsumerGroup, "{bad}");
        }
        assert_eq!(topic_of(Some(&named("%RETRY%g"))).unwrap(), "%RETRY%g");
        assert!(topic_of(None).is_err());
    }
}
