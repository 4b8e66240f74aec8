//! The `bitsmith` program.
#![deny(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let done = cli::Invocation::parse(std::env::args_os()).and_then(|invocation| pollster::block_on(invocation.run()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}
