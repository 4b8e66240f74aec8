//! Attention by threads over blocks of queries of one head, with an online softmax over chunks of keys.
//!
//! Chunks start at fixed positions and every query has its own arithmetic, so a result depends neither on the number of
//! threads nor on which queries come together: one token at a time gives the same bits as all at once.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::exp::exp;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::attention::Params;

/// Queries of a block: so many use a chunk of keys while it is in the cache.
const QUERIES: usize = 32;
/// Keys of a chunk.
const KEYS: usize = 64;
/// Sums that run beside each other in a scalar product.
const LANES: usize = 8;
/// Columns of a result that stay in registers while the keys of a chunk pass.
const WIDE: usize = 64;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of attention.
pub(in crate::kernel) fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [q, k, v, mut out] = bindings.take();
    let (q, k, v) = (q.f32(), k.f32(), v.f32());
    let [sequences, tokens, heads, dim] = [p.sequences, p.tokens, p.heads, p.head_dim].map(|n| n as usize);
    let width = p.kv_heads as usize * dim;
    let per_sequence = tokens.div_ceil(QUERIES);
    // Block (sequence, first query, head) of the results, one slice a query.
    let mut blocks: Vec<Vec<&mut [f32]>> = Vec::new();
    blocks.resize_with(sequences * per_sequence * heads, || Vec::with_capacity(QUERIES.min(tokens)));
    for (i, result) in out.f32_mut()[..sequences * tokens * heads * dim].chunks_mut(dim).enumerate() {
        let (row, head) = (i / heads, i % heads);
        blocks[(row / tokens * per_sequence + row % tokens / QUERIES) * heads + head].push(result);
    }
    blocks.into_par_iter().enumerate().for_each(|(i, mut results)| {
        let (sequence, first, head) = (i / heads / per_sequence, i / heads % per_sequence * QUERIES, i % heads);
        let start = sequence * p.capacity as usize * width + head / (heads / p.kv_heads as usize) * dim;
        let row = |token: usize| &q[((sequence * tokens + first + token) * heads + head) * dim..][..dim];
        let queries: Vec<&[f32]> = (0..results.len()).map(row).collect();
        let position = p.past as usize + first;
        let visible: Vec<_> = (0..results.len()).map(|token| p.visible(position + token)).collect();
        let cache = Cache { k: &k[start..], v: &v[start..], width, dim };
        block(cache, &queries, &visible, p.scale, &mut results);
    });
}

/// Keys and values of one head of one sequence.
#[derive(Clone, Copy)]
struct Cache<'a> {
    k: &'a [f32],
    v: &'a [f32],
    width: usize,
    dim: usize,
}

impl<'a> Cache<'a> {
    #[inline(always)]
    fn key(&self, position: usize) -> &'a [f32] {
        &self.k[position * self.width..][..self.dim]
    }

    #[inline(always)]
    fn value(&self, position: usize) -> &'a [f32] {
        &self.v[position * self.width..][..self.dim]
    }
}

/// A query's softmax so far: the largest score and the sum of the weights relative to it.
#[derive(Clone, Copy)]
struct State {
    largest: f32,
    total: f32,
}

/// Consecutive queries of one head; `visible` ranges grow together.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn block(cache: Cache<'_>, queries: &[&[f32]], visible: &[Range<usize>], scale: f32, results: &mut [&mut [f32]]) {
    let (Some(first), Some(last)) = (visible.first(), visible.last()) else { return };
    let mut states = [State { largest: f32::MIN, total: 0.0 }; QUERIES];
    results.iter_mut().for_each(|r| r.fill(0.0));
    for chunk in (first.start / KEYS * KEYS..last.end).step_by(KEYS) {
        for (((query, visible), result), state) in queries.iter().zip(visible).zip(results.iter_mut()).zip(&mut states)
        {
            let seen = visible.start.max(chunk)..visible.end.min(chunk + KEYS);
            if seen.is_empty() {
                continue;
            }
            // In memory between the loops: otherwise the sums across the lanes decide how the products are vectorised.
            let (mut lanes, mut weights) = ([[0.0; LANES]; KEYS], [0.0; KEYS]);
            let (lanes, weights) = (&mut lanes[..seen.len()], &mut weights[..seen.len()]);
            for (position, lanes) in seen.clone().zip(lanes.iter_mut()) {
                products(query, cache.key(position), lanes);
            }
            for (weight, lanes) in weights.iter_mut().zip(lanes.iter()) {
                *weight = add_across(*lanes) * scale;
            }
            let shrink = weigh(state, weights);
            let (wide, rest) = result.as_chunks_mut::<WIDE>();
            let (narrow, rest) = rest.as_chunks_mut::<LANES>();
            let mut col = 0;
            for result in wide {
                add_values(cache, seen.start, weights, shrink, &mut col, result);
            }
            for result in narrow {
                add_values(cache, seen.start, weights, shrink, &mut col, result);
            }
            for result in rest.as_chunks_mut::<1>().0 {
                add_values(cache, seen.start, weights, shrink, &mut col, result);
            }
        }
    }
    for (result, state) in results.iter_mut().zip(&states) {
        result.iter_mut().for_each(|x| *x /= state.total);
    }
}

/// Products of two rows, summed lane by lane.
#[inline(always)]
fn products(a: &[f32], b: &[f32], sums: &mut [f32; LANES]) {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    *sums = lanes;
    for (sum, (a, b)) in sums.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *sum += a * b;
    }
}

/// Turns scores into weights relative to the largest score so far; returns what earlier weights shrink by.
#[inline(always)]
fn weigh(state: &mut State, scores: &mut [f32]) -> f32 {
    let before = state.largest;
    state.largest = largest(scores, before);
    for score in scores.iter_mut() {
        *score = exp(*score - state.largest);
    }
    let shrink = exp(before - state.largest);
    state.total = state.total * shrink + sum(scores);
    shrink
}

/// `N` columns of a result times `shrink`, plus those of the weighted values from position `first` on.
#[inline(always)]
fn add_values<const N: usize>(
    cache: Cache<'_>,
    first: usize,
    weights: &[f32],
    shrink: f32,
    col: &mut usize,
    result: &mut [f32; N],
) {
    let mut sums = *result;
    for sum in &mut sums {
        *sum *= shrink;
    }
    for (position, weight) in (first..).zip(weights) {
        let values = &cache.value(position)[*col..*col + N];
        for i in 0..N {
            sums[i] += weight * values[i];
        }
    }
    *result = sums;
    *col += N;
}

#[inline(always)]
fn largest(values: &[f32], start: f32) -> f32 {
    let (whole, tail) = values.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for values in whole {
        for lane in 0..LANES {
            lanes[lane] = if values[lane] > lanes[lane] { values[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(tail).fold(start, |a, b| if *b > a { *b } else { a })
}

#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    let (whole, tail) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for values in whole {
        for lane in 0..LANES {
            lanes[lane] += values[lane];
        }
    }
    tail.iter().fold(add_across(lanes), |sum, x| sum + x)
}

#[inline(always)]
fn add_across(l: [f32; LANES]) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}
