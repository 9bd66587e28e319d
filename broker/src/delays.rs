// SPDX-License-Identifier: Apache-2.0
//! Where a message goes that is not to be delivered at once: the queue of its delay level, or the
//! topic of the timer wheel. Whoever stores a message for a client asks here first. Apache:
//! `HookUtils.handleScheduleMessage`.

use std::sync::Arc;

use aerobee_message::{properties::keys, record::TagsCode, topic as names};
use aerobee_remoting::ResponseCode;
use aerobee_store::Clock;

use crate::{
    config::Switches,
    requeue::{Message, PropertyList},
    schedule::levels::DelayLevels,
    timer::{Gate, recall::RecallHandle},
};

/// Bytes of properties kept free for those that delivery adds.
pub(crate) const SPARE_BYTES: usize = 128;

/// Why a message cannot be delivered when it wants to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DelayError {
    #[error("the delay level is no number: {0:?}; set DELAY to a level from 1 on, or leave it out")]
    NoLevel(String),
    #[error(
        "accurate timer message is not enabled, timerWheelEnable is false; switch it on or use a delay level"
    )]
    Disabled,
    #[error(
        "timer message illegal, the delay time should not be bigger than the max delay {max}ms; or if set del msg, the delay time should be bigger than the current time; {name} is {value:?}, which is no number"
    )]
    NoNumber {
        name: &'static str,
        value: String,
        max: i64,
    },
    #[error(
        "timer message illegal, the delay time should not be bigger than the max delay {max}ms; or if set del msg, the delay time should be bigger than the current time; it is {delay}ms, the limit is timerMaxDelaySec"
    )]
    TooFar { delay: i64, max: i64 },
    #[error(
        "timer message illegal, the delay time should not be bigger than the max delay {max}ms; or if set del msg, the delay time should be bigger than the current time; it recalls a message that is due"
    )]
    LateRecall { max: i64 },
    #[error(
        "timer message is under flow control, max num limit is {} or the current value is greater than {limit} and less than {}, trigger random flow control; {count} messages are due at the same time (timerCongestNumEachSlot)",
        i64::from(*limit) * 2, i64::from(*limit) * 2
    )]
    Crowded { limit: i32, count: i32 },
}

impl DelayError {
    pub(crate) fn code(&self) -> ResponseCode {
        match self {
            // Java's broker fails with a NumberFormatException.
            Self::NoLevel(_) | Self::Disabled | Self::Crowded { .. } => ResponseCode::SYSTEM_ERROR,
            Self::NoNumber { .. } | Self::TooFar { .. } | Self::LateRecall { .. } => {
                ResponseCode::MESSAGE_ILLEGAL
            }
        }
    }
}

/// Where a message waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Detour {
    pub(crate) topic: &'static str,
    pub(crate) queue_id: i32,
    /// `None` for the hash of the tags.
    pub(crate) tags_code: Option<TagsCode>,
    /// The time kept with a timer message (`TIMER_OUT_MS`).
    pub(crate) timer_out: Option<i64>,
}

/// The rules for messages that wait.
pub(crate) struct Delays {
    levels: Arc<DelayLevels>,
    switches: Arc<Switches>,
    timer: Arc<Gate>,
    /// Fixed once the broker runs.
    timer_enabled: bool,
    timer_precision: i64,
    broker_name: String,
    clock: Clock,
}

impl Delays {
    pub(crate) fn new(
        levels: &Arc<DelayLevels>,
        switches: &Arc<Switches>,
        clock: Clock,
    ) -> Arc<Self> {
        let config = switches.config();
        Arc::new(Self {
            levels: Arc::clone(levels),
            switches: Arc::clone(switches),
            timer: Arc::default(),
            timer_enabled: config.store.timer_wheel_enable,
            timer_precision: config.store.timer_precision(),
            broker_name: config.broker.broker_name.clone(),
            clock,
        })
    }

    /// What the timer's thread shares with those who store timer messages.
    pub(crate) fn timer(&self) -> &Arc<Gate> {
        &self.timer
    }

    /// Whether messages may be delivered at any time.
    pub(crate) fn timer_enabled(&self) -> bool {
        self.timer_enabled
    }

    /// Where a message for a queue waits, if it has to; then its properties say where it goes
    /// afterwards. It must be no half message.
    ///
    /// # Errors
    /// It asks for a time that it cannot have.
    pub(crate) fn detour(
        &self,
        topic: &str,
        queue_id: i32,
        properties: &mut PropertyList,
    ) -> Result<Option<Detour>, DelayError> {
        let level = match properties.get(keys::DELAY) {
            None => 0,
            Some(level) => level
                .parse()
                .map_err(|_| DelayError::NoLevel(level.to_owned()))?,
        };
        if let Some(level) = self.levels.clamp(level) {
            for name in [
                keys::TIMER_DELIVER_MS,
                keys::TIMER_DELAY_SEC,
                keys::TIMER_DELAY_MS,
            ] {
                properties.remove(name);
            }
            properties.set(keys::DELAY, level);
            properties.set(keys::REAL_TOPIC, topic);
            properties.set(keys::REAL_QID, queue_id);
            let delay = self.levels.millis(level).unwrap_or(1_000);
            return Ok(Some(Detour {
                topic: names::SCHEDULE,
                queue_id: level - 1,
                tags_code: Some(TagsCode::AfterStoreMillis(delay)),
                timer_out: None,
            }));
        }
        self.timer_detour(topic, queue_id, properties)
    }

    fn timer_detour(
        &self,
        topic: &str,
        queue_id: i32,
        properties: &mut PropertyList,
    ) -> Result<Option<Detour>, DelayError> {
        // With a computed time it was in the wheel already.
        if topic == names::WHEEL_TIMER || properties.get(keys::TIMER_OUT_MS).is_some() {
            return Ok(None);
        }
        let now = self.clock.millis();
        let config = self.switches.config();
        let max = config.store.timer_max_delay_sec.saturating_mul(1000);
        let wanted = deliver_time(properties, now, max);
        if matches!(wanted, Ok(None)) {
            return Ok(None);
        }
        if !self.timer_enabled {
            return Err(DelayError::Disabled);
        }
        let Some(deliver) = wanted? else {
            return Ok(None);
        };
        if deliver <= now {
            return match properties.get(keys::TIMER_DEL_UNIQKEY) {
                Some(_) => Err(DelayError::LateRecall { max }),
                None => Ok(None),
            };
        }
        let delay = deliver.saturating_sub(now);
        if delay > max {
            return Err(DelayError::TooFar { delay, max });
        }
        // The tick after this one delivers it.
        let precision = self.timer_precision;
        let out = if deliver % precision == 0 {
            deliver - precision
        } else {
            deliver / precision * precision
        };
        self.check_crowd(out, config.store.timer_congest_num_each_slot)?;
        properties.set(keys::TIMER_OUT_MS, out);
        properties.set(keys::REAL_TOPIC, topic);
        properties.set(keys::REAL_QID, queue_id);
        Ok(Some(Detour {
            topic: names::WHEEL_TIMER,
            queue_id: 0,
            tags_code: None,
            timer_out: Some(out),
        }))
    }

    /// Refuses what would make too many messages due at one time: above the limit at random, the
    /// more the likelier, above twice the limit always.
    fn check_crowd(&self, out: i64, limit: i32) -> Result<(), DelayError> {
        if limit == i32::MAX {
            return Ok(());
        }
        let count = self.timer.crowd_at(out);
        let above = count.saturating_sub(limit);
        if above <= 0 || above < random_below(limit) {
            return Ok(());
        }
        Err(DelayError::Crowded { limit, count })
    }

    /// A message was stored where it waits.
    pub(crate) fn stored(&self, detour: &Detour) {
        if detour.timer_out.is_some() {
            self.timer.stored();
        }
    }

    /// With which the sender of a timer message can take it back.
    pub(crate) fn recall_handle(
        &self,
        detour: &Detour,
        topic: &str,
        unique_key: &str,
    ) -> Option<String> {
        let time = detour.timer_out? + 1;
        if topic.starts_with(names::RETRY_PREFIX) {
            return None;
        }
        let handle = RecallHandle {
            topic,
            broker: &self.broker_name,
            time,
            key: unique_key,
        };
        Some(handle.encode())
    }

    /// As [`Delays::detour`], for a message in hand.
    ///
    /// # Errors
    /// It asks for a time that it cannot have.
    pub(crate) fn divert(&self, message: &mut Message) -> Result<Option<i64>, DelayError> {
        let detour = self.detour(&message.topic, message.queue_id, &mut message.properties)?;
        let Some(detour) = detour else {
            return Ok(None);
        };
        detour.topic.clone_into(&mut message.topic);
        message.queue_id = detour.queue_id;
        message.tags_code = detour.tags_code;
        Ok(detour.timer_out)
    }
}

/// When a message wants to be delivered, if it says so; seconds count before milliseconds, and both
/// before a time. A delay that no number holds is longer than any limit.
fn deliver_time(properties: &PropertyList, now: i64, max: i64) -> Result<Option<i64>, DelayError> {
    let (name, unit, base) = if properties.get(keys::TIMER_DELAY_SEC).is_some() {
        (keys::TIMER_DELAY_SEC, 1000, now)
    } else if properties.get(keys::TIMER_DELAY_MS).is_some() {
        (keys::TIMER_DELAY_MS, 1, now)
    } else {
        (keys::TIMER_DELIVER_MS, 1, 0)
    };
    let Some(value) = properties.get(name) else {
        return Ok(None);
    };
    match value.parse::<i64>() {
        Ok(number) => Ok(Some(base.saturating_add(number.saturating_mul(unit)))),
        Err(_) => Err(DelayError::NoNumber {
            name,
            value: value.to_owned(),
            max,
        }),
    }
}

/// Any number below `limit`; each state of the standard library's hasher has random keys.
pub(crate) fn random_below(limit: i32) -> i32 {
    use std::hash::{BuildHasher, Hasher};
    let random = std::hash::RandomState::new().build_hasher().finish();
    let limit = u64::from(limit.max(1).unsigned_abs());
    i32::try_from(random % limit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, value: &str) -> Result<Option<i64>, DelayError> {
        let mut properties = PropertyList::default();
        properties.set(name, value);
        deliver_time(&properties, 1_000, 60_000)
    }

    #[test]
    fn times_are_relative_or_absolute() {
        assert_eq!(wanted(keys::TIMER_DELAY_SEC, "3"), Ok(Some(4_000)));
        assert_eq!(wanted(keys::TIMER_DELAY_MS, "-1"), Ok(Some(999)));
        assert_eq!(wanted(keys::TIMER_DELIVER_MS, "77"), Ok(Some(77)));
        assert_eq!(wanted(keys::TAGS, "77"), Ok(None));
        let most = i64::MAX.to_string();
        assert_eq!(wanted(keys::TIMER_DELAY_SEC, &most), Ok(Some(i64::MAX)));
        assert!(wanted(keys::TIMER_DELAY_SEC, "soon").is_err());
        assert!(wanted(keys::TIMER_DELIVER_MS, "1.5").is_err());
    }
}
