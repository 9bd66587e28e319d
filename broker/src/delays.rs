// SPDX-License-Identifier: Apache-2.0
//! Where a message goes that is not to be delivered at once: the queue of its delay level, or the
//! topic of the timer wheel. Whoever stores a message for a client asks here first. Apache:
//! `HookUtils.handleScheduleMessage`.

#![allow(dead_code, reason = "timer messages come to use the rest")]

use std::sync::Arc;

use aerobee_message::{properties::keys, record::TagsCode, topic as names};
use aerobee_remoting::ResponseCode;

use crate::{
    config::Switches,
    requeue::{Message, PropertyList},
    schedule::levels::DelayLevels,
};

/// Bytes of properties kept free for those that delivery adds.
pub(crate) const SPARE_BYTES: usize = 128;

/// Why a message cannot be delivered when it wants to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DelayError {
    #[error(
        "accurate timer message is not enabled, timerWheelEnable is false; switch it on or use a delay level"
    )]
    Disabled,
    #[error("timer message illegal, {name} is {value:?} and no number of milliseconds or seconds")]
    NoNumber { name: &'static str, value: String },
    #[error(
        "timer message illegal, the delay time should not be bigger than the max delay {max}ms (timerMaxDelaySec); it is {delay}ms"
    )]
    TooFar { delay: i64, max: i64 },
    #[error(
        "timer message illegal, if set del msg, the delay time should be bigger than the current time"
    )]
    LateRecall,
}

impl DelayError {
    pub(crate) fn code(&self) -> ResponseCode {
        match self {
            Self::Disabled => ResponseCode::SYSTEM_ERROR,
            Self::NoNumber { .. } | Self::TooFar { .. } | Self::LateRecall => {
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
}

impl Delays {
    pub(crate) fn new(levels: &Arc<DelayLevels>, switches: &Arc<Switches>) -> Arc<Self> {
        Arc::new(Self {
            levels: Arc::clone(levels),
            switches: Arc::clone(switches),
        })
    }

    pub(crate) fn levels(&self) -> &DelayLevels {
        &self.levels
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
        let level = properties.number(keys::DELAY).unwrap_or(0);
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
        let is_timer = [
            keys::TIMER_DELIVER_MS,
            keys::TIMER_DELAY_SEC,
            keys::TIMER_DELAY_MS,
        ]
        .iter()
        .any(|name| properties.get(name).is_some());
        if is_timer {
            return Err(DelayError::Disabled);
        }
        Ok(None)
    }

    /// A message was stored where it waits.
    pub(crate) fn stored(&self, _detour: &Detour) {}

    /// With which the sender of a timer message can take it back.
    pub(crate) fn recall_handle(
        &self,
        _detour: &Detour,
        _topic: &str,
        _unique_key: &str,
    ) -> Option<String> {
        None
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
