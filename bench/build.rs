// SPDX-License-Identifier: Apache-2.0
//! Makes a client of Apache's protobuf files, those that the proxy serves.

use std::error::Error;

const FILES: &str = "../proxy/proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={FILES}");
    let files = protox::compile(["apache/rocketmq/v2/service.proto"], [FILES])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
