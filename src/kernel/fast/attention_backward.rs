//! Fast [`attention_backward_q`](crate::kernel::attention_backward_q) and
//! [`attention_backward_kv`](crate::kernel::attention_backward_kv): blocks of queries, or of keys, whose scores and
//! gradients are matrix products by the crate `gemm`.

use std::ops::Range;

use rayon::prelude::*;

use super::exp::exp;
use super::gemm::{Strided, strided};
use crate::dispatch::{Bindings, Variant};
use crate::kernel::attention::Params;

/// Rows of a block: enough for a product to pay, few enough that a block's scores stay in a cache.
const BLOCK: usize = 32;

/// Sizes as they index memory.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    capacity: usize,
    past: usize,
}

impl Sizes {
    fn of(p: &Params) -> Self {
        let [tokens, heads, kv_heads, dim, capacity, past] =
            [p.tokens, p.heads, p.kv_heads, p.head_dim, p.capacity, p.past].map(|n| n as usize);
        Self { tokens, heads, kv_heads, dim, capacity, past }
    }

    /// Elements of a row of queries.
    fn cols(self) -> usize {
        self.heads * self.dim
    }

    /// Elements of a row of keys.
    fn width(self) -> usize {
        self.kv_heads * self.dim
    }

    /// One head of queries, or of what lies like them, from a token of a sequence on.
    fn queries(self, all: &[f32], sequence: usize, token: usize, head: usize) -> Strided<'_> {
        let first = (sequence * self.tokens + token) * self.cols() + head * self.dim;
        Strided { values: &all[first..], row: self.cols(), step: 1 }
    }

    /// The head of keys or values that a query head reads, from a position on.
    fn keys(self, all: &[f32], sequence: usize, position: usize, head: usize) -> Strided<'_> {
        let head = head / (self.heads / self.kv_heads);
        let first = (sequence * self.capacity + position) * self.width() + head * self.dim;
        Strided { values: &all[first..], row: self.width(), step: 1 }
    }
}

/// A matrix by columns in place of rows.
fn turned(matrix: Strided<'_>) -> Strided<'_> {
    Strided { row: matrix.step, step: matrix.row, ..matrix }
}

fn by_rows(values: &[f32], row: usize) -> Strided<'_> {
    Strided { values, row, step: 1 }
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of attention_backward_q.
pub fn queries(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [q, k, v, d_y, mut d_q, mut stats] = bindings.take();
    let (s, sequences) = (Sizes::of(p), p.sequences as usize);
    let [q, k, v, d_y] = [&q, &k, &v, &d_y].map(|b| b.f32());
    let d_q = d_q.f32_mut()[..sequences * s.tokens * s.cols()].par_chunks_mut(s.tokens * s.cols());
    let stats = stats.f32_mut()[..sequences * s.tokens * s.heads * 2].par_chunks_mut(s.tokens * s.heads * 2);
    d_q.zip(stats).enumerate().for_each(|(sequence, (d_q, stats))| {
        let blocks = d_q.par_chunks_mut(BLOCK * s.cols()).zip(stats.par_chunks_mut(BLOCK * s.heads * 2));
        blocks.enumerate().for_each(|(block, (d_q, stats))| {
            let tokens = block * BLOCK..(block * BLOCK + BLOCK).min(s.tokens);
            let stats = stats.as_chunks_mut::<2>().0;
            let seen = p.visible(s.past + tokens.start).start..s.past + tokens.end;
            let mut scores = vec![0.0; tokens.len() * seen.len()];
            let mut slopes = vec![0.0; scores.len()];
            let mut result = vec![0.0; tokens.len() * s.dim];
            for head in 0..s.heads {
                let keys = s.keys(k, sequence, seen.start, head);
                let values = s.keys(v, sequence, seen.start, head);
                strided(s.queries(q, sequence, tokens.start, head), keys, s.dim, seen.len(), &mut scores, false);
                strided(s.queries(d_y, sequence, tokens.start, head), values, s.dim, seen.len(), &mut slopes, false);
                let rows = scores.chunks_exact_mut(seen.len()).zip(slopes.chunks_exact_mut(seen.len()));
                for (token, (scores, slopes)) in rows.enumerate() {
                    let visible = p.visible(s.past + tokens.start + token);
                    let visible = visible.start - seen.start..visible.end - seen.start;
                    stats[token * s.heads + head] = query_row(scores, slopes, visible, p.scale);
                }
                strided(by_rows(&slopes, seen.len()), turned(keys), seen.len(), s.dim, &mut result, false);
                for (to, from) in d_q.chunks_exact_mut(s.cols()).zip(result.chunks_exact(s.dim)) {
                    to[head * s.dim..][..s.dim].copy_from_slice(from);
                }
            }
        });
    });
}

vectorized! {
    /// Turns the products of d_y with the values into the slopes of the scores, 0 where nothing is seen; the log-sum-exp
    /// of the scaled scores, and delta.
    fn query_row(scores: &mut [f32], slopes: &mut [f32], visible: Range<usize>, scale: f32) -> [f32; 2] {
        slopes[..visible.start].fill(0.0);
        slopes[visible.end..].fill(0.0);
        let (scores, slopes) = (&mut scores[visible.clone()], &mut slopes[visible]);
        let mut largest = f32::MIN;
        for score in scores.iter_mut() {
            *score *= scale;
            largest = if *score > largest { *score } else { largest };
        }
        scores.iter_mut().for_each(|score| *score = exp(*score - largest));
        let total = super::reduce::sum(scores, |weight| weight);
        let delta = super::reduce::sum_of_two(scores, slopes, |weight, slope| weight * slope) / total;
        slopes.iter_mut().zip(scores).for_each(|(slope, weight)| *slope = scale / total * *weight * (*slope - delta));
        [largest + total.ln(), delta]
    }

    /// Turns scores of one key into weights, and products of d_y with its value into slopes.
    fn key_row(scores: &mut [f32], slopes: &mut [f32], stats: &[[f32; 2]], scale: f32) {
        for ((score, slope), [log_sum, delta]) in scores.iter_mut().zip(slopes).zip(stats) {
            *score = exp(*score * scale - log_sum);
            *slope = *score * (*slope - delta) * scale;
        }
    }
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of attention_backward_kv.
pub fn keys_and_values(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [q, k, v, d_y, stats, mut d_k, mut d_v] = bindings.take();
    let (s, sequences) = (Sizes::of(p), p.sequences as usize);
    let [q, k, v, d_y] = [&q, &k, &v, &d_y].map(|b| b.f32());
    let stats = stats.f32().as_chunks::<2>().0;
    let size = sequences * s.capacity * s.width();
    let sequence = s.capacity * s.width();
    let both = d_k.f32_mut()[..size].par_chunks_mut(sequence).zip(d_v.f32_mut()[..size].par_chunks_mut(sequence));
    both.enumerate().for_each(|(sequence, (d_k, d_v))| {
        let blocks = d_k.par_chunks_mut(BLOCK * s.width()).zip(d_v.par_chunks_mut(BLOCK * s.width()));
        blocks.enumerate().for_each(|(block, (d_k, d_v))| {
            d_k.fill(0.0);
            d_v.fill(0.0);
            // Slots that hold a position, and the queries that see any of them.
            let slots = block * BLOCK..(block * BLOCK + BLOCK).min(s.past + s.tokens);
            if slots.is_empty() {
                return;
            }
            let seeing = p.observers(slots.start).start..p.observers(slots.end - 1).end;
            if seeing.is_empty() {
                return;
            }
            let mut scores = vec![0.0; slots.len() * seeing.len()];
            let mut slopes = vec![0.0; scores.len()];
            let mut sums = [vec![0.0; slots.len() * s.dim], vec![0.0; slots.len() * s.dim]];
            let shared = s.heads / s.kv_heads;
            for head in 0..s.heads {
                let queries = s.queries(q, sequence, seeing.start, head);
                let d_y = s.queries(d_y, sequence, seeing.start, head);
                strided(s.keys(k, sequence, slots.start, head), queries, s.dim, seeing.len(), &mut scores, false);
                strided(s.keys(v, sequence, slots.start, head), d_y, s.dim, seeing.len(), &mut slopes, false);
                let of_queries = seeing.clone().map(|token| stats[(sequence * s.tokens + token) * s.heads + head]);
                let of_queries: Vec<_> = of_queries.collect();
                let rows = scores.chunks_exact_mut(seeing.len()).zip(slopes.chunks_exact_mut(seeing.len()));
                for (slot, (scores, slopes)) in slots.clone().zip(rows) {
                    let own = p.observers(slot);
                    let own = own.start - seeing.start..own.end - seeing.start;
                    for row in [&mut *scores, &mut *slopes] {
                        row[..own.start].fill(0.0);
                        row[own.end..].fill(0.0);
                    }
                    key_row(&mut scores[own.clone()], &mut slopes[own.clone()], &of_queries[own], p.scale);
                }
                // Query heads that share a key head add up.
                let add = head % shared > 0;
                let [key_sums, value_sums] = &mut sums;
                strided(by_rows(&slopes, seeing.len()), turned(queries), seeing.len(), s.dim, key_sums, add);
                strided(by_rows(&scores, seeing.len()), turned(d_y), seeing.len(), s.dim, value_sums, add);
                if (head + 1) % shared == 0 {
                    for (to, from) in [(&mut *d_k, &*key_sums), (&mut *d_v, &*value_sums)] {
                        for (to, from) in to.chunks_exact_mut(s.width()).zip(from.chunks_exact(s.dim)) {
                            to[head / shared * s.dim..][..s.dim].copy_from_slice(from);
                        }
                    }
                }
            }
        });
    });
}
