//! Cases of attention.

use super::Wanted;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::check::large::{LargeCase, Scale};
use crate::dispatch::{Kernel, Variant};
use crate::kernel::attention::{self, Attention, Params};
use crate::kernel::attention_backward_kv::AttentionBackwardKv;
use crate::kernel::attention_backward_q::AttentionBackwardQ;
use crate::kernel::part::Reduce;
use crate::random::Random;

/// Query and key heads, features of a head.
const HEADS: [(u32, u32, u32); 10] = [
    (4, 2, 1),
    (3, 3, 8),
    (4, 2, 33),
    (3, 3, 128),
    (4, 2, 256),
    (3, 3, 1),
    (4, 2, 8),
    (3, 3, 33),
    (4, 1, 128),
    (3, 3, 256),
];

/// A larger factor than usual, so that one key takes nearly all the weight.
const SHARP: f32 = 20.0;

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut heads = HEADS.into_iter().cycle();
    for tokens in [1, 3, 65] {
        for past in [0, 1, 70] {
            for window in [0, 5] {
                let (heads, kv_heads, head_dim) = heads.next().unwrap_or(HEADS[0]);
                let sharpness = if (tokens + past) % 4 == 3 { SHARP } else { 1.0 };
                let params = Params {
                    sequences: 1 + tokens % 2 * (past + 1) % 3,
                    tokens,
                    heads,
                    kv_heads,
                    head_dim,
                    past,
                    capacity: past + tokens + 3,
                    scale: sharpness / (head_dim as f32).sqrt(),
                    window,
                };
                cases.extend(wanted(Attention::SPEC).into_iter().map(|v| case(v, &params, sharpness)));
                let gradients = wanted(AttentionBackwardQ::SPEC).into_iter().chain(wanted(AttentionBackwardKv::SPEC));
                if gradients.count() > 0 {
                    backward(wanted, &params, sharpness, &mut cases);
                }
            }
        }
    }
    cases
}

/// Queries that the twin computes of a large case.
const SAMPLE: u32 = 8;

/// Heads as in a model of eight billion weights: a whole text with as many key heads as query heads, the same with a
/// quarter of them, and one more token after a longer text.
pub(super) fn large(scale: Scale) -> Vec<LargeCase> {
    let (heads, head_dim, text) = scale.pick((32, 128, 512), (4, 64, 64));
    let mut all = Vec::new();
    for (kv_heads, tokens, past) in [(heads, text, 0), (heads / 4, text, 0), (heads / 4, 1, 4 * text - 1)] {
        let scale = 1.0 / (head_dim as f32).sqrt();
        let capacity = past + tokens;
        let p = Params { sequences: 1, tokens, heads, kv_heads, head_dim, past, capacity, scale, window: 0 };
        for variant in Attention::variants() {
            let made = variant.clone();
            let make = move || case(made.clone(), &p, 1.0).sample::<Attention>(|p| p.tokens = p.tokens.min(SAMPLE));
            let size = format!("t{tokens}p{past}h{heads}/{kv_heads}d{head_dim}");
            all.push(LargeCase::new::<Attention>(variant, size, make));
        }
    }
    all
}

/// Queries, keys and values. What no query sees must not be read: the end of the cache, and what lies before the first
/// window.
fn data(p: &Params) -> [Vec<f32>; 3] {
    let mut random = Random::new(p.tokens * 131 + p.past * 7 + p.head_dim);
    let [sequences, tokens, capacity] = [p.sequences, p.tokens, p.capacity].map(|n| n as usize);
    let (width, cols) = ((p.kv_heads * p.head_dim) as usize, (p.heads * p.head_dim) as usize);
    let q = random.normals(sequences * tokens * cols);
    let [k, v] = [0, 1].map(|_| {
        let mut cache = random.normals(sequences * capacity * width);
        let seen = match p.window {
            0 => 0,
            window => (p.past + 1).saturating_sub(window) as usize,
        }..p.past as usize + tokens;
        for (i, row) in cache.chunks_mut(width).enumerate() {
            if !seen.contains(&(i % capacity)) {
                row.fill(f32::NAN);
            }
        }
        cache
    });
    [q, k, v]
}

fn label(p: &Params, sharpness: f32) -> String {
    let Params { sequences, tokens, heads, kv_heads, head_dim, past, window, .. } = p;
    format!("s{sequences}t{tokens}p{past}h{heads}/{kv_heads}d{head_dim}w{window}x{sharpness}")
}

fn case(variant: Variant, p: &Params, sharpness: f32) -> Case {
    let [q, k, v] = data(p);
    let [sequences, tokens] = [p.sequences, p.tokens].map(|n| n as usize);
    let cols = (p.heads * p.head_dim) as usize;
    // Values reach about 4. An error of a score, a sum over the features, is a relative error of its weight; scores
    // grow with the sharpness.
    let keys = p.past as usize + tokens;
    let tolerance = Tolerance::sum(p.head_dim as usize + keys, 4.0 * sharpness).max(Tolerance::ELEMENTWISE);
    let bindings = vec![
        Binding::In(bytemuck::cast_vec(q)),
        Binding::In(bytemuck::cast_vec(k)),
        Binding::In(bytemuck::cast_vec(v)),
        Binding::Out(sequences * tokens * cols, tolerance),
    ];
    let operations = sequences * cols * 4 * (p.past as usize * tokens + tokens * (tokens + 1) / 2);
    Case::new::<Attention>(variant, label(p, sharpness), p, bindings).operations(operations)
}

/// Both gradients, that of keys and values with the stats that the twin of the other gives.
fn backward(wanted: Wanted<'_>, p: &Params, sharpness: f32, cases: &mut Vec<Case>) {
    let inputs = data(p).map(|values| Binding::In(bytemuck::cast_vec(values)));
    let [sequences, tokens, capacity, head_dim] = [p.sequences, p.tokens, p.capacity, p.head_dim].map(|n| n as usize);
    let (rows, width) = (sequences * tokens * p.heads as usize, p.kv_heads as usize * head_dim);
    let d_y = Binding::In(bytemuck::cast_vec(Random::new(p.past + 1).normals(rows * head_dim)));
    // A slope is a product of d_y and a value, summed over the features and taken from another such sum; it meets keys or
    // queries of up to about 4. Of keys that share their weights evenly the errors add up, relative to that.
    let size = 4.0 * sharpness * (head_dim as f32).sqrt() * p.scale.max(1.0);
    let tolerance = Tolerance::sum(head_dim + capacity, size).max(Tolerance::ELEMENTWISE);
    let mut q_case = |variant| {
        let mut bindings = inputs.to_vec();
        bindings.extend([d_y.clone(), Binding::Out(rows * head_dim, tolerance), Binding::Out(2 * rows, tolerance)]);
        Case::new::<AttentionBackwardQ>(variant, label(p, sharpness), p, bindings)
    };
    let stats = q_case(attention::variant(Reduce::Shared)).result(5);
    cases.extend(wanted(AttentionBackwardQ::SPEC).into_iter().map(&mut q_case));
    for variant in wanted(AttentionBackwardKv::SPEC) {
        let mut bindings = inputs.to_vec();
        bindings.extend([d_y.clone(), Binding::In(stats.clone())]);
        // The queries that see a key add up, and so do the heads.
        let many = Tolerance::sum(head_dim + rows, size).max(Tolerance::ELEMENTWISE);
        bindings.extend([0, 1].map(|_| Binding::Out(sequences * capacity * width, many)));
        cases.push(Case::new::<AttentionBackwardKv>(variant, label(p, sharpness), p, bindings));
    }
}
