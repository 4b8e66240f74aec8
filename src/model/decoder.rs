//! The seam between a model and its family: a family loads its parts and writes their forward pass; cache, logits and
//! generation are the model's.

use std::fmt::Debug;

use super::cache::Step;
use super::gpt2::Gpt2;
use super::linear::Linear;
use super::llama::Llama;
use super::loader::Loader;
use super::opt::Opt;
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::io::{Architecture, ModelConfig};
use crate::op::{self, Activations, AttentionShape, KvCache, RopeTable};

/// A decoder-only transformer without its blocks: embedding, what follows the last block, head; and how to load a block.
pub(super) trait Decoder: Debug {
    /// The input of the first block, `[ids, hidden_size]`; `ids` holds the tokens of each sequence of the step, one
    /// sequence after the other.
    fn embed(&self, rec: &mut Recorder, ids: &[u32], step: Step) -> Result<Activations>;

    /// Module path of a block.
    fn path(&self, index: usize) -> String;

    /// Loads a block.
    fn block(&self, loader: &Loader, config: &ModelConfig, index: usize) -> Result<Box<dyn Block>>;

    /// The input of the head from the output of the last block.
    fn finish(&self, rec: &mut Recorder, x: Activations) -> Result<Activations>;

    /// Logits `[rows, vocab_size]`.
    fn head(&self, rec: &mut Recorder, hidden: &Activations) -> Result<Activations>;

    /// Bytes of its weights on the device.
    fn bytes(&self) -> u64;
}

/// A transformer block.
pub(super) trait Block: Debug {
    /// From `[rows, hidden_size]` to the same shape; keys and values go to the cache.
    fn forward(&self, rec: &mut Recorder, x: Activations, past: Past<'_>) -> Result<Activations>;

    /// Its linear layers in the order they are used; those of an inner list take the same input.
    fn linears(&self) -> Vec<Vec<&Linear>>;

    /// [`Self::linears`], to change them.
    fn linears_mut(&mut self) -> Vec<Vec<&mut Linear>>;

    /// The weights and biases of its norms, under their names within the block.
    fn norms(&self) -> Vec<(String, &Buffer)>;

    /// Bytes of its weights on the device.
    fn bytes(&self) -> u64 {
        self.linears().into_iter().flatten().map(Linear::bytes).sum()
    }
}

/// What a block knows of the tokens before the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past<'a> {
    /// Keys and values of the block.
    pub(super) cache: &'a KvCache,
    /// The rotary angles of all positions, where positions are rotary.
    pub(super) rope: Option<&'a RopeTable>,
    /// What the step adds.
    pub(super) step: Step,
}

impl Past<'_> {
    /// Stores keys and values and mixes the values by the queries.
    pub(super) fn attend(
        &self,
        rec: &mut Recorder,
        [q, k, v]: [Activations; 3],
        shape: &AttentionShape,
    ) -> Result<Activations> {
        let Step { sequences, past, .. } = self.step;
        let q = match self.rope {
            Some(rope) => {
                op::rope_into(rec, &k, rope, &self.cache.keys, past)?;
                op::rope(rec, &q, rope, sequences, past)?
            }
            None => {
                op::store_rows(rec, &k, &self.cache.keys, past)?;
                q
            }
        };
        op::store_rows(rec, &v, &self.cache.values, past)?;
        drop((k, v));
        op::attention(rec, &q, self.cache, &AttentionShape { sequences, past, ..*shape })
    }
}

/// Loads all but the blocks.
pub(super) fn load(loader: &Loader, config: &ModelConfig) -> Result<Box<dyn Decoder>> {
    Ok(match &config.architecture {
        Architecture::Llama(own) => Box::new(Llama::load(loader, config, own)?),
        Architecture::Opt(own) => Box::new(Opt::load(loader, config, own)?),
        Architecture::Gpt2(own) => Box::new(Gpt2::load(loader, config, own)?),
    })
}

/// The heads of a model, full attention with the usual scale; the step fills in sequences and past.
pub(super) fn attention_shape(config: &ModelConfig) -> AttentionShape {
    AttentionShape {
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        sequences: 1,
        past: 0,
        scale: 1.0 / (config.head_dim as f32).sqrt(),
        window: None,
    }
}
