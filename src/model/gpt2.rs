//! GPT-2: learned positions, norms before, one projection for queries, keys and values.

use super::cache::Step;
use super::decoder::{Block, Decoder, Past, attention_shape};
use super::layer_norm::LayerNorm;
use super::linear::Linear;
use super::loader::Loader;
use super::positions::Positions;
use super::vocabulary::Vocabulary;
use crate::activation::Activation;
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::io::{Gpt2Config, ModelConfig};
use crate::op::{self, Activations, AttentionShape};

#[derive(Debug)]
pub(super) struct Gpt2 {
    own: Gpt2Config,
    /// What the names of its tensors begin with.
    root: &'static str,
    vocabulary: Vocabulary,
    positions: Positions,
    norm: LayerNorm,
}

impl Gpt2 {
    pub(super) fn load(loader: &Loader, config: &ModelConfig, own: &Gpt2Config) -> Result<Self> {
        // Files of the bare model, the published ones among them, leave the first part out.
        let root = if loader.has("wte.weight") { "" } else { "transformer." };
        let name = |part: &str| format!("{root}{part}");
        Ok(Self {
            own: own.clone(),
            root,
            vocabulary: Vocabulary::load(loader, config, &name("wte.weight"), config.hidden_size)?,
            positions: Positions::load(loader, config, &name("wpe.weight"), 0)?,
            norm: LayerNorm::load(loader, config, &name("ln_f"))?,
        })
    }
}

impl Decoder for Gpt2 {
    fn embed(&self, rec: &mut Recorder, ids: &[u32], step: Step) -> Result<Activations> {
        let x = self.vocabulary.embed(rec, ids)?;
        self.positions.add(rec, &x, step)
    }

    fn path(&self, index: usize) -> String {
        format!("{}h.{index}", self.root)
    }

    fn block(&self, loader: &Loader, config: &ModelConfig, index: usize) -> Result<Box<dyn Block>> {
        Ok(Box::new(Gpt2Block::load(loader, config, &self.own, index, &self.path(index))?))
    }

    fn finish(&self, rec: &mut Recorder, x: Activations) -> Result<Activations> {
        self.norm.forward(rec, &x)
    }

    fn head(&self, rec: &mut Recorder, hidden: &Activations) -> Result<Activations> {
        self.vocabulary.logits(rec, hidden)
    }

    fn bytes(&self) -> u64 {
        self.vocabulary.bytes() + self.positions.bytes()
    }
}

/// Attention and feed-forward, each with a norm before and a residual around it.
#[derive(Debug)]
struct Gpt2Block {
    shape: AttentionShape,
    activation: Activation,
    attention_norm: LayerNorm,
    qkv: [Linear; 3],
    out: Linear,
    feed_forward_norm: LayerNorm,
    expand: Linear,
    contract: Linear,
}

impl Gpt2Block {
    fn load(loader: &Loader, config: &ModelConfig, own: &Gpt2Config, index: usize, path: &str) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("{path}.{part}");
        let norm = |part| LayerNorm::load(loader, config, &name(part));
        let conv1d = |part, rows, cols| loader.conv1d(&name(part), rows, cols).map(|[layer]| layer);
        let mut shape = attention_shape(config);
        if !own.scale_attn_weights {
            shape.scale = 1.0;
        }
        if own.scale_attn_by_inverse_layer_idx {
            shape.scale /= (index + 1) as f32;
        }
        Ok(Self {
            shape,
            activation: config.hidden_act,
            attention_norm: norm("ln_1")?,
            qkv: loader.conv1d(&name("attn.c_attn"), hidden, hidden)?,
            out: conv1d("attn.c_proj", hidden, hidden)?,
            feed_forward_norm: norm("ln_2")?,
            expand: conv1d("mlp.c_fc", inner, hidden)?,
            contract: conv1d("mlp.c_proj", hidden, inner)?,
        })
    }
}

impl Block for Gpt2Block {
    fn forward(&self, rec: &mut Recorder, x: Activations, past: Past<'_>) -> Result<Activations> {
        let normed = self.attention_norm.forward(rec, &x)?;
        let [q, k, v] = &self.qkv;
        let qkv = [q.forward(rec, &normed)?, k.forward(rec, &normed)?, v.forward(rec, &normed)?];
        drop(normed);
        let mixed = past.attend(rec, qkv, &self.shape)?;
        let attended = self.out.forward(rec, &mixed)?;
        let x = op::add(rec, &x, &attended)?;
        drop((mixed, attended));
        let normed = self.feed_forward_norm.forward(rec, &x)?;
        let inner = self.expand.forward(rec, &normed)?;
        let inner = op::activate(rec, self.activation, &inner)?;
        let contracted = self.contract.forward(rec, &inner)?;
        op::add(rec, &x, &contracted)
    }

    fn linears(&self) -> Vec<Vec<&Linear>> {
        vec![self.qkv.iter().collect(), vec![&self.out], vec![&self.expand], vec![&self.contract]]
    }

    fn linears_mut(&mut self) -> Vec<Vec<&mut Linear>> {
        let Self { qkv, out, expand, contract, .. } = self;
        vec![qkv.iter_mut().collect(), vec![out], vec![expand], vec![contract]]
    }

    fn norms(&self) -> Vec<(String, &Buffer)> {
        let [a, b] = [("ln_1", &self.attention_norm), ("ln_2", &self.feed_forward_norm)];
        [a, b].into_iter().flat_map(|(name, norm)| norm.named(name)).collect()
    }
}
