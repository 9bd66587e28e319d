// SPDX-License-Identifier: Apache-2.0
//! Finds single messages and prints them.

use std::path::PathBuf;

use aerobee_message::id;
use aerobee_remoting::{
    RequestCode, ResponseCode,
    body::running::{ConsumerRunningInfo, DirectlyConsumed},
    header::{
        client::{ConsumeDirectly, GetConsumerRunningInfo},
        query::{QueryMessage, ViewMessage},
    },
};
use clap::Args;
use serde::Serialize;

use crate::{
    admin::{Admin, LONG_PATIENCE, each, pick},
    cli::Command,
    error::Error,
    format,
    message::{Charset, Message},
    out::{Out, Text, done, line},
    print::pull,
    track::{Track, track},
};

/// What is asked of the index.
pub(crate) struct Wanted<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: &'a str,
    pub(crate) unique: bool,
    pub(crate) max: i32,
    pub(crate) begin: i64,
    pub(crate) end: i64,
    /// What the key is: `K` a key, `T` the tags; keys when missing.
    pub(crate) kind: Option<&'a str>,
    /// Where the answer before ended; only for an index in `RocksDB`.
    pub(crate) last_key: Option<&'a str>,
}

/// Milliseconds of the span that the index in `RocksDB` puts under one key.
const HOUR: i64 = 3_600_000;

/// The messages of all brokers of a route that have a key.
///
/// # Errors
/// No broker answers, or there is no such message.
pub(crate) async fn by_key(
    admin: &Admin,
    cluster: Option<&str>,
    wanted: &Wanted<'_>,
) -> Result<Vec<Message>, Error> {
    let route = match admin.route(wanted.topic).await {
        Err(error) => match cluster {
            Some(cluster) => admin.route(cluster).await?,
            None => return Err(error),
        },
        Ok(route) => route,
    };
    let header = QueryMessage {
        topic: wanted.topic,
        key: wanted.key,
        max_num: wanted.max,
        begin_timestamp: wanted.begin,
        end_timestamp: wanted.end,
        is_unique: Some(if wanted.unique { "true" } else { "false" }),
        index_type: wanted.kind,
        last_key: wanted.last_key,
    };
    let brokers = route.broker_datas.iter().filter_map(pick);
    let answers = each(brokers, |address| {
        let request = RequestCode::QUERY_MESSAGE;
        let answer = admin.ask(address, request, &header, &[], LONG_PATIENCE);
        async move { (address, answer.await) }
    });
    let mut messages = Vec::new();
    for (address, answer) in answers.await {
        match answer {
            Ok(answer) => messages.extend(read(address, &answer.body)?),
            Err(error) if error.code() == Some(ResponseCode::QUERY_NOT_FOUND) => {}
            Err(error) => return Err(error),
        }
    }
    // The index knows hashes: others may have the same.
    messages.retain(|message| {
        if wanted.unique {
            return message.msg_id == wanted.key;
        }
        if wanted.kind == Some("T") {
            return message.tags() == Some(wanted.key);
        }
        let keys = message.property(aerobee_message::properties::keys::KEYS);
        keys.is_some_and(|keys| keys.split(' ').any(|key| key == wanted.key))
    });
    if messages.is_empty() {
        return Err(Error::NotFound(format!(
            "CODE: 208  DESC: query message by key finished, but no message. Topic {} has none with the key {}; messages older than the index, or of another topic, are not found",
            wanted.topic, wanted.key
        )));
    }
    Ok(messages)
}

fn read(address: &str, body: &[u8]) -> Result<Vec<Message>, Error> {
    Message::all(body).map_err(|reason| {
        Error::NotFound(format!(
            "the messages of {address} cannot be read: {reason}"
        ))
    })
}

/// A message by its offset id or its unique key.
///
/// # Errors
/// There is none.
pub(crate) async fn by_id(
    admin: &Admin,
    cluster: Option<&str>,
    topic: &str,
    msg_id: &str,
) -> Result<Message, Error> {
    if let Some((host, offset)) = id::parse(msg_id) {
        let address = host.to_string();
        let header = ViewMessage {
            offset,
            topic: Some(topic),
        };
        // A unique key can look like an offset id: then nobody is there, or has it.
        if let Ok(answer) = admin.call(&address, &header).await
            && let Some(message) = read(&address, &answer.body)?.pop()
        {
            return Ok(message);
        }
    }
    let wanted = Wanted {
        topic,
        key: msg_id,
        unique: true,
        max: 32,
        begin: 0,
        end: i64::MAX,
        kind: None,
        last_key: None,
    };
    let mut found = by_key(admin, cluster, &wanted).await?;
    found.sort_by_key(|message| message.store_timestamp);
    found
        .pop()
        .ok_or_else(|| Error::NotFound("Message not found!".to_owned()))
}

/// Where the bodies of messages go, so that they can be looked at.
const BODIES: &str = "/tmp/rocketmq/msgbodys";

fn write_body(message: &Message, index: usize) -> Result<PathBuf, Error> {
    let folder = PathBuf::from(BODIES);
    let file = |source| Error::File {
        path: folder.clone(),
        source,
    };
    std::fs::create_dir_all(&folder).map_err(file)?;
    // A key that somebody chose must not lead out of the folder.
    let name: String = message
        .msg_id
        .chars()
        .map(|letter| {
            if letter == '/' || letter == '\0' {
                '_'
            } else {
                letter
            }
        })
        .take(200)
        .collect();
    let path = folder.join(if index > 0 {
        format!("{name}_{index}")
    } else {
        name
    });
    std::fs::write(&path, &message.body).map_err(file)?;
    Ok(path)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    #[serde(flatten)]
    message: Message,
    body_path: PathBuf,
    tracks: Vec<Track>,
}

impl Found {
    async fn new(admin: &Admin, message: Message, index: usize) -> Result<Self, Error> {
        Ok(Self {
            body_path: write_body(&message, index)?,
            tracks: track(admin, &message).await,
            message,
        })
    }

    fn print(&self, text: &mut Text, with_offset_id: bool, charset: Option<Charset>) {
        let message = &self.message;
        let mut field =
            |name: &str, value: &dyn std::fmt::Display| line!(text, "{name:<20} {value}");
        if with_offset_id {
            field("OffsetID:", &message.offset_msg_id);
        }
        let or_null = |value: Option<&str>| format!("[{}]", value.unwrap_or("null"));
        field("Topic:", &message.topic);
        field("Tags:", &or_null(message.tags()));
        field(
            "Keys:",
            &or_null(message.property(aerobee_message::properties::keys::KEYS)),
        );
        field("Queue ID:", &message.queue_id);
        field("Queue Offset:", &message.queue_offset);
        field("CommitLog Offset:", &message.commit_log_offset);
        field("Reconsume Times:", &message.reconsume_times);
        field(
            "Born Timestamp:",
            &format::time_millis(message.born_timestamp),
        );
        field(
            "Store Timestamp:",
            &format::time_millis(message.store_timestamp),
        );
        field("Born Host:", &message.born_host);
        field("Store Host:", &message.store_host);
        field("System Flag:", &message.sys_flag);
        field("Properties:", &message.java_properties());
        field("Message Body Path:", &self.body_path.display());
        if let Some(charset) = charset {
            field("Message Body:", &charset.text(&message.body));
        }
        if self.tracks.is_empty() {
            line!(text, "\n\nWARN: No Consumer");
            return;
        }
        line!(text, "\n");
        // By unique key Apache's tool prints them without a line for each.
        let between = if with_offset_id { "\n" } else { "" };
        let tracks: Vec<_> = self.tracks.iter().map(Track::as_java).collect();
        line!(text, "{}", tracks.join(between));
    }
}

async fn show(
    admin: &Admin,
    out: &mut Out,
    messages: Vec<Message>,
    with_offset_id: bool,
    charset: Option<Charset>,
) -> Result<(), Error> {
    let mut all = Vec::new();
    for (index, message) in messages.into_iter().enumerate() {
        all.push(Found::new(admin, message, if with_offset_id { 0 } else { index }).await?);
    }
    out.show(&all, |text| {
        for found in &all {
            found.print(text, with_offset_id, charset);
        }
    })?;
    Ok(())
}

/// queryMsgById
#[derive(Debug, Args)]
pub(crate) struct QueryMsgById {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Ids of messages, offset ids or unique keys, separated by commas
    #[arg(short = 'i', long = "msgId", value_delimiter = ',', required = true)]
    msg_id: Vec<String>,
    /// With --clientId: the group of the client
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: Option<String>,
    /// Have this client consume the message now
    #[arg(short = 'd', long = "clientId", requires = "consumer_group")]
    client_id: Option<String>,
    /// Whether to send it once more
    #[arg(short = 's', long = "sendMessage")]
    send_message: Option<bool>,
    /// Unit to send it to; clients know such, servers do not
    #[arg(short = 'u', long = "unitName")]
    unit_name: Option<String>,
    /// Print the body as text of this character set
    #[arg(short = 'f', long = "bodyFormat")]
    body_format: Option<Charset>,
    /// Cluster, or parent of a light queue, whose route is taken
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

impl Command for QueryMsgById {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let cluster = self.cluster.as_deref();
        let mut messages = Vec::new();
        for msg_id in self
            .msg_id
            .iter()
            .map(|id| id.trim())
            .filter(|id| !id.is_empty())
        {
            messages.push(by_id(admin, cluster, &self.topic, msg_id).await?);
        }
        if let (Some(group), Some(client)) = (&self.consumer_group, &self.client_id) {
            for message in &messages {
                consume_directly(admin, out, message, group, client).await?;
            }
            return Ok(());
        }
        if self.send_message == Some(true) {
            for message in &messages {
                done!(out, "prepare resend msg. originalMsgId={}", message.msg_id);
                let sent = crate::send::resend(admin, message).await?;
                done!(out, "{}", sent.as_java());
            }
            return Ok(());
        }
        show(admin, out, messages, true, self.body_format).await
    }
}

/// Has a client consume a message now.
async fn consume_directly(
    admin: &Admin,
    out: &mut Out,
    message: &Message,
    group: &str,
    client: &str,
) -> Result<(), Error> {
    let address = message.store_host.to_string();
    let header = GetConsumerRunningInfo {
        consumer_group: group,
        client_id: client,
        jstack_enable: false,
    };
    let info: ConsumerRunningInfo = admin.read(&address, &header).await?;
    if !info.is_push() {
        return Err(Error::NotFound(format!(
            "this {client} client is not push consumer ,not support direct push"
        )));
    }
    let header = ConsumeDirectly {
        consumer_group: group,
        client_id: Some(client),
        msg_id: Some(&message.offset_msg_id),
        broker_name: None,
        topic: Some(&message.topic),
    };
    let request = RequestCode::CONSUME_MESSAGE_DIRECTLY;
    let answer = admin
        .ask(&address, request, &header, &[], LONG_PATIENCE)
        .await?;
    let result: DirectlyConsumed = crate::admin::body(&address, request, &answer)?;
    out.show(&result, |text| {
        line!(
            text,
            "ConsumeMessageDirectlyResult [order={}, autoCommit={}, consumeResult={}, remark={}, spentTimeMills={}]",
            result.order,
            result.auto_commit,
            result.consume_result.as_deref().unwrap_or("null"),
            result.remark.as_deref().unwrap_or("null"),
            result.spent_time_mills
        );
    })?;
    Ok(())
}

/// queryMsgByKey
#[derive(Debug, Args)]
pub(crate) struct QueryMsgByKey {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// The key
    #[arg(short = 'k', long = "msgKey")]
    msg_key: String,
    /// Earliest store time, ms since 1970
    #[arg(short = 'b', long = "beginTimestamp", default_value_t = 0)]
    begin_timestamp: i64,
    /// Latest store time, ms since 1970
    #[arg(short = 'e', long = "endTimestamp", default_value_t = i64::MAX, hide_default_value = true)]
    end_timestamp: i64,
    /// Most messages of each broker
    #[arg(short = 'm', long = "maxNum", default_value_t = 64, value_parser = clap::value_parser!(i32).range(1..))]
    max_num: i32,
    /// What the key is: K a key, T the tags
    #[arg(short = 'p', long = "keyType", value_parser = ["K", "T"])]
    key_type: Option<String>,
    /// Where the answer before ended; only for an index in RocksDB
    #[arg(short = 'l', long = "lastKey")]
    last_key: Option<String>,
    /// Cluster, or parent of a light queue, whose route is taken
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

impl Command for QueryMsgByKey {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let wanted = Wanted {
            topic: &self.topic,
            key: &self.msg_key,
            unique: false,
            max: self.max_num,
            begin: self.begin_timestamp,
            end: self.end_timestamp,
            kind: self.key_type.as_deref(),
            last_key: self.last_key.as_deref(),
        };
        let found = by_key(admin, self.cluster.as_deref(), &wanted).await?;
        out.show(&found, |text| {
            line!(
                text,
                "{:<50} {:>4} {:>40} {:<200}",
                "#Message ID",
                "#QID",
                "#Offset",
                "#IndexKey"
            );
            for message in &found {
                line!(
                    text,
                    "{:<50} {:>4} {:>40} {:<200}",
                    message.msg_id,
                    message.queue_id,
                    message.queue_offset,
                    self.index_key(message)
                );
            }
        })?;
        Ok(())
    }
}

impl QueryMsgByKey {
    /// What an index in `RocksDB` has the message under, to go on from with `--lastKey`.
    fn index_key(&self, message: &Message) -> String {
        let stored = message.store_timestamp;
        format!(
            "{}@{}@{}@{}@{}@{}",
            stored - stored % HOUR,
            self.topic,
            self.key_type.as_deref().unwrap_or("K"),
            self.msg_key,
            message.msg_id,
            message.commit_log_offset
        )
    }
}

/// queryMsgByUniqueKey
#[derive(Debug, Args)]
pub(crate) struct QueryMsgByUniqueKey {
    /// The unique key
    #[arg(short = 'i', long = "msgId")]
    msg_id: String,
    /// With --clientId: the group of the client
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: Option<String>,
    /// Have this client consume the message now
    #[arg(short = 'd', long = "clientId", requires = "consumer_group")]
    client_id: Option<String>,
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Print all that have the key, not only the oldest
    #[arg(short = 'a', long = "showAll")]
    show_all: bool,
    /// Cluster, or parent of a light queue, whose route is taken
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

impl Command for QueryMsgByUniqueKey {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let wanted = Wanted {
            topic: &self.topic,
            key: &self.msg_id,
            unique: true,
            max: 32,
            begin: 0,
            end: i64::MAX,
            kind: None,
            last_key: None,
        };
        let mut found = by_key(admin, self.cluster.as_deref(), &wanted).await?;
        found.sort_by_key(|message| message.store_timestamp);
        if let (Some(group), Some(client), Some(message)) =
            (&self.consumer_group, &self.client_id, found.first())
        {
            return consume_directly(admin, out, message, group, client).await;
        }
        if !self.show_all {
            found.truncate(1);
        }
        show(admin, out, found, false, None).await
    }
}

/// queryMsgByOffset
#[derive(Debug, Args)]
pub(crate) struct QueryMsgByOffset {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker_name: String,
    /// The queue
    #[arg(short = 'i', long = "queueId", value_parser = clap::value_parser!(i32).range(0..))]
    queue_id: i32,
    /// Offset in the queue
    #[arg(short = 'o', long, value_parser = clap::value_parser!(i64).range(0..))]
    offset: i64,
    /// Print the body as text of this character set
    #[arg(short = 'f', long = "bodyFormat")]
    body_format: Option<Charset>,
}

impl Command for QueryMsgByOffset {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let route = admin.route(&self.topic).await?;
        let broker = route
            .broker_datas
            .iter()
            .find(|broker| broker.broker_name == self.broker_name);
        let address = broker.and_then(pick).ok_or_else(|| Error::NoBroker {
            broker: self.broker_name.clone(),
            known: format::list(route.broker_datas.iter().map(|broker| &broker.broker_name)),
        })?;
        let queue = (
            self.topic.as_str(),
            self.broker_name.as_str(),
            self.queue_id,
        );
        let pulled = pull(admin, address, queue, "*", self.offset, 1).await?;
        if pulled.messages.is_empty() {
            return Err(Error::NotFound(format!(
                "there is no message at offset {} of queue {} of topic {} on {}: {} (the queue holds {} to {})",
                self.offset,
                self.queue_id,
                self.topic,
                self.broker_name,
                pulled.status,
                pulled.min_offset,
                pulled.max_offset - 1
            )));
        }
        show(admin, out, pulled.messages, true, self.body_format).await
    }
}
