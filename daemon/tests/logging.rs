// SPDX-License-Identifier: Apache-2.0
//! The log of a process goes to a file: a program of its own, since a process has one log.

use std::{fs, panic, time::Duration};

use aerobee_daemon::{
    logging::{self, LogFlags},
    warn_every,
};

#[test]
fn lines_go_to_the_file_by_level() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("aerobee.log");
    fs::write(&path, "before\n").unwrap();
    logging::start(&LogFlags {
        log_level: "warn".to_owned(),
        log_file: Some(path.clone()),
        ..LogFlags::default()
    })
    .unwrap();

    tracing::info!("not asked for");
    for place in 0..3 {
        warn_every!(Duration::from_secs(600), place, "again and again");
    }
    panic::catch_unwind(|| panic!("on purpose")).unwrap_err();

    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\n"), "{text}");
    assert!(!text.contains("not asked for"), "{text}");
    assert_eq!(text.matches("again and again").count(), 1, "{text}");
    assert!(text.contains("place=0"), "{text}");
    assert!(text.contains("on purpose"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours in a file: {text}");
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing/aerobee.log");
    let error = logging::start(&LogFlags {
        log_level: "info".to_owned(),
        log_file: Some(path.clone()),
        ..LogFlags::default()
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    assert!(error.contains("--log-file"), "{error}");
}
