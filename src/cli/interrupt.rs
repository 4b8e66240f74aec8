//! Ctrl-C, and what asks a program to end (SIGTERM, a closed terminal): the first asks the work to end and clean up,
//! the second ends the program.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// What shells report for a program ended by this signal.
const KILLED: i32 = 130;

/// Listens from now on.
pub(super) fn listen() {
    let listening = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Relaxed) {
            std::process::exit(KILLED);
        }
        // The terminal may be gone.
        let _ = writeln!(std::io::stderr(), "\nstopping; press Ctrl-C again to end at once");
    });
    if let Err(error) = listening {
        tracing::warn!(%error, "Ctrl-C ends the program without cleaning up");
    }
}

/// Whether to stop.
pub(super) fn requested() -> bool {
    REQUESTED.load(Relaxed)
}
