//! Activations as int8 with zero points, and what those put too much into a product.

use super::Wanted;
use super::group::u;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::check::large::{LargeCase, Scale};
use crate::dispatch::{Kernel, Variant};
use crate::kernel::token_quantize::{self as quantize, TokenQuantize};
use crate::kernel::zero_point_correct::{self as correct, ZeroPointCorrect};
use crate::random::Random;

/// `[rows, cols]`: single elements, words that are not full, more than one pass of a workgroup, tails.
const ACTIVATIONS: [(usize, usize); 6] = [(1, 1), (1, 16), (9, 33), (15, 127), (8, 256), (9, 1029)];
/// Scale and zero point: found, symmetric, with a zero point, so small that much is clipped.
const CODINGS: [(f32, i32); 4] = [(0.0, 0), (0.03125, 0), (0.0123, -77), (1e-3, 127)];

/// `[tokens, rows]` of a product: single elements, around a workgroup, primes.
const PRODUCTS: [(usize, usize); 5] = [(1, 1), (1, 255), (2, 128), (3, 257), (65, 67)];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for variant in wanted(TokenQuantize::SPEC) {
        for size in ACTIVATIONS {
            cases.extend(CODINGS.map(|coding| {
                let (rows, cols) = size;
                quantize_case(&variant, size, coding, awkward(&mut Random::new(u(rows * 53 + cols)), size))
            }));
        }
    }
    for variant in wanted(ZeroPointCorrect::SPEC) {
        for (tokens, rows) in PRODUCTS {
            let mut random = Random::new(u(tokens * 31 + rows));
            let y: Vec<u32> = bytemuck::cast_vec(random.normals(tokens * rows));
            let scales: Vec<u32> = bytemuck::cast_vec(random.normals(tokens));
            let zeros = (0..tokens).map(|_| random.below(256).cast_signed() - 128);
            let zeros: Vec<u32> = zeros.map(i32::cast_unsigned).collect();
            let sums: Vec<u32> = bytemuck::cast_vec(random.normals(rows));
            // A product of three numbers of which one is up to 128, taken from another: in one rounding or in two.
            let bindings = vec![
                Binding::InOut(y, Tolerance::sum(2, 128.0 * 16.0)),
                Binding::In(scales),
                Binding::In(zeros),
                Binding::In(sums),
            ];
            let params = correct::Params { tokens: u(tokens), rows: u(rows) };
            let size = format!("{tokens}x{rows}");
            cases.push(Case::new::<ZeroPointCorrect>(variant.clone(), size, &params, bindings));
        }
        cases.push(integers(&variant));
    }
    cases
}

/// Integers below 2^24: the same on every device.
fn integers(variant: &Variant) -> Case {
    let (tokens, rows) = (5, 130);
    let mut random = Random::new(17);
    let mut whole = |most: u32| (random.below(2 * most + 1).cast_signed() - most.cast_signed()) as f32;
    let mut floats = |count: usize, most: u32| (0..count).map(|_| whole(most).to_bits()).collect::<Vec<_>>();
    let bindings = vec![
        Binding::InOut(floats(tokens * rows, 1 << 22), Tolerance::EXACT),
        Binding::In(vec![1f32.to_bits(); tokens]),
        Binding::In([-128, 127, 0, 1, -77].map(i32::cast_unsigned).to_vec()),
        Binding::In(floats(rows, 1 << 15)),
    ];
    let params = correct::Params { tokens: u(tokens), rows: u(rows) };
    Case::new::<ZeroPointCorrect>(variant.clone(), format!("{tokens}x{rows}.integers"), &params, bindings)
}

/// One token and a window of text.
pub(super) fn large(scale: Scale) -> Vec<LargeCase> {
    let cols = scale.pick(14336, 1024);
    let case = |batch: usize| {
        let make = move || {
            let x = Random::new(7).normals(batch * cols);
            quantize_case(&quantize::variant(), (batch, cols), (0.0, 0), x).sample::<TokenQuantize>(|p| p.rows = 1)
        };
        LargeCase::new::<TokenQuantize>(quantize::variant(), format!("{batch}x{cols}"), make)
    };
    [1, scale.pick(512, 64)].map(case).into()
}

/// Tokens with what is awkward: zeros, one sign, ties, tiny and huge values, one that is not finite.
fn awkward(random: &mut Random, (rows, cols): (usize, usize)) -> Vec<f32> {
    let mut values = random.normals(rows * cols);
    for (i, value) in values.iter_mut().enumerate() {
        let (row, col) = (i / cols, i % cols);
        match row % 8 {
            1 => *value = -value.abs() - 1.0,
            // Scales of 1/32: exact ties.
            2 => {
                *value = match col {
                    0 => 128.0 / 32.0,
                    1 => -127.0 / 32.0,
                    _ => (*value * 40.0).round() / 64.0,
                }
            }
            3 => *value *= 1e-34,
            4 => *value = value.abs() * 1e-28,
            5 if col == cols / 2 => *value = [f32::NAN, f32::NEG_INFINITY, -f32::NAN][cols % 3],
            6 => *value = (*value * 1e38).clamp(-f32::MAX, f32::MAX),
            7 => *value *= if col % 2 == 0 { 0.0 } else { -0.0 },
            _ => {}
        }
    }
    values
}

fn quantize_case(variant: &Variant, (rows, cols): (usize, usize), (scale, zero): (f32, i32), x: Vec<f32>) -> Case {
    let params = quantize::Params { rows: u(rows), cols: u(cols), scale, zero };
    let out = Binding::Out(rows, Tolerance::EXACT);
    let codes = Binding::Out(rows * params.words(), Tolerance::EXACT);
    let bindings = vec![Binding::In(bytemuck::cast_vec(x)), codes, out.clone(), out.clone(), out];
    let given = if scale == 0.0 { String::new() } else { format!(".scale{scale}.zero{zero}") };
    Case::new::<TokenQuantize>(variant.clone(), format!("{rows}x{cols}{given}"), &params, bindings)
}
