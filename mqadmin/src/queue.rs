// SPDX-License-Identifier: Apache-2.0
//! Entries of queues.

use aerobee_remoting::{
    body::{route::MASTER_ID, stats::ConsumeQueueEntries},
    fastjson,
    header::stats::QueryConsumeQueue,
};
use clap::Args;

use crate::{
    admin::Admin,
    cli::Command,
    error::Error,
    out::{Out, line},
    target::checked,
};

const RULE: &str = "======================================";

/// queryCq
#[derive(Debug, Args)]
pub(crate) struct QueryCq {
    /// The topic
    #[arg(short = 't', long)]
    topic: String,
    /// The queue
    #[arg(short = 'q', long, value_parser = clap::value_parser!(i32).range(0..))]
    queue: i32,
    /// Offset of the first entry
    #[arg(short = 'i', long, allow_negative_numbers = true)]
    index: i64,
    /// Number of entries
    #[arg(short = 'c', long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    count: i32,
    /// Address of the broker [else: the first master of the topic]
    #[arg(short = 'b', long, value_name = "HOST:PORT")]
    broker: Option<String>,
    /// Group whose filter is tried on the messages
    #[arg(short = 'g', long)]
    consumer: Option<String>,
}

impl Command for QueryCq {
    async fn run(&self, admin: &Admin, out: &mut Out) -> Result<(), Error> {
        let broker = match &self.broker {
            Some(address) => checked(address)?,
            None => {
                let route = admin.route(&self.topic).await?;
                let master = route
                    .broker_datas
                    .iter()
                    .find_map(|data| data.broker_addrs.get(&MASTER_ID));
                master
                    .cloned()
                    .ok_or_else(|| Error::NoRoute(self.topic.clone()))?
            }
        };
        let header = QueryConsumeQueue {
            topic: &self.topic,
            queue_id: self.queue,
            index: self.index,
            count: self.count,
            consumer_group: self.consumer.as_deref(),
        };
        let answer = admin.call(&broker, &header).await?;
        if answer.body.is_empty() {
            // What is outside of the queue is answered with a remark only.
            return Err(Error::NotFound(answer.remark));
        }
        let entries: ConsumeQueueEntries = crate::admin::body(
            &broker,
            aerobee_remoting::RequestCode::QUERY_CONSUME_QUEUE,
            &answer,
        )?;
        out.show(&entries, |text| {
            if let Some(data) = &entries.subscription_data {
                let pretty = fastjson::to_pretty(data);
                line!(text, "Subscription data: \n{}", String::from_utf8_lossy(&pretty));
                line!(text, "{RULE}");
            }
            if let Some(data) = &entries.filter_data {
                line!(text, "Filter data: \n{data}");
                line!(text, "{RULE}");
            }
            line!(
                text,
                "Queue data: \nmax: {}, min: {}",
                entries.max_queue_index,
                entries.min_queue_index
            );
            line!(text, "{RULE}");
            for (at, entry) in (self.index..).zip(&entries.queue_data) {
                line!(text, "idx: {at}");
                line!(
                    text,
                    "ConsumeQueueData{{physicOffset={}, physicSize={}, tagsCode={}, extendDataJson='null', bitMap='null', eval={}, msg='{}'}}",
                    entry.physic_offset,
                    entry.physic_size,
                    entry.tags_code,
                    entry.eval,
                    entry.msg.as_deref().unwrap_or("null")
                );
                line!(text, "{RULE}");
            }
        })?;
        Ok(())
    }
}
