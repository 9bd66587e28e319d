// SPDX-License-Identifier: Apache-2.0
//! GET_ROUTEINFO_BY_TOPIC (105): where a topic is.

use std::sync::Arc;

use aerobee_remoting::{
    ResponseCode, call::Call, code::version, fastjson, header::route::GetRoute,
};

use crate::{
    config::Settings,
    kv::{Kv, ORDER_TOPIC_CONFIG},
    liveness::Clock,
    routes::{Routes, keep_zone},
};

/// Answers routes.
#[derive(Debug)]
pub(crate) struct RouteQueries {
    pub(crate) routes: Arc<Routes>,
    pub(crate) kv: Arc<Kv>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
}

impl RouteQueries {
    pub(crate) fn get(&self, call: Call<'_, GetRoute<'_>>) {
        let settings = self.settings.now();
        let keys = &settings.namesrv;
        let wait_ms = keys.wait_seconds_for_service.saturating_mul(1000);
        if keys.need_wait_for_service && self.clock.now_ms() < wait_ms {
            let remark = "name server not ready";
            return call.reply.fail(ResponseCode::SYSTEM_ERROR, remark);
        }
        let GetRoute { topic, .. } = call.request;
        let route = self.routes.read().route(topic, keys.support_acting_master);
        let Some(mut route) = route else {
            return call.reply.fail(
                ResponseCode::TOPIC_NOT_EXIST,
                format_args!(
                    "No topic route info in name server for the topic: {topic}\n\
                     See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
                ),
            );
        };
        if keys.order_message_enable {
            route.order_topic_conf = self.kv.get(ORDER_TOPIC_CONFIG, topic);
        }
        let zone = match call.request.zone_name {
            Some(name) if call.request.zone_mode == Some(true) && !name.trim().is_empty() => {
                Some(name)
            }
            _ => None,
        };
        let strict = call.command.version >= version::V4_9_4
            || call.request.accept_standard_json_only == Some(true);
        // Numeric keys are quoted for everybody: all clients read that. The filter by zone encodes
        // anew with Apache, and then always in its own way.
        let body = if let Some(zone) = zone {
            keep_zone(&mut route, zone);
            fastjson::to_vec(&route)
        } else if strict {
            fastjson::to_browser_compatible(&route)
        } else {
            fastjson::to_vec(&route)
        };
        call.reply.body(&body);
    }
}
