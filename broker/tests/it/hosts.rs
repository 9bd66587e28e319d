// SPDX-License-Identifier: Apache-2.0
//! Brokers and clients that speak IPv6.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use aerobee_broker::config::{Config, Identity};
use aerobee_message::{id, record::RecordView};
use serde_json::json;

use crate::support::Running;

const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test]
async fn messages_carry_long_addresses() {
    if let Err(error) = TcpListener::bind(SocketAddr::new(HERE, 0)) {
        assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
        return;
    }
    let keys = [("bindAddress", "::1"), ("brokerIP1", "::1")];
    let mut running = Running::start_with(&keys).await;
    let mut client = running.connect().await;
    client.create_topic("orders", 1).await;
    let sent = client.send("orders", 0, "by IPv6").await;
    let message_id = sent.field("msgId").to_owned();
    assert_eq!((sent.code(), message_id.len()), (0, 56));
    for restarted in [false, true] {
        if restarted {
            running = running.restart_with(&keys).await;
            client = running.connect().await;
        }
        let (host, at) = id::parse(&message_id).unwrap();
        assert_eq!(host.ip(), HERE);
        let viewed = client.ask(33, json!({"offset": at.to_string()}), &[]).await;
        let pulled = client.pull("orders", 0, 0).await;
        for body in [&viewed.body, &pulled.body] {
            let record = RecordView::parse(body).unwrap();
            assert_eq!(record.body(), b"by IPv6");
            assert_eq!((record.born_host().ip(), record.store_host()), (HERE, host));
            assert_eq!(record.sys_flag() & 0x30, 0x30);
        }
    }
}

#[test]
fn an_address_of_ipv6_is_registered_in_brackets_however_it_is_written() {
    let address = |ip: &str| {
        let mut config = Config::default();
        config.set("brokerIP1", ip).unwrap();
        Identity::new(&config, 10_911).map(|identity| identity.address.to_string())
    };
    for ip in ["::1", "[::1]"] {
        assert_eq!(address(ip).unwrap(), "[::1]:10911");
    }
    for ip in ["[127.0.0.1]", "[::1", "[]", "broker"] {
        assert!(address(ip).is_err(), "{ip}");
    }
}
