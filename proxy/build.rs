// SPDX-License-Identifier: Apache-2.0
//! Makes Rust of Apache's protobuf files, which stand unchanged in `proto/`. The compiler is a
//! library (protox), so that a fresh clone builds with cargo alone.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["apache/rocketmq/v2/service.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Served by reflection.
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        // Bodies are slices of what was received, not copies.
        .bytes(".")
        .build_transport(false)
        .codec_path("crate::codec::Codec")
        .compile_fds(files)?;
    Ok(())
}
