//! Diagnostics on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// What is told where `RUST_LOG` asks for nothing. What hf-hub and hf-xet complain of comes as errors of this program.
const DEFAULT: &str = "warn,hf_hub=off,xet=off,xet_client=off,xet_data=off,xet_runtime=off";

/// Warnings and errors, or what `RUST_LOG` asks for.
pub(super) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let subscriber = subscriber.with_ansi(std::io::stderr().is_terminal());
    // Only fails where diagnostics are set up already.
    let _ = subscriber.without_time().with_target(false).try_init();
}
