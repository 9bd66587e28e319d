// SPDX-License-Identifier: Apache-2.0
//! The request table of a name server: code → processor. A new code needs its typed header in
//! `remoting/src/header`, a processor here, and a line in [`Processors::handle`].
//!
//! Apache: `DefaultRequestProcessor`, `ClientRequestProcessor`.

mod broker;
mod config;
mod kv;
mod route;
mod topic;

use std::sync::Arc;

use aerobee_remoting::{Command, Connection, Reply, RequestCode, Service, audit, call::run};

pub(crate) use self::{
    broker::Brokers, config::ConfigAdmin, kv::KvAdmin, route::RouteQueries, topic::Topics,
};
use crate::{liveness::Liveness, routes::UnitList};

/// The processors; each holds just the parts that it uses.
#[derive(Debug)]
pub(crate) struct Processors {
    pub(crate) route: RouteQueries,
    pub(crate) brokers: Arc<Brokers>,
    pub(crate) topics: Topics,
    pub(crate) kv: KvAdmin,
    pub(crate) config: Arc<ConfigAdmin>,
    pub(crate) liveness: Arc<Liveness>,
}

impl Service for Processors {
    type Turn = ();

    fn handle(&self, (): &mut (), command: &Command<'_>, reply: Reply<'_>) {
        if audit::is_administrative(RequestCode(command.code)) {
            audit::note(command, reply.connection());
        }
        match RequestCode(command.code) {
            RequestCode::GET_ROUTEINFO_BY_TOPIC => run(command, reply, |call| self.route.get(call)),
            RequestCode::REGISTER_BROKER => self.brokers.register(command, reply),
            RequestCode::UNREGISTER_BROKER => {
                run(command, reply, |call| self.brokers.unregister(call));
            }
            RequestCode::BROKER_HEARTBEAT => {
                run(command, reply, |call| self.brokers.heartbeat(call));
            }
            RequestCode::QUERY_DATA_VERSION => {
                run(command, reply, |call| self.brokers.query_version(call));
            }
            RequestCode::GET_BROKER_MEMBER_GROUP => {
                run(command, reply, |call| self.brokers.members(call));
            }
            RequestCode::GET_BROKER_CLUSTER_INFO => self.brokers.cluster_info(reply),
            RequestCode::WIPE_WRITE_PERM_OF_BROKER => {
                run(command, reply, |call| {
                    self.brokers.wipe_write_permission(call);
                });
            }
            RequestCode::ADD_WRITE_PERM_OF_BROKER => {
                run(command, reply, |call| {
                    self.brokers.add_write_permission(call);
                });
            }
            code => self.handle_admin(code, command, reply),
        }
    }

    fn closed(&self, connection: &Arc<Connection>) {
        self.liveness.closed(connection);
    }
}

impl Processors {
    /// What only tools ask.
    fn handle_admin(&self, code: RequestCode, command: &Command<'_>, reply: Reply<'_>) {
        match code {
            RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.topics.all(reply),
            RequestCode::DELETE_TOPIC_IN_NAMESRV => {
                run(command, reply, |call| self.topics.delete(call));
            }
            RequestCode::REGISTER_TOPIC_IN_NAMESRV => {
                run(command, reply, |call| self.topics.register(call));
            }
            RequestCode::GET_TOPICS_BY_CLUSTER => {
                run(command, reply, |call| self.topics.of_cluster(call));
            }
            RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS => self.topics.system(reply),
            RequestCode::GET_UNIT_TOPIC_LIST => self.topics.unit(UnitList::Unit, reply),
            RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST => self.topics.unit(UnitList::UnitSub, reply),
            RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.topics.unit(UnitList::UnitSubWithoutUnit, reply);
            }
            RequestCode::PUT_KV_CONFIG => run(command, reply, |call| self.kv.put(call)),
            RequestCode::GET_KV_CONFIG => run(command, reply, |call| self.kv.get(call)),
            RequestCode::DELETE_KV_CONFIG => run(command, reply, |call| self.kv.delete(call)),
            RequestCode::GET_KVLIST_BY_NAMESPACE => run(command, reply, |call| self.kv.list(call)),
            RequestCode::UPDATE_NAMESRV_CONFIG => self.config.update(command.body, reply),
            RequestCode::GET_NAMESRV_CONFIG => self.config.get(reply),
            code => reply.unsupported(code.0),
        }
    }
}
