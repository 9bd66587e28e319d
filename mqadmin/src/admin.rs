// SPDX-License-Identifier: Apache-2.0
//! Asks name servers and brokers, typed. Every command goes through here.

use std::{future::Future, time::Duration};

use aerobee_daemon::flags;
use aerobee_remoting::{
    Client, Header, Request, RequestCode, Response, WriteFields,
    body::{
        cluster::ClusterInfo,
        connection::ConsumerConnections,
        kv::KvTable,
        route::{BrokerData, MASTER_ID, TopicRoute},
        stats::{ConsumeStats, GroupList, TopicStats},
        topic::TopicList,
    },
    fastjson,
    header::{
        Empty,
        client::GetConsumerConnections,
        offset::{GetMaxOffset, GetMinOffset, OffsetReply, SearchOffset, UpdateConsumerOffset},
        route::GetRoute,
        stats::{GetConsumeStats, GetTopicStats, QueryGroupsOfTopic},
    },
};
use futures_util::{StreamExt as _, stream};
use serde::de::DeserializeOwned;

use crate::{error::Error, sign};

/// How long to wait for an answer; as Apache's tools have it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for what a broker has to collect.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(15);
/// Most questions that wait for their answers at a time.
const AT_A_TIME: usize = 128;

/// Asks servers. Connections are made on first use.
#[derive(Debug)]
pub(crate) struct Admin {
    client: Client,
    namesrvs: Vec<String>,
}

impl Admin {
    /// A client of the name servers of `flag`, else of the environment's `NAMESRV_ADDR`; without any,
    /// only commands that name a broker work.
    ///
    /// # Errors
    /// One of them is no address, or the keys to sign with cannot be read.
    pub(crate) fn new(flag: Option<&str>) -> Result<Self, Error> {
        let given = flag
            .map(str::to_owned)
            .filter(|list| !list.trim().is_empty());
        let list = given
            .or_else(|| std::env::var("NAMESRV_ADDR").ok())
            .unwrap_or_default();
        let namesrvs = flags::parse_addresses(&list)?;
        Ok(Self {
            client: Client::new().signed(sign::find()?),
            namesrvs: namesrvs.iter().map(ToString::to_string).collect(),
        })
    }

    /// The name servers; at least one.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn namesrvs(&self) -> Result<&[String], Error> {
        if self.namesrvs.is_empty() {
            return Err(Error::NoNamesrv);
        }
        Ok(&self.namesrvs)
    }

    /// Asks `address` and waits for a success.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub(crate) async fn ask<H: WriteFields + ?Sized>(
        &self,
        address: &str,
        request: RequestCode,
        header: &H,
        body: &[u8],
        within: Duration,
    ) -> Result<Response, Error> {
        let answer = self.raw(address, request, header, body, within).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        Err(Error::Refused {
            address: address.to_owned(),
            request,
            code: answer.code,
            remark: answer.remark,
        })
    }

    /// Asks `address` and waits for an answer of any kind.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn raw<H: WriteFields + ?Sized>(
        &self,
        address: &str,
        request: RequestCode,
        header: &H,
        body: &[u8],
        within: Duration,
    ) -> Result<Response, Error> {
        let answer = self.client.request(address, request, header, body, within);
        answer
            .await
            .map_err(|source| Error::Unanswered { request, source })
    }

    /// Asks with a typed header.
    ///
    /// # Errors
    /// As [`Admin::ask`].
    pub(crate) async fn call<R: Request>(
        &self,
        address: &str,
        header: &R,
    ) -> Result<Response, Error> {
        self.ask(address, R::CODE, header, &[], PATIENCE).await
    }

    /// Asks with a typed header for a typed body.
    ///
    /// # Errors
    /// As [`Admin::ask`], or the body is not there or not readable.
    pub(crate) async fn read<R: Request, T: DeserializeOwned>(
        &self,
        address: &str,
        header: &R,
    ) -> Result<T, Error> {
        let answer = self.call(address, header).await?;
        body(address, R::CODE, &answer)
    }

    /// Asks every broker of a route for a typed body, all at a time.
    ///
    /// # Errors
    /// As [`Admin::read`], of the first broker that fails.
    pub(crate) async fn read_all<R: Request, T: DeserializeOwned>(
        &self,
        route: &TopicRoute,
        header: &R,
        within: Duration,
    ) -> Result<Vec<T>, Error> {
        let brokers = route.broker_datas.iter().filter_map(pick);
        let answers = each(brokers, |address| async move {
            let answer = self.ask(address, R::CODE, header, &[], within).await?;
            body(address, R::CODE, &answer)
        });
        answers.await.into_iter().collect()
    }

    /// Asks without a header for a typed body.
    ///
    /// # Errors
    /// As [`Admin::read`].
    pub(crate) async fn read_plain<T: DeserializeOwned>(
        &self,
        address: &str,
        request: RequestCode,
        within: Duration,
    ) -> Result<T, Error> {
        let answer = self.ask(address, request, &Empty, &[], within).await?;
        body(address, request, &answer)
    }

    /// Asks the first name server that answers.
    ///
    /// # Errors
    /// As [`Admin::ask`], of the last name server.
    pub(crate) async fn ask_namesrv<H: WriteFields + ?Sized>(
        &self,
        request: RequestCode,
        header: &H,
    ) -> Result<(&str, Response), Error> {
        let mut failed = Error::NoNamesrv;
        for address in &self.namesrvs {
            match self.ask(address, request, header, &[], PATIENCE).await {
                Ok(answer) => return Ok((address, answer)),
                Err(error @ Error::Unanswered { .. }) => failed = error,
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }

    async fn read_namesrv<H: WriteFields + ?Sized, T: DeserializeOwned>(
        &self,
        request: RequestCode,
        header: &H,
    ) -> Result<T, Error> {
        let (address, answer) = self.ask_namesrv(request, header).await?;
        body(address, request, &answer)
    }

    /// Asks every name server; all have to agree.
    ///
    /// # Errors
    /// As [`Admin::ask`], of the first that fails.
    pub(crate) async fn tell_namesrvs<R: Request>(&self, header: &R) -> Result<(), Error> {
        for address in self.namesrvs()? {
            self.call(address, header).await?;
        }
        Ok(())
    }

    /// All clusters and brokers.
    pub(crate) async fn cluster_info(&self) -> Result<ClusterInfo, Error> {
        self.read_namesrv(RequestCode::GET_BROKER_CLUSTER_INFO, &Empty)
            .await
    }

    /// The names of all topics.
    pub(crate) async fn topic_list(&self) -> Result<Vec<String>, Error> {
        let list: TopicList = self
            .read_namesrv(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &Empty)
            .await?;
        Ok(list.topic_list)
    }

    /// Where a topic is.
    pub(crate) async fn route(&self, topic: &str) -> Result<TopicRoute, Error> {
        let header = GetRoute {
            topic,
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        self.read_namesrv(RequestCode::GET_ROUTEINFO_BY_TOPIC, &header)
            .await
    }

    /// Addresses of the masters of a cluster, in the order of the brokers' names.
    ///
    /// # Errors
    /// There is no such cluster, or no broker of it has a master.
    pub(crate) async fn masters(&self, cluster: &str) -> Result<Vec<String>, Error> {
        let masters: Vec<_> = members(&self.cluster_info().await?, cluster)?
            .iter()
            .filter_map(|broker| broker.broker_addrs.get(&MASTER_ID).cloned())
            .collect();
        if masters.is_empty() {
            return Err(Error::NoMaster(cluster.to_owned()));
        }
        Ok(masters)
    }

    /// Addresses of all brokers of a cluster.
    ///
    /// # Errors
    /// There is no such cluster.
    pub(crate) async fn members(&self, cluster: &str) -> Result<Vec<String>, Error> {
        Ok(members(&self.cluster_info().await?, cluster)?
            .iter()
            .flat_map(|broker| broker.broker_addrs.values().cloned())
            .collect())
    }

    /// Runtime information of a broker.
    pub(crate) async fn runtime_info(&self, address: &str) -> Result<KvTable, Error> {
        self.read_plain(address, RequestCode::GET_BROKER_RUNTIME_INFO, PATIENCE)
            .await
    }

    /// What a topic holds, on all its brokers.
    ///
    /// # Errors
    /// A broker does not answer, or there is nothing.
    pub(crate) async fn topic_stats(&self, topic: &str) -> Result<TopicStats, Error> {
        self.topic_stats_by_route(&self.route(topic).await?, topic)
            .await
    }

    /// What a topic holds, on the brokers of a route.
    ///
    /// # Errors
    /// As [`Admin::topic_stats`].
    pub(crate) async fn topic_stats_by_route(
        &self,
        route: &TopicRoute,
        topic: &str,
    ) -> Result<TopicStats, Error> {
        let mut all = TopicStats::default();
        let header = GetTopicStats { topic };
        let parts: Vec<TopicStats> = self.read_all(route, &header, PATIENCE).await?;
        for part in parts {
            all.offset_table.extend(part.offset_table);
            all.topic_put_tps += part.topic_put_tps;
        }
        if all.offset_table.is_empty() {
            return Err(Error::NotFound("Not found the topic stats info".to_owned()));
        }
        Ok(all)
    }

    /// The groups that consume a topic, from all its brokers.
    pub(crate) async fn groups_of_topic(
        &self,
        route: &TopicRoute,
        topic: &str,
    ) -> Result<GroupList, Error> {
        let mut all = GroupList::default();
        let header = QueryGroupsOfTopic { topic };
        let parts: Vec<GroupList> = self.read_all(route, &header, PATIENCE).await?;
        for part in parts {
            all.group_list.extend(part.group_list);
        }
        Ok(all)
    }

    /// The members of a group, of the first broker of its retry topic that knows some.
    pub(crate) async fn connections(&self, group: &str) -> Result<ConsumerConnections, Error> {
        let retry = aerobee_message::topic::retry_topic(group);
        let route = self.route(&retry).await?;
        let header = GetConsumerConnections {
            consumer_group: group,
        };
        let mut failed = Error::NoRoute(retry);
        for address in route.broker_datas.iter().filter_map(pick) {
            match self.read::<_, ConsumerConnections>(address, &header).await {
                Ok(found) if !found.connection_set.is_empty() => return Ok(found),
                Ok(_) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// How far a group is: in `topic`, or in all it has offsets of.
    ///
    /// # Errors
    /// No route leads to its brokers, or one of them does not answer.
    pub(crate) async fn consume_stats(
        &self,
        cluster: Option<&str>,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, Error> {
        let route = self.route_of_group(cluster, group, topic).await?;
        let mut all = ConsumeStats::default();
        let header = GetConsumeStats {
            consumer_group: group,
            topic,
            topic_list: None,
        };
        let parts: Vec<ConsumeStats> = self.read_all(&route, &header, LONG_PATIENCE).await?;
        for part in parts {
            all.offset_table.extend(part.offset_table);
            all.consume_tps += part.consume_tps;
        }
        Ok(all)
    }

    /// The route that leads to the brokers of a group: of its retry topic, else of the topic.
    async fn route_of_group(
        &self,
        cluster: Option<&str>,
        group: &str,
        topic: Option<&str>,
    ) -> Result<TopicRoute, Error> {
        use aerobee_message::topic::{LMQ_PREFIX, WHEEL_TIMER, retry_topic};
        let mut tries = vec![retry_topic(group)];
        if let Some(topic) = topic {
            tries.push(topic.to_owned());
            tries.push(retry_topic(&format!("{group}_{topic}")));
            if topic.starts_with(LMQ_PREFIX) || topic == WHEEL_TIMER {
                tries.extend(cluster.map(str::to_owned));
            }
        }
        let mut failed = Error::NoNamesrv;
        for (at, topic) in tries.iter().enumerate() {
            match self.route(topic).await {
                Ok(route) => return Ok(route),
                // The first failure names the topic that should be there.
                Err(error) if at == 0 => failed = error,
                Err(_) => {}
            }
        }
        Err(failed)
    }

    /// First offset of a queue.
    pub(crate) async fn min_offset(
        &self,
        address: &str,
        topic: &str,
        queue_id: i32,
    ) -> Result<i64, Error> {
        self.offset(address, &GetMinOffset { topic, queue_id })
            .await
    }

    /// Offset after the last of a queue.
    pub(crate) async fn max_offset(
        &self,
        address: &str,
        topic: &str,
        queue_id: i32,
    ) -> Result<i64, Error> {
        let header = GetMaxOffset {
            topic,
            queue_id,
            committed: None,
        };
        self.offset(address, &header).await
    }

    /// The offset of a queue at a store time.
    pub(crate) async fn offset_at(
        &self,
        address: &str,
        topic: &str,
        queue_id: i32,
        timestamp: i64,
    ) -> Result<i64, Error> {
        let header = SearchOffset {
            topic,
            queue_id,
            timestamp,
            boundary_type: None,
        };
        self.offset(address, &header).await
    }

    async fn offset<R: Request>(&self, address: &str, header: &R) -> Result<i64, Error> {
        let answer = self.call(address, header).await?;
        let reply: OffsetReply = read_header(address, R::CODE, &answer)?;
        Ok(reply.offset)
    }

    /// Commits an offset of a group.
    pub(crate) async fn commit(
        &self,
        address: &str,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<(), Error> {
        let header = UpdateConsumerOffset {
            consumer_group: group,
            topic,
            queue_id: Some(queue_id),
            commit_offset: Some(offset),
        };
        self.call(address, &header).await?;
        Ok(())
    }

    /// Ends all connections.
    pub(crate) fn close(&self) {
        self.client.close();
    }
}

/// Reads the body of an answer.
///
/// # Errors
/// It is not there or not readable.
pub(crate) fn body<T: DeserializeOwned>(
    address: &str,
    request: RequestCode,
    answer: &Response,
) -> Result<T, Error> {
    if answer.body.is_empty() {
        return Err(Error::NoBody {
            address: address.to_owned(),
            request,
        });
    }
    fastjson::from_slice(&answer.body).map_err(|source| Error::Body {
        address: address.to_owned(),
        request,
        source,
    })
}

/// Reads the header of an answer.
///
/// # Errors
/// A field is missing or wrong.
pub(crate) fn read_header<'a, H: Header<'a>>(
    address: &str,
    request: RequestCode,
    answer: &'a Response,
) -> Result<H, Error> {
    answer.header().map_err(|source| Error::Header {
        address: address.to_owned(),
        request,
        source,
    })
}

/// The broker of a name to ask: the master, else a slave.
pub(crate) fn pick(broker: &BrokerData) -> Option<&str> {
    broker
        .broker_addrs
        .get(&MASTER_ID)
        .or_else(|| broker.broker_addrs.values().next())
        .map(String::as_str)
}

/// The brokers of a cluster, in the order of their names.
///
/// # Errors
/// There is no such cluster.
pub(crate) fn members<'a>(
    info: &'a ClusterInfo,
    cluster: &str,
) -> Result<Vec<&'a BrokerData>, Error> {
    let names = info
        .cluster_addr_table
        .get(cluster)
        .ok_or_else(|| Error::NoCluster {
            cluster: cluster.to_owned(),
            known: names_of(info.cluster_addr_table.keys()),
        })?;
    Ok(names
        .iter()
        .filter_map(|name| info.broker_addr_table.get(name))
        .collect())
}

/// The brokers that share a name.
///
/// # Errors
/// There is no such broker.
pub(crate) fn broker<'a>(info: &'a ClusterInfo, name: &str) -> Result<&'a BrokerData, Error> {
    info.broker_addr_table
        .get(name)
        .ok_or_else(|| Error::NoBroker {
            broker: name.to_owned(),
            known: names_of(info.broker_addr_table.keys()),
        })
}

fn names_of<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Asks about many things, many at a time; the results are in the order of the things.
pub(crate) async fn each<T, R, F: Future<Output = R>>(
    items: impl IntoIterator<Item = T>,
    ask: impl Fn(T) -> F,
) -> Vec<R> {
    stream::iter(items)
        .map(ask)
        .buffered(AT_A_TIME)
        .collect()
        .await
}
