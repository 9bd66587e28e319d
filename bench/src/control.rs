// SPDX-License-Identifier: Apache-2.0
//! What a client or a tool asks before the load: routes, topics, offsets, heartbeats. Blocking.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    thread,
    time::{Duration, Instant},
};

use aerobee_auth::sign::Credentials;
use aerobee_message::RecordView;
use aerobee_remoting::{
    Decoder, Encoding, Output, OwnedFields, RequestCode, ResponseCode,
    body::{
        cluster::ClusterInfo,
        heartbeat::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData},
        route::{BrokerData, MASTER_ID, TopicRoute},
    },
    client::Signer as _,
    fastjson,
    frame::{Cut, cut},
    header::{
        Empty, Header, WriteFields,
        offset::{GetMaxOffset, GetMinOffset, OffsetReply},
        pull::{PullMessage, SUBSCRIPTION},
        route::GetRoute,
        topic::UpdateTopic,
    },
};

use crate::{
    Error,
    args::Target,
    template::{PRODUCER_GROUP, now_millis},
};

/// How long to wait for an answer, and for a route to appear.
const PATIENCE: Duration = Duration::from_secs(30);
/// Read and write.
const PERM: i32 = 6;

/// Resolves `host:port`.
pub(crate) fn resolve(address: &str) -> Result<SocketAddr, Error> {
    let connect = |source| Error::Connect {
        address: address.to_owned(),
        source,
    };
    let mut found = address.to_socket_addrs().map_err(connect)?;
    found
        .next()
        .ok_or_else(|| connect(std::io::ErrorKind::AddrNotAvailable.into()))
}

/// A connection that asks one thing at a time.
#[derive(Debug)]
pub(crate) struct Control {
    stream: TcpStream,
    peer: SocketAddr,
    opaque: i32,
    /// Who signs what is asked, if anybody does.
    keys: Option<Credentials>,
}

/// An answer, owned.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) code: ResponseCode,
    pub(crate) remark: String,
    pub(crate) fields: OwnedFields,
    pub(crate) body: Vec<u8>,
}

impl Control {
    /// Connects to `host:port`.
    pub(crate) fn connect(address: &str) -> Result<Self, Error> {
        let peer = resolve(address)?;
        let connect = || {
            let stream = TcpStream::connect_timeout(&peer, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = connect().map_err(|source| Error::Connect {
            address: address.to_owned(),
            source,
        })?;
        Ok(Self {
            stream,
            peer,
            opaque: 0,
            keys: None,
        })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The same, with what it asks signed.
    pub(crate) fn signed(mut self, keys: Option<&Credentials>) -> Self {
        self.keys = keys.cloned();
        self
    }

    /// The connection, for a load to go on with.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Asks and waits; requests and notices of the server are passed over.
    pub(crate) fn ask<H: WriteFields + ?Sized>(
        &mut self,
        code: RequestCode,
        header: &H,
        body: &[u8],
    ) -> Result<Answered, Error> {
        self.opaque += 1;
        let mut output = Output::default();
        match &self.keys {
            None => output.request(Encoding::Json, code, self.opaque, false, header, body),
            Some(keys) => {
                let mut fields = OwnedFields::default();
                header.write(&mut fields);
                keys.sign(&mut fields, body);
                output.request(Encoding::Json, code, self.opaque, false, &fields, body);
            }
        }
        self.exchange(output.bytes(), self.opaque)
    }

    /// Writes `frame` and waits for the answer to `opaque`.
    pub(crate) fn exchange(&mut self, frame: &[u8], opaque: i32) -> Result<Answered, Error> {
        self.write(frame)?;
        self.await_answer(opaque)
    }

    /// Writes `frame`.
    pub(crate) fn write(&mut self, frame: &[u8]) -> Result<(), Error> {
        let peer = self.peer;
        self.stream
            .write_all(frame)
            .map_err(|source| Error::Broken {
                address: peer.to_string(),
                source,
            })
    }

    /// Waits for the answer to `opaque`.
    pub(crate) fn await_answer(&mut self, opaque: i32) -> Result<Answered, Error> {
        let peer = self.peer;
        let broken = move |source| Error::Broken {
            address: peer.to_string(),
            source,
        };
        let mut decoder = Decoder::default();
        let mut input = Vec::new();
        loop {
            match cut(&input)? {
                Cut::Need(bytes) => {
                    let have = input.len();
                    input.resize(bytes, 0);
                    self.stream.read_exact(&mut input[have..]).map_err(broken)?;
                }
                Cut::Frame(frame, _) => {
                    let command = decoder.decode(frame)?;
                    if command.is_response() && command.opaque == opaque {
                        return Ok(Answered {
                            code: ResponseCode(command.code),
                            remark: command.remark.to_owned(),
                            fields: command.fields.to_owned_fields(),
                            body: command.body.to_vec(),
                        });
                    }
                    input.clear();
                }
            }
        }
    }

    /// Writes frames and waits for as many answers, all of which must be successes.
    pub(crate) fn exchange_all(
        &mut self,
        frames: &[u8],
        count: usize,
        request: &'static str,
    ) -> Result<(), Error> {
        let peer = self.peer;
        let broken = move |source| Error::Broken {
            address: peer.to_string(),
            source,
        };
        self.stream.write_all(frames).map_err(broken)?;
        let mut decoder = Decoder::default();
        let mut input = Vec::new();
        let mut missing = count;
        while missing > 0 {
            match cut(&input)? {
                Cut::Need(bytes) => {
                    let have = input.len();
                    input.resize(bytes, 0);
                    self.stream.read_exact(&mut input[have..]).map_err(broken)?;
                }
                Cut::Frame(frame, _) => {
                    let command = decoder.decode(frame)?;
                    if command.is_response() {
                        if ResponseCode(command.code) != ResponseCode::SUCCESS {
                            return Err(Error::Refused {
                                request,
                                code: command.code,
                                remark: command.remark.to_owned(),
                            });
                        }
                        missing -= 1;
                    }
                    input.clear();
                }
            }
        }
        Ok(())
    }

    /// A broker that is a master, and its name.
    pub(crate) fn any_master(&mut self) -> Result<(String, String), Error> {
        const REQUEST: &str = "the list of brokers";
        let answer = self
            .ask(RequestCode::GET_BROKER_CLUSTER_INFO, &Empty, &[])?
            .accept(REQUEST)?;
        let cluster: ClusterInfo = read_body(&answer.body, REQUEST)?;
        cluster
            .broker_addr_table
            .values()
            .find_map(master)
            .ok_or_else(|| Error::NoBroker {
                namesrv: self.peer.to_string(),
            })
    }

    /// Creates or changes a topic with as many queues for reading as for writing.
    pub(crate) fn create_topic(&mut self, topic: &str, queues: u32) -> Result<(), Error> {
        let queues = i32::try_from(queues).unwrap_or(i32::MAX);
        let header = UpdateTopic {
            topic,
            default_topic: Some("TBW102"),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: PERM,
            topic_filter_type: "SINGLE_TAG",
            topic_sys_flag: Some(0),
            order: false,
            attributes: None,
            force: None,
        };
        self.ask(RequestCode::UPDATE_AND_CREATE_TOPIC, &header, &[])?
            .accept("the creation of the topic")?;
        Ok(())
    }

    /// Asks for the route of `topic` until it names the broker at `address`; gives its address and
    /// name.
    pub(crate) fn await_route(
        &mut self,
        topic: &str,
        address: &str,
    ) -> Result<(String, String), Error> {
        const REQUEST: &str = "the route of the topic";
        let header = GetRoute {
            topic,
            accept_standard_json_only: Some(true),
            zone_mode: None,
            zone_name: None,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(RequestCode::GET_ROUTEINFO_BY_TOPIC, &header, &[])?;
            if answer.code != ResponseCode::TOPIC_NOT_EXIST {
                let answer = answer.accept(REQUEST)?;
                let route: TopicRoute = read_body(&answer.body, REQUEST)?;
                let mut masters = route.broker_datas.iter().filter_map(master);
                if let Some(found) = masters.find(|(known, _)| known == address) {
                    return Ok(found);
                }
            }
            if Instant::now() > deadline {
                return Err(Error::NoRoute {
                    namesrv: self.peer.to_string(),
                    topic: topic.to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// First offset of a queue, and the one after its last.
    pub(crate) fn offsets(&mut self, topic: &str, queue: u32) -> Result<(i64, i64), Error> {
        let queue_id = queue as i32;
        let min = GetMinOffset { topic, queue_id };
        let min = self.ask(RequestCode::GET_MIN_OFFSET, &min, &[])?;
        let max = GetMaxOffset {
            topic,
            queue_id,
            committed: None,
        };
        let max = self.ask(RequestCode::GET_MAX_OFFSET, &max, &[])?;
        let min: OffsetReply = min.accept("the first offset")?.header("the first offset")?;
        let max: OffsetReply = max.accept("the last offset")?.header("the last offset")?;
        Ok((min.offset, max.offset))
    }

    /// Messages of a topic that have a place in its queues; none when there is no such topic.
    pub(crate) fn stored(&mut self, topic: &str, queues: u32) -> Result<u64, Error> {
        let mut stored = 0;
        for queue in 0..queues {
            stored += match self.offsets(topic, queue) {
                Ok((_, max)) => max.max(0).cast_unsigned(),
                Err(Error::Refused { .. }) => 0,
                Err(error) => return Err(error),
            };
        }
        Ok(stored)
    }

    /// Waits until a topic has so many messages, for as long as more of them arrive.
    pub(crate) fn await_stored(
        &mut self,
        topic: &str,
        queues: u32,
        wanted: u64,
    ) -> Result<(), Error> {
        let (mut found, mut changed) = (0, Instant::now());
        loop {
            let now = self.stored(topic, queues)?;
            if now >= wanted {
                return Ok(());
            }
            if now != found {
                (found, changed) = (now, Instant::now());
            }
            if changed.elapsed() > PATIENCE {
                return Err(Error::NotThere {
                    topic: topic.to_owned(),
                    found,
                    wanted,
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Reads every message of a topic for a group.
    pub(crate) fn read_all(
        &mut self,
        target: &Target,
        group: &str,
        mut each: impl FnMut(&RecordView<'_>),
    ) -> Result<(), Error> {
        for queue in 0..target.queues {
            let (mut next, max) = self.offsets(&target.topic, queue)?;
            while next < max {
                let pull = PullMessage {
                    consumer_group: group,
                    topic: &target.topic,
                    queue_id: queue as i32,
                    queue_offset: next,
                    max_msg_nums: 1024,
                    sys_flag: SUBSCRIPTION,
                    commit_offset: 0,
                    suspend_timeout_millis: 0,
                    subscription: Some("*"),
                    sub_version: now_millis(),
                    expression_type: Some("TAG"),
                    max_msg_bytes: Some(i32::MAX),
                    request_source: None,
                    proxy_froward_client_id: None,
                };
                let answer = self.ask(RequestCode::PULL_MESSAGE, &pull, &[])?;
                let mut rest = &answer.body[..];
                let before = next;
                while let Ok(record) = RecordView::parse(rest) {
                    rest = rest.get(record.total_len()..).unwrap_or_default();
                    each(&record);
                    next = record.queue_offset() + 1;
                }
                if answer.code != ResponseCode::SUCCESS || next == before {
                    return Err(Error::Refused {
                        request: "a pull of what was sent",
                        code: answer.code.0,
                        remark: answer.remark,
                    });
                }
            }
        }
        Ok(())
    }

    /// Says that this connection consumes `topic` in `group`.
    pub(crate) fn heartbeat(&mut self, group: &str, topic: &str) -> Result<(), Error> {
        self.ask(
            RequestCode::HEART_BEAT,
            &Empty,
            &heartbeat_body(group, topic, self.stream.local_addr().ok()),
        )?
        .accept("the heartbeat")?;
        Ok(())
    }
}

impl Answered {
    /// This answer, when it is a success.
    pub(crate) fn accept(self, request: &'static str) -> Result<Self, Error> {
        if self.code == ResponseCode::SUCCESS {
            return Ok(self);
        }
        Err(Error::Refused {
            request,
            code: self.code.0,
            remark: self.remark,
        })
    }

    /// Its header.
    pub(crate) fn header<'a, H: Header<'a>>(&'a self, request: &'static str) -> Result<H, Error> {
        H::read(&self.fields.fields()).map_err(|source| Error::Field { request, source })
    }
}

/// Body of a heartbeat of a consumer in `group`, which pulls by itself.
pub(crate) fn heartbeat_body(group: &str, topic: &str, local: Option<SocketAddr>) -> Vec<u8> {
    let client = local.map_or_else(String::new, |address| address.to_string());
    fastjson::to_vec(&HeartbeatData {
        client_id: format!("{client}@bench-{}", std::process::id()),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            subscription_data_set: vec![SubscriptionData {
                sub_string: "*".to_owned(),
                sub_version: now_millis(),
                topic: topic.to_owned(),
                ..SubscriptionData::default()
            }],
            ..ConsumerData::default()
        }],
        producer_data_set: vec![ProducerData {
            group_name: PRODUCER_GROUP.to_owned(),
        }],
        ..HeartbeatData::default()
    })
}

fn master(broker: &BrokerData) -> Option<(String, String)> {
    let address = broker.broker_addrs.get(&MASTER_ID)?;
    Some((address.clone(), broker.broker_name.clone()))
}

fn read_body<T: serde::de::DeserializeOwned>(
    body: &[u8],
    request: &'static str,
) -> Result<T, Error> {
    fastjson::from_slice(body).map_err(|source| Error::Body { request, source })
}
