//! A model on two devices: the first blocks on one, as many as there is room for, the others on the processor.
//!
//! A recording belongs to one device, so a pass is two of them. What the last block of the first device gives is read, which
//! waits for it, and uploaded to the processor: `tokens * hidden_size` numbers a pass. Nothing else crosses over.

use std::path::Path;

use super::decoder::{Block, Decoder};
use super::streamed::StreamedModel;
use super::{Cache, Model, check_ids, through};
use crate::device::{Device, DeviceKind, Recorder};
use crate::error::{Error, Result};
use crate::op::{self, ActivationPrecision, Activations};

/// How much of a model a device may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of weights. Caches and activations come on top.
    pub bytes: u64,
    /// Whether the processor computes the blocks beyond, and last norm and head with them; otherwise such a model is refused.
    pub offload: bool,
}

/// What lies on the first of two devices.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) device: Device,
    pub(super) decoder: Box<dyn Decoder>,
    pub(super) blocks: Vec<Box<dyn Block>>,
}

impl Model {
    /// [`Self::open_with`] for a device that has only so much room: embedding and the first blocks are there, the other
    /// blocks, last norm and head on the processor, which is [`Self::device`] then. A model that fits is opened as ever, one of
    /// which nothing fits is on the processor alone. Logits are the same within the rounding of either device.
    ///
    /// # Errors
    /// As [`Self::open_with`], and [`Error::Config`] for a device that is the processor, or a model that does not fit where it
    /// is to.
    pub fn open_within(folder: &Path, device: &Device, activations: ActivationPrecision, room: Room) -> Result<Self> {
        if device.caps().kind == DeviceKind::Cpu {
            return Err(Error::config(
                "gpu_memory_mb",
                "the device is the CPU; leave it out, or name another --device",
            ));
        }
        let first = StreamedModel::open_with(folder, device, activations)?;
        let (count, mut blocks) = (first.blocks(), Vec::new());
        let mut held = first.decoder.bytes();
        while blocks.len() < count && held <= room.bytes {
            let block = first.decoder.block(&first.loader, &first.config, blocks.len())?;
            held += block.bytes();
            if held <= room.bytes {
                blocks.push(block);
            }
        }
        if blocks.len() == count {
            return Ok(first.with_blocks(blocks));
        }
        if !room.offload {
            let detail = format!(
                "{} bytes hold {} of {count} blocks; the processor computes the rest with --cpu-offload",
                room.bytes,
                blocks.len()
            );
            return Err(Error::config("gpu_memory_mb", detail));
        }
        let second = StreamedModel::open_with(folder, &Device::cpu(), activations)?;
        let block = |index| second.decoder.block(&second.loader, &second.config, index);
        let rest = (blocks.len()..count).map(block).collect::<Result<_>>()?;
        let front = (!blocks.is_empty()).then(|| Front { device: device.clone(), decoder: first.decoder, blocks });
        Ok(Self { front, ..second.with_blocks(rest) })
    }

    /// [`Self::hidden`] of any model, also of one on two devices; `rec` is a recording of [`Self::device`]. Where there are two,
    /// it waits for the first.
    ///
    /// # Errors
    /// As [`Self::hidden`], and those of reading.
    pub async fn pass(&self, rec: &mut Recorder, ids: &[u32], cache: &mut Cache) -> Result<Activations> {
        let (Some(front), Some(first)) = (&self.front, cache.front()) else { return self.hidden(rec, ids, cache) };
        check_ids(&self.config, ids)?;
        let step = cache.step(ids.len())?;
        let mut own = Recorder::new(&front.device);
        let x = front.decoder.embed(&mut own, ids, step)?;
        let x = through(&front.blocks, &mut own, x, first, step)?;
        own.submit()?;
        let values = x.read(&front.device).await?;
        let x = Activations::upload(&self.device, x.rows, x.cols, &values)?;
        let x = through(&self.blocks, rec, x, cache, step)?;
        cache.advance(step);
        self.decoder.finish(rec, x)
    }

    /// [`Self::next_token`] of any model, as [`Self::pass`].
    ///
    /// # Errors
    /// Those of [`Self::pass`].
    pub async fn predict(&self, rec: &mut Recorder, ids: &[u32], cache: &mut Cache) -> Result<Activations> {
        let hidden = self.pass(rec, ids, cache).await?;
        let last = op::last_row(rec, &hidden)?;
        self.logits(rec, &last)
    }

    /// The names of its devices, and of two how many blocks are on the first.
    pub fn place(&self) -> String {
        let own = &self.device.caps().name;
        match &self.front {
            None => own.clone(),
            Some(Front { device, blocks, .. }) => {
                let (first, all) = (blocks.len(), blocks.len() + self.blocks.len());
                format!("{} ({first} of {all} blocks) and {own}", device.caps().name)
            }
        }
    }
}
