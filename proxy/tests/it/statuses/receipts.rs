// SPDX-License-Identifier: Apache-2.0
//! Receipts, and the invisible times that they are changed to.

use aerobee_proxy::v2::{ClientType, Code};

use crate::support::{
    message, receipt,
    statuses::{Answer::Is as I, Trial, span},
    telemetry::{settings, subscription},
};

/// A handle with one of its fields exchanged.
fn forged(handle: &str, field: usize, text: &str) -> String {
    let mut fields: Vec<&str> = handle.split(' ').collect();
    fields[field] = text;
    fields.join(" ")
}

/// A topic and a consumer of it, whose stream stays open while it is held.
async fn consuming() -> (Trial, impl Sized) {
    let mut trial = Trial::start().await;
    trial.topic("normal", "NORMAL").await;
    trial.group("g").await;
    let hello = settings(ClientType::SimpleConsumer, subscription("g", "normal"));
    let (up, down, told) = trial.connect("consumer", hello).await;
    trial.is("settings", told, I(Code::Ok), I(Code::Ok));
    (trial, (up, down))
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_forged_cut_and_expired() {
    let (mut trial, _stream) = consuming().await;
    let sent = trial
        .send(vec![message("normal", "a"), message("normal", "b")])
        .await;
    trial.is("send", sent, I(Code::Ok), I(Code::Ok));
    let good = receipt(&trial.one("normal").await);
    let cut = good.rsplit_once(' ').unwrap().0.rsplit_once(' ').unwrap().0;
    use Code as C;
    let (invalid, failed) = (I(C::InvalidReceiptHandle), I(C::InternalServerError));
    for (name, handle, ours, apache) in [
        ("empty", String::new(), [invalid; 3], [failed; 3]),
        ("nonsense", "nonsense".to_owned(), [invalid; 3], [failed; 3]),
        ("cut", cut.to_owned(), [invalid; 3], [failed; 3]),
        (
            "letters for numbers",
            forged(&good, 1, "x"),
            [invalid; 3],
            [failed; 3],
        ),
        (
            "another broker",
            forged(&good, 5, "elsewhere"),
            [invalid; 3],
            [invalid; 3],
        ),
        (
            "a queue that is not there",
            forged(&good, 6, "99"),
            [invalid; 3],
            [failed, failed, I(C::Ok)],
        ),
        (
            "an offset that is not there",
            forged(&good, 7, "4096"),
            [invalid; 3],
            [failed, failed, I(C::Ok)],
        ),
        (
            "expired long ago",
            forged(&good, 1, "1700000000000"),
            [invalid; 3],
            [invalid; 3],
        ),
    ] {
        let (all, entries) = trial.ack("normal", &[&handle]).await;
        trial.is(("ack", name), all, ours[0], apache[0]);
        for entry in entries {
            trial.is(("entry", name), entry, ours[0], apache[0]);
        }
        let answer = trial.change(&handle, span(20_000)).await;
        trial.is(("change", name), answer, ours[1], apache[1]);
        if name != "expired long ago" {
            let answer = trial.bury(&handle).await;
            trial.is(("dead letter", name), answer, ours[2], apache[2]);
        }
    }
    // Each entry has its own status.
    let other = forged(&good, 5, "elsewhere");
    let (all, entries) = trial.ack("normal", &["nonsense", &good, &other]).await;
    let several = I(C::MultipleResults);
    trial.is("several", all, several, several);
    for (entry, (ours, apache)) in
        entries
            .into_iter()
            .zip([(invalid, failed), (I(C::Ok), I(C::Ok)), (invalid, invalid)])
    {
        trial.is("one of several", entry, ours, apache);
    }
    let (none, entries) = trial.ack("normal", &[]).await;
    assert!(entries.is_empty());
    trial.is("none", none, I(C::Ok), failed);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invisible_times_that_cannot_be() {
    let (mut trial, _stream) = consuming().await;
    trial.send(vec![message("normal", "a")]).await;
    let good = receipt(&trial.one("normal").await);
    let illegal = I(Code::IllegalInvisibleTime);
    for (time, ours, apache) in [
        (span(-1), illegal, illegal),
        (span(43_200_001), illegal, illegal),
        (
            Some(prost_types::Duration {
                seconds: i64::MAX,
                nanos: i32::MAX,
            }),
            illegal,
            I(Code::InternalServerError),
        ),
        (span(20_000), I(Code::Ok), I(Code::Ok)),
    ] {
        let answer = trial.change(&good, time).await;
        trial.is(("ChangeInvisibleDuration", time), answer, ours, apache);
    }
    trial.end().await;
}
