//! Queries one by one: features are the lanes.

use std::ops::Range;

use super::Cache;
use crate::kernel::fast::LANES;
use crate::kernel::fast::exp::exp;
use crate::kernel::fast::reduce;
use crate::kernel::fast::simd::{self, Run, Simd};

/// Keys of a chunk: they stay in the cache while all queries use them.
const KEYS: usize = 64;
/// Keys that all queries use before the next ones.
const TILE: usize = 4;

/// The queries of one token, one behind the other in `queries` as their results are in `results`; each `group` of them
/// read the next key head.
pub(super) fn attend(
    cache: Cache<'_>,
    queries: &[f32],
    group: usize,
    visible: Range<usize>,
    scale: f32,
    results: &mut [f32],
) {
    simd::run(Token { cache, queries, group, visible, scale, results });
}

struct Token<'a> {
    cache: Cache<'a>,
    queries: &'a [f32],
    group: usize,
    visible: Range<usize>,
    scale: f32,
    results: &'a mut [f32],
}

/// A query's softmax so far: the largest score and the sum of the weights relative to it.
#[derive(Clone, Copy)]
struct State {
    largest: f32,
    total: f32,
}

impl Run for Token<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let count = self.queries.len() / self.cache.dim;
        let mut states = vec![State { largest: f32::MIN, total: 0.0 }; count];
        let mut weights = vec![[0.0; KEYS]; count];
        self.results.fill(0.0);
        for start in self.visible.clone().step_by(KEYS) {
            let keys = KEYS.min(self.visible.end - start);
            let whole = keys / TILE * TILE;
            for key in (0..whole).step_by(TILE) {
                self.score::<S, TILE>(simd, start, key, &mut weights);
            }
            for key in whole..keys {
                self.score::<S, 1>(simd, start, key, &mut weights);
            }
            let results = self.results.chunks_exact_mut(self.cache.dim);
            for ((weights, state), result) in weights.iter_mut().zip(&mut states).zip(results) {
                let shrink = weigh(state, self.scale, &mut weights[..keys]);
                result.iter_mut().for_each(|sum| *sum *= shrink);
            }
            for key in (0..whole).step_by(TILE) {
                self.add::<S, TILE>(simd, start, key, &weights);
            }
            for key in whole..keys {
                self.add::<S, 1>(simd, start, key, &weights);
            }
        }
        for (result, state) in self.results.chunks_exact_mut(self.cache.dim).zip(&states) {
            result.iter_mut().for_each(|x| *x /= state.total);
        }
    }
}

impl Token<'_> {
    /// Products of all queries and the keys at `start + key` and behind, `N` in all. So the cache is read from front to back.
    #[inline(always)]
    fn score<S: Simd, const N: usize>(&self, simd: S, start: usize, key: usize, scores: &mut [[f32; KEYS]]) {
        let dim = self.cache.dim;
        let heads = self.queries.chunks_exact(self.group * dim).zip(scores.chunks_exact_mut(self.group));
        for (head, (queries, scores)) in heads.enumerate() {
            let cache = self.cache.next(head);
            let keys: [&[f32]; N] = std::array::from_fn(|i| cache.key(start + key + i));
            for (query, scores) in queries.chunks_exact(dim).zip(scores) {
                scores[key..key + N].copy_from_slice(&products(simd, query, keys));
            }
        }
    }

    /// Adds the weighted values at `start + key` and behind, `N` in all.
    #[inline(always)]
    fn add<S: Simd, const N: usize>(&mut self, simd: S, start: usize, key: usize, weights: &[[f32; KEYS]]) {
        let dim = self.cache.dim;
        let heads = self.results.chunks_exact_mut(self.group * dim).zip(weights.chunks_exact(self.group));
        for (head, (results, weights)) in heads.enumerate() {
            let cache = self.cache.next(head);
            let values: [&[f32]; N] = std::array::from_fn(|i| cache.value(start + key + i));
            for (result, weights) in results.chunks_exact_mut(dim).zip(weights) {
                add_values(simd, values, &weights[key..key + N], result);
            }
        }
    }
}

#[inline(always)]
fn products<S: Simd, const N: usize>(simd: S, query: &[f32], keys: [&[f32]; N]) -> [f32; N] {
    let (whole, tail) = query.as_chunks::<LANES>();
    let keys = keys.map(|key| {
        let (key, key_tail) = key.as_chunks::<LANES>();
        (&key[..whole.len()], &key_tail[..tail.len()])
    });
    let mut sums = [simd.zero(); N];
    for (col, query) in whole.iter().enumerate() {
        let query = simd.load(query);
        for i in 0..N {
            sums[i] = simd.multiply_add(query, simd.load(&keys[i].0[col]), sums[i]);
        }
    }
    let lanes = simd::stored(simd, &[sums])[0];
    let mut products = [0.0; N];
    for i in 0..N {
        let vectors = if whole.is_empty() { 0.0 } else { simd::total(&lanes[i]) };
        products[i] = vectors + short_product(tail, keys[i].1);
    }
    products
}

/// The product of less than [`LANES`] features.
#[inline(always)]
fn short_product(query: &[f32], key: &[f32]) -> f32 {
    let (query_eight, query_rest) = query.as_chunks::<8>();
    let (key_eight, key_rest) = key.as_chunks::<8>();
    let mut eight = [0.0; 8];
    for (query, key) in query_eight.iter().zip(key_eight) {
        for lane in 0..8 {
            eight[lane] = query[lane] * key[lane];
        }
    }
    let [a, b, c, d] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    query_rest.iter().zip(key_rest).fold((a + c) + (b + d), |sum, (query, key)| sum + query * key)
}

/// Adds weighted values to a result.
#[inline(always)]
fn add_values<S: Simd, const N: usize>(simd: S, values: [&[f32]; N], weights: &[f32], result: &mut [f32]) {
    let (whole, tail) = result.as_chunks_mut::<LANES>();
    let values = values.map(|value| {
        let (value, value_tail) = value.as_chunks::<LANES>();
        (&value[..whole.len()], &value_tail[..tail.len()])
    });
    let mut factors = [simd.zero(); N];
    for i in 0..N {
        factors[i] = simd::in_all(simd, weights[i]);
    }
    for (col, sums) in whole.iter_mut().enumerate() {
        let mut sum = simd.load(sums);
        for i in 0..N {
            sum = simd.multiply_add(factors[i], simd.load(&values[i].0[col]), sum);
        }
        simd.store(sum, sums);
    }
    let (eight, rest) = tail.as_chunks_mut::<8>();
    let done = 8 * eight.len();
    for sums in eight {
        for i in 0..N {
            let values = values[i].1;
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weights[i] * value);
        }
    }
    for (col, sum) in rest.iter_mut().enumerate() {
        *sum += (0..N).map(|i| weights[i] * values[i].1[done + col]).sum::<f32>();
    }
}

/// Turns products into weights relative to the largest score so far; returns what earlier weights shrink by.
#[inline(always)]
fn weigh(state: &mut State, scale: f32, scores: &mut [f32]) -> f32 {
    scores.iter_mut().for_each(|score| *score *= scale);
    let before = state.largest;
    let largest = reduce::largest(scores);
    state.largest = if largest > before { largest } else { before };
    for score in scores.iter_mut() {
        *score = exp(*score - state.largest);
    }
    let shrink = exp(before - state.largest);
    state.total = state.total * shrink + reduce::sum(scores, |weight| weight);
    shrink
}
