// SPDX-License-Identifier: Apache-2.0

//! Scenarios on the official Rust SDK, which speaks gRPC to a proxy.
//!
//! ```text
//! run SCENARIO key=value...   one scenario; exit code 0 when every step held
//! serve                       scenarios asked for on standard input, many at a time, until it ends
//! list                        the names of the scenarios
//! ```
//!
//! The lines asked for and answered are those of the Java program beside this one.

mod context;
mod scenarios;

use std::{
    collections::HashMap,
    io::{self, BufRead},
    process::ExitCode,
    sync::{Arc, Mutex},
    thread,
};

use context::{Context, Failed};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Performs a scenario and tells whether every step held.
async fn perform(name: &str, context: &Arc<Context>) -> bool {
    let (name, of) = (name.to_owned(), Arc::clone(context));
    // In a task of its own: the SDK panics where others tell an error.
    let ended = tokio::spawn(async move { scenarios::perform(&name, &of).await }).await;
    let result = ended.unwrap_or_else(|panic| Err(Failed(panic.to_string())));
    context.done(&result);
    result.is_ok()
}

fn serve(runtime: &Runtime) -> Result<(), Failed> {
    let running: Mutex<HashMap<u64, Arc<Context>>> = Mutex::default();
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| Failed(format!("read a line: {error}")))?;
        let asked: Value =
            serde_json::from_str(&line).map_err(|error| Failed(format!("{error}: {line}")))?;
        let mut running = running.lock().map_err(|_| Failed("a thread died".into()))?;
        if let Some(id) = asked["stop"].as_u64() {
            if let Some(context) = running.get(&id) {
                context.stop();
            }
            continue;
        }
        let id = asked["id"].as_u64().unwrap_or_default();
        let given = asked["with"].as_object().into_iter().flatten();
        let given = given
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let context = Arc::new(Context::new(id, given));
        running.insert(id, Arc::clone(&context));
        let name = asked["scenario"].as_str().unwrap_or_default().to_owned();
        runtime.spawn(async move { perform(&name, &context).await });
    }
    Ok(())
}

fn run(runtime: &Runtime, words: &[String]) -> bool {
    let given = words.iter().skip(1).filter_map(|word| word.split_once('='));
    let mut given: HashMap<String, String> = given
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    given
        .entry("prefix".into())
        .or_insert_with(|| format!("p{}", std::process::id()));
    let context = Arc::new(Context::new(0, given));
    let told = Arc::clone(&context);
    // A scenario that goes on until told ends with the first line or the end of standard input.
    thread::spawn(move || {
        let _ = io::stdin().lock().read_line(&mut String::new());
        told.stop();
    });
    let name = words.first().map_or("", String::as_str);
    runtime.block_on(perform(name, &context))
}

fn main() -> ExitCode {
    // The SDK logs there and panics when the folder is missing.
    if let Err(error) = std::fs::create_dir_all("logs") {
        eprintln!("cannot make the folder logs: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start a runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    let held = match words.first().map(String::as_str) {
        Some("list") => {
            println!("{}", scenarios::NAMES.join("\n"));
            true
        }
        Some("serve") => serve(&runtime)
            .inspect_err(|Failed(why)| eprintln!("{why}"))
            .is_ok(),
        Some("run") => run(&runtime, &words[1..]),
        _ => {
            eprintln!(
                "usage: run SCENARIO endpoints=HOST:PORT [prefix=WORD] [ssl=true] [key=value...] | serve | list"
            );
            false
        }
    };
    // Threads of the SDK may still wait for a server that is gone.
    runtime.shutdown_background();
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
