//! The second half of a run, on a thread of its own: what was computed is encoded, read back, written and noted, while
//! the next layer is computed.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::QuantizedLayer;
use super::parts::{Parts, same};
use super::saved::{Finished, Saved};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::{BlockRecord, Exporter, Importer, LayerRecord, LayerSpec};
use crate::io::{CheckpointWriter, Checksum, Journal, Source, Unsynced};

/// After this many bytes the disk is made to take them. Doing so after each layer would halve the speed of a method
/// that makes a gigabyte a second; a method that takes seconds a layer has each on disk when it is done.
const SYNC_BYTES: u64 = 64 << 20;
/// The longest that something written may wait for that.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Beyond this many bytes that the disk may not have, a disk that is slower than the method is waited for.
const MOST_UNSYNCED: u64 = 4 * SYNC_BYTES;
/// Time between two looks at a disk that is late.
const TICK: Duration = Duration::from_millis(20);
/// Jobs that may wait while another is written.
const WAITING: usize = 1;
/// A tensor that is kept is copied in pieces of this size.
const PIECE: usize = 8 << 20;

/// A quantized layer on its way to the file.
#[derive(Debug)]
pub(super) struct Made {
    /// Name of the weight in the original model.
    pub(super) source: String,
    pub(super) spec: LayerSpec,
    /// Type of the original weight.
    pub(super) dtype: Dtype,
    pub(super) layer: QuantizedLayer,
}

#[derive(Debug)]
pub(super) enum Item {
    /// A tensor to copy as it is.
    Kept(String),
    /// What came of one job: a layer, or a block and what was noted of it.
    Job { layers: Vec<Made>, block: Option<BlockRecord> },
}

/// Takes items for the thread.
pub(super) struct Output {
    items: Option<SyncSender<Item>>,
    thread: Option<JoinHandle<Ended>>,
}

/// What the thread leaves.
pub(super) struct Ended {
    /// All that is in the files.
    pub(super) finished: Vec<Finished>,
    pub(super) writer: CheckpointWriter,
    /// Whether it took all it was sent.
    pub(super) result: Result<()>,
}

impl Output {
    pub(super) fn start(
        saved: Saved,
        source: Source,
        exporter: Box<dyn Exporter>,
        importer: Box<dyn Importer>,
    ) -> Result<Self> {
        let (items, received) = sync_channel(WAITING);
        let Saved { journal, writer, finished, .. } = saved;
        let sink = Sink {
            source,
            exporter,
            importer,
            journal,
            writer,
            finished,
            unsynced: 0,
            synced: Instant::now(),
            syncing: None,
        };
        let thread = Builder::new().name("output".into()).spawn(move || sink.run(&received));
        Ok(Self { items: Some(items), thread: Some(thread.map_err(|e| Error::io("a thread", e))?) })
    }

    /// Hands over an item; false if the thread has failed and takes no more.
    pub(super) fn send(&self, item: Item) -> bool {
        self.items.as_ref().is_some_and(|items| items.send(item).is_ok())
    }

    /// Waits until everything is written and the disk has it.
    pub(super) fn end(mut self) -> Ended {
        self.items = None;
        let thread = self.thread.take().expect("taken here and in drop only");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.items = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Sink {
    source: Source,
    exporter: Box<dyn Exporter>,
    importer: Box<dyn Importer>,
    journal: Journal,
    writer: CheckpointWriter,
    finished: Vec<Finished>,
    /// Bytes written since the disk was last made to take them.
    unsynced: u64,
    /// When that was.
    synced: Instant,
    /// Waits for the disk.
    syncing: Option<JoinHandle<Result<()>>>,
}

impl Sink {
    fn run(mut self, items: &Receiver<Item>) -> Ended {
        let taken = self.take_all(items);
        // What is finished is to last, whatever ended it.
        let synced = self.sync().and_then(|()| self.wait());
        let result = taken.and(synced);
        Ended { finished: self.finished, writer: self.writer, result }
    }

    fn take_all(&mut self, items: &Receiver<Item>) -> Result<()> {
        loop {
            match items.recv_timeout(SYNC_INTERVAL.saturating_sub(self.synced.elapsed()).max(TICK)) {
                Ok(item) => self.take(item)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let due = self.unsynced >= SYNC_BYTES || self.synced.elapsed() >= SYNC_INTERVAL;
            let free = self.syncing.as_ref().is_none_or(JoinHandle::is_finished);
            if due && free || self.unsynced >= MOST_UNSYNCED {
                self.sync()?;
            }
        }
    }

    fn take(&mut self, item: Item) -> Result<()> {
        let mut done = Finished::default();
        match item {
            Item::Kept(name) => self.keep(name, &mut done)?,
            Item::Job { layers, block } => {
                layers.into_iter().try_for_each(|layer| self.layer(layer, &mut done))?;
                done.block = block;
            }
        }
        // The checksums in it tell whether the data reached the disk too.
        self.journal.append(&done)?;
        self.finished.push(done);
        Ok(())
    }

    fn keep(&mut self, name: String, done: &mut Finished) -> Result<()> {
        let (writer, mut checksum) = (&mut self.writer, Checksum::default());
        let unsynced = &mut self.unsynced;
        self.source.pieces(&name, PIECE, |piece| {
            checksum.update(piece);
            *unsynced += piece.len() as u64;
            writer.write(&name, piece)
        })?;
        done.tensors.push((name.clone(), checksum.finish()));
        done.sources.push(name);
        Ok(())
    }

    fn layer(&mut self, made: Made, done: &mut Finished) -> Result<()> {
        let Made { source, spec, dtype, layer: QuantizedLayer { weight, error } } = made;
        let encoded = self.exporter.encode(&spec, &weight, dtype)?;
        let parts = Parts::new(self.exporter.tensors(&spec, dtype)?, &encoded);
        if !same(&self.importer.decode(&spec.path, &parts)?, &weight, self.exporter.scale_error()) {
            let detail = format!("the format {} does not give back what was written", self.exporter.name());
            return Err(Error::Unsupported { what: spec.path, remedy: detail });
        }
        drop(weight);
        let mut bytes = 0;
        for (name, data) in encoded {
            self.writer.write(&name, &data)?;
            bytes += data.len() as u64;
            let digest = Checksum::of(&data);
            done.tensors.push((name, digest));
        }
        self.unsynced += bytes;
        done.layers.push(LayerRecord {
            path: spec.path,
            shape: [spec.rows, spec.cols],
            scheme: spec.scheme,
            input: spec.input,
            observed: None,
            mse: error.mse(),
            sqnr_db: error.sqnr_db(),
            cosine: error.cosine(),
            bytes,
        });
        done.sources.push(source);
        Ok(())
    }

    /// Makes the disk take what is written, data before journal, on yet another thread.
    fn sync(&mut self) -> Result<()> {
        self.wait()?;
        if self.unsynced > 0 {
            let files = [self.writer.unsynced()?, Some(self.journal.unsynced()?)];
            let sync = move || files.iter().flatten().try_for_each(Unsynced::sync);
            self.syncing = Some(Builder::new().name("sync".into()).spawn(sync).map_err(|e| Error::io("a thread", e))?);
            self.unsynced = 0;
        }
        self.synced = Instant::now();
        Ok(())
    }

    /// Waits until the disk has what it was made to take.
    fn wait(&mut self) -> Result<()> {
        let done = self.syncing.take().map(JoinHandle::join);
        done.map_or(Ok(()), |done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}
