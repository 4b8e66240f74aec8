//! Cases of what a transformer block has besides matrix products and attention: norms, rotary embedding, caches,
//! activations, sums.

use super::Wanted;
use super::group::u;
use crate::activation::Activation;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::check::large::{LargeCase, Scale};
use crate::dispatch::{Kernel, Variant};
use crate::kernel::activate::{self, Activate};
use crate::kernel::add::{self, Add};
use crate::kernel::add_bias::{self, AddBias};
use crate::kernel::gate::Gate;
use crate::kernel::layer_norm::LayerNorm;
use crate::kernel::part::{self, Reduce};
use crate::kernel::rms_norm::{self, RmsNorm};
use crate::kernel::rope::{self, Rope};
use crate::kernel::store_rows::{self, StoreRows};
use crate::random::Random;

/// Elements: one, around a workgroup of 256, a prime.
pub(super) const COUNTS: [usize; 5] = [1, 255, 256, 257, 10_007];

/// `[rows, cols]` of norms: single elements, around workgroups of 64 and 256, primes.
pub(super) const ROWS: [(usize, usize); 8] = [(1, 1), (3, 2), (2, 63), (5, 64), (4, 65), (3, 172), (2, 257), (7, 1009)];

/// More rows than one axis of the grid holds: for one variant, since so many workgroups take a while in software.
const MANY_ROWS: (usize, usize) = (65_536 + 3, 2);

/// `[rows, cols]` of matrices.
pub(super) const MATRICES: [(usize, usize); 5] = [(1, 1), (3, 85), (2, 128), (257, 1), (7, 1009)];

/// Exponentials may err by 3 + 2|x| units in the last place (WGSL's accuracy table). What that moves an activation,
/// whose slope in the exponential falls as fast as |x| grows, stays under 2e-7, and factors reach 6. Divisions err
/// by 2.5 units.
pub(super) const EXPONENTIAL: Tolerance = Tolerance { absolute: 2e-6, relative: 1e-6 };

/// Two products of values up to 6 and their sum, which a device may fuse.
const TURN: f32 = 6.0;

/// Standard deviations that a normalized value reaches, times the largest weight.
pub(super) const NORMALIZED: f32 = 8.0;

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in ROWS {
        wanted(RmsNorm::SPEC).into_iter().for_each(|v| cases.push(rms(size, v)));
        wanted(LayerNorm::SPEC).into_iter().for_each(|v| cases.push(layer(size, v)));
    }
    cases.push(rms(MANY_ROWS, rms_norm::variant(Reduce::Shared, MANY_ROWS.1)));
    ropes(&mut cases);
    stores(&mut cases);
    COUNTS.into_iter().for_each(|count| elementwise(wanted, count, &mut cases));
    MATRICES.into_iter().for_each(|size| biases(size, &mut cases));
    cases
}

/// A window of text between two layers: normalized in rows as wide as a model, and added to itself.
pub(super) fn large(scale: Scale) -> Vec<LargeCase> {
    let (rows, cols): (usize, usize) = scale.pick((512, 4096), (64, 512));
    let norm = |variant: Variant| {
        let made = variant.clone();
        let make = move || rms((rows, cols), made.clone()).sample::<RmsNorm>(|p| p.rows = 8);
        LargeCase::new::<RmsNorm>(variant, format!("{rows}x{cols}"), make)
    };
    let mut all: Vec<_> = RmsNorm::variants().into_iter().map(norm).collect();
    // Longer than any cache, so that it shows how fast the device moves memory.
    let count: usize = scale.pick(32 << 20, 1 << 20);
    let make = move || sum_case(count).sample::<Add>(|p| p.count = 100_000);
    all.push(LargeCase::new::<Add>(add::variant(), count.to_string(), make));
    all
}

fn sum_case(count: usize) -> Case {
    let mut random = Random::new(u(count));
    let mut values = || floats((0..count).map(|_| random.uniform()).collect());
    let bindings = vec![values(), values(), Binding::Out(count, Tolerance::EXACT)];
    Case::new::<Add>(add::variant(), count.to_string(), &activate::Params { count: u(count) }, bindings)
        .operations(count)
}

pub(super) fn floats(values: Vec<f32>) -> Binding {
    Binding::In(bytemuck::cast_vec(values))
}

fn rms((rows, cols): (usize, usize), variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 43 + cols));
    // Small rows, where eps matters, and rows of large values among them.
    let size = |i: usize| [1.0, 1e-3, 30.0][i / cols % 3];
    let x = (0..rows * cols).map(|i| random.normal() * size(i)).collect();
    let out = Binding::Out(rows * cols, Tolerance::sum(cols, 1.0).max(Tolerance::ELEMENTWISE));
    let bindings = vec![floats(x), floats(norm_weight(&mut random, cols)), out];
    let params = rms_norm::Params { rows: u(rows), cols: u(cols), eps: 1e-5 };
    Case::new::<RmsNorm>(variant, format!("{rows}x{cols}"), &params, bindings).operations(rows * cols * 4)
}

fn layer((rows, cols): (usize, usize), variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 47 + cols));
    // A mean of several standard deviations; of two columns the variance is too uncertain for that.
    let mean = if cols > 2 { 4.0 } else { 0.5 };
    let x = (0..rows * cols).map(|_| mean + random.normal()).collect();
    let weight = norm_weight(&mut random, cols);
    let out = Binding::Out(rows * cols, Tolerance::sum(cols, NORMALIZED).max(Tolerance::ELEMENTWISE));
    let bindings = vec![floats(x), floats(weight), floats(random.normals(cols)), out];
    let params = rms_norm::Params { rows: u(rows), cols: u(cols), eps: 1e-5 };
    Case::new::<LayerNorm>(variant, format!("{rows}x{cols}"), &params, bindings).operations(rows * cols * 7)
}

pub(super) fn norm_weight(random: &mut Random, cols: usize) -> Vec<f32> {
    (0..cols).map(|_| 1.0 + 0.1 * random.normal()).collect()
}

fn ropes(cases: &mut Vec<Case>) {
    // Sequences, tokens, heads, head size, first position, slots, first slot.
    let sizes: [[usize; 7]; 7] = [
        [1, 1, 1, 2, 0, 1, 0],
        [1, 5, 3, 8, 0, 5, 0],
        [2, 7, 2, 6, 3, 7, 0],
        [2, 3, 4, 64, 5, 11, 5],
        [3, 1, 2, 128, 12, 13, 12],
        [1, 1, 1, 126, 0, 2, 1],
        [2, 33, 7, 10, 1, 40, 7],
    ];
    for [sequences, tokens, heads, head_dim, first_position, capacity, first] in sizes {
        let mut random = Random::new(u(tokens * 53 + head_dim));
        let params = rope::Params {
            sequences: u(sequences),
            tokens: u(tokens),
            heads: u(heads),
            head_dim: u(head_dim),
            first_position: u(first_position),
            out_capacity: u(capacity),
            out_first: u(first),
            direction: if tokens % 2 == 0 { -1.0 } else { 1.0 },
        };
        let angles = (0..(first_position + tokens) * head_dim / 2).map(|_| random.uniform() * 7.0);
        let table = angles.flat_map(|a| [a.cos(), a.sin()]).collect();
        let x = floats(random.normals(sequences * tokens * heads * head_dim));
        let before = bytemuck::cast_vec(random.normals(sequences * capacity * heads * head_dim));
        let bindings = vec![x, floats(table), Binding::InOut(before, Tolerance::sum(2, TURN))];
        let label = format!("{sequences}x{tokens}h{heads}x{head_dim}at{first_position}.slots{capacity}from{first}");
        cases.push(Case::new::<Rope>(rope::variant(), label, &params, bindings));
    }
}

fn stores(cases: &mut Vec<Case>) {
    // Sequences, tokens, columns, slots, first slot.
    let sizes: [[usize; 5]; 6] =
        [[1, 1, 1, 1, 0], [1, 1, 64, 9, 8], [2, 5, 13, 5, 0], [3, 2, 21, 7, 3], [1, 65, 1, 66, 1], [2, 31, 33, 64, 32]];
    for [sequences, tokens, cols, capacity, first] in sizes {
        let mut random = Random::new(u(tokens * 59 + cols));
        let params = store_rows::Params {
            sequences: u(sequences),
            tokens: u(tokens),
            cols: u(cols),
            capacity: u(capacity),
            first: u(first),
        };
        let x = floats(random.normals(sequences * tokens * cols));
        let before = bytemuck::cast_vec(random.normals(sequences * capacity * cols));
        let label = format!("{sequences}x{tokens}x{cols}.slots{capacity}from{first}");
        let bindings = vec![x, Binding::InOut(before, Tolerance::EXACT)];
        cases.push(Case::new::<StoreRows>(store_rows::variant(), label, &params, bindings));
    }
}

/// Inputs of activations, among them those whose exponential over- or underflows.
pub(super) fn inputs(random: &mut Random, count: usize) -> Vec<f32> {
    const AWKWARD: [f32; 10] = [0.0, 100.0, -100.0, 1e-4, -1e-4, -20.0, 20.0, -89.0, 1e6, -1e6];
    let value = |i: usize| if i % 7 == 3 { AWKWARD[i / 7 % AWKWARD.len()] } else { 3.0 * random.normal() };
    (0..count).map(value).collect()
}

/// ReLU and its square are maxima and products, rounded alike everywhere.
fn tolerance(activation: Activation) -> Tolerance {
    match activation {
        Activation::Relu | Activation::ReluSquared => Tolerance::EXACT,
        Activation::Silu | Activation::Gelu | Activation::GeluTanh | Activation::Sigmoid => EXPONENTIAL,
    }
}

fn elementwise(wanted: Wanted<'_>, count: usize, cases: &mut Vec<Case>) {
    let params = activate::Params { count: u(count) };
    let mut random = Random::new(u(count));
    let (x, up) = (inputs(&mut random, count), random.normals(count));
    for variant in wanted(Activate::SPEC) {
        let tolerance = tolerance(part::activation(&variant));
        let bindings = vec![floats(x.clone()), Binding::Out(count, tolerance)];
        cases.push(Case::new::<Activate>(variant.clone(), count.to_string(), &params, bindings));
        let bindings = vec![floats(x.clone()), floats(up.clone()), Binding::Out(count, tolerance)];
        cases.push(Case::new::<Gate>(variant, count.to_string(), &params, bindings));
    }
    let bindings = vec![floats(x), floats(up), Binding::Out(count, Tolerance::EXACT)];
    cases.push(Case::new::<Add>(add::variant(), count.to_string(), &params, bindings).operations(count));
}

fn biases((rows, cols): (usize, usize), cases: &mut Vec<Case>) {
    let mut random = Random::new(u(rows * 61 + cols));
    let x = bytemuck::cast_vec(random.normals(rows * cols));
    let bindings = vec![Binding::InOut(x, Tolerance::EXACT), floats(random.normals(cols))];
    let params = add_bias::Params { rows: u(rows), cols: u(cols) };
    let case = Case::new::<AddBias>(add_bias::variant(), format!("{rows}x{cols}"), &params, bindings);
    cases.push(case.operations(rows * cols));
}
