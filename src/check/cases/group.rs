//! Cases of group range, quantize, dequantize and error.

use super::Wanted;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::check::large::{LargeCase, Scale};
use crate::dispatch::{Kernel, Role, Variant};
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
        cases.extend(wanted(GroupDequantize::SPEC).iter().map(|v| dequantize_case(size, v)));
        cases.extend(wanted(GroupError::SPEC).iter().map(|v| error_case(size, v)));
    }
    cases
}

/// Weights with what is awkward: a zero group, a one-sided one, tiny and large values, exact ties.
pub(super) fn weight(random: &mut Random, dtype: Dtype, rows: usize, cols: usize) -> Vec<u32> {
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
    for variant in wanted(GroupRange::SPEC) {
        for rule in RangeRule::ALL {
            for (symmetric, bits, scale_type) in [(1, 4, 1), (1, 2, 0), (0, 3, 2), (0, 8, 1)] {
                let zero = if symmetric == 1 { Zero::Symmetric } else { Zero::Stored };
                let scheme = Bits::new(bits).map(|b| Scheme::new(b, Span::Channel, zero));
                if scheme.is_ok_and(|s| rule.check(s).is_err()) {
                    continue;
                }
                cases.push(range_case(size, &variant, rule, (symmetric, bits, scale_type)));
            }
        }
    }
}

fn range_case(
    size: (usize, usize, usize),
    variant: &Variant,
    rule: RangeRule,
    (symmetric, bits, scale_type): (u32, u8, u32),
) -> Case {
    let (rows, cols, group) = size;
    let per_row = cols.div_ceil(group);
    let mut random = Random::new(u(rows * 31 + cols));
    let w = weight(&mut random, variant.dtype(Role::Weight), rows, cols);
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
    let bindings = vec![Binding::In(w), out.clone(), out];
    let label = label(size, format!("{rule}.b{bits}.sym{symmetric}.s{scale_type}"));
    Case::new::<GroupRange>(variant.clone(), label, &params, bindings)
}

fn quantizes(wanted: Wanted<'_>, size: (usize, usize, usize), cases: &mut Vec<Case>) {
    let (_, cols, group) = size;
    for variant in wanted(GroupQuantize::SPEC) {
        for (bits, rounding) in Bits::ALL.into_iter().zip(Rounding::ALL.into_iter().cycle()) {
            for per_row in [cols.div_ceil(group), 0] {
                cases.push(quantize_case(size, &variant, bits, rounding, per_row));
            }
        }
    }
}

fn quantize_case(
    size: (usize, usize, usize),
    variant: &Variant,
    bits: Bits,
    rounding: Rounding,
    per_row: usize,
) -> Case {
    let (rows, cols, group) = size;
    let mut random = Random::new(u(rows * 31 + cols));
    let w = weight(&mut random, variant.dtype(Role::Weight), rows, cols);
    let groups = (rows * per_row).max(1);
    // Signed powers of two among them, so that exact ties occur.
    let scales: Vec<f32> = (0..groups).map(|g| if g % 2 == 0 { 0.125 } else { random.normal() * 0.01 }).collect();
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
    Case::new::<GroupQuantize>(variant.clone(), label, &params, bindings)
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

/// The width of a variant's codes.
fn bits_of(variant: &Variant) -> Bits {
    let bits = Bits::ALL.into_iter().find(|b| u32::from(b.get()) == variant.get("BITS"));
    bits.expect("a variant's width is one of all")
}

/// Whether a variant takes the middle code as zero point.
pub(super) fn is_symmetric(variant: &Variant) -> bool {
    variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name)
}

fn dequantize_case(size: (usize, usize, usize), variant: &Variant) -> Case {
    let (rows, cols, group) = size;
    let bits = bits_of(variant);
    let mut random = Random::new(u(rows * 37 + cols));
    let (codes, scales, zeros) = packed(&mut random, rows, cols, group, bits);
    let scales = words(&variant.dtype(Role::Scale).encode(&scales));
    let symmetric = is_symmetric(variant);
    let zeros = if symmetric { scales.clone() } else { zero_bytes(&zeros) };
    let unread = if symmetric { 4 * zeros.len() } else { 0 };
    let params = dequantize::Params {
        rows: u(rows),
        cols: u(cols),
        group: u(group),
        groups_per_row: u(cols.div_ceil(group)),
        words_per_row: u(Packing::Rows.words(1, cols, bits)),
        out_offset: 0,
    };
    let out = Binding::Out(rows * cols, Tolerance::EXACT);
    let bindings = vec![Binding::In(codes), Binding::In(scales), Binding::In(zeros), out];
    let mut case = Case::new::<GroupDequantize>(variant.clone(), label(size, "w"), &params, bindings);
    case.bytes -= unread;
    case
}

fn error_case(size: (usize, usize, usize), variant: &Variant) -> Case {
    let (rows, cols, group) = size;
    let bits = bits_of(variant);
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
    Case::new::<GroupError>(variant.clone(), label(size, "w"), &params, bindings)
}

/// Rows that the twin computes of a large case.
const SAMPLE: u32 = 64;

/// A square weight in groups of 128: quantized from f32 and bf16 to each width, decoded and measured from each width.
pub(super) fn large(scale: Scale) -> Vec<LargeCase> {
    let width: usize = scale.pick(4096, 512);
    let size = (width, width, 128);
    let per_row = width.div_ceil(128);
    let mut all = Vec::new();
    let name = |what: String| format!("{width}x{width}g128.{what}");
    for v in GroupRange::variants() {
        let made = v.clone();
        let make =
            move || range_case(size, &made, RangeRule::FullRange, (1, 4, 1)).sample::<GroupRange>(|p| p.rows = SAMPLE);
        all.push(LargeCase::new::<GroupRange>(v, name("b4".into()), make));
    }
    for v in GroupQuantize::variants().into_iter().filter(|v| v.dtype(Role::Weight) != Dtype::F16) {
        for bits in Bits::ALL {
            let made = v.clone();
            let make = move || {
                let case = quantize_case(size, &made, bits, Rounding::HalfEven, per_row);
                case.sample::<GroupQuantize>(|p| p.rows = SAMPLE)
            };
            all.push(LargeCase::new::<GroupQuantize>(v.clone(), name(format!("b{bits}")), make));
        }
    }
    let usual = |v: &Variant| v.dtype(Role::Scale) == Dtype::F16 && is_symmetric(v);
    for v in GroupDequantize::variants().into_iter().filter(usual) {
        let made = v.clone();
        let make = move || dequantize_case(size, &made).sample::<GroupDequantize>(|p| p.rows = SAMPLE);
        all.push(LargeCase::new::<GroupDequantize>(v, name("w".into()), make));
    }
    for v in GroupError::variants().into_iter().filter(|v| v.dtype(Role::Weight) == Dtype::Bf16) {
        let made = v.clone();
        let make = move || error_case(size, &made).sample::<GroupError>(|p| p.rows = SAMPLE);
        all.push(LargeCase::new::<GroupError>(v, name("w".into()), make));
    }
    all
}
