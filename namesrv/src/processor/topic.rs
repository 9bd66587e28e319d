// SPDX-License-Identifier: Apache-2.0
//! Topic lists and what tools change: 206, 216, 217, 224, 304, 311–313.

use std::sync::Arc;

use aerobee_remoting::{
    Reply, ResponseCode,
    body::{route::TopicRoute, topic::TopicList},
    call::Call,
    fastjson,
    header::route::{DeleteTopicRoute, GetTopicsByCluster, RegisterTopic},
};

use crate::{
    config::Settings,
    routes::{Routes, UnitList},
};

/// Lists topics, adds and removes their routes.
#[derive(Debug)]
pub(crate) struct Topics {
    pub(crate) routes: Arc<Routes>,
    pub(crate) settings: Settings,
}

impl Topics {
    /// Code 206.
    pub(crate) fn all(&self, reply: Reply<'_>) {
        let enabled = self.settings.now().namesrv.enable_all_topic_list;
        answer(enabled, reply, || self.routes.read().topics());
    }

    /// Code 224.
    pub(crate) fn of_cluster(&self, call: Call<'_, GetTopicsByCluster<'_>>) {
        let cluster = call.request.cluster;
        answer(self.lists(), call.reply, || {
            self.routes.read().topics_of_cluster(cluster)
        });
    }

    /// Code 304.
    pub(crate) fn system(&self, reply: Reply<'_>) {
        answer(true, reply, || self.routes.read().system_topics());
    }

    /// Codes 311 to 313.
    pub(crate) fn unit(&self, which: UnitList, reply: Reply<'_>) {
        answer(self.lists(), reply, || {
            self.routes.read().unit_topics(which)
        });
    }

    fn lists(&self) -> bool {
        self.settings.now().namesrv.enable_topic_list
    }

    /// Code 216.
    pub(crate) fn delete(&self, call: Call<'_, DeleteTopicRoute<'_>>) {
        let DeleteTopicRoute {
            topic,
            cluster_name,
        } = call.request;
        let cluster = cluster_name.filter(|cluster| !cluster.is_empty());
        self.routes.write().delete_topic(topic, cluster);
        tracing::info!(topic, cluster, peer = %call.reply.connection().peer(), "topic removed");
        call.reply.ok();
    }

    /// Code 217.
    pub(crate) fn register(&self, call: Call<'_, RegisterTopic<'_>>) {
        let route: TopicRoute = match call.body {
            [] => TopicRoute::default(),
            body => match fastjson::from_slice(body) {
                Ok(route) => route,
                Err(error) => return call.reply.fail(ResponseCode::SYSTEM_ERROR, error),
            },
        };
        self.routes
            .write()
            .register_topic(call.request.topic, route.queue_datas);
        call.reply.ok();
    }
}

fn answer(enabled: bool, reply: Reply<'_>, list: impl FnOnce() -> TopicList) {
    if enabled {
        reply.body(&fastjson::to_vec(&list()));
    } else {
        reply.fail(ResponseCode::SYSTEM_ERROR, "disable");
    }
}
