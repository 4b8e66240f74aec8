//! Transformer language models on a device: what is read from a model folder, and its forward pass.

mod block;
mod cache;
mod generate;
mod linear;
mod loader;

use std::path::{Path, PathBuf};

pub use cache::Cache;
pub use generate::{Generation, Sampling, generate};
pub use linear::Linear;

use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::io::ModelConfig;
use crate::op::{self, Activations, DenseWeight};
use block::Block;
use loader::Loader;

/// A model of the Llama family (Llama, Mistral, Qwen2, Qwen3), its weights on a device: quantized layers
/// stay packed there.
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
    embedding: DenseWeight,
    blocks: Vec<Block>,
    norm: Buffer,
    /// None where the embedding is the output head as well.
    head: Option<Linear>,
}

impl Model {
    /// Reads a model folder, quantized or not, onto a device.
    ///
    /// # Errors
    /// Those of reading, each naming file and tensor; [`Error::Unsupported`] for another architecture;
    /// [`Error::Limit`] if the device has too little memory.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let (config, value) = ModelConfig::read(folder)?;
        let loader = Loader::open(folder, device, &value)?;
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let embedding = loader.matrix("model.embed_tokens.weight", vocab, hidden)?;
        let blocks = (0..config.num_hidden_layers).map(|i| Block::load(&loader, &config, i)).collect::<Result<_>>()?;
        let head =
            if config.tie_word_embeddings { None } else { Some(loader.linear("lm_head", vocab, hidden, false)?) };
        let norm = loader.vector("model.norm.weight", hidden)?;
        Ok(Self { config, folder: folder.to_path_buf(), device: device.clone(), embedding, blocks, norm, head })
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

    /// The longest sequence the model was made for, in tokens.
    pub fn context(&self) -> usize {
        self.config.context()
    }

    /// Bytes of all weights on the device.
    pub fn bytes(&self) -> u64 {
        let blocks: u64 = self.blocks.iter().map(Block::bytes).sum();
        blocks + self.embedding.bytes() as u64 + self.head.as_ref().map_or(0, Linear::bytes)
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

    /// Final hidden states `[ids, hidden_size]` of the next tokens of each sequence; `ids` holds the same number for
    /// each, one sequence after the other. Keys and values go to the cache.
    ///
    /// # Errors
    /// [`Error::Shape`] if the cache is full or an id is outside the vocabulary, and those of the device.
    pub fn hidden(&self, rec: &mut Recorder, ids: &[u32], cache: &mut Cache) -> Result<Activations> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.config.vocab_size) {
            let expected = format!("token ids below {}", self.config.vocab_size);
            return Err(Error::Shape { op: "model", expected, found: id.to_string() });
        }
        let step = cache.step(ids.len())?;
        let mut x = op::embed(rec, ids, &self.embedding)?;
        for (block, layer) in self.blocks.iter().zip(cache.layers()) {
            x = block.forward(rec, x, layer, cache.rope(), step)?;
        }
        cache.advance(step);
        op::rms_norm(rec, &x, &self.norm, self.config.rms_norm_eps)
    }

    /// Logits `[rows, vocab_size]` of hidden states.
    ///
    /// # Errors
    /// Those of the device.
    pub fn logits(&self, rec: &mut Recorder, hidden: &Activations) -> Result<Activations> {
        match &self.head {
            Some(head) => head.forward(rec, hidden),
            None => op::dense(rec, hidden, &self.embedding),
        }
    }
}
