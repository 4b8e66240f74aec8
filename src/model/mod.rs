//! Transformer language models on a device: what is read from a model folder, and its forward pass.

mod cache;
mod damage;
mod decoder;
mod drawn;
mod generate;
mod gpt2;
mod layer_norm;
mod linear;
mod llama;
mod loader;
mod opt;
mod positions;
mod split;
mod streamed;
mod trainable;
mod vocabulary;

use std::path::{Path, PathBuf};

pub use cache::Cache;
pub use generate::{Generation, Sampling, generate};
pub use linear::{Linear, Observer};
pub use split::Room;
pub use streamed::{LoadedBlock, StreamedModel};
pub use trainable::{InitialValues, Layout, ModelParameter};

use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::io::ModelConfig;
use crate::op::{ActivationPrecision, Activations};
use cache::Step;
use decoder::{Block, Decoder, Past};
use split::Front;

/// A model of the Llama family (Llama, Mistral, Qwen2, Qwen3, BitNet), an OPT or a GPT-2, its weights on a device:
/// quantized layers stay packed there.
///
/// ```
/// use bitsmith::{Device, Recorder, model::Model};
/// let model = Model::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let mut cache = model.cache(1, 16)?;
/// let mut rec = Recorder::new(model.device());
/// let hidden = model.hidden(&mut rec, &[1, 50, 60], &mut cache)?;
/// let logits = model.logits(&mut rec, &hidden)?;
/// rec.submit()?;
/// let values = pollster::block_on(logits.read(model.device()))?;
/// assert_eq!(values.len(), 3 * model.config().vocab_size);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    folder: PathBuf,
    device: Device,
    activations: ActivationPrecision,
    decoder: Box<dyn Decoder>,
    blocks: Vec<Box<dyn Block>>,
    /// What goes before, where it is on another device.
    front: Option<Front>,
}

impl Model {
    /// Reads a model folder, quantized or not, onto a device.
    ///
    /// # Errors
    /// Those of reading, each naming file and tensor; [`Error::Unsupported`] for another architecture;
    /// [`Error::Limit`] if the device has too little memory.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        Self::open_with(folder, device, ActivationPrecision::Auto)
    }

    /// [`Self::open`] with this precision of the activations that enter quantized layers. All others stay exact.
    ///
    /// # Errors
    /// As [`Self::open`], and [`Error::Config`] for int8 activations if no layer is quantized.
    pub fn open_with(folder: &Path, device: &Device, activations: ActivationPrecision) -> Result<Self> {
        StreamedModel::open_with(folder, device, activations)?.load()
    }

    /// What config.json says.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the model was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the weights are; of a model on two devices the second, where logits are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the activations become that enter quantized layers: exact, or, at some layer, int8.
    pub fn activations(&self) -> ActivationPrecision {
        self.activations
    }

    /// The longest sequence the model was made for, in tokens.
    pub fn context(&self) -> usize {
        self.config.context()
    }

    /// The linear layers of all blocks, in the order they are used.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        let front = self.front.iter().flat_map(|front| &front.blocks);
        front.chain(&self.blocks).flat_map(|block| block.linears()).flatten()
    }

    /// [`Self::linears`], to change their weights.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let front = self.front.iter_mut().flat_map(|front| &mut front.blocks);
        front.chain(&mut self.blocks).flat_map(|block| block.linears_mut()).flatten()
    }

    /// Bytes of all weights on the device, or on both.
    pub fn bytes(&self) -> u64 {
        let of = |decoder: &dyn Decoder, blocks: &[Box<dyn Block>]| {
            decoder.bytes() + blocks.iter().map(|block| block.bytes()).sum::<u64>()
        };
        let front = self.front.as_ref().map_or(0, |front| of(&*front.decoder, &front.blocks));
        front + of(&*self.decoder, &self.blocks)
    }

    /// Room for the keys and values of `sequences` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Config`] if the capacity is over the model's context, and those of the device.
    pub fn cache(&self, sequences: usize, capacity: usize) -> Result<Cache> {
        let new = |device, blocks: &[_]| cache::checked(device, &self.config, blocks.len(), sequences, capacity);
        let front = self.front.as_ref().map(|front| new(&front.device, &front.blocks)).transpose()?;
        Ok(new(&self.device, &self.blocks)?.behind(front))
    }

    /// What the head takes, `[ids, width]`, for the next tokens of each sequence; `ids` holds the same number for each, one
    /// sequence after the other. Keys and values go to the cache.
    ///
    /// # Errors
    /// [`Error::Shape`] if the cache is full or an id is outside the vocabulary, [`Error::Unsupported`] for a model on two
    /// devices, and those of the device.
    pub fn hidden(&self, rec: &mut Recorder, ids: &[u32], cache: &mut Cache) -> Result<Activations> {
        if self.front.is_some() {
            let what = "one recording of a model on two devices".to_owned();
            return Err(Error::Unsupported { what, remedy: "take `Model::pass`, with a cache of this model".into() });
        }
        check_ids(&self.config, ids)?;
        let step = cache.step(ids.len())?;
        let x = self.decoder.embed(rec, ids, step)?;
        let x = through(&self.blocks, rec, x, cache, step)?;
        cache.advance(step);
        self.decoder.finish(rec, x)
    }

    /// Logits `[rows, vocab_size]` of hidden states.
    ///
    /// # Errors
    /// Those of the device.
    pub fn logits(&self, rec: &mut Recorder, hidden: &Activations) -> Result<Activations> {
        self.decoder.head(rec, hidden)
    }

    /// Logits `[1, vocab_size]` of the token that follows `ids`, the next ones of a single sequence: what generating a
    /// token takes.
    ///
    /// # Errors
    /// Those of [`Self::hidden`].
    pub fn next_token(&self, rec: &mut Recorder, ids: &[u32], cache: &mut Cache) -> Result<Activations> {
        let hidden = self.hidden(rec, ids, cache)?;
        let last = crate::op::last_row(rec, &hidden)?;
        self.logits(rec, &last)
    }
}

/// Blocks one after the other.
fn through(
    blocks: &[Box<dyn Block>],
    rec: &mut Recorder,
    x: Activations,
    cache: &Cache,
    step: Step,
) -> Result<Activations> {
    let past = |cache_of| Past { cache: cache_of, rope: cache.rope(), step };
    blocks.iter().zip(cache.layers()).try_fold(x, |x, (block, layer)| block.forward(rec, x, past(layer)))
}

/// An error unless all ids are in the vocabulary.
fn check_ids(config: &ModelConfig, ids: &[u32]) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= config.vocab_size) {
        None => Ok(()),
        Some(id) => {
            let expected = format!("token ids below {}", config.vocab_size);
            Err(Error::Shape { op: "model", expected, found: id.to_string() })
        }
    }
}
