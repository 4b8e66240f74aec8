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
mod streamed;
mod trainable;
mod vocabulary;

use std::path::{Path, PathBuf};

pub use cache::Cache;
pub use generate::{Generation, Sampling, generate};
pub use linear::{Linear, Observer};
pub use streamed::{LoadedBlock, StreamedModel};
pub use trainable::{InitialValues, Layout, ModelParameter};

use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::io::ModelConfig;
use crate::op::{ActivationPrecision, Activations};
use decoder::{Block, Decoder, Past};

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

    /// Where the weights are.
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
        self.blocks.iter().flat_map(|block| block.linears()).flatten()
    }

    /// [`Self::linears`], to change their weights.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.blocks.iter_mut().flat_map(|block| block.linears_mut()).flatten()
    }

    /// Bytes of all weights on the device.
    pub fn bytes(&self) -> u64 {
        self.decoder.bytes() + self.blocks.iter().map(|block| block.bytes()).sum::<u64>()
    }

    /// Room for the keys and values of `sequences` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Config`] if the capacity is over the model's context, and those of the device.
    pub fn cache(&self, sequences: usize, capacity: usize) -> Result<Cache> {
        cache::checked(&self.device, &self.config, self.blocks.len(), sequences, capacity)
    }

    /// What the head takes, `[ids, width]`, for the next tokens of each sequence; `ids` holds the same number for each, one
    /// sequence after the other. Keys and values go to the cache.
    ///
    /// # Errors
    /// [`Error::Shape`] if the cache is full or an id is outside the vocabulary, and those of the device.
    pub fn hidden(&self, rec: &mut Recorder, ids: &[u32], cache: &mut Cache) -> Result<Activations> {
        check_ids(&self.config, ids)?;
        let step = cache.step(ids.len())?;
        let mut x = self.decoder.embed(rec, ids, step)?;
        for (block, layer) in self.blocks.iter().zip(cache.layers()) {
            x = block.forward(rec, x, Past { cache: layer, rope: cache.rope(), step })?;
        }
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
