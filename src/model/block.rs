//! One transformer block of the Llama family.

use super::cache::Step;
use super::linear::Linear;
use super::loader::Loader;
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::io::ModelConfig;
use crate::op::{self, Activations, AttentionShape, KvCache, RopeTable};

/// Attention and gated feed-forward, each with a norm before and a residual around it.
#[derive(Debug)]
pub(super) struct Block {
    shape: AttentionShape,
    eps: f32,
    activation: crate::activation::Activation,
    input_norm: Buffer,
    q: Linear,
    k: Linear,
    v: Linear,
    /// Per-head norms of queries and keys (Qwen3).
    qk_norm: Option<(Buffer, Buffer)>,
    o: Linear,
    post_norm: Buffer,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    pub(super) fn load(loader: &Loader<'_>, config: &ModelConfig, index: usize) -> Result<Self> {
        let (hidden, inner, head) = (config.hidden_size, config.intermediate_size, config.head_dim);
        let (queries, keys) = (config.num_attention_heads * head, config.num_key_value_heads * head);
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let linear = |part, rows, cols, bias| loader.linear(&name(part), rows, cols, bias);
        let qk_norm = if config.qk_norm {
            let vector = |part| loader.vector(&name(part), head);
            Some((vector("self_attn.q_norm.weight")?, vector("self_attn.k_norm.weight")?))
        } else {
            None
        };
        Ok(Self {
            shape: AttentionShape {
                heads: config.num_attention_heads,
                kv_heads: config.num_key_value_heads,
                head_dim: head,
                sequences: 1,
                past: 0,
                scale: 1.0 / (head as f32).sqrt(),
                window: config.window(index),
            },
            eps: config.rms_norm_eps,
            activation: config.hidden_act,
            input_norm: loader.vector(&name("input_layernorm.weight"), hidden)?,
            q: linear("self_attn.q_proj", queries, hidden, config.qkv_bias)?,
            k: linear("self_attn.k_proj", keys, hidden, config.qkv_bias)?,
            v: linear("self_attn.v_proj", keys, hidden, config.qkv_bias)?,
            qk_norm,
            o: linear("self_attn.o_proj", hidden, queries, config.o_bias)?,
            post_norm: loader.vector(&name("post_attention_layernorm.weight"), hidden)?,
            gate: linear("mlp.gate_proj", inner, hidden, config.mlp_bias)?,
            up: linear("mlp.up_proj", inner, hidden, config.mlp_bias)?,
            down: linear("mlp.down_proj", hidden, inner, config.mlp_bias)?,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down].map(Linear::bytes).iter().sum()
    }

    pub(super) fn forward(
        &self,
        rec: &mut Recorder,
        x: Activations,
        cache: &KvCache,
        rope: &RopeTable,
        step: Step,
    ) -> Result<Activations> {
        let normed = op::rms_norm(rec, &x, &self.input_norm, self.eps)?;
        let (mut q, mut k) = (self.q.forward(rec, &normed)?, self.k.forward(rec, &normed)?);
        let v = self.v.forward(rec, &normed)?;
        drop(normed);
        if let Some((q_norm, k_norm)) = &self.qk_norm {
            q = op::rms_norm_heads(rec, &q, self.shape.heads, q_norm, self.eps)?;
            k = op::rms_norm_heads(rec, &k, self.shape.kv_heads, k_norm, self.eps)?;
        }
        let q = op::rope(rec, &q, rope, step.sequences, step.past)?;
        op::rope_into(rec, &k, rope, &cache.keys, step.past)?;
        op::store_rows(rec, &v, &cache.values, step.past)?;
        drop((k, v));
        let shape = AttentionShape { sequences: step.sequences, past: step.past, ..self.shape };
        let mixed = op::attention(rec, &q, cache, &shape)?;
        drop(q);
        let attended = self.o.forward(rec, &mixed)?;
        let x = op::add(rec, &x, &attended)?;
        drop((mixed, attended));
        let normed = op::rms_norm(rec, &x, &self.post_norm, self.eps)?;
        let (gate, up) = (self.gate.forward(rec, &normed)?, self.up.forward(rec, &normed)?);
        let gated = op::gate(rec, self.activation, &gate, &up)?;
        drop((normed, gate, up));
        let down = self.down.forward(rec, &gated)?;
        op::add(rec, &x, &down)
    }
}
