//! Fast [`Attention`](crate::kernel::attention) with an online softmax over chunks of keys.
//!
//! Queries that read the same key head come together: its query heads, and consecutive tokens. They are the lanes of
//! vectors ([`lanes`]): keys and values are then single numbers, and heads of any size fill the vectors. A few queries, as
//! those of one more token, are taken one by one, with the features in the lanes ([`single`]).
//!
//! Which way is taken, and the order of every sum, follow from the shape alone and not from the number of threads.

mod lanes;
mod single;

use rayon::prelude::*;

use lanes::Queries;

use super::LANES;
use super::rows::TASK;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::attention::Params;

/// Queries of one key head from which lanes pay, full or not.
const MANY: usize = 5;
/// Queries that use keys while these are in the cache.
const QUERIES: usize = 4 * LANES;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of attention.
pub(in crate::kernel) fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [q, k, v, mut out] = bindings.take();
    let [sequences, tokens, heads, dim] = [p.sequences, p.tokens, p.heads, p.head_dim].map(|n| n as usize);
    let call = Call { p, q: q.f32(), k: k.f32(), v: v.f32(), group: heads / p.kv_heads as usize };
    let out = &mut out.f32_mut()[..sequences * tokens * heads * dim];
    let pairs = sequences * tokens * heads * (p.past as usize + tokens);
    let parallel = pairs * dim >= TASK;
    if tokens * call.group < MANY {
        let row = heads * dim;
        if parallel {
            // Heads of one position lie side by side in memory, so a task takes several.
            let tasks = (rayon::current_num_threads() / (sequences * tokens)).max(1);
            let width = (p.kv_heads as usize).div_ceil(tasks) * call.group * dim;
            out.par_chunks_mut(row).enumerate().for_each(|(row, results)| {
                let heads = results.par_chunks_mut(width).enumerate();
                heads.for_each(|(i, results)| call.one_token(row, i * width, results));
            });
        } else {
            out.chunks_mut(row).enumerate().for_each(|(row, results)| call.one_token(row, 0, results));
        }
        return;
    }
    // Block (sequence, key head, run of queries) of the results, one slice a query.
    let per_head = (tokens * call.group).div_ceil(QUERIES);
    let mut blocks: Vec<Vec<&mut [f32]>> = Vec::new();
    blocks.resize_with(sequences * p.kv_heads as usize * per_head, || {
        Vec::with_capacity(QUERIES.min(tokens * call.group))
    });
    for (i, result) in out.chunks_mut(dim).enumerate() {
        let (row, head) = (i / heads, i % heads);
        let of_head = row / tokens * p.kv_heads as usize + head / call.group;
        let query = row % tokens * call.group + head % call.group;
        blocks[of_head * per_head + query / QUERIES].push(result);
    }
    let block = |(i, mut results): (usize, Vec<&mut [f32]>)| {
        call.block(i / per_head, i % per_head * QUERIES, &mut results);
    };
    if parallel {
        blocks.into_par_iter().enumerate().for_each(block);
    } else {
        blocks.into_iter().enumerate().for_each(block);
    }
}

/// One dispatch.
struct Call<'a> {
    p: &'a Params,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    /// Query heads of a key head.
    group: usize,
}

impl<'a> Call<'a> {
    /// What key head `index % kv_heads` of sequence `index / kv_heads` holds.
    fn cache(&self, index: usize) -> Cache<'a> {
        let [kv_heads, dim, capacity] = [self.p.kv_heads, self.p.head_dim, self.p.capacity].map(|n| n as usize);
        let start = (index / kv_heads * capacity * kv_heads + index % kv_heads) * dim;
        Cache { k: &self.k[start..], v: &self.v[start..], width: kv_heads * dim, dim }
    }

    /// Some heads of one token; `first` is the column of the results in their row, which belongs to a new key head.
    fn one_token(&self, row: usize, first: usize, results: &mut [f32]) {
        let [kv_heads, tokens, heads, dim] =
            [self.p.kv_heads, self.p.tokens, self.p.heads, self.p.head_dim].map(|n| n as usize);
        let cache = self.cache(row / tokens * kv_heads + first / dim / self.group);
        let visible = self.p.visible(self.p.past as usize + row % tokens);
        let queries = &self.q[row * heads * dim + first..][..results.len()];
        single::attend(cache, queries, self.group, visible, self.p.scale, results);
    }

    /// Queries from `first` on of key head `index`; they count query heads, then tokens.
    fn block(&self, index: usize, first: usize, results: &mut [&mut [f32]]) {
        let [kv_heads, tokens, heads, dim] =
            [self.p.kv_heads, self.p.tokens, self.p.heads, self.p.head_dim].map(|n| n as usize);
        let place = |i: usize| ((first + i) / self.group, index % kv_heads * self.group + (first + i) % self.group);
        let row = |i: usize| {
            let (token, head) = place(i);
            &self.q[((index / kv_heads * tokens + token) * heads + head) * dim..][..dim]
        };
        let visible = |i: usize| self.p.visible(self.p.past as usize + place(i).0);
        let queries = Queries {
            features: (0..results.len()).map(row).collect(),
            visible: (0..results.len()).map(visible).collect(),
            scale: self.p.scale,
            results,
        };
        lanes::attend(self.cache(index), queries);
    }
}

/// Keys and values of one head of one sequence, and behind them those of its next heads.
#[derive(Clone, Copy)]
struct Cache<'a> {
    k: &'a [f32],
    v: &'a [f32],
    width: usize,
    dim: usize,
}

impl<'a> Cache<'a> {
    /// The head `count` further on.
    #[inline(always)]
    fn next(self, count: usize) -> Self {
        Self { k: &self.k[count * self.dim..], v: &self.v[count * self.dim..], ..self }
    }

    #[inline(always)]
    fn key(&self, position: usize) -> &'a [f32] {
        &self.k[position * self.width..][..self.dim]
    }

    #[inline(always)]
    fn value(&self, position: usize) -> &'a [f32] {
        &self.v[position * self.width..][..self.dim]
    }
}
