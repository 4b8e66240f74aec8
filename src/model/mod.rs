//! Transformer language models on a device: what is read from a model folder, and its forward pass.

mod cache;
mod decoder;
mod generate;
mod gpt2;
mod layer_norm;
mod linear;
mod llama;
mod loader;
mod opt;
mod positions;
mod vocabulary;

use std::path::{Path, PathBuf};

pub use cache::Cache;
pub use generate::{Generation, Sampling, generate};
pub use linear::Linear;

use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::io::ModelConfig;
use crate::op::{ActivationPrecision, Activations};
use decoder::{Network, Past};
use loader::Loader;

/// A model of the Llama family (Llama, Mistral, Qwen2, Qwen3), an OPT or a GPT-2, its weights on a device: quantized
/// layers stay packed there.
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
    network: Network,
}

impl Model {
    /// Reads a model folder, quantized or not, onto a device.
    ///
    /// # Errors
    /// Those of reading, each naming file and tensor; [`Error::Unsupported`] for another architecture;
    /// [`Error::Limit`] if the device has too little memory.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        Self::open_with(folder, device, ActivationPrecision::Exact)
    }

    /// [`Self::open`] with this precision of the activations that enter quantized layers. All others stay exact.
    ///
    /// # Errors
    /// As [`Self::open`], and [`Error::Config`] for int8 activations if no layer is quantized.
    pub fn open_with(folder: &Path, device: &Device, activations: ActivationPrecision) -> Result<Self> {
        let (config, value) = ModelConfig::read(folder)?;
        let loader = Loader::open(folder, device, activations, &value)?;
        let network = Network::load(&loader, &config)?;
        Ok(Self { config, folder: folder.to_path_buf(), device: device.clone(), activations, network })
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

    /// What the activations become that enter quantized layers.
    pub fn activations(&self) -> ActivationPrecision {
        self.activations
    }

    /// The longest sequence the model was made for, in tokens.
    pub fn context(&self) -> usize {
        self.config.context()
    }

    /// Bytes of all weights on the device.
    pub fn bytes(&self) -> u64 {
        self.network.decoder().bytes()
    }

    /// Room for the keys and values of `sequences` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Config`] if the capacity is over the model's context, and those of the device.
    pub fn cache(&self, sequences: usize, capacity: usize) -> Result<Cache> {
        if capacity > self.context() {
            let detail = format!("{capacity} tokens, but the model's context is {}; take fewer", self.context());
            return Err(Error::config("context", detail));
        }
        Cache::new(&self.device, &self.config, sequences, capacity)
    }

    /// What the head takes, `[ids, width]`, for the next tokens of each sequence; `ids` holds the same number for each, one
    /// sequence after the other. Keys and values go to the cache.
    ///
    /// # Errors
    /// [`Error::Shape`] if the cache is full or an id is outside the vocabulary, and those of the device.
    pub fn hidden(&self, rec: &mut Recorder, ids: &[u32], cache: &mut Cache) -> Result<Activations> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.config.vocab_size) {
            let expected = format!("token ids below {}", self.config.vocab_size);
            return Err(Error::Shape { op: "model", expected, found: id.to_string() });
        }
        let step = cache.step(ids.len())?;
        let decoder = self.network.decoder();
        let mut x = decoder.embed(rec, ids, step)?;
        for (block, layer) in decoder.blocks().into_iter().zip(cache.layers()) {
            x = block.forward(rec, x, Past { cache: layer, rope: cache.rope(), step })?;
        }
        cache.advance(step);
        decoder.finish(rec, x)
    }

    /// Logits `[rows, vocab_size]` of hidden states.
    ///
    /// # Errors
    /// Those of the device.
    pub fn logits(&self, rec: &mut Recorder, hidden: &Activations) -> Result<Activations> {
        self.network.decoder().head(rec, hidden)
    }
}
