//! Cases of embed, gather_columns and cast: all exact.

use super::Wanted;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::check::large::{LargeCase, Scale};
use crate::dispatch::{Kernel, Role, Variant};
use crate::dtype::Dtype;
use crate::kernel::cast::{self, Cast};
use crate::kernel::embed::{self, Embed};
use crate::kernel::gather_columns::{self, GatherColumns};
use crate::random::{Random, words};

/// Around a workgroup of 64, and odd, so that the last word is half used.
const COUNTS: [usize; 5] = [1, 63, 64, 65, 1027];
/// What a part of a table leaves alone.
const KEPT: u32 = 0x4242_4242;

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, cols, tokens) in [(1, 1, 1), (7, 33, 5), (11, 64, 13), (130, 5, 66)] {
        embeds(wanted, rows, cols, tokens, &mut cases);
    }
    for (rows, cols) in [(1, 1), (3, 255), (2, 256), (5, 257), (1, 1031)] {
        cases.extend(wanted(GatherColumns::SPEC).into_iter().map(|variant| gathers(rows, cols, variant)));
    }
    casts(wanted, &mut cases);
    cases
}

fn u(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The whole table, and a part of it while ids before and behind the part occur.
fn embeds(wanted: Wanted<'_>, rows: usize, cols: usize, tokens: usize, cases: &mut Vec<Case>) {
    for variant in wanted(Embed::SPEC) {
        let mut random = Random::new(u(rows * 53 + cols));
        let table = random.stored(variant.dtype(Role::Weight), rows * cols, 1.0);
        for first_row in [0, u(rows)] {
            let all = if first_row == 0 { u(rows) } else { 3 * u(rows) };
            let ids = (0..tokens).map(|_| random.below(all)).collect();
            let params = embed::Params { tokens: u(tokens), first_row, rows: u(rows), cols: u(cols) };
            let out = Binding::InOut(vec![KEPT; tokens * cols], Tolerance::EXACT);
            let bindings = vec![Binding::In(ids), Binding::In(table.clone()), out];
            let size = format!("{tokens}x{rows}x{cols}from{first_row}");
            cases.push(Case::new::<Embed>(variant.clone(), size, &params, bindings));
        }
    }
}

/// Columns in a random order.
fn gathers(rows: usize, cols: usize, variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 31 + cols));
    let x = Binding::In(random.normals(rows * cols).into_iter().map(f32::to_bits).collect());
    let mut columns: Vec<u32> = (0..u(cols)).collect();
    (1..cols).for_each(|i| columns.swap(i, random.below(u(i) + 1) as usize));
    let out = Binding::Out(rows * cols, Tolerance::EXACT);
    let params = gather_columns::Params { rows: u(rows), cols: u(cols) };
    Case::new::<GatherColumns>(variant, format!("{rows}x{cols}"), &params, vec![x, Binding::In(columns), out])
}

fn casts(wanted: Wanted<'_>, cases: &mut Vec<Case>) {
    for variant in wanted(Cast::SPEC) {
        let from = variant.dtype(Role::Weight);
        let values = if from == Dtype::F32 { awkward() } else { every_half() };
        for count in COUNTS.into_iter().chain([values.len()]) {
            cases.push(cast_case(&variant, &values, count));
        }
    }
}

fn cast_case(variant: &Variant, values: &[u32], count: usize) -> Case {
    // Each count starts elsewhere, so that short ones meet more than zeros.
    let values: Vec<u32> = values.iter().cycle().skip(count * 31 % values.len()).take(count).copied().collect();
    let from = variant.dtype(Role::Weight);
    let source = match from {
        Dtype::F32 => values,
        Dtype::F16 | Dtype::Bf16 => {
            values.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 16)).collect()
        }
    };
    let per_word = if from == Dtype::F32 { 2 } else { 1 };
    let params = cast::Params { count: u(count) };
    let bindings = vec![Binding::In(source), Binding::Out(count.div_ceil(per_word), Tolerance::EXACT)];
    Case::new::<Cast>(variant.clone(), count.to_string(), &params, bindings)
}

/// A matrix of activations.
pub(super) fn large(scale: Scale) -> Vec<LargeCase> {
    let count = scale.pick(4096 * 4096, 256 * 1024);
    let large = |variant: Variant| {
        let made = variant.clone();
        let make = move || {
            let values = if made.dtype(Role::Weight) == Dtype::F32 { awkward() } else { every_half() };
            cast_case(&made, &values, count).sample::<Cast>(|p| p.count = 100_000)
        };
        LargeCase::new::<Cast>(variant, count.to_string(), make)
    };
    Cast::variants().into_iter().map(large).collect()
}

/// Every pattern of 16 bits but signalling NaNs of either type, which may come out quiet.
fn every_half() -> Vec<u32> {
    let quiet = |h: &u32| !matches!(h & 0x7fff, 0x7c01..=0x7dff | 0x7f81..=0x7fbf);
    (0..=0xffff).filter(quiet).collect()
}

/// The bits of f32 numbers that are, lie between, or lie just beside numbers of both 16-bit types: all roundings, ties,
/// subnormal results, overflow, infinities and quiet NaNs.
fn awkward() -> Vec<u32> {
    let mut all = Vec::new();
    for half in (0..0x10000u32).step_by(97) {
        let value = words(&Dtype::F32.encode(&Dtype::F16.decode(&half.to_le_bytes()[..2])));
        let (f16, bf16) = (value[0], half << 16);
        for (bits, tie) in [(f16, 0x1000), (bf16, 0x8000)] {
            all.extend([bits, bits + tie - 1, bits + tie, bits + tie + 1]);
        }
    }
    // The largest f16 and the tie above it, the smallest subnormal f16 and half of it, a third of it.
    all.extend([0x477f_e000, 0x477f_efff, 0x477f_f000, 0x3380_0000, 0x3300_0000, 0x3300_0001, 0x32aa_aaab]);
    // Subnormal f32 are left out: devices may take them for zero. NaNs are quiet.
    all.retain(|bits| {
        let size = bits & 0x7fff_ffff;
        size == 0 || (0x0080_0000..=0x7f80_0000).contains(&size) || size >= 0x7fc0_0000
    });
    all
}
