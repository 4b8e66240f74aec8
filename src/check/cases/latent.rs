//! Cases of what trains with quantization in the loop: scales of ternary weights, activations decoded, noise, dropout.

use super::Wanted;
use super::block::{COUNTS, floats};
use super::group::u;
use super::int8::ACTIVATIONS;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Variant};
use crate::kernel::activation_dequantize::{self as dequantize, ActivationDequantize};
use crate::kernel::dropout::{self, Dropout};
use crate::kernel::group_absmean::{self as absmean, GroupAbsmean};
use crate::kernel::weight_noise::{self, WeightNoise};
use crate::random::Random;

/// `[rows, cols]` and group: single elements, tails, whole rows around a workgroup, primes, a tensor as one row.
const WEIGHTS: [(usize, usize, usize); 7] =
    [(1, 1, 1), (3, 33, 16), (5, 64, 64), (67, 65, 65), (9, 172, 32), (2, 1009, 1009), (1, 20_011, 20_011)];
/// Shares of a dropout: none, few, most.
const RATES: [f32; 3] = [0.0, 0.1, 0.75];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for variant in wanted(GroupAbsmean::SPEC) {
        cases.extend(WEIGHTS.map(|size| absmean_case(size, variant.clone())));
    }
    for variant in wanted(ActivationDequantize::SPEC) {
        cases.extend(ACTIVATIONS.map(|size| dequantize_case(size, variant.clone())));
    }
    for variant in wanted(WeightNoise::SPEC) {
        for whole in [false, true] {
            cases.extend(WEIGHTS.map(|size| noise_case(size, whole, variant.clone())));
        }
    }
    for variant in wanted(Dropout::SPEC) {
        for count in COUNTS {
            cases.extend(RATES.map(|rate| dropout_case(count, rate, variant.clone())));
        }
    }
    cases
}

fn absmean_case((rows, cols, group): (usize, usize, usize), variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 79 + cols));
    let per_row = cols.div_ceil(group);
    let params =
        absmean::Params { rows: u(rows), cols: u(cols), group: u(group), groups_per_row: u(per_row), eps: 1e-6 };
    // A mean of so many terms is off by what their sum is, relative to it.
    let scales = Binding::Out(rows * per_row, Tolerance::sum(group, 1.0).max(Tolerance::ELEMENTWISE));
    let bindings = vec![floats(random.normals(rows * cols)), scales];
    Case::new::<GroupAbsmean>(variant, format!("{rows}x{cols}g{group}"), &params, bindings).operations(rows * cols)
}

/// Codes of any byte.
fn dequantize_case((rows, cols, block): (usize, usize, usize), variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 83 + cols));
    let params = dequantize::Params { rows: u(rows), cols: u(cols), block: u(block) };
    let blocks = rows * params.blocks();
    let codes = (0..blocks * params.block_words()).map(|_| random.below(1 << 23) * 512 + random.below(512)).collect();
    let scales = (0..blocks).map(|_| random.uniform()).collect();
    let bindings = vec![Binding::In(codes), floats(scales), Binding::Out(rows * cols, Tolerance::EXACT)];
    Case::new::<ActivationDequantize>(variant, format!("{rows}x{cols}b{block}"), &params, bindings)
}

fn noise_case((rows, cols, group): (usize, usize, usize), whole: bool, variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 31 + cols));
    let per_row = if whole { 0 } else { cols.div_ceil(group) };
    let group = if whole { rows * cols } else { group };
    let scales = if whole { 1 } else { rows * per_row };
    let params = weight_noise::Params {
        count: u(rows * cols),
        cols: u(cols),
        group: u(group),
        groups_per_row: u(per_row),
        share: 0.75,
        seed: u(cols),
    };
    // A value and a product, each up to about 6.
    let out = Binding::Out(rows * cols, Tolerance::ELEMENTWISE.max(Tolerance::sum(3, 6.0)));
    let bindings = vec![floats(random.normals(rows * cols)), floats(random.normals(scales)), out];
    Case::new::<WeightNoise>(variant, format!("{rows}x{cols}g{group}.in{per_row}"), &params, bindings)
}

fn dropout_case(count: usize, rate: f32, variant: Variant) -> Case {
    let mut random = Random::new(u(count));
    let params = dropout::Params { count: u(count), seed: u(count) + 1, rate, factor: 1.0 / (1.0 - rate) };
    let bindings = vec![floats(random.normals(count)), Binding::Out(count, Tolerance::EXACT)];
    Case::new::<Dropout>(variant, format!("{count}at{rate}"), &params, bindings)
}
