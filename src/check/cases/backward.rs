//! Cases of gradients, but those of matrix products.

use super::Wanted;
use super::block::{COUNTS, EXPONENTIAL, MATRICES, NORMALIZED, ROWS, floats, inputs, norm_weight};
use super::group::u;
use crate::activation::Activation;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Variant};
use crate::kernel::activate;
use crate::kernel::activate_backward::ActivateBackward;
use crate::kernel::column_sum::{self, ColumnSum};
use crate::kernel::embed_backward::{self, EmbedBackward};
use crate::kernel::gate_backward::GateBackward;
use crate::kernel::layer_norm_backward::LayerNormBackward;
use crate::kernel::norm_weight_backward::{self, NormWeightBackward};
use crate::kernel::part;
use crate::kernel::rms_norm::Params;
use crate::kernel::rms_norm_backward::RmsNormBackward;
use crate::random::Random;

/// The gradient of a normalized value times r, which small rows make large: sums of a row's products, relative to what the
/// largest are.
const SMALL_ROW: f32 = 1e-3;

/// Tokens, and `[rows, cols]` of a table: a single element, no token at all, rows that many tokens share, rows without any.
const TABLES: [(usize, usize, usize); 5] = [(1, 1, 1), (0, 3, 5), (100, 3, 65), (7, 257, 1), (50, 31, 64)];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in ROWS {
        wanted(RmsNormBackward::SPEC).into_iter().for_each(|v| cases.push(norm::<RmsNormBackward>(size, v)));
        wanted(LayerNormBackward::SPEC).into_iter().for_each(|v| cases.push(norm::<LayerNormBackward>(size, v)));
    }
    COUNTS.into_iter().for_each(|count| elementwise(wanted, count, &mut cases));
    MATRICES.into_iter().for_each(|size| columns(size, &mut cases));
    TABLES
        .into_iter()
        .for_each(|size| wanted(EmbedBackward::SPEC).into_iter().for_each(|v| cases.push(table(size, v))));
    cases
}

/// Rows of values near 1, so that r is near 1 as well; some small, where eps matters.
fn norm<K: Kernel<Params = Params>>((rows, cols): (usize, usize), variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 67 + cols));
    let x = (0..rows * cols).map(|_| 0.5 + random.normal()).collect();
    // Two columns may be nearly alike: a large eps keeps r, and what rounding does to it, within bounds.
    let params = Params { rows: u(rows), cols: u(cols), eps: SMALL_ROW };
    let weight = norm_weight(&mut random, cols);
    let d_y = random.normals(rows * cols);
    // r is at most 1 / sqrt(eps), about 32; the sums are of products with a normalized value.
    let largest = 32.0 * NORMALIZED;
    let d_x = Binding::Out(rows * cols, Tolerance::sum(cols, largest).max(Tolerance::ELEMENTWISE));
    let stats = Binding::Out(2 * rows, Tolerance::sum(cols, 32.0).max(Tolerance::ELEMENTWISE));
    let bindings = vec![floats(x), floats(weight), floats(d_y), d_x, stats];
    Case::new::<K>(variant, format!("{rows}x{cols}"), &params, bindings).operations(rows * cols * 10)
}

fn elementwise(wanted: Wanted<'_>, count: usize, cases: &mut Vec<Case>) {
    let params = activate::Params { count: u(count) };
    let mut random = Random::new(u(count + 1));
    let (x, up, d_y) = (inputs(&mut random, count), random.normals(count), random.normals(count));
    // ReLU's slope is 0 or 1, that of its square exact; the others hold an exponential and a factor of up to 16.
    let slope = |activation| match activation {
        Activation::Relu | Activation::ReluSquared => Tolerance::ELEMENTWISE,
        Activation::Silu | Activation::Gelu | Activation::GeluTanh | Activation::Sigmoid => {
            Tolerance { absolute: 4.0 * EXPONENTIAL.absolute, ..EXPONENTIAL }
        }
    };
    for variant in wanted(ActivateBackward::SPEC) {
        let d_x = Binding::Out(count, slope(part::activation(&variant)));
        let bindings = vec![floats(x.clone()), floats(d_y.clone()), d_x];
        cases.push(Case::new::<ActivateBackward>(variant, count.to_string(), &params, bindings));
    }
    for variant in wanted(GateBackward::SPEC) {
        let tolerance = slope(part::activation(&variant));
        let outs = [Binding::Out(count, tolerance), Binding::Out(count, tolerance.max(EXPONENTIAL))];
        let [d_gate, d_up] = outs;
        let bindings = vec![floats(x.clone()), floats(up.clone()), floats(d_y.clone()), d_gate, d_up];
        cases.push(Case::new::<GateBackward>(variant, count.to_string(), &params, bindings));
    }
}

fn columns((rows, cols): (usize, usize), cases: &mut Vec<Case>) {
    let mut random = Random::new(u(rows * 71 + cols));
    let params = column_sum::Params { rows: u(rows), cols: u(cols) };
    let (x, d_y) = (random.normals(rows * cols), random.normals(rows * cols));
    let stats = (0..rows).flat_map(|_| [random.normal(), 0.5 + random.uniform()]).collect();
    let size = format!("{rows}x{cols}");
    let sums = || Binding::Out(cols, Tolerance::sum(rows, NORMALIZED).max(Tolerance::ELEMENTWISE));
    let bindings = vec![floats(x.clone()), sums()];
    cases.push(Case::new::<ColumnSum>(column_sum::variant(), size.clone(), &params, bindings));
    let sums = Binding::Out(cols, Tolerance::sum(rows, NORMALIZED * NORMALIZED).max(Tolerance::ELEMENTWISE));
    let bindings = vec![floats(x), floats(d_y), floats(stats), sums];
    cases.push(Case::new::<NormWeightBackward>(norm_weight_backward::variant(), size, &params, bindings));
}

/// Sums in the order of the tokens: exact.
fn table((tokens, rows, cols): (usize, usize, usize), variant: Variant) -> Case {
    let mut random = Random::new(u(tokens * 73 + rows + cols));
    let ids: Vec<usize> = (0..tokens).map(|_| random.below(u(rows)) as usize).collect();
    let (mut starts, mut places) = (vec![0], Vec::new());
    for row in 0..rows {
        places.extend((0..tokens).filter(|token| ids[*token] == row).map(u));
        starts.push(u(places.len()));
    }
    // A binding holds something.
    places.resize(tokens.max(1), 0);
    let d_y = floats(random.normals(tokens.max(1) * cols));
    let bindings = vec![Binding::In(starts), Binding::In(places), d_y, Binding::Out(rows * cols, Tolerance::EXACT)];
    let params = embed_backward::Params { rows: u(rows), cols: u(cols) };
    Case::new::<EmbedBackward>(variant, format!("{tokens}to{rows}x{cols}"), &params, bindings)
}
