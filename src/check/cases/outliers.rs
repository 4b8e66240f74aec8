//! Columns with outliers: which they are, what becomes of activations, and what they add to a product.

use super::Wanted;
use super::group::{is_symmetric, u};
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Role, Variant};
use crate::dtype::Dtype;
use crate::kernel::outlier_columns::{self as columns, OutlierColumns};
use crate::kernel::outlier_kept::{self as kept, OutlierKept};
use crate::kernel::outlier_product::{self as product, OutlierProduct};
use crate::kernel::outlier_split::{self as split, OutlierSplit};
use crate::pack::Packing;
use crate::random::{Random, words};
use crate::scheme::{Bits, Span};

/// `[rows, cols]`: single elements, around a workgroup of either kernel, primes, more than one pass.
const ACTIVATIONS: [(usize, usize); 6] = [(1, 1), (1, 64), (3, 65), (2, 127), (9, 256), (5, 1029)];

/// `[batch, rows, cols]` and groups of the weight: single elements, tails, groups, several workgroups.
const PRODUCTS: [(usize, usize, usize, Span); 6] = [
    (1, 1, 1, Span::Channel),
    (1, 63, 33, Span::Channel),
    (3, 65, 172, Span::Channel),
    (9, 7, 301, Span::Tensor),
    (2, 67, 128, Span::Group(32)),
    (65, 5, 127, Span::Group(17)),
];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for variant in wanted(OutlierColumns::SPEC) {
        cases.extend(ACTIVATIONS.map(|size| columns_case(&variant, size)));
    }
    for variant in wanted(OutlierSplit::SPEC) {
        cases.extend(ACTIVATIONS.map(|size| split_case(&variant, size)));
    }
    for variant in wanted(OutlierProduct::SPEC) {
        cases.extend(PRODUCTS.map(|size| product_case(&variant, size)));
    }
    for variant in wanted(OutlierKept::SPEC) {
        cases.extend(PRODUCTS.map(|(batch, rows, cols, _)| kept_case(&variant, [batch, rows, cols])));
    }
    cases
}

const THRESHOLD: f32 = 6.0;

/// Few columns of outliers, and what is awkward: the threshold itself and its neighbours, values that f16 rounds to even, to
/// subnormal numbers and to infinity, some that are not finite, zeros of either sign.
fn activations(rows: usize, cols: usize) -> Vec<u32> {
    const AWKWARD: [f32; 12] = [
        THRESHOLD,
        5.999_999_5,
        -6.000_000_5,
        2049.0,
        -2051.0,
        65_519.0,
        65_520.0,
        1e-6,
        -3.0e-8,
        f32::NAN,
        f32::NEG_INFINITY,
        -0.0,
    ];
    let mut random = Random::new(u(rows * 61 + cols));
    let mut values = random.normals(rows * cols);
    for (i, value) in values.iter_mut().enumerate() {
        let (row, col) = (i / cols, i % cols);
        // Those stay below the threshold in most columns.
        *value = value.clamp(-5.0, 5.0);
        if col % 5 == 3 {
            *value = AWKWARD[(row + col / 5) % AWKWARD.len()];
        }
    }
    bytemuck::cast_vec(values)
}

fn columns_case(variant: &Variant, (rows, cols): (usize, usize)) -> Case {
    let params = columns::Params { rows: u(rows), cols: u(cols), threshold: THRESHOLD };
    let bindings = vec![Binding::In(activations(rows, cols)), Binding::Out(cols, Tolerance::EXACT)];
    Case::new::<OutlierColumns>(variant.clone(), format!("{rows}x{cols}"), &params, bindings)
}

fn split_case(variant: &Variant, (rows, cols): (usize, usize)) -> Case {
    // Not those of the values: what is split off may be anything.
    let flags = (0..cols).map(|col| u32::from(col % 5 == 3 || col % 7 == 0)).collect();
    let out = Binding::Out(rows * cols, Tolerance::EXACT);
    let bindings = vec![Binding::In(activations(rows, cols)), Binding::In(flags), out.clone(), out];
    let params = split::Params { rows: u(rows), cols: u(cols) };
    Case::new::<OutlierSplit>(variant.clone(), format!("{rows}x{cols}"), &params, bindings)
}

/// The first column, the last of all groups, and some between.
fn flagged(col: usize, cols: usize) -> bool {
    col == 0 || col + 1 == cols || col % 11 == 5
}

fn kept_case(variant: &Variant, [batch, rows, cols]: [usize; 3]) -> Case {
    let mut random = Random::new(u(rows * 71 + cols));
    let flags = (0..cols).map(|col| u32::from(flagged(col, cols))).collect();
    let x: Vec<u32> = bytemuck::cast_vec((0..batch * cols).map(|_| Dtype::F16.round(random.normal())).collect());
    // Odd numbers of f16 end within a word; some are subnormal.
    let mut weights = random.normals(rows * cols);
    weights.iter_mut().step_by(7).for_each(|weight| *weight *= 1e-6);
    let w = words(&variant.dtype(Role::Weight).encode(&weights));
    let (offset, stride) = if cols == 172 { (3, rows + 5) } else { (0, rows) };
    let params =
        kept::Params { batch: u(batch), rows: u(rows), cols: u(cols), out_offset: u(offset), out_stride: u(stride) };
    let terms = (0..cols).filter(|col| flagged(*col, cols)).count() + 1;
    // Sums of random signs grow as the root of their number.
    let tolerance = Tolerance::sum(terms, 2.0 * (terms as f32).sqrt());
    let y = bytemuck::cast_vec(random.normals(batch * stride));
    let bindings = vec![Binding::In(x), Binding::In(flags), Binding::In(w), Binding::InOut(y, tolerance)];
    Case::new::<OutlierKept>(variant.clone(), format!("{batch}x{rows}x{cols}"), &params, bindings)
}

fn product_case(variant: &Variant, (batch, rows, cols, span): (usize, usize, usize, Span)) -> Case {
    let bits = Bits::ALL.into_iter().find(|bits| bits.get() == product::BITS).expect("8 bits are one width of all");
    let mut random = Random::new(u(rows * 67 + cols));
    let flags = (0..cols).map(|col| u32::from(flagged(col, cols))).collect();
    let x: Vec<u32> = bytemuck::cast_vec((0..batch * cols).map(|_| Dtype::F16.round(random.normal())).collect());
    let codes: Vec<u8> = (0..rows * cols).map(|_| random.below(256).to_le_bytes()[0]).collect();
    let groups = span.groups(rows, cols);
    let scales: Vec<f32> = (0..groups.count()).map(|_| 0.01 * (0.5 + random.uniform())).collect();
    let scales = words(&variant.dtype(Role::Scale).encode(&scales));
    let zeros: Vec<u8> = (0..groups.count()).map(|_| random.below(256).to_le_bytes()[0]).collect();
    let zeros = if is_symmetric(variant) { scales.clone() } else { words(&zeros) };
    // Alone, or as columns of a wider result, as those of a weight split by rows.
    let (offset, stride) = if cols == 172 { (3, rows + 5) } else { (0, rows) };
    let params = product::Params {
        batch: u(batch),
        rows: u(rows),
        cols: u(cols),
        group: u(groups.size()),
        groups_per_row: u(groups.per_row()),
        words_per_row: u(Packing::Rows.words(1, cols, bits)),
        out_offset: u(offset),
        out_stride: u(stride),
    };
    let terms = (0..cols).filter(|col| flagged(*col, cols)).count() + 1;
    // A weight is up to 255 steps of 0.015 from zero, about 1 as a rule; sums of random signs grow as the root of their number.
    let tolerance = Tolerance::sum(terms, 2.0 * (terms as f32).sqrt());
    let y = bytemuck::cast_vec(random.normals(batch * stride));
    let bindings = vec![
        Binding::In(x),
        Binding::In(flags),
        Binding::In(Packing::Rows.pack(&codes, rows, cols, bits).expect("as many codes as the shape has")),
        Binding::In(scales),
        Binding::In(zeros),
        Binding::InOut(y, tolerance),
    ];
    Case::new::<OutlierProduct>(variant.clone(), format!("{batch}x{rows}x{cols}{span}"), &params, bindings)
}
