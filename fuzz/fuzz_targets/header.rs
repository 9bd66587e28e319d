// SPDX-License-Identifier: Apache-2.0
//! Any bytes as a header in either encoding; what is read and written again reads the same.
#![no_main]

use aerobee_remoting::{
    Decoder, Encoding, Output, RequestCode,
    frame::{Cut, Frame, cut},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, header)) = bytes.split_first() else {
        return;
    };
    let encoding = if first % 2 == 0 {
        Encoding::Json
    } else {
        Encoding::Compact
    };
    let mut decoder = Decoder::default();
    let frame = Frame {
        encoding,
        header,
        body: b"",
    };
    let Ok(command) = decoder.decode(frame) else {
        return;
    };
    let fields = command.fields.to_owned_pairs();
    let mut output = Output::default();
    output.request(
        Encoding::Json,
        RequestCode(1),
        command.opaque,
        false,
        &fields[..],
        b"",
    );
    let Ok(Cut::Frame(frame, _)) = cut(output.bytes()) else {
        return;
    };
    let mut again = Decoder::default();
    let again = again.decode(frame).expect("our own header is valid");
    assert_eq!(again.fields.to_owned_pairs(), fields);
});
