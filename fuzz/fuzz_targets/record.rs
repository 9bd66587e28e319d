// SPDX-License-Identifier: Apache-2.0
//! Any bytes as a stored record and as the body of a batch.
#![no_main]

use aerobee_message::{batch, record::RecordView};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = RecordView::parse(bytes) {
        assert!(record.total_len() <= bytes.len());
        let _ = record.crc_matches();
    }
    for item in batch::items(bytes) {
        if item.is_err() {
            return;
        }
    }
});
