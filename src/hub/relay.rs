//! Downloads run on a thread of their own, which alone has the runtime that they need; whoever waits hears of their
//! progress here.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};
use tokio::runtime::Builder;

use super::download::fetch;
use super::{Hub, Request};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// How often it is asked whether to stop.
const TICK: Duration = Duration::from_millis(100);

/// What a download tells.
#[derive(Debug)]
pub(super) enum Event {
    /// A stage of this many bytes begins.
    Begin(String, u64),
    /// So many bytes more are there, of this file.
    Advance(u64, String),
}

/// Fetches what is wanted.
pub(super) fn run(hub: &Hub, request: &Request<'_>, progress: &mut dyn Progress) -> Result<Vec<PathBuf>> {
    let (events, heard) = channel();
    let (stop, stopped) = oneshot::channel();
    std::thread::scope(|scope| {
        let work = scope.spawn(move || work(hub, request, events, stopped));
        listen(&heard, stop, progress);
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Hands on what is heard until the work is over.
fn listen(heard: &Receiver<Event>, stop: oneshot::Sender<()>, progress: &mut dyn Progress) {
    let (mut stop, mut begun) = (Some(stop), false);
    loop {
        match heard.recv_timeout(TICK) {
            Ok(Event::Begin(what, total)) => {
                progress.begin(&what, total);
                begun = true;
            }
            Ok(Event::Advance(bytes, file)) => progress.advance(bytes, &file),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if progress.cancelled()
            && let Some(stop) = stop.take()
        {
            // It may be over already.
            let _ = stop.send(());
        }
    }
    if begun {
        progress.end();
    }
}

/// Ends when all is fetched, something fails or a stop is asked for; all it had opened is closed then.
fn work(
    hub: &Hub,
    request: &Request<'_>,
    events: Sender<Event>,
    stopped: oneshot::Receiver<()>,
) -> Result<Vec<PathBuf>> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::io("the download's runtime", e))?;
    let done = runtime.block_on(async {
        match select(pin!(fetch(hub, request, events)), stopped).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Err(Error::Cancelled),
        }
    });
    // A look-up of a name that hangs is not waited for.
    runtime.shutdown_background();
    done
}
