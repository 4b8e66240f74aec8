//! The Llama family: RMSNorm, rotary positions, grouped heads, a gated feed-forward.

use super::cache::Step;
use super::decoder::{Block, Decoder, Past, attention_shape};
use super::linear::Linear;
use super::loader::Loader;
use super::vocabulary::Vocabulary;
use crate::activation::Activation;
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::io::{LlamaConfig, ModelConfig};
use crate::op::{self, Activations, AttentionShape};

#[derive(Debug)]
pub(super) struct Llama {
    own: LlamaConfig,
    vocabulary: Vocabulary,
    norm: Buffer,
    eps: f32,
}

impl Llama {
    pub(super) fn load(loader: &Loader, config: &ModelConfig, own: &LlamaConfig) -> Result<Self> {
        Ok(Self {
            own: own.clone(),
            vocabulary: Vocabulary::load(loader, config, "model.embed_tokens.weight", config.hidden_size)?,
            norm: loader.vector("model.norm.weight", config.hidden_size)?,
            eps: config.norm_eps,
        })
    }
}

impl Decoder for Llama {
    fn embed(&self, rec: &mut Recorder, ids: &[u32], _: Step) -> Result<Activations> {
        self.vocabulary.embed(rec, ids)
    }

    fn path(&self, index: usize) -> String {
        format!("model.layers.{index}")
    }

    fn block(&self, loader: &Loader, config: &ModelConfig, index: usize) -> Result<Box<dyn Block>> {
        Ok(Box::new(LlamaBlock::load(loader, config, &self.own, index, &self.path(index))?))
    }

    fn finish(&self, rec: &mut Recorder, x: Activations) -> Result<Activations> {
        op::rms_norm(rec, &x, &self.norm, self.eps)
    }

    fn head(&self, rec: &mut Recorder, hidden: &Activations) -> Result<Activations> {
        self.vocabulary.logits(rec, hidden)
    }

    fn bytes(&self) -> u64 {
        self.vocabulary.bytes()
    }
}

/// Attention and gated feed-forward, each with a norm before and a residual around it.
#[derive(Debug)]
struct LlamaBlock {
    shape: AttentionShape,
    eps: f32,
    activation: Activation,
    input_norm: Buffer,
    q: Linear,
    k: Linear,
    v: Linear,
    /// Per-head norms of queries and keys (Qwen3).
    qk_norm: Option<(Buffer, Buffer)>,
    o: Linear,
    post_norm: Buffer,
    /// Norms of what enters `o` and `down` (BitNet).
    sub_norms: Option<(Buffer, Buffer)>,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl LlamaBlock {
    fn load(loader: &Loader, config: &ModelConfig, own: &LlamaConfig, index: usize, path: &str) -> Result<Self> {
        let (hidden, inner, head) = (config.hidden_size, config.intermediate_size, config.head_dim);
        let (queries, keys) = (config.num_attention_heads * head, config.num_key_value_heads * head);
        let name = |part: &str| format!("{path}.{part}");
        let linear = |part, rows, cols, bias| loader.linear(&name(part), rows, cols, bias);
        let qk_norm = if own.qk_norm {
            let vector = |part| loader.vector(&name(part), head);
            Some((vector("self_attn.q_norm.weight")?, vector("self_attn.k_norm.weight")?))
        } else {
            None
        };
        let sub_norms = if own.sub_norms {
            let attention = loader.vector(&name("self_attn.attn_sub_norm.weight"), queries)?;
            Some((attention, loader.vector(&name("mlp.ffn_sub_norm.weight"), inner)?))
        } else {
            None
        };
        Ok(Self {
            shape: AttentionShape { window: own.window(index), ..attention_shape(config) },
            eps: config.norm_eps,
            activation: config.hidden_act,
            input_norm: loader.vector(&name("input_layernorm.weight"), hidden)?,
            q: linear("self_attn.q_proj", queries, hidden, own.qkv_bias)?,
            k: linear("self_attn.k_proj", keys, hidden, own.qkv_bias)?,
            v: linear("self_attn.v_proj", keys, hidden, own.qkv_bias)?,
            qk_norm,
            o: linear("self_attn.o_proj", hidden, queries, own.o_bias)?,
            post_norm: loader.vector(&name("post_attention_layernorm.weight"), hidden)?,
            gate: linear("mlp.gate_proj", inner, hidden, own.mlp_bias)?,
            up: linear("mlp.up_proj", inner, hidden, own.mlp_bias)?,
            down: linear("mlp.down_proj", hidden, inner, own.mlp_bias)?,
            sub_norms,
        })
    }
}

impl Block for LlamaBlock {
    fn forward(&self, rec: &mut Recorder, x: Activations, past: Past<'_>) -> Result<Activations> {
        let normed = op::rms_norm(rec, &x, &self.input_norm, self.eps)?;
        let (mut q, mut k) = (self.q.forward(rec, &normed)?, self.k.forward(rec, &normed)?);
        let v = self.v.forward(rec, &normed)?;
        drop(normed);
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            q = op::rms_norm_heads(rec, &q, self.shape.heads, q_norm, self.eps)?;
            k = op::rms_norm_heads(rec, &k, self.shape.kv_heads, k_norm, self.eps)?;
        }
        let mut mixed = past.attend(rec, [q, k, v], &self.shape)?;
        if let Some((norm, _)) = &self.sub_norms {
            mixed = op::rms_norm(rec, &mixed, norm, self.eps)?;
        }
        let attended = self.o.forward(rec, &mixed)?;
        let x = op::add(rec, &x, &attended)?;
        drop((mixed, attended));
        let normed = op::rms_norm(rec, &x, &self.post_norm, self.eps)?;
        let (gate, up) = (self.gate.forward(rec, &normed)?, self.up.forward(rec, &normed)?);
        let mut gated = op::gate(rec, self.activation, &gate, &up)?;
        drop((normed, gate, up));
        if let Some((_, norm)) = &self.sub_norms {
            gated = op::rms_norm(rec, &gated, norm, self.eps)?;
        }
        let down = self.down.forward(rec, &gated)?;
        op::add(rec, &x, &down)
    }

    fn linears(&self) -> Vec<Vec<&Linear>> {
        vec![vec![&self.q, &self.k, &self.v], vec![&self.o], vec![&self.gate, &self.up], vec![&self.down]]
    }

    fn linears_mut(&mut self) -> Vec<Vec<&mut Linear>> {
        let Self { q, k, v, o, gate, up, down, .. } = self;
        vec![vec![q, k, v], vec![o], vec![gate, up], vec![down]]
    }

    fn norms(&self) -> Vec<(String, &Buffer)> {
        let mut norms =
            vec![("input_layernorm.weight", &self.input_norm), ("post_attention_layernorm.weight", &self.post_norm)];
        if let Some((q, k)) = &self.qk_norm {
            norms.extend([("self_attn.q_norm.weight", q), ("self_attn.k_norm.weight", k)]);
        }
        if let Some((attention, feed_forward)) = &self.sub_norms {
            norms.extend([("self_attn.attn_sub_norm.weight", attention), ("mlp.ffn_sub_norm.weight", feed_forward)]);
        }
        norms.into_iter().map(|(name, norm)| (name.to_owned(), norm)).collect()
    }
}
