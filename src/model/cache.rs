//! Keys and values of the tokens a model has seen.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::{Architecture, ModelConfig};
use crate::op::{KvCache, RopeTable};

/// The state of some sequences that go through a model side by side.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<KvCache>,
    /// Where positions are rotary.
    rope: Option<RopeTable>,
    sequences: usize,
    capacity: usize,
    past: usize,
    computed: u64,
    /// Of the blocks on the device before.
    front: Option<Box<Self>>,
}

/// What one forward pass adds to each sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Sequences side by side.
    pub(super) sequences: usize,
    /// New tokens of each sequence.
    pub(super) tokens: usize,
    /// Tokens that are there already.
    pub(super) past: usize,
}

impl Cache {
    /// Room for `blocks` blocks.
    pub(super) fn new(
        device: &Device,
        config: &ModelConfig,
        blocks: usize,
        sequences: usize,
        capacity: usize,
    ) -> Result<Self> {
        let width = config.num_key_value_heads * config.head_dim;
        let layer = |_| KvCache::new(device, sequences, capacity, width);
        let rope = match &config.architecture {
            Architecture::Llama(own) => Some(RopeTable::new(device, config.head_dim, &own.rope, capacity)?),
            Architecture::Opt(_) | Architecture::Gpt2(_) => None,
        };
        Ok(Self {
            layers: (0..blocks).map(layer).collect::<Result<_>>()?,
            rope,
            sequences,
            capacity,
            past: 0,
            computed: 0,
            front: None,
        })
    }

    /// With the keys and values of the blocks on the device before, if there is one. What it counts does not matter.
    pub(super) fn behind(self, front: Option<Self>) -> Self {
        Self { front: front.map(Box::new), ..self }
    }

    pub(super) fn front(&self) -> Option<&Self> {
        self.front.as_deref()
    }

    /// Sequences side by side.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Tokens held of each sequence.
    pub fn past(&self) -> usize {
        self.past
    }

    /// Tokens that were ever put through the model with this cache, all sequences counted.
    pub fn computed(&self) -> u64 {
        self.computed
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Forgets all but the first `tokens` of each sequence; if it holds fewer, nothing.
    pub fn truncate(&mut self, tokens: usize) {
        self.past = self.past.min(tokens);
    }

    pub(super) fn layers(&self) -> &[KvCache] {
        &self.layers
    }

    pub(super) fn rope(&self) -> Option<&RopeTable> {
        self.rope.as_ref()
    }

    /// The step that adds `ids` token ids, which must be the same number for each sequence and fit.
    pub(super) fn step(&self, ids: usize) -> Result<Step> {
        self.step_at(self.past, ids)
    }

    /// The step that puts `ids` rows through a block as if nothing had gone before.
    pub(super) fn first_step(&self, ids: usize) -> Result<Step> {
        self.step_at(0, ids)
    }

    fn step_at(&self, past: usize, ids: usize) -> Result<Step> {
        let tokens = ids / self.sequences;
        if tokens == 0 || !ids.is_multiple_of(self.sequences) || past + tokens > self.capacity {
            let room = self.capacity - past;
            let expected = format!("from 1 to {room} tokens for each of {} sequences", self.sequences);
            return Err(Error::Shape { op: "model", expected, found: format!("{ids} token ids") });
        }
        Ok(Step { sequences: self.sequences, tokens, past })
    }

    pub(super) fn advance(&mut self, step: Step) {
        self.past += step.tokens;
        self.computed += (step.tokens * self.sequences) as u64;
    }
}

/// A cache, if the model can hold that many tokens.
pub(super) fn checked(
    device: &Device,
    config: &ModelConfig,
    blocks: usize,
    sequences: usize,
    capacity: usize,
) -> Result<Cache> {
    let context = config.context();
    if capacity > context {
        let detail = format!("{capacity} tokens, but the model's context is {context}; take fewer");
        return Err(Error::config("context", detail));
    }
    Cache::new(device, config, blocks, sequences, capacity)
}
