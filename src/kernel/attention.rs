//! Causal attention with grouped heads over a cache of keys and values: per query
//! `softmax(scale * K q) V` over the keys that it may see.
//!
//! Bindings: queries `[sequences * tokens, heads * head_dim]`; keys and values
//! `[sequences, capacity, kv_heads * head_dim]`; result like the queries. Query head h reads key head
//! `h / (heads / kv_heads)`. Query t of a sequence stands at position `past + t` and sees the keys of positions up to
//! its own; with a window, the last `window` of those. Keys it does not see are never read.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::fast;
use super::part::Reduce;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Attention;

/// Sizes of queries and cache.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Sequences.
    pub sequences: u32,
    /// Queries of a sequence.
    pub tokens: u32,
    /// Query heads, a multiple of the key heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Features of a head, at most [`MAX_HEAD_DIM`].
    pub head_dim: u32,
    /// Positions before the first query.
    pub past: u32,
    /// Positions the cache holds for each sequence, at least `past + tokens`.
    pub capacity: u32,
    /// Factor of the scores.
    pub scale: f32,
    /// Keys a query sees at most, its own included; 0 for all.
    pub window: u32,
}

impl Params {
    /// Positions of the keys that a query at `position` sees.
    pub(super) fn visible(&self, position: usize) -> Range<usize> {
        let first = if self.window == 0 { 0 } else { (position + 1).saturating_sub(self.window as usize) };
        first..position + 1
    }
}

/// Most features of a head: what a workgroup keeps of a query and of a result.
pub const MAX_HEAD_DIM: usize = 256;

const WG: u32 = 64;

/// The variant that reduces this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", WG)
}

impl Kernel for Attention {
    type Params = Params;
    const NAME: &'static str = "attention";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/attention.wgsl");
    const PTX: Option<&'static str> = super::ptx!("attention");
    const FAST: Option<CpuRun<Params>> = Some(fast::attention::run);

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.sequences as usize * p.tokens as usize * p.heads as usize)
    }

    /// Many queries come by tiles of 32, which share the keys and values that they read.
    fn cuda(p: &Params, _: &Variant) -> Option<CudaLaunch> {
        let tiles = p.sequences as usize * p.tokens.div_ceil(32) as usize;
        let takes = p.tokens > 8 && p.head_dim <= 128 && p.head_dim.is_multiple_of(4);
        let grid = linear_grid(tiles * p.heads as usize);
        takes.then_some(CudaLaunch { entry: "attention_tile", grid, block: 256, shared: 0 })
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [q, k, v, mut out] = bindings.take();
        let (heads, dim) = (p.heads as usize, p.head_dim as usize);
        let width = p.kv_heads as usize * dim;
        for row in 0..p.sequences as usize * p.tokens as usize {
            let (sequence, token) = (row / p.tokens as usize, row % p.tokens as usize);
            let visible = p.visible(p.past as usize + token);
            for head in 0..heads {
                let at = (row * heads + head) * dim;
                let query = &q.f32()[at..at + dim];
                let start = sequence * p.capacity as usize * width + head / (heads / p.kv_heads as usize) * dim;
                let key = |position: usize| &k.f32()[start + position * width..][..dim];
                let score = |position| query.iter().zip(key(position)).map(|(a, b)| a * b).sum::<f32>() * p.scale;
                let mut weights: Vec<f32> = visible.clone().map(score).collect();
                let largest = weights.iter().copied().fold(f32::MIN, f32::max);
                weights.iter_mut().for_each(|w| *w = (*w - largest).exp());
                let total: f32 = weights.iter().sum();
                for d in 0..dim {
                    let value = |position: usize| v.f32()[start + position * width + d];
                    let sum: f32 = weights.iter().zip(visible.clone()).map(|(w, position)| w * value(position)).sum();
                    out.f32_mut()[at + d] = sum / total;
                }
            }
        }
    }
}
