//! Many queries of one key head: queries are the lanes.

use std::ops::Range;

use super::Cache;
use crate::kernel::fast::LANES;
use crate::kernel::fast::exp::exp;
use crate::kernel::fast::reduce;
use crate::kernel::fast::simd::{self, Lanes, Run, Simd};

/// Numbers of keys, and as many of values, that all queries use before the next ones: half of a first cache.
const CHUNK: usize = 4096;
/// Keys of a chunk at most.
const MOST_KEYS: usize = 64;

/// Queries, the keys that each may see, and the results. The ranges grow from query to query.
pub(super) struct Queries<'a, 'b> {
    pub(super) features: Vec<&'a [f32]>,
    pub(super) visible: Vec<Range<usize>>,
    pub(super) scale: f32,
    pub(super) results: &'a mut [&'b mut [f32]],
}

pub(super) fn attend(cache: Cache<'_>, queries: Queries<'_, '_>) {
    simd::run(Block { cache, queries });
}

struct Block<'a, 'b> {
    cache: Cache<'a>,
    queries: Queries<'a, 'b>,
}

impl Run for Block<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { cache, queries: Queries { features, visible, scale, results } } = self;
        let (Some(first), Some(last)) = (visible.first(), visible.last()) else { return };
        let dim = cache.dim;
        let mut memory = vec![Lanes::default(); 2 * dim * features.len().div_ceil(LANES)];
        let sixteen = features.chunks(LANES).zip(visible.chunks(LANES)).zip(memory.chunks_exact_mut(2 * dim));
        let mut all: Vec<Sixteen<'_>> =
            sixteen.map(|((features, visible), memory)| Sixteen::new(features, visible, scale, memory)).collect();
        // Keys lie far apart, often by a power of two, where caches and page tables hold few of them.
        let keys = (CHUNK / dim).clamp(1, MOST_KEYS);
        let (mut k, mut v) = (vec![0.0; keys * dim], vec![0.0; keys * dim]);
        for start in (first.start..last.end).step_by(keys) {
            let range = start..last.end.min(start + keys);
            let mut finite = true;
            for (i, position) in range.clone().enumerate() {
                k[i * dim..][..dim].copy_from_slice(cache.key(position));
                v[i * dim..][..dim].copy_from_slice(cache.value(position));
                finite &= reduce::sum(cache.value(position), |x| x * 0.0) == 0.0;
            }
            let chunk = Chunk { range, k: &k, v: &v, dim, finite };
            for sixteen in &mut all {
                sixteen.take(simd, &chunk);
            }
        }
        for (sixteen, results) in all.iter_mut().zip(results.chunks_mut(LANES)) {
            sixteen.scale_sums(simd, &sixteen.total.map(|total| 1.0 / total));
            for (lane, result) in results.iter_mut().enumerate() {
                result.iter_mut().zip(sixteen.sums.iter()).for_each(|(result, sums)| *result = sums.0[lane]);
            }
        }
    }
}

/// Consecutive keys and values, each row behind the other.
struct Chunk<'a> {
    range: Range<usize>,
    k: &'a [f32],
    v: &'a [f32],
    dim: usize,
    /// Whether all values are numbers: what is not would spread to lanes that must not see it, in spite of a weight of 0.
    finite: bool,
}

impl<'a> Chunk<'a> {
    #[inline(always)]
    fn key(&self, position: usize) -> &'a [f32] {
        &self.k[(position - self.range.start) * self.dim..][..self.dim]
    }

    #[inline(always)]
    fn value(&self, position: usize) -> &'a [f32] {
        &self.v[(position - self.range.start) * self.dim..][..self.dim]
    }

    /// The part of a range that lies in the chunk.
    #[inline(always)]
    fn part(&self, range: &Range<usize>) -> Range<usize> {
        let end = range.end.min(self.range.end);
        range.start.max(self.range.start).min(end)..end
    }
}

/// The score of a key that a lane does not see.
const HIDDEN: f32 = f32::NEG_INFINITY;

/// Sixteen queries, and the softmax of each so far.
struct Sixteen<'a> {
    /// Features of the queries, scaled.
    features: &'a [Lanes],
    /// What each lane sees; lanes without a query see what the last one sees.
    visible: [Range<usize>; LANES],
    /// Values, summed by their weights relative to the largest score.
    sums: &'a mut [Lanes],
    largest: [f32; LANES],
    total: [f32; LANES],
}

impl<'a> Sixteen<'a> {
    #[inline(always)]
    fn new(queries: &[&[f32]], visible: &[Range<usize>], scale: f32, memory: &'a mut [Lanes]) -> Self {
        let (features, sums) = memory.split_at_mut(memory.len() / 2);
        for (lane, query) in queries.iter().enumerate() {
            features.iter_mut().zip(*query).for_each(|(feature, value)| feature.0[lane] = value * scale);
        }
        let visible = std::array::from_fn(|lane| visible[lane.min(visible.len() - 1)].clone());
        Self { features, visible, sums, largest: [f32::MIN; LANES], total: [0.0; LANES] }
    }

    /// Takes in a chunk: what all lanes see, and what some do, before and after it.
    #[inline(always)]
    fn take<S: Simd>(&mut self, simd: S, chunk: &Chunk<'_>) {
        let (first, last) = (&self.visible[0], &self.visible[LANES - 1]);
        let all = last.start.min(first.end)..first.end;
        let parts = [(first.start..all.start, true), (all.clone(), false), (all.end..last.end, true)];
        for (range, some) in parts {
            let range = chunk.part(&range);
            if range.is_empty() {
                continue;
            }
            let mut weights = [Lanes::default(); MOST_KEYS];
            let weights = &mut weights[..range.len()];
            self.scores(simd, chunk, range.start, weights);
            if some {
                self.hide(range.start, weights);
            }
            self.weigh(simd, weights);
            if some && !chunk.finite {
                self.add_some_values(chunk, range.start, weights);
            } else {
                self.add_values(simd, chunk, range.start, weights);
            }
        }
    }

    /// Products of queries and keys.
    #[inline(always)]
    fn scores<S: Simd>(&self, simd: S, chunk: &Chunk<'_>, start: usize, scores: &mut [Lanes]) {
        let mut done = 0;
        if S::SUMS >= 8 {
            done = self.products::<S, 8>(simd, chunk, start, scores, done);
        }
        done = self.products::<S, 4>(simd, chunk, start, scores, done);
        self.products::<S, 1>(simd, chunk, start, scores, done);
    }

    /// Those with `N` keys at a time, from the one after the first `done` on; returns how many are done then.
    #[inline(always)]
    fn products<S: Simd, const N: usize>(
        &self,
        simd: S,
        chunk: &Chunk<'_>,
        start: usize,
        scores: &mut [Lanes],
        mut done: usize,
    ) -> usize {
        for scores in scores[done..].as_chunks_mut::<N>().0 {
            let keys: [&[f32]; N] = std::array::from_fn(|i| &chunk.key(start + done + i)[..self.features.len()]);
            let mut sums = [simd.zero(); N];
            for (col, feature) in self.features.iter().enumerate() {
                let feature = simd.load(&feature.0);
                for i in 0..N {
                    sums[i] = simd.multiply_add(feature, simd::in_all(simd, keys[i][col]), sums[i]);
                }
            }
            *scores = simd::stored(simd, &[sums])[0].map(Lanes);
            done += N;
        }
        done
    }

    /// Marks the keys that a lane does not see.
    #[inline(always)]
    fn hide(&self, start: usize, scores: &mut [Lanes]) {
        let end = start + scores.len();
        for (lane, visible) in self.visible.iter().enumerate() {
            let (before, after) = (start..visible.start.min(end), visible.end.max(start)..end);
            for position in before.chain(after) {
                scores[position - start].0[lane] = HIDDEN;
            }
        }
    }

    /// Turns scores into weights relative to the largest score so far.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, weights: &mut [Lanes]) {
        let before = self.largest;
        let mut largest = before;
        for weight in weights.iter() {
            let weight = &weight.0;
            for lane in 0..LANES {
                largest[lane] = if weight[lane] > largest[lane] { weight[lane] } else { largest[lane] };
            }
        }
        let mut shrink = [0.0; LANES];
        for lane in 0..LANES {
            shrink[lane] = exp(before[lane] - largest[lane]);
        }
        self.scale_sums(simd, &shrink);
        let mut total = self.total;
        for lane in 0..LANES {
            total[lane] *= shrink[lane];
        }
        for weight in weights {
            for lane in 0..LANES {
                let value = exp(weight.0[lane] - largest[lane]);
                weight.0[lane] = if weight.0[lane] == HIDDEN { 0.0 } else { value };
                total[lane] += weight.0[lane];
            }
        }
        (self.largest, self.total) = (largest, total);
    }

    #[inline(always)]
    fn scale_sums<S: Simd>(&mut self, simd: S, factors: &[f32; LANES]) {
        let factors = simd.load(factors);
        for sums in self.sums.iter_mut() {
            simd.store(simd.multiply_add(simd.load(&sums.0), factors, simd.zero()), &mut sums.0);
        }
    }

    /// Adds weighted values.
    #[inline(always)]
    fn add_values<S: Simd>(&mut self, simd: S, chunk: &Chunk<'_>, start: usize, weights: &[Lanes]) {
        let mut done = 0;
        if S::SUMS >= 8 {
            done = self.add::<S, 8>(simd, chunk, start, weights, done);
        }
        done = self.add::<S, 4>(simd, chunk, start, weights, done);
        self.add::<S, 1>(simd, chunk, start, weights, done);
    }

    /// `N` columns at a time, from the one after the first `done` on; returns how many are done then.
    #[inline(always)]
    fn add<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        chunk: &Chunk<'_>,
        start: usize,
        weights: &[Lanes],
        mut done: usize,
    ) -> usize {
        for sums in self.sums[done..].as_chunks_mut::<N>().0 {
            let mut totals = [simd.zero(); N];
            for i in 0..N {
                totals[i] = simd.load(&sums[i].0);
            }
            for (position, weight) in (start..).zip(weights) {
                let weight = simd.load(&weight.0);
                let values = &chunk.value(position)[done..done + N];
                for i in 0..N {
                    totals[i] = simd.multiply_add(weight, simd::in_all(simd, values[i]), totals[i]);
                }
            }
            *sums = simd::stored(simd, &[totals])[0].map(Lanes);
            done += N;
        }
        done
    }

    /// [`Self::add_values`] where a weight of 0 may mean that the lane must not see the value, and that is no number.
    #[cold]
    fn add_some_values(&mut self, chunk: &Chunk<'_>, start: usize, weights: &[Lanes]) {
        for (position, weight) in (start..).zip(weights) {
            for (sum, value) in self.sums.iter_mut().zip(chunk.value(position)) {
                let seen = sum.0.iter_mut().zip(&weight.0).filter(|(_, weight)| **weight != 0.0);
                seen.for_each(|(sum, weight)| *sum += weight * value);
            }
        }
    }
}
