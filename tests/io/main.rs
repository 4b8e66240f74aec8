//! Files: what is written comes back bit for bit, and what is malformed is refused with a message that helps.

mod config;
mod hostile;
mod round_trip;
mod rows;
mod staging;
mod text;

use std::path::Path;

/// Fails unless `result` is an error whose message holds every one of `parts`.
fn refused<T: std::fmt::Debug>(name: &str, result: bitsmith::Result<T>, parts: &[&str]) {
    let message = result.expect_err(name).to_string();
    for part in parts {
        assert!(message.contains(part), "{name}: `{part}` is not in: {message}");
    }
}

/// A safetensors file of this header and data.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::write(path, bytes).unwrap();
}
