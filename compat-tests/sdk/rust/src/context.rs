// SPDX-License-Identifier: Apache-2.0

use std::{
    collections::HashMap,
    fmt::Debug,
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rocketmq::{
    Producer, SimpleConsumer,
    conf::{ClientOption, LoggingFormat, ProducerOption, SimpleConsumerOption},
    error::ClientError,
    model::{
        common::{FilterExpression, FilterType},
        message::MessageView,
        transaction::TransactionChecker,
    },
};
use serde_json::{Value, json};

/// Something that should hold did not.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self(format!("{error:?}"))
    }
}

/// One run of a scenario: its parameters and its output.
pub(crate) struct Context {
    id: u64,
    given: HashMap<String, String>,
    begin: Instant,
    stopped: AtomicBool,
}

impl Context {
    pub(crate) fn new(id: u64, given: HashMap<String, String>) -> Self {
        Self {
            id,
            given,
            begin: Instant::now(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Result<&str, Failed> {
        self.given
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| Failed(format!("the parameter '{key}' is missing")))
    }

    pub(crate) fn get_or<'a>(&'a self, key: &str, absent: &'a str) -> &'a str {
        self.given.get(key).map_or(absent, String::as_str)
    }

    /// A name of this run's own, for a topic or a group.
    pub(crate) fn name(&self, suffix: &str) -> Result<String, Failed> {
        Ok(format!("{}_{suffix}", self.get("prefix")?))
    }

    pub(crate) fn step(&self, step: &str, mut more: Value) {
        more["id"] = json!(self.id);
        more["step"] = json!(step);
        more["ms"] = json!(u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX));
        say(&more);
    }

    pub(crate) fn check(&self, step: &str, held: bool) -> Result<(), Failed> {
        self.step(step, json!({"ok": held}));
        if held {
            Ok(())
        } else {
            Err(Failed(step.into()))
        }
    }

    pub(crate) fn equal<T: PartialEq + Debug>(
        &self,
        step: &str,
        expected: T,
        actual: T,
    ) -> Result<(), Failed> {
        if expected == actual {
            return self.check(step, true);
        }
        let (expected, actual) = (format!("{expected:.600?}"), format!("{actual:.600?}"));
        self.step(
            step,
            json!({"ok": false, "expected": expected, "actual": actual}),
        );
        Err(Failed(step.into()))
    }

    pub(crate) fn done(&self, result: &Result<(), Failed>) {
        let mut line = json!({"id": self.id, "done": true, "ok": result.is_ok()});
        if let Err(Failed(why)) = result {
            line["error"] = json!(why);
        }
        say(&line);
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn options(&self) -> Result<ClientOption, Failed> {
        let mut options = ClientOption::default();
        options.set_access_url(self.get("endpoints")?);
        options.set_enable_tls(self.get_or("ssl", "false") == "true");
        options.set_timeout(Duration::from_secs(10));
        options.set_long_polling_timeout(Duration::from_secs(5));
        Ok(options)
    }

    pub(crate) async fn producer(&self, topic: &str) -> Result<Producer, Failed> {
        let mut producer = Producer::new(producing(topic), self.options()?)?;
        producer.start().await?;
        Ok(producer)
    }

    pub(crate) async fn transactional(
        &self,
        topic: &str,
        checker: Box<TransactionChecker>,
    ) -> Result<Producer, Failed> {
        let mut producer =
            Producer::new_transaction_producer(producing(topic), self.options()?, checker)?;
        producer.start().await?;
        Ok(producer)
    }

    pub(crate) async fn simple(&self, group: &str, topic: &str) -> Result<SimpleConsumer, Failed> {
        let mut option = SimpleConsumerOption::default();
        option.set_logging_format(LoggingFormat::Json);
        option.set_consumer_group(group);
        option.set_topics(vec![topic]);
        let mut consumer = SimpleConsumer::new(option, self.options()?)?;
        consumer.start().await?;
        Ok(consumer)
    }

    /// Receives and acknowledges until so many came or the time is over.
    pub(crate) async fn take(
        &self,
        from: (&SimpleConsumer, &str, &FilterExpression),
        count: usize,
        limit: Duration,
    ) -> Result<Vec<MessageView>, Failed> {
        let (consumer, topic, filter) = from;
        let deadline = Instant::now() + limit;
        let mut all = Vec::new();
        while all.len() < count && Instant::now() < deadline {
            let got = consumer
                .receive_with(topic, filter, 16, Duration::from_secs(30))
                .await?;
            for message in got {
                consumer.ack(&message).await?;
                all.push(message);
            }
        }
        Ok(all)
    }
}

fn producing(topic: &str) -> ProducerOption {
    let mut option = ProducerOption::default();
    option.set_logging_format(LoggingFormat::Json);
    option.set_topics(vec![topic]);
    option
}

fn say(line: &Value) {
    // Whoever started this program is gone when its output is.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Every message.
pub(crate) fn all() -> FilterExpression {
    FilterExpression::new(FilterType::Tag, "*")
}

pub(crate) fn bodies(messages: &[MessageView]) -> Vec<String> {
    let mut bodies: Vec<String> = messages.iter().map(body).collect();
    bodies.sort();
    bodies
}

pub(crate) fn body(message: &MessageView) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}
