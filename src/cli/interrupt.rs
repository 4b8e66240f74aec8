//! Ctrl-C and SIGTERM: the first asks the work to end and clean up, a second Ctrl-C ends the program.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Once};

use super::stderr;

static LISTENING: Once = Once::new();
static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// What shells report for a program ended by this signal.
const KILLED: i32 = 130;

/// Listens from now on.
pub(super) fn listen() {
    LISTENING.call_once(set_handler);
}

fn set_handler() {
    let listening = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Relaxed) {
            std::process::exit(KILLED);
        }
        stderr::line("\nstopping; press Ctrl-C again to end at once");
    });
    if let Err(error) = listening {
        tracing::warn!(%error, "Ctrl-C ends the program without cleaning up");
    }
    #[cfg(unix)]
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGTERM, REQUESTED.clone()) {
        tracing::warn!(%error, "SIGTERM ends the program without cleaning up");
    }
}

/// Whether to stop.
pub(super) fn requested() -> bool {
    REQUESTED.load(Relaxed)
}
