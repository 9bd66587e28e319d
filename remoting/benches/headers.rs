// SPDX-License-Identifier: Apache-2.0
//! What the header of a send costs: decoded, read into its struct, answered. Instructions are counted by
//! `valgrind --tool=callgrind` of two runs of different length; the last argument is the number of headers:
//! `cargo bench -p aerobee-remoting --bench headers -- decode 1000000`.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{env, error::Error, hint::black_box, time::Instant};

use aerobee_remoting::{
    Decoder, Encoding, Output, RequestCode,
    frame::{Cut, cut},
    header::{
        Header as _,
        send::{SendMessage, SendReply},
    },
};

const KEY: &str = "7F000001ABCD01234567BE9C4A11CE5D";

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds a flag of its own.
    let mut args = env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let what = args.next().unwrap_or_else(|| "read".to_owned());
    let count: u32 = args.next().map_or(Ok(1_000_000), |count| count.parse())?;
    let frames = send();
    let Cut::Frame(frame, _) = cut(frames.bytes())? else {
        return Err("the frame is whole".into());
    };
    let mut decoder = Decoder::default();
    let mut answers = Output::default();
    let started = Instant::now();
    for number in 0..count {
        match &*what {
            "decode" => {
                black_box(decoder.decode(black_box(frame))?);
            }
            "read" => {
                let command = decoder.decode(black_box(frame))?;
                black_box(SendMessage::read(&command.fields)?);
            }
            "answer" => {
                answer(&mut answers, number.into());
                if answers.bytes().len() > 64 << 10 {
                    answers = Output::default();
                }
            }
            other => return Err(format!("decode, read or answer, not {other}").into()),
        }
    }
    let nanos = started.elapsed().as_nanos() / u128::from(count.max(1));
    println!("{what}: {count} times, {nanos} ns each");
    Ok(())
}

/// A send as the Java SDK makes it.
fn send() -> Output {
    let properties = format!("UNIQ_KEY\u{1}{KEY}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}");
    let header = SendMessage {
        producer_group: "bench-producer",
        topic: "bench-send",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp: 1_888_888_888_888,
        flag: 0,
        properties: &properties,
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: Some("broker-a"),
    };
    let mut out = Output::default();
    let code = RequestCode::SEND_MESSAGE_V2;
    out.request(
        Encoding::Json,
        code,
        1_234_567_890,
        false,
        &header,
        &[b'x'; 128],
    );
    out
}

fn answer(out: &mut Output, queue_offset: i64) {
    let header = SendReply {
        msg_id: "7F00000100002A9F0000000012345678",
        queue_id: 3,
        queue_offset,
        transaction_id: Some(KEY),
        batch_uniq_id: None,
        recall_handle: None,
        region: Some("DefaultRegion"),
        trace_on: Some(true),
    };
    out.response(Encoding::Json, 0, 1_234_567_890, "", &header, &[]);
}
