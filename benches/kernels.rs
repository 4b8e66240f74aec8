//! `cargo bench`: runs `bitsmith bench` with the same arguments, built for release. See `benches/README.md`.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let args = std::env::args_os().skip(1).filter(|arg| arg != "--bench");
    match Command::new(env!("CARGO_BIN_EXE_bitsmith")).arg("bench").args(args).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("error: cannot start bitsmith: {error}");
            ExitCode::FAILURE
        }
    }
}
