// SPDX-License-Identifier: Apache-2.0
//! Reads queues and prints what they hold, without being a member of a group.

use std::{collections::BTreeMap, path::PathBuf};

use aerobee_message::{
    properties::keys,
    record::{RecordError, RecordView},
    tags::TagFilter,
};
use aerobee_remoting::{
    RequestCode, ResponseCode,
    body::route::TopicRoute,
    header::pull::{PullMessage, PullReply, SUBSCRIPTION},
};
use clap::Args;

use crate::{
    admin::{self, Admin, LONG_PATIENCE, pick},
    cli::Command,
    error::Error,
    format,
    message::{Charset, Message},
    out::{Out, line},
};

/// Group that tools read as.
const GROUP: &str = "TOOLS_CONSUMER";
/// Most messages of a pull.
const BATCH: i32 = 32;
const RULE: &str = "--------------------------------------------------------";

/// What a pull found.
pub(crate) struct Pulled {
    pub(crate) status: &'static str,
    pub(crate) next: i64,
    pub(crate) min_offset: i64,
    pub(crate) max_offset: i64,
    pub(crate) messages: Vec<Message>,
}

/// Reads a run of messages of a queue: topic, broker name, queue id.
///
/// # Errors
/// The broker refuses, or does not answer.
pub(crate) async fn pull(
    admin: &Admin,
    address: &str,
    (topic, broker, queue_id): (&str, &str, i32),
    expression: &str,
    offset: i64,
    max: i32,
) -> Result<Pulled, Error> {
    let header = PullMessage {
        consumer_group: GROUP,
        topic,
        queue_id,
        queue_offset: offset,
        max_msg_nums: max,
        sys_flag: SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some(expression),
        sub_version: 0,
        expression_type: Some("TAG"),
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
    };
    let request = RequestCode::PULL_MESSAGE;
    let answer = admin
        .raw(address, request, &header, &[], LONG_PATIENCE)
        .await?;
    let status = match answer.code {
        ResponseCode::SUCCESS => "FOUND",
        ResponseCode::PULL_NOT_FOUND => "NO_NEW_MSG",
        ResponseCode::PULL_RETRY_IMMEDIATELY => "NO_MATCHED_MSG",
        ResponseCode::PULL_OFFSET_MOVED => "OFFSET_ILLEGAL",
        code => {
            return Err(Error::Refused {
                address: address.to_owned(),
                request,
                code,
                remark: answer.remark,
            });
        }
    };
    let reply: PullReply = admin::read_header(address, request, &answer)?;
    let mut messages = Vec::new();
    if status == "FOUND" {
        messages = Message::all(&answer.body).map_err(|reason| {
            Error::NotFound(format!(
                "the messages of {address} cannot be read: {reason}"
            ))
        })?;
    }
    // The broker knows hashes of tags only.
    if expression != "*" {
        let wanted: Vec<_> = TagFilter::tags_of(expression).collect();
        messages.retain(|message| message.tags().is_some_and(|tag| wanted.contains(&tag)));
    }
    for message in &mut messages {
        message.broker_name = Some(broker.to_owned());
        message.add_property(keys::MIN_OFFSET, reply.min_offset.to_string());
        message.add_property(keys::MAX_OFFSET, reply.max_offset.to_string());
    }
    Ok(Pulled {
        status,
        next: reply.next_begin_offset,
        min_offset: reply.min_offset,
        max_offset: reply.max_offset,
        messages,
    })
}

/// A queue to be read.
struct Queue {
    topic: String,
    broker: String,
    address: String,
    id: i32,
}

impl Queue {
    /// All queues of a route that may be read.
    fn of_route(topic: &str, route: &TopicRoute) -> Vec<Self> {
        let mut queues = Vec::new();
        for data in route.queue_datas.iter().filter(|data| data.perm & 4 != 0) {
            let broker = route
                .broker_datas
                .iter()
                .find(|broker| broker.broker_name == data.broker_name);
            if let Some(address) = broker.and_then(pick) {
                queues.extend((0..data.read_queue_nums).map(|id| Self {
                    topic: topic.to_owned(),
                    broker: data.broker_name.clone(),
                    address: address.to_owned(),
                    id,
                }));
            }
        }
        queues.sort_by(|a, b| (&a.broker, a.id).cmp(&(&b.broker, b.id)));
        queues
    }

    /// One queue.
    async fn named(admin: &Admin, topic: &str, broker: &str, id: i32) -> Result<Self, Error> {
        let route = admin.route(topic).await?;
        let known = route
            .broker_datas
            .iter()
            .find(|data| data.broker_name == broker);
        let address = known.and_then(pick).ok_or_else(|| Error::NoBroker {
            broker: broker.to_owned(),
            known: format::list(route.broker_datas.iter().map(|data| &data.broker_name)),
        })?;
        Ok(Self {
            topic: topic.to_owned(),
            broker: broker.to_owned(),
            address: address.to_owned(),
            id,
        })
    }

    /// From where to where to read: the whole queue, or what lies between two store times.
    async fn range(
        &self,
        admin: &Admin,
        begin: Option<i64>,
        end: Option<i64>,
    ) -> Result<(i64, i64), Error> {
        let (address, topic) = (&self.address, &self.topic);
        let min = match begin {
            Some(at) => admin.offset_at(address, topic, self.id, at).await?,
            None => admin.min_offset(address, topic, self.id).await?,
        };
        let max = match end {
            Some(at) => admin.offset_at(address, topic, self.id, at).await?,
            None => admin.max_offset(address, topic, self.id).await?,
        };
        Ok((min, max))
    }

    async fn pull(
        &self,
        admin: &Admin,
        expression: &str,
        offset: i64,
        max: i32,
    ) -> Result<Pulled, Error> {
        let queue = (self.topic.as_str(), self.broker.as_str(), self.id);
        pull(admin, &self.address, queue, expression, offset, max).await
    }

    fn as_java(&self) -> String {
        format!(
            "MessageQueue [topic={}, brokerName={}, queueId={}]",
            self.topic, self.broker, self.id
        )
    }
}

/// Reads the value of a flag that is a time.
pub(crate) fn time(text: &str) -> Result<i64, String> {
    format::parse_time(text.trim())
        .ok_or_else(|| "a time is milliseconds since 1970 or yyyy-MM-dd#HH:mm:ss:SSS".to_owned())
}

fn print_message(
    out: &mut Out,
    message: &Message,
    charset: Charset,
    body: bool,
) -> Result<(), Error> {
    out.show(message, |text| {
        let body = if body {
            charset.text(&message.body)
        } else {
            "NOT PRINT BODY".to_owned()
        };
        line!(
            text,
            "MSGID: {} {} BODY: {body}",
            message.msg_id,
            message.as_java()
        );
    })?;
    Ok(())
}

/// printMsg
#[derive(Debug, Args)]
pub(crate) struct PrintMsg {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Character set of the bodies
    #[arg(short = 'c', long = "charsetName", default_value = "UTF-8")]
    charset_name: Charset,
    /// Tags wanted: TagA || TagB
    #[arg(short = 's', long = "subExpression", default_value = "*")]
    sub_expression: String,
    /// Earliest store time: ms since 1970 or yyyy-MM-dd#HH:mm:ss:SSS
    #[arg(short = 'b', long = "beginTimestamp", value_parser = time)]
    begin_timestamp: Option<i64>,
    /// Latest store time
    #[arg(short = 'e', long = "endTimestamp", value_parser = time)]
    end_timestamp: Option<i64>,
    /// Whether to print bodies
    #[arg(short = 'd', long = "printBody", default_value_t = true, action = clap::ArgAction::Set)]
    print_body: bool,
    /// Parent of the light queue that --topic names
    #[arg(short = 'l', long = "lmqParentTopic")]
    lmq_parent_topic: Option<String>,
}

impl Command for PrintMsg {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        check_expression(&self.sub_expression)?;
        let route = admin
            .route(self.lmq_parent_topic.as_deref().unwrap_or(&self.topic))
            .await?;
        for queue in Queue::of_route(&self.topic, &route) {
            let (min, max) = queue
                .range(admin, self.begin_timestamp, self.end_timestamp)
                .await?;
            out.text(&format!(
                "minOffset={min}, maxOffset={max}, {}\n",
                queue.as_java()
            ))?;
            let mut offset = min;
            while offset < max {
                let pulled = queue
                    .pull(admin, &self.sub_expression, offset, BATCH)
                    .await?;
                if pulled.next <= offset
                    && pulled.status != "NO_NEW_MSG"
                    && pulled.status != "OFFSET_ILLEGAL"
                {
                    return Err(stuck(&queue, offset));
                }
                offset = pulled.next;
                for message in &pulled.messages {
                    print_message(out, message, self.charset_name, self.print_body)?;
                }
                let what = match pulled.status {
                    "FOUND" => continue,
                    "NO_MATCHED_MSG" => "no matched msg.",
                    _ => "print msg finished.",
                };
                out.text(&format!(
                    "{} {what} status={}, offset={offset}\n",
                    queue.as_java(),
                    pulled.status
                ))?;
                if pulled.status != "NO_MATCHED_MSG" {
                    break;
                }
            }
            out.text(&format!("{RULE}\n"))?;
        }
        Ok(())
    }
}

fn check_expression(expression: &str) -> Result<(), Error> {
    TagFilter::parse(expression)
        .map(|_| ())
        .map_err(|reason| Error::Flag {
            flag: "--subExpression",
            value: expression.to_owned(),
            reason: reason.to_string(),
        })
}

/// A broker that does not get on would be asked for ever.
fn stuck(queue: &Queue, offset: i64) -> Error {
    Error::NotFound(format!(
        "{} does not get on at offset {offset}",
        queue.as_java()
    ))
}

/// printMsgByQueue
#[derive(Debug, Args)]
pub(crate) struct PrintMsgByQueue {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Name of the broker
    #[arg(short = 'a', long = "brokerName")]
    broker_name: String,
    /// The queue
    #[arg(short = 'i', long = "queueId", value_parser = clap::value_parser!(i32).range(0..))]
    queue_id: i32,
    /// Character set of the bodies
    #[arg(short = 'c', long = "charsetName", default_value = "UTF-8")]
    charset_name: Charset,
    /// Tags wanted: TagA || TagB
    #[arg(short = 's', long = "subExpression", default_value = "*")]
    sub_expression: String,
    /// Earliest store time: ms since 1970 or yyyy-MM-dd#HH:mm:ss:SSS
    #[arg(short = 'b', long = "beginTimestamp", value_parser = time)]
    begin_timestamp: Option<i64>,
    /// Latest store time
    #[arg(short = 'e', long = "endTimestamp", value_parser = time)]
    end_timestamp: Option<i64>,
    /// Whether to print messages
    #[arg(short = 'p', long = "print", alias = "print msg", default_value_t = false, action = clap::ArgAction::Set)]
    print: bool,
    /// Whether to print bodies
    #[arg(short = 'd', long = "printBody", default_value_t = false, action = clap::ArgAction::Set)]
    print_body: bool,
    /// Whether to count tags
    #[arg(short = 'f', long, default_value_t = false, action = clap::ArgAction::Set)]
    calculate: bool,
}

impl Command for PrintMsgByQueue {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        check_expression(&self.sub_expression)?;
        let queue = Queue::named(admin, &self.topic, &self.broker_name, self.queue_id).await?;
        let (min, max) = queue
            .range(admin, self.begin_timestamp, self.end_timestamp)
            .await?;
        let mut tags = BTreeMap::<String, u64>::new();
        let mut offset = min;
        while offset < max {
            let pulled = queue
                .pull(admin, &self.sub_expression, offset, BATCH)
                .await?;
            if pulled.status != "FOUND" || pulled.next <= offset {
                break;
            }
            offset = pulled.next;
            for message in &pulled.messages {
                if let Some(tag) = message.tags().filter(|tag| !tag.trim().is_empty()) {
                    *tags.entry(tag.to_owned()).or_default() += 1;
                }
                if self.print {
                    print_message(out, message, self.charset_name, self.print_body)?;
                }
            }
        }
        if self.calculate {
            let mut counts: Vec<_> = tags.into_iter().collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            out.show(&counts, |text| {
                for (tag, count) in &counts {
                    line!(text, "Tag: {tag:<30} Count: {count}");
                }
            })?;
        }
        Ok(())
    }
}

/// consumeMessage
#[derive(Debug, Args)]
pub(crate) struct ConsumeMessage {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker_name: Option<String>,
    /// The queue
    #[arg(short = 'i', long = "queueId", requires = "broker_name", value_parser = clap::value_parser!(i32).range(0..))]
    queue_id: Option<i32>,
    /// Offset in the queue to begin at
    #[arg(short = 'o', long, requires = "queue_id", value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
    /// Group to read as; offsets are not committed
    #[arg(short = 'g', long = "consumerGroup")]
    consumer_group: Option<String>,
    /// Earliest store time: ms since 1970 or yyyy-MM-dd#HH:mm:ss:SSS
    #[arg(short = 's', long = "beginTimestamp", value_parser = time)]
    begin_timestamp: Option<i64>,
    /// Latest store time
    #[arg(short = 'e', long = "endTimestamp", value_parser = time)]
    end_timestamp: Option<i64>,
    /// Most messages
    #[arg(short = 'c', long = "MessageNumber", default_value_t = 128, value_parser = clap::value_parser!(i64).range(1..))]
    message_number: i64,
}

impl ConsumeMessage {
    fn check_times(&self) -> Result<(), Error> {
        let now = format::now();
        let wrong = |flag, at: i64, reason: &str| Error::Flag {
            flag,
            value: at.to_string(),
            reason: reason.to_owned(),
        };
        match (self.begin_timestamp, self.end_timestamp) {
            (Some(at), _) if at > now => Err(wrong(
                "--beginTimestamp",
                at,
                "Please set the beginTimestamp before now!",
            )),
            (_, Some(at)) if at > now => Err(wrong(
                "--endTimestamp",
                at,
                "Please set the endTimestamp before now!",
            )),
            (Some(begin), Some(end)) if begin > end => Err(wrong(
                "--beginTimestamp",
                begin,
                "Please make sure that the beginTimestamp is less than or equal to the endTimestamp",
            )),
            _ => Ok(()),
        }
    }

    /// Reads a queue from `offset` to `end`, both inclusive; tells how many messages there were.
    async fn read(
        &self,
        admin: &Admin,
        out: &mut Out,
        queue: &Queue,
        (mut offset, end): (i64, i64),
    ) -> Result<i64, Error> {
        let mut read = 0;
        while offset <= end {
            let max = i32::try_from(end - offset + 1).unwrap_or(BATCH).min(BATCH);
            let pulled = queue.pull(admin, "*", offset, max).await?;
            let stays = pulled.next <= offset;
            offset = pulled.next;
            let what = match pulled.status {
                "FOUND" if stays => return Err(stuck(queue, offset)),
                "FOUND" => "",
                "NO_MATCHED_MSG" if !stays => "no matched msg.",
                _ => "print msg finished.",
            };
            if !what.is_empty() {
                let (queue, status) = (queue.as_java(), pulled.status);
                out.text(&format!(
                    "{queue} {what} status={status}, offset={offset}\n"
                ))?;
                if what == "no matched msg." {
                    continue;
                }
                break;
            }
            read += pulled.messages.len() as i64;
            out.text("Consume ok\n")?;
            for message in &pulled.messages {
                print_message(out, message, Charset::Utf8, true)?;
            }
        }
        Ok(read)
    }
}

impl Command for ConsumeMessage {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        self.check_times()?;
        let (begin, end) = (self.begin_timestamp, self.end_timestamp);
        if let (Some(broker), Some(id)) = (&self.broker_name, self.queue_id) {
            let queue = Queue::named(admin, &self.topic, broker, id).await?;
            let (min, max) = queue.range(admin, begin, end).await?;
            let first = self.offset.unwrap_or(0);
            if first > max {
                return Err(Error::NotFound(format!(
                    "{} no matched msg, offset={first}",
                    queue.as_java()
                )));
            }
            let min = min.max(first);
            let mut last = max;
            if max - min > self.message_number {
                out.text(&format!(
                    "The oldler {} message will be provided\n",
                    self.message_number
                ))?;
                last = min + self.message_number - 1;
            }
            self.read(admin, out, &queue, (min, last)).await?;
            return Ok(());
        }
        let route = admin.route(&self.topic).await?;
        let mut left = self.message_number;
        for queue in Queue::of_route(&self.topic, &route) {
            if self
                .broker_name
                .as_ref()
                .is_some_and(|only| *only != queue.broker)
            {
                continue;
            }
            if left <= 0 {
                break;
            }
            let (min, mut max) = queue.range(admin, begin, end).await?;
            if max - min > left {
                out.text(&format!(
                    "The older {left} message of the {} queue will be provided\n",
                    queue.id
                ))?;
                max = min + left - 1;
            }
            left -= self.read(admin, out, &queue, (min, max)).await?;
        }
        Ok(())
    }
}

/// dumpCompactionLog
#[derive(Debug, Args)]
pub(crate) struct DumpCompactionLog {
    /// A file of stored messages
    #[arg(short = 'f', long)]
    file: PathBuf,
}

impl Command for DumpCompactionLog {
    async fn run(&self, _: &Admin, out: &mut Out) -> Result<(), Error> {
        let bytes = std::fs::read(&self.file).map_err(|source| Error::File {
            path: self.file.clone(),
            source,
        })?;
        let mut rest = bytes.as_slice();
        let mut at = 0;
        loop {
            match RecordView::parse(rest) {
                Ok(view) => {
                    let whole = rest.get(..view.total_len()).unwrap_or_default();
                    for message in Message::all(whole).unwrap_or_default() {
                        out.show(&message, |text| line!(text, "{}", message.as_java()))?;
                    }
                    at += view.total_len();
                    rest = rest.get(view.total_len()..).unwrap_or_default();
                }
                // Zeros follow the last message.
                Err(RecordError::Length(0) | RecordError::Magic(0) | RecordError::Blank(_)) => {
                    break;
                }
                Err(_) if rest.iter().all(|byte| *byte == 0) => break,
                Err(reason) => {
                    return Err(Error::NotFound(format!(
                        "{} holds no message at byte {at}: {reason}",
                        self.file.display()
                    )));
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
