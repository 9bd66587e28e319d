// SPDX-License-Identifier: Apache-2.0
//! Sends messages.

use aerobee_message::{
    id,
    properties::{Properties, keys},
    topic::{AUTO_CREATE, TRACE},
};
use aerobee_remoting::{
    RequestCode, ResponseCode,
    body::route::{MASTER_ID, TopicRoute},
    header::send::{SendMessage as SendHeader, SendReply},
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{self, Admin, PATIENCE},
    cli::Command,
    error::Error,
    format,
    message::Message,
    out::{Out, line},
    target::topic_name,
};

/// Group that tools send as.
const GROUP: &str = "CID_RMQ_SYS_TOOLS";
/// Longest body that a broker takes when nobody has configured it otherwise.
const BODY_MAX: usize = 4 << 20;

/// A message to be sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) tags: Option<&'a str>,
    pub(crate) keys: Option<&'a str>,
    pub(crate) flag: i32,
    /// Further properties.
    pub(crate) properties: &'a [(String, String)],
}

/// Where a message was stored.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) broker_name: String,
    pub(crate) queue_id: i32,
    pub(crate) queue_offset: i64,
    pub(crate) send_status: &'static str,
    pub(crate) msg_id: String,
    pub(crate) offset_msg_id: String,
}

impl Sent {
    pub(crate) fn as_java(&self) -> String {
        format!(
            "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue=MessageQueue [topic={}, brokerName={}, queueId={}], queueOffset={}, recallHandle=null]",
            self.send_status,
            self.msg_id,
            self.offset_msg_id,
            self.topic,
            self.broker_name,
            self.queue_id,
            self.queue_offset
        )
    }
}

/// A queue that may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) broker: String,
    pub(crate) address: String,
    pub(crate) queue_id: i32,
}

/// The queues of a topic that may be written, of masters.
pub(crate) fn places(route: &TopicRoute) -> Vec<Place> {
    let mut places = Vec::new();
    for data in route.queue_datas.iter().filter(|data| data.perm & 2 != 0) {
        let master = route
            .broker_datas
            .iter()
            .find(|broker| broker.broker_name == data.broker_name)
            .and_then(|broker| broker.broker_addrs.get(&MASTER_ID));
        if let Some(address) = master {
            places.extend((0..data.write_queue_nums).map(|queue_id| Place {
                broker: data.broker_name.clone(),
                address: address.clone(),
                queue_id,
            }));
        }
    }
    places
}

/// The queues of a topic that may be written; of one that is not there yet, those of the template
/// that brokers create topics from.
///
/// # Errors
/// There is none.
pub(crate) async fn places_of(admin: &Admin, topic: &str) -> Result<Vec<Place>, Error> {
    let found = match admin.route(topic).await {
        Ok(route) => places(&route),
        Err(error) if error.code() == Some(ResponseCode::TOPIC_NOT_EXIST) => {
            let template = admin.route(AUTO_CREATE).await.map_err(|_| error)?;
            let mut found = places(&template);
            found.retain(|place| place.queue_id < 4);
            found
        }
        Err(error) => return Err(error),
    };
    if found.is_empty() {
        return Err(Error::NotFound(format!(
            "no queue of topic {topic} may be written: `mqadmin updateTopicPerm -t {topic} -p 6` or `mqadmin addWritePerm` allow it"
        )));
    }
    Ok(found)
}

/// Sends a message to a queue.
///
/// # Errors
/// The broker refuses it, or does not answer.
pub(crate) async fn send(
    admin: &Admin,
    place: &Place,
    message: &Outgoing<'_>,
) -> Result<Sent, Error> {
    let unique = id::unique_key();
    let mut properties = Vec::new();
    for (name, value) in message.properties {
        Properties::push(&mut properties, name, value);
    }
    let own = [
        (keys::TAGS, message.tags),
        (keys::KEYS, message.keys),
        (keys::WAIT, Some("true")),
        (keys::UNIQ_KEY, Some(unique.as_str())),
    ];
    for (name, value) in own {
        if let Some(value) = value {
            Properties::push(&mut properties, name, value);
        }
    }
    let properties = String::from_utf8_lossy(&properties);
    let header = SendHeader {
        producer_group: GROUP,
        topic: message.topic,
        default_topic: AUTO_CREATE,
        default_topic_queue_nums: 4,
        queue_id: place.queue_id,
        sys_flag: 0,
        born_timestamp: format::now(),
        flag: message.flag,
        properties: &properties,
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: Some(&place.broker),
    };
    let request = RequestCode::SEND_MESSAGE_V2;
    let answer = admin
        .raw(&place.address, request, &header, message.body, PATIENCE)
        .await?;
    let send_status = match answer.code {
        ResponseCode::SUCCESS => "SEND_OK",
        ResponseCode::FLUSH_DISK_TIMEOUT => "FLUSH_DISK_TIMEOUT",
        ResponseCode::FLUSH_SLAVE_TIMEOUT => "FLUSH_SLAVE_TIMEOUT",
        ResponseCode::SLAVE_NOT_AVAILABLE => "SLAVE_NOT_AVAILABLE",
        code => {
            return Err(Error::Refused {
                address: place.address.clone(),
                request,
                code,
                remark: answer.remark,
            });
        }
    };
    let reply: SendReply<'_> = admin::read_header(&place.address, request, &answer)?;
    Ok(Sent {
        topic: message.topic.to_owned(),
        broker_name: place.broker.clone(),
        queue_id: reply.queue_id,
        queue_offset: reply.queue_offset,
        send_status,
        msg_id: unique.as_str().to_owned(),
        offset_msg_id: reply.msg_id.to_owned(),
    })
}

/// Sends a stored message once more.
///
/// # Errors
/// As [`send`].
pub(crate) async fn resend(admin: &Admin, message: &Message) -> Result<Sent, Error> {
    let places = places_of(admin, &message.topic).await?;
    let place = pick(&places);
    // What the broker and the client have put there they put there again.
    let own = [
        keys::UNIQ_KEY,
        keys::WAIT,
        keys::TAGS,
        keys::KEYS,
        keys::MIN_OFFSET,
        keys::MAX_OFFSET,
        keys::CLUSTER,
        keys::MSG_REGION,
        keys::TRACE_ON,
    ];
    let properties: Vec<_> = message
        .properties
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .cloned()
        .collect();
    let outgoing = Outgoing {
        topic: &message.topic,
        body: &message.body,
        tags: message.tags(),
        keys: message.property(keys::KEYS),
        flag: message.flag,
        properties: &properties,
    };
    send(admin, place, &outgoing).await
}

/// One of several places, another one each time.
fn pick(places: &[Place]) -> &Place {
    let at = usize::try_from(format::now()).unwrap_or_default() % places.len().max(1);
    &places[at]
}

/// sendMessage
#[derive(Debug, Args)]
pub(crate) struct SendMessage {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// The body
    #[arg(short = 'p', long, allow_hyphen_values = true)]
    body: String,
    /// Keys, separated by blanks
    #[arg(short = 'k', long)]
    key: Option<String>,
    /// The tag
    #[arg(short = 'c', long)]
    tags: Option<String>,
    /// Name of the broker
    #[arg(short = 'b', long)]
    broker: Option<String>,
    /// The queue; needs --broker
    #[arg(short = 'i', long, requires = "broker", value_parser = clap::value_parser!(i32).range(0..))]
    qid: Option<i32>,
    /// Whether the send can be found with queryMsgTraceById
    #[arg(short = 'm', long = "msgTraceEnable", default_value_t = false, action = clap::ArgAction::Set)]
    msg_trace_enable: bool,
}

impl Command for SendMessage {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        topic_name(&self.topic)?;
        let body = self.body.as_bytes();
        if body.is_empty() || body.len() > BODY_MAX {
            return Err(Error::Flag {
                flag: "--body",
                value: format!("{} bytes", body.len()),
                reason: format!("a body has 1 to {BODY_MAX} bytes"),
            });
        }
        let all = places_of(admin, &self.topic).await?;
        let fits = |place: &&Place| {
            self.broker
                .as_ref()
                .is_none_or(|broker| *broker == place.broker)
                && self.qid.is_none_or(|id| id == place.queue_id)
        };
        let fitting: Vec<_> = all.iter().filter(fits).cloned().collect();
        if fitting.is_empty() {
            return Err(Error::NotFound(format!(
                "topic {} has no queue {} on broker {} that may be written",
                self.topic,
                self.qid
                    .map_or_else(|| "at all".to_owned(), |id| id.to_string()),
                self.broker.as_deref().unwrap_or_default()
            )));
        }
        let outgoing = Outgoing {
            topic: &self.topic,
            body,
            tags: self.tags.as_deref(),
            keys: self.key.as_deref(),
            ..Outgoing::default()
        };
        let place = pick(&fitting);
        let started = format::now();
        let sent = send(admin, place, &outgoing).await?;
        if self.msg_trace_enable {
            self.trace(admin, place, &sent, started).await?;
        }
        out.show(&sent, |text| {
            line!(
                text,
                "{:<32}  {:<4}  {:<20}    {}",
                "#Broker Name",
                "#QID",
                "#Send Result",
                "#MsgId"
            );
            line!(
                text,
                "{:<32}  {:<4}  {:<20}    {}",
                sent.broker_name,
                sent.queue_id,
                sent.send_status,
                sent.msg_id
            );
        })?;
        Ok(())
    }
}

impl SendMessage {
    /// Notes the send in the topic of traces.
    async fn trace(
        &self,
        admin: &Admin,
        place: &Place,
        sent: &Sent,
        started: i64,
    ) -> Result<(), Error> {
        let fields = [
            "Pub",
            &started.to_string(),
            "DefaultRegion",
            GROUP,
            &self.topic,
            &sent.msg_id,
            self.tags.as_deref().unwrap_or("null"),
            self.key.as_deref().unwrap_or("null"),
            &place.address,
            &self.body.len().to_string(),
            &(format::now() - started).to_string(),
            "0",
            &sent.offset_msg_id,
            "true",
        ];
        let body = format!("{}\u{2}", fields.join("\u{1}"));
        let key = match &self.key {
            Some(keys) => format!("{} {keys}", sent.msg_id),
            None => sent.msg_id.clone(),
        };
        let places = places_of(admin, TRACE).await?;
        let outgoing = Outgoing {
            topic: TRACE,
            body: body.as_bytes(),
            keys: Some(&key),
            ..Outgoing::default()
        };
        send(admin, pick(&places), &outgoing).await?;
        Ok(())
    }
}
