// SPDX-License-Identifier: Apache-2.0
//! The log as JSON in a file that is moved away, and levels that change: a program of its own, since
//! a process has one log.

use std::{fs, time::Duration};

use aerobee_daemon::{
    Shutdown,
    logging::{self, Format, LogFlags},
};
use rustix::process::{Signal, getpid, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn lines_are_objects_levels_change_and_sighup_opens_the_file_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    logging::start(&LogFlags {
        log_level: "info".to_owned(),
        log_file: Some(path.clone()),
        log_format: Format::Json,
        ..LogFlags::default()
    })
    .unwrap();
    tracing::info!(peer = "1.2.3.4:5", "first \"line\"");
    tracing::debug!("not yet");
    logging::set_levels(&"debug".parse().unwrap());
    tracing::debug!("now it is");
    let text = fs::read_to_string(&path).unwrap();
    for line in text.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
    assert!(text.contains(r#""peer":"1.2.3.4:5""#), "{text}");
    assert!(text.contains(r#"first \"line\""#), "{text}");
    assert!(!text.contains("not yet"), "{text}");
    assert!(text.contains("now it is"), "{text}");

    let _shutdown = Shutdown::on_signals(PATIENCE).unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    kill_process(getpid(), Signal::HUP).unwrap();
    let begun = std::time::Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < PATIENCE, "no new file");
        tracing::info!("another line");
        std::thread::sleep(Duration::from_millis(5));
    }
}
