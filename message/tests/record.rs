// SPDX-License-Identifier: Apache-2.0
//! Records of any content come back, and no bytes make the parsers panic.

use std::net::SocketAddr;

use aerobee_message::{
    Place, Record, RecordView, TagsCode, batch, id, properties::Properties, tags,
};
use proptest::prelude::*;

fn host() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

proptest! {
    #[test]
    fn records_come_back(
        (topic, queue_id, flag, sys_flag) in ("\\PC{1,60}", any::<i32>(), any::<i32>(), 0i32..16),
        (born_host, store_host) in (host(), host()),
        (queue_offset, physical_offset, store_timestamp) in any::<(i64, i64, i64)>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
    ) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let record = Record {
            topic: &topic, queue_id, flag, sys_flag, born_timestamp: queue_offset, born_host, store_host,
            reconsume_times: flag, prepared_transaction_offset: physical_offset, body: &body, properties: &pieces,
            tags_code: TagsCode::Hash(0),
        };
        let mut out = vec![0xAA; record.encoded_len() + 3];
        let place = Place { queue_offset, physical_offset, store_timestamp };
        let len = record.encode(&mut out, place, record.body_crc());
        prop_assert_eq!(&out[len..], &[0xAA; 3]);
        let view = RecordView::parse(&out).unwrap();
        prop_assert!(view.crc_matches());
        prop_assert_eq!(view.total_len(), len);
        prop_assert_eq!((view.topic(), view.body()), (topic.as_str(), body.as_slice()));
        prop_assert_eq!(view.properties().0, pieces.concat());
        prop_assert_eq!((view.queue_id(), view.flag(), view.sys_flag() & 15), (queue_id, flag, sys_flag));
        prop_assert_eq!((view.born_host(), view.store_host()), (born_host, store_host));
        prop_assert_eq!(
            (view.queue_offset(), view.physical_offset(), view.store_timestamp(), view.born_timestamp()),
            (queue_offset, physical_offset, store_timestamp, queue_offset)
        );
        prop_assert_eq!((view.reconsume_times(), view.prepared_transaction_offset()), (flag, physical_offset));
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), with_magic in any::<bool>(), text in ".{0,80}") {
        if with_magic && bytes.len() > 8 {
            let len = i32::try_from(bytes.len()).unwrap();
            bytes[..4].copy_from_slice(&len.to_be_bytes());
            bytes[4..8].copy_from_slice(&aerobee_message::record::MAGIC_V1.to_be_bytes());
        }
        if let Ok(view) = RecordView::parse(&bytes) {
            prop_assert!(view.total_len() <= bytes.len());
            let _ = (view.crc_matches(), view.topic(), view.born_host(), view.store_host(), view.properties().iter().count());
        }
        let _ = batch::count(&bytes);
        prop_assert!(Properties(&bytes).iter().count() <= bytes.len());
        let _ = (id::parse(&text), tags::TagFilter::parse(&text), tags::hash(&text));
    }
}
