//! OPT: learned positions, biases, norms before or after, a plain feed-forward.

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
use crate::io::{ModelConfig, OptConfig};
use crate::op::{self, Activations, AttentionShape};

/// Rows of the position table that belong to no position.
const POSITION_OFFSET: usize = 2;

#[derive(Debug)]
pub(super) struct Opt {
    own: OptConfig,
    /// What the names of its tensors begin with.
    root: &'static str,
    vocabulary: Vocabulary,
    positions: Positions,
    /// From the width of the embedding to that of the blocks and back, where they differ.
    project: Option<(Linear, Linear)>,
    norm: Option<LayerNorm>,
}

impl Opt {
    pub(super) fn load(loader: &Loader, config: &ModelConfig, own: &OptConfig) -> Result<Self> {
        // Files of the bare decoder leave the first part out.
        let root = if loader.has("decoder.embed_tokens.weight") { "decoder" } else { "model.decoder" };
        let name = |part: &str| format!("{root}.{part}");
        let (hidden, width) = (config.hidden_size, own.word_embed_proj_dim);
        let vocabulary = Vocabulary::load(loader, config, &name("embed_tokens.weight"), width)?;
        let project = if width == hidden {
            None
        } else {
            let project_in = loader.linear(&name("project_in"), hidden, width, false)?;
            Some((project_in, loader.linear(&name("project_out"), width, hidden, false)?))
        };
        Ok(Self {
            own: own.clone(),
            root,
            vocabulary,
            positions: Positions::load(loader, config, &name("embed_positions.weight"), POSITION_OFFSET)?,
            project,
            norm: match own.final_layer_norm {
                true => Some(norm(loader, config, own, &name("final_layer_norm"))?),
                false => None,
            },
        })
    }
}

fn norm(loader: &Loader, config: &ModelConfig, own: &OptConfig, path: &str) -> Result<LayerNorm> {
    if own.norm_affine { LayerNorm::load(loader, config, path) } else { LayerNorm::plain(loader, config) }
}

impl Decoder for Opt {
    fn embed(&self, rec: &mut Recorder, ids: &[u32], step: Step) -> Result<Activations> {
        let mut x = self.vocabulary.embed(rec, ids)?;
        if let Some((project_in, _)) = &self.project {
            x = project_in.forward(rec, &x)?;
        }
        self.positions.add(rec, &x, step)
    }

    fn path(&self, index: usize) -> String {
        format!("{}.layers.{index}", self.root)
    }

    fn block(&self, loader: &Loader, config: &ModelConfig, index: usize) -> Result<Box<dyn Block>> {
        Ok(Box::new(OptBlock::load(loader, config, &self.own, &self.path(index))?))
    }

    fn finish(&self, rec: &mut Recorder, mut x: Activations) -> Result<Activations> {
        if let Some(norm) = &self.norm {
            x = norm.forward(rec, &x)?;
        }
        match &self.project {
            Some((_, project_out)) => project_out.forward(rec, &x),
            None => Ok(x),
        }
    }

    fn head(&self, rec: &mut Recorder, hidden: &Activations) -> Result<Activations> {
        self.vocabulary.logits(rec, hidden)
    }

    fn bytes(&self) -> u64 {
        let project = self.project.as_ref().map_or(0, |(into, out)| into.bytes() + out.bytes());
        project + self.vocabulary.bytes() + self.positions.bytes()
    }
}

/// Attention and feed-forward, each with a residual around it and a norm before it or after the sum.
#[derive(Debug)]
struct OptBlock {
    shape: AttentionShape,
    activation: Activation,
    norm_before: bool,
    attention_norm: LayerNorm,
    qkv: [Linear; 3],
    out: Linear,
    feed_forward_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl OptBlock {
    fn load(loader: &Loader, config: &ModelConfig, own: &OptConfig, path: &str) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |part, rows, cols| loader.linear(&format!("{path}.{part}"), rows, cols, own.enable_bias);
        let norm = |part| norm(loader, config, own, &format!("{path}.{part}"));
        Ok(Self {
            shape: attention_shape(config),
            activation: config.hidden_act,
            norm_before: own.do_layer_norm_before,
            attention_norm: norm("self_attn_layer_norm")?,
            qkv: [
                linear("self_attn.q_proj", hidden, hidden)?,
                linear("self_attn.k_proj", hidden, hidden)?,
                linear("self_attn.v_proj", hidden, hidden)?,
            ],
            out: linear("self_attn.out_proj", hidden, hidden)?,
            feed_forward_norm: norm("final_layer_norm")?,
            fc1: linear("fc1", inner, hidden)?,
            fc2: linear("fc2", hidden, inner)?,
        })
    }

    fn attention(&self, rec: &mut Recorder, x: &Activations, past: Past<'_>) -> Result<Activations> {
        let [q, k, v] = &self.qkv;
        let qkv = [q.forward(rec, x)?, k.forward(rec, x)?, v.forward(rec, x)?];
        let mixed = past.attend(rec, qkv, &self.shape)?;
        self.out.forward(rec, &mixed)
    }

    fn feed_forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        let inner = self.fc1.forward(rec, x)?;
        let inner = op::activate(rec, self.activation, &inner)?;
        self.fc2.forward(rec, &inner)
    }

    /// `x + part(x)`, with the norm where it belongs.
    fn residual(
        &self,
        rec: &mut Recorder,
        x: &Activations,
        norm: &LayerNorm,
        part: impl FnOnce(&mut Recorder, &Activations) -> Result<Activations>,
    ) -> Result<Activations> {
        if self.norm_before {
            let normed = norm.forward(rec, x)?;
            let y = part(rec, &normed)?;
            op::add(rec, x, &y)
        } else {
            let y = part(rec, x)?;
            let sum = op::add(rec, x, &y)?;
            norm.forward(rec, &sum)
        }
    }
}

impl Block for OptBlock {
    fn forward(&self, rec: &mut Recorder, x: Activations, past: Past<'_>) -> Result<Activations> {
        let x = self.residual(rec, &x, &self.attention_norm, |rec, x| self.attention(rec, x, past))?;
        self.residual(rec, &x, &self.feed_forward_norm, |rec, x| self.feed_forward(rec, x))
    }

    fn linears(&self) -> Vec<Vec<&Linear>> {
        vec![self.qkv.iter().collect(), vec![&self.out], vec![&self.fc1], vec![&self.fc2]]
    }

    fn linears_mut(&mut self) -> Vec<Vec<&mut Linear>> {
        let Self { qkv, out, fc1, fc2, .. } = self;
        vec![qkv.iter_mut().collect(), vec![out], vec![fc1], vec![fc2]]
    }

    fn norms(&self) -> Vec<(String, &Buffer)> {
        let [a, b] = [("self_attn_layer_norm", &self.attention_norm), ("final_layer_norm", &self.feed_forward_norm)];
        [a, b].into_iter().flat_map(|(name, norm)| norm.named(name)).collect()
    }
}
