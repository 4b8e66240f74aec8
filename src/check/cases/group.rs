//! Cases of group range, quantize, dequantize and error.

use super::Wanted;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Role};
use crate::dtype::Dtype;
use crate::kernel::group_dequantize::{self as dequantize, GroupDequantize};
use crate::kernel::group_error::{self as error, GroupError};
use crate::kernel::group_quantize::{self as quantize, GroupQuantize};
use crate::kernel::group_range::{self as range, GroupRange};
use crate::kernel::part::ZERO_MIDDLE;
use crate::pack::Packing;
use crate::random::{Random, words};
use crate::scheme::{Bits, RangeRule, Rounding, Scheme, Span, Zero};

/// `[rows, cols]` and group: single elements, one group, tails, primes, more than one workgroup.
const SIZES: [(usize, usize, usize); 7] =
    [(1, 1, 16), (1, 16, 16), (3, 33, 16), (5, 172, 32), (2, 127, 128), (67, 129, 64), (9, 1000, 1000)];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        ranges(wanted, size, &mut cases);
        quantizes(wanted, size, &mut cases);
        dequantizes(wanted, size, &mut cases);
        errors(wanted, size, &mut cases);
    }
    cases
}

/// Weights with what is awkward: a zero group, a one-sided one, tiny and large values, exact ties.
fn weight(random: &mut Random, dtype: Dtype, rows: usize, cols: usize) -> Vec<u32> {
    let mut values = random.normals(rows * cols);
    for (i, value) in values.iter_mut().enumerate() {
        *value *= match i / 16 % 7 {
            1 => 0.0,
            2 => value.signum() * 0.02,
            3 => 1e-6,
            4 => 300.0,
            5 => 0.5 / value.abs().max(0.01),
            _ => 0.02,
        };
    }
    words(&dtype.encode(&values))
}

fn label((rows, cols, group): (usize, usize, usize), scheme: impl std::fmt::Display) -> String {
    format!("{rows}x{cols}g{group}.{scheme}")
}

pub(super) fn u(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn ranges(wanted: Wanted<'_>, size: (usize, usize, usize), cases: &mut Vec<Case>) {
    let (rows, cols, group) = size;
    let per_row = cols.div_ceil(group);
    for variant in wanted(GroupRange::SPEC) {
        let mut random = Random::new(u(rows * 31 + cols));
        let w = weight(&mut random, variant.dtype(Role::Weight), rows, cols);
        for rule in RangeRule::ALL {
            for (symmetric, bits, scale_type) in [(1, 4, 1), (1, 2, 0), (0, 3, 2), (0, 8, 1)] {
                let zero = if symmetric == 1 { Zero::Symmetric } else { Zero::Stored };
                let scheme = Bits::new(bits).map(|b| Scheme::new(b, Span::Channel, zero));
                if scheme.is_ok_and(|s| rule.check(s).is_err()) {
                    continue;
                }
                let params = range::Params {
                    rows: u(rows),
                    cols: u(cols),
                    group: u(group),
                    groups_per_row: u(per_row),
                    bits: u32::from(bits),
                    symmetric,
                    rule: rule.tag(),
                    scale_type,
                };
                let out = Binding::Out(rows * per_row, Tolerance::EXACT);
                let bindings = vec![Binding::In(w.clone()), out.clone(), out];
                let label = label(size, format!("{rule}.b{bits}.sym{symmetric}.s{scale_type}"));
                cases.push(Case::new::<GroupRange>(variant.clone(), label, &params, bindings));
            }
        }
    }
}

fn quantizes(wanted: Wanted<'_>, size: (usize, usize, usize), cases: &mut Vec<Case>) {
    let (rows, cols, group) = size;
    for variant in wanted(GroupQuantize::SPEC) {
        for (bits, rounding) in Bits::ALL.into_iter().zip(Rounding::ALL.into_iter().cycle()) {
            for per_row in [cols.div_ceil(group), 0] {
                let mut random = Random::new(u(rows * 31 + cols));
                let w = weight(&mut random, variant.dtype(Role::Weight), rows, cols);
                let groups = (rows * per_row).max(1);
                // Signed powers of two among them, so that exact ties occur.
                let scales: Vec<f32> =
                    (0..groups).map(|g| if g % 2 == 0 { 0.125 } else { random.normal() * 0.01 }).collect();
                let zeros = (0..groups).map(|_| random.below(u32::from(bits.max_code()) + 1)).collect();
                let params = quantize::Params {
                    rows: u(rows),
                    cols: u(cols),
                    group: u(if per_row == 0 { cols } else { group }),
                    groups_per_row: u(per_row),
                    words_per_row: u(Packing::Rows.words(1, cols, bits)),
                    bits: u32::from(bits.get()),
                    min_code: u(rows) % 2,
                    rounding: rounding.tag(),
                    seed: 7,
                    first_element: 5,
                };
                let out = Binding::Out(Packing::Rows.words(rows, cols, bits), Tolerance::EXACT);
                let scales = Binding::In(bytemuck::cast_vec(scales));
                let bindings = vec![Binding::In(w), scales, Binding::In(zeros), out];
                let label = label(size, format!("b{bits}.{rounding}.per_row{per_row}"));
                cases.push(Case::new::<GroupQuantize>(variant.clone(), label, &params, bindings));
            }
        }
    }
}

/// Packed codes, scales as f32 and zero points as words for a weight of this shape.
pub(super) fn packed(
    random: &mut Random,
    rows: usize,
    cols: usize,
    group: usize,
    bits: Bits,
) -> (Vec<u32>, Vec<f32>, Vec<u32>) {
    let codes: Vec<u8> =
        (0..rows * cols).map(|_| random.below(u32::from(bits.max_code()) + 1).to_le_bytes()[0]).collect();
    let groups = rows * cols.div_ceil(group);
    let scales = (0..groups).map(|_| Dtype::F16.round(random.normal() * 0.02)).collect();
    let zeros = (0..groups).map(|_| random.below(u32::from(bits.max_code()) + 1)).collect();
    let codes = Packing::Rows.pack(&codes, rows, cols, bits).expect("as many codes as the shape has");
    (codes, scales, zeros)
}

/// Zero points one a byte, as weights on a device hold them.
pub(super) fn zero_bytes(zeros: &[u32]) -> Vec<u32> {
    words(&zeros.iter().map(|z| z.to_le_bytes()[0]).collect::<Vec<_>>())
}

fn dequantizes(wanted: Wanted<'_>, size: (usize, usize, usize), cases: &mut Vec<Case>) {
    let (rows, cols, group) = size;
    for variant in wanted(GroupDequantize::SPEC) {
        let bits = Bits::ALL
            .into_iter()
            .find(|b| u32::from(b.get()) == variant.get("BITS"))
            .expect("a variant's width is one of all");
        let mut random = Random::new(u(rows * 37 + cols));
        let (codes, scales, zeros) = packed(&mut random, rows, cols, group, bits);
        let scales = words(&variant.dtype(Role::Scale).encode(&scales));
        let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
        let zeros = if symmetric { scales.clone() } else { zero_bytes(&zeros) };
        let params = dequantize::Params {
            rows: u(rows),
            cols: u(cols),
            group: u(group),
            groups_per_row: u(cols.div_ceil(group)),
            words_per_row: u(Packing::Rows.words(1, cols, bits)),
            out_offset: 0,
        };
        let bindings = vec![
            Binding::In(codes),
            Binding::In(scales),
            Binding::In(zeros),
            Binding::Out(rows * cols, Tolerance::EXACT),
        ];
        cases.push(Case::new::<GroupDequantize>(variant, label(size, "w"), &params, bindings));
    }
}

fn errors(wanted: Wanted<'_>, size: (usize, usize, usize), cases: &mut Vec<Case>) {
    let (rows, cols, group) = size;
    for variant in wanted(GroupError::SPEC) {
        let bits = Bits::ALL
            .into_iter()
            .find(|b| u32::from(b.get()) == variant.get("BITS"))
            .expect("a variant's width is one of all");
        let mut random = Random::new(u(rows * 41 + cols));
        let (codes, scales, zeros) = packed(&mut random, rows, cols, group, bits);
        let w = random.stored(variant.dtype(Role::Weight), rows * cols, 0.02);
        let params = error::Params {
            rows: u(rows),
            cols: u(cols),
            group: u(group),
            groups_per_row: u(cols.div_ceil(group)),
            words_per_row: u(Packing::Rows.words(1, cols, bits)),
            bits: u32::from(bits.get()),
        };
        // Terms reach the square of the largest decoded weight: 255 steps of 0.02 * 6 at most, 2 on average.
        let out = Binding::Out(rows * 4, Tolerance::sum(cols, 4.0 * cols as f32));
        let scales = Binding::In(bytemuck::cast_vec(scales));
        let bindings = vec![Binding::In(w), Binding::In(codes), scales, Binding::In(zeros), out];
        cases.push(Case::new::<GroupError>(variant, label(size, "w"), &params, bindings));
    }
}
