//! Weights, read on a thread of its own while others are computed with.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};
use crate::io::Source;

/// Yields tensors in a given order. One is ready while the one before is in use.
#[derive(Debug)]
pub(super) struct ReadAhead {
    ready: Option<Receiver<Result<Vec<u8>>>>,
    /// Takes back what was used, to be filled again.
    used: Sender<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// Starts to read the tensors of these names.
    pub(super) fn start(mut source: Source, names: Vec<String>) -> Result<Self> {
        // No room in the channel: what is ready waits in the hands of the thread.
        let (sender, ready) = sync_channel(0);
        let (used, free) = channel::<Vec<u8>>();
        let read = move || {
            for name in names {
                let mut bytes = free.try_recv().unwrap_or_default();
                let read = source.read(&name, &mut bytes);
                let failed = read.is_err();
                if sender.send(read.map(|()| bytes)).is_err() || failed {
                    break;
                }
            }
        };
        let thread = Builder::new().name("weights".into()).spawn(read).map_err(|e| Error::io("a thread", e))?;
        Ok(Self { ready: Some(ready), used, thread: Some(thread) })
    }

    /// Gives back the memory of a tensor that was used.
    pub(super) fn reuse(&self, bytes: Vec<u8>) {
        // A thread that has read everything needs no more.
        let _ = self.used.send(bytes);
    }

    /// The bytes of the next tensor.
    ///
    /// # Errors
    /// Those of [`Source::read`]; after one, and after the last tensor, there are no more.
    pub(super) fn next(&mut self) -> Result<Vec<u8>> {
        let next = self.ready.as_ref().and_then(|ready| ready.recv().ok());
        next.unwrap_or_else(|| Err(Error::config("tensor", "more were asked for than were announced")))
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        // Without a receiver the thread ends with the tensor it is at.
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
