// SPDX-License-Identifier: Apache-2.0
//! Brokers: 103, 104, 106, 205, 322, 327, 901, 904.

use std::sync::Arc;

use aerobee_remoting::{
    Command, Fields, Header, Reply, ResponseCode,
    body::{DataVersion, cluster::BrokerMemberGroup, registration::BrokerRegistration},
    call::Call,
    fastjson,
    header::{
        register::{
            BrokerHeartbeat, GetBrokerMemberGroup, QueryDataVersion, QueryDataVersionReply,
            RegisterBroker, RegisterBrokerReply, UnregisterBroker,
        },
        route::{AddWritePerm, AddWritePermReply, WipeWritePerm, WipeWritePermReply},
    },
};

use crate::{
    config::Settings,
    kv::{Kv, ORDER_TOPIC_CONFIG},
    liveness::{Clock, Liveness},
    routes::{BrokerKey, Departure, Routes, Rules},
};

/// A registration with a longer body is read aside, so that the other connections of the thread do
/// not wait for it.
const LONG_BODY_BYTES: usize = 128 << 10;

/// What brokers tell, and what is asked about them.
#[derive(Debug)]
pub(crate) struct Brokers {
    pub(crate) routes: Arc<Routes>,
    pub(crate) kv: Arc<Kv>,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
}

impl Brokers {
    /// Code 103.
    pub(crate) fn register(self: &Arc<Self>, command: &Command<'_>, reply: Reply<'_>) {
        if command.body.len() <= LONG_BODY_BYTES {
            return self.register_now(&command.fields, command.body, command.version, reply);
        }
        let (brokers, reply) = (Arc::clone(self), reply.defer());
        let fields = command.fields.to_owned_fields();
        let (body, version) = (command.body.to_vec(), command.version);
        tokio::task::spawn_blocking(move || {
            brokers.register_now(&fields.fields(), &body, version, reply);
        });
    }

    fn register_now(&self, fields: &Fields<'_>, body: &[u8], version: i32, reply: Reply<'_>) {
        let header = match RegisterBroker::read(fields) {
            Ok(header) => header,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        if header.body_crc32 != 0 && checksum(body) != header.body_crc32 {
            tracing::warn!(peer = %reply.connection().peer(), "registration with a wrong checksum");
            return reply.fail(ResponseCode::SYSTEM_ERROR, "crc32 not match");
        }
        let registration = match BrokerRegistration::read(body, header.compressed, version) {
            Ok(registration) => registration,
            Err(error) => {
                tracing::warn!(peer = %reply.connection().peer(), %error, "registration cannot be read");
                return reply.fail(
                    ResponseCode::SYSTEM_ERROR,
                    format_args!("Failed to decode RegisterBrokerBody: {error}"),
                );
            }
        };
        let settings = self.settings.now();
        let rules = Rules {
            delete_missing_topics: settings.namesrv.delete_topic_with_broker_registration,
            notify_min_broker_id: settings.namesrv.notify_min_broker_id_changed,
        };
        let connection = Arc::clone(reply.connection());
        let registered = self.routes.write().register(
            &header,
            registration,
            connection.id(),
            rules,
            self.clock.now_ms(),
        );
        let registered = match registered {
            Ok(registered) => registered,
            Err(error) => return reply.fail(ResponseCode::SYSTEM_ERROR, error),
        };
        self.liveness.registered(&connection);
        self.liveness.send(registered.notice);
        let order_topics = settings
            .namesrv
            .return_order_topic_config_to_broker
            .then(|| self.kv.namespace(ORDER_TOPIC_CONFIG))
            .flatten()
            .map(|table| fastjson::to_vec(&table));
        let answer = RegisterBrokerReply {
            ha_server_addr: registered.ha_server_addr.as_deref(),
            master_addr: registered.master_addr.as_deref(),
        };
        let body = order_topics.unwrap_or_default();
        reply.respond(ResponseCode::SUCCESS, "", &answer, &[&body]);
    }

    /// Code 104.
    pub(crate) fn unregister(&self, call: Call<'_, UnregisterBroker<'_>>) {
        let header = &call.request;
        self.liveness.leave(Departure {
            broker: BrokerKey::new(header.cluster_name, header.broker_addr),
            name: header.broker_name.to_owned(),
            id: header.broker_id,
        });
        call.reply.ok();
    }

    /// Code 904.
    pub(crate) fn heartbeat(&self, call: Call<'_, BrokerHeartbeat<'_>>) {
        let key = BrokerKey::new(call.request.cluster_name, call.request.broker_addr);
        self.routes.write().seen(&key, self.clock.now_ms());
        call.reply.ok();
    }

    /// Code 322.
    pub(crate) fn query_version(&self, call: Call<'_, QueryDataVersion<'_>>) {
        let asked: Option<DataVersion> = match call.body {
            [] => None,
            body => match fastjson::from_slice(body) {
                Ok(version) => Some(version),
                Err(error) => return call.reply.fail(ResponseCode::SYSTEM_ERROR, error),
            },
        };
        let key = BrokerKey::new(call.request.cluster_name, call.request.broker_addr);
        let mut tables = self.routes.write();
        tables.seen(&key, self.clock.now_ms());
        let known = tables.version(&key);
        drop(tables);
        let answer = QueryDataVersionReply {
            changed: known.is_none() || known != asked,
        };
        let body = known.map(|version| fastjson::to_vec(&version));
        let body = body.unwrap_or_default();
        call.reply
            .respond(ResponseCode::SUCCESS, "", &answer, &[&body]);
    }

    /// Code 901.
    pub(crate) fn members(&self, call: Call<'_, GetBrokerMemberGroup<'_>>) {
        let GetBrokerMemberGroup {
            cluster_name,
            broker_name,
        } = call.request;
        let group = BrokerMemberGroup {
            broker_member_group: self.routes.read().members(cluster_name, broker_name),
        };
        call.reply.body(&fastjson::to_vec(&group));
    }

    /// Code 106.
    pub(crate) fn cluster_info(&self, reply: Reply<'_>) {
        let info = self.routes.read().cluster_info();
        reply.body(&fastjson::to_vec(&info));
    }

    /// Code 205.
    pub(crate) fn wipe_write_permission(&self, call: Call<'_, WipeWritePerm<'_>>) {
        let broker = call.request.broker_name;
        let topics = self.routes.write().wipe_write_permission(broker);
        tracing::info!(broker, topics, peer = %call.reply.connection().peer(), "write permission taken");
        call.reply.header(&WipeWritePermReply {
            wipe_topic_count: count(topics),
        });
    }

    /// Code 327.
    pub(crate) fn add_write_permission(&self, call: Call<'_, AddWritePerm<'_>>) {
        let broker = call.request.broker_name;
        let topics = self.routes.write().add_write_permission(broker);
        tracing::info!(broker, topics, peer = %call.reply.connection().peer(), "write permission given");
        call.reply.header(&AddWritePermReply {
            add_topic_count: count(topics),
        });
    }
}

fn count(topics: usize) -> i32 {
    i32::try_from(topics).unwrap_or(i32::MAX)
}

/// CRC-32 with the sign bit cleared, as Apache's `UtilAll.crc32`.
fn checksum(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7fff_ffff).cast_signed()
}
