// SPDX-License-Identifier: Apache-2.0
//! Any bytes, cut into frames and decoded until they end or are refused.
#![no_main]

use aerobee_remoting::{
    Decoder, Header,
    frame::{Cut, cut},
    header::{pull::PullMessage, send::SendMessage},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    let mut rest = bytes;
    while let Ok(Cut::Frame(frame, used)) = cut(rest) {
        assert!(used > 0 && used <= rest.len());
        let Ok(command) = decoder.decode(frame) else {
            return;
        };
        let _ = SendMessage::read(&command.fields);
        let _ = PullMessage::read(&command.fields);
        rest = &rest[used..];
    }
});
