//! Cases of matvec and matmul, dense and quantized.

use super::Wanted;
use super::group::is_symmetric;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::check::large::{LargeCase, Scale};
use crate::dispatch::{Kernel, Role, Variant};
use crate::dtype::Dtype;
use crate::kernel::matmul::Matmul;
use crate::kernel::matmul_group::MatmulGroup;
use crate::kernel::matmul_strided::{self, MatmulStrided};
use crate::kernel::matvec::Matvec;
use crate::kernel::matvec_group::MatvecGroup;
use crate::kernel::part::{W_F32, X_F32};
use crate::kernel::product::{DenseParams, GroupParams};
use crate::pack::Packing;
use crate::random::{Random, words};
use crate::scheme::{Bits, Span};

/// `[rows, cols]`: single elements, column tails, more rows than a tile, more columns than one pass of a workgroup.
const DENSE: [(usize, usize); 6] = [(1, 1), (3, 33), (5, 127), (67, 172), (9, 256), (2, 1029)];
/// The same with groups: tails, groups that end inside 8 columns, one group a row, one group for all.
const GROUPS: [(usize, usize, Span); 8] = [
    (1, 1, Span::Group(16)),
    (3, 33, Span::Group(16)),
    (5, 127, Span::Group(17)),
    (67, 172, Span::Group(32)),
    (9, 256, Span::Group(128)),
    (6, 172, Span::Channel),
    (5, 33, Span::Tensor),
    (2, 1029, Span::Group(21)),
];
/// Shapes that entries for tensor cores take, with tails: `[rows, cols]`, span, and the rows of x of matmul.
const TILES: [(usize, usize, Span, usize); 2] = [(67, 320, Span::Group(32), 17), (33, 640, Span::Channel, 65)];
/// As many rows as entries with tiles of 64 rows take of few rows of x: a hundred tiles and a tail. The twin takes long for
/// it, so only variants that choose another entry have it.
const LONG: (usize, usize, Span, usize) = (6401, 128, Span::Group(128), 16);
/// Shapes that entries for compute capability 9.x take with activations in f16, as [`TILES`]: more rows than a tile; more steps of
/// 64 columns than stages, and an odd number of them.
const HOPPER: [(usize, usize, Span, usize); 2] = [(130, 192, Span::Group(64), 129), (70, 448, Span::Group(128), 129)];
/// Rows of x that matmul is used for: the fewest, and one more than a tile.
const MATMUL_BATCHES: [usize; 2] = [9, 65];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for variant in wanted(Matvec::SPEC) {
        for (i, size) in DENSE.into_iter().enumerate() {
            cases.push(dense::<Matvec>(&variant, matvec_batch(&variant, i), size));
        }
    }
    for variant in wanted(Matmul::SPEC) {
        let sizes = if takes_matrices(&variant) { &DENSE[DENSE_MATRICES..] } else { &DENSE };
        for (i, size) in sizes.iter().copied().enumerate() {
            cases.push(dense::<Matmul>(&variant, MATMUL_BATCHES[i % 2], size));
        }
    }
    for variant in wanted(MatvecGroup::SPEC) {
        for (i, size) in GROUPS.into_iter().enumerate() {
            let product = Product::new(&variant, matvec_batch(&variant, i), size);
            cases.push(product.biased(i % 2 == 1).case::<MatvecGroup>(&variant));
        }
        for (i, (rows, cols, span, _)) in TILES.into_iter().chain(long(&variant)).enumerate() {
            let product = Product::new(&variant, matvec_batch(&variant, i), (rows, cols, span));
            cases.push(product.biased(i % 2 == 1).case::<MatvecGroup>(&variant));
        }
    }
    for variant in wanted(MatmulGroup::SPEC) {
        let sizes = if takes_matrices(&variant) { &GROUPS[GROUPS_MATRICES..] } else { &GROUPS };
        for (i, size) in sizes.iter().copied().enumerate() {
            let product = Product::new(&variant, MATMUL_BATCHES[i % 2], size);
            cases.push(product.biased(i % 2 == 1).case::<MatmulGroup>(&variant));
        }
        let hopper = HOPPER.into_iter().filter(|_| variant.dtype(Role::Activation) == Dtype::F16);
        for (i, (rows, cols, span, batch)) in TILES.into_iter().chain(hopper).chain(long(&variant)).enumerate() {
            let product = Product::new(&variant, batch, (rows, cols, span));
            cases.push(product.biased(i != 0).case::<MatmulGroup>(&variant));
        }
    }
    for variant in wanted(MatmulStrided::SPEC) {
        for (i, size) in DENSE.into_iter().enumerate() {
            cases.push(strided(&variant, MATMUL_BATCHES[i % 2], size, i));
        }
    }
    cases
}

fn long(variant: &Variant) -> Option<(usize, usize, Span, usize)> {
    takes_long(variant).then_some(LONG)
}

/// Whether a variant is the one with bytes as zero points and scales in f16 of those that share entries with tiles of 64
/// rows. Codes of 8 bits have no such entry.
pub(super) fn takes_long(variant: &Variant) -> bool {
    let usual = variant.dtype(Role::Scale) == Dtype::F16 && !is_symmetric(variant) && !takes_matrices(variant);
    usual && variant.get("BITS") < 8
}

/// Whether a variant multiplies cooperative matrices. Its cases leave the smallest sizes out, which are all padding there.
fn takes_matrices(variant: &Variant) -> bool {
    variant.of(Role::Matrix).is_some()
}

/// The first of [`DENSE`] and of [`GROUPS`] for cooperative matrices.
const DENSE_MATRICES: usize = 2;
const GROUPS_MATRICES: usize = 2;

/// Operands by rows or by columns, in turn; replacing or adding.
fn strided(variant: &Variant, batch: usize, (rows, cols): (usize, usize), turn: usize) -> Case {
    let mut random = Random::new(u(rows * 53 + cols));
    let x_first = 7 * (turn % 2);
    let x = random.stored(Dtype::F32, x_first + batch * cols, 1.0);
    let w = random.stored(variant.dtype(Role::Weight), rows * cols, 0.02);
    let by = |columns: bool, count: usize| if columns { (1, u(count)) } else { (u(cols), 1) };
    let ((x_row, x_step), (w_row, w_step)) = (by(turn % 2 == 1, batch), by(turn % 3 == 1, rows));
    let accumulate = u(turn % 2);
    let params = matmul_strided::Params {
        batch: u(batch),
        rows: u(rows),
        cols: u(cols),
        x_first: u(x_first),
        x_row,
        x_step,
        w_row,
        w_step,
        accumulate,
    };
    let before = random.stored(Dtype::F32, batch * rows, 1.0);
    let out = Binding::InOut(before, tolerance(cols, 0.02).max(Tolerance::ELEMENTWISE));
    let bindings = vec![Binding::In(x), Binding::In(w), out];
    let size = format!("{batch}x{rows}x{cols}.x{x_row}.w{w_row}.add{accumulate}");
    Case::new::<MatmulStrided>(variant.clone(), size, &params, bindings).operations(2 * batch * rows * cols)
}

/// Rows of the weight that the twin computes of a large case.
const SAMPLE: u32 = 16;

/// The second matrix of an MLP: one token, as many as matvec takes, a window of text. Weights in f32 and f16, and codes
/// of all widths with the scheme that most checkpoints have.
pub(super) fn large(scale: Scale) -> Vec<LargeCase> {
    let size = scale.pick((4096, 14336), (256, 1024));
    let mut all = Vec::new();
    for batch in [1, 8] {
        let takes = move |v: &Variant| v.get("BATCH") == batch;
        large_dense::<Matvec>(batch as usize, size, takes, &mut all);
        large_group::<MatvecGroup>(batch as usize, size, takes, &mut all);
    }
    let batch = scale.pick(512, 64);
    large_dense::<Matmul>(batch, size, |_| true, &mut all);
    large_group::<MatmulGroup>(batch, size, |_| true, &mut all);
    all
}

fn large_dense<K: Kernel<Params = DenseParams>>(
    batch: usize,
    (rows, cols): (usize, usize),
    takes: impl Fn(&Variant) -> bool,
    all: &mut Vec<LargeCase>,
) {
    for variant in K::variants().into_iter().filter(|v| takes(v) && v.dtype(Role::Weight) != Dtype::Bf16) {
        let f32 = [(Role::Weight, &W_F32), (Role::Activation, &X_F32)];
        let is_f32 = f32.iter().all(|(role, part)| variant.of(*role).is_some_and(|p| p.name == part.name));
        let made = variant.clone();
        let make = move || dense::<K>(&made, batch, (rows, cols)).sample::<K>(|p| p.rows = SAMPLE);
        let case = LargeCase::new::<K>(variant, format!("{batch}x{rows}x{cols}"), make);
        all.push(case.product([batch, rows, cols], is_f32));
    }
}

fn large_group<K: Kernel<Params = GroupParams>>(
    batch: usize,
    (rows, cols): (usize, usize),
    takes: impl Fn(&Variant) -> bool,
    all: &mut Vec<LargeCase>,
) {
    let usual = |v: &Variant| v.dtype(Role::Scale) == Dtype::F16 && is_symmetric(v);
    for variant in K::variants().into_iter().filter(|v| takes(v) && usual(v)) {
        let span = Span::Group(128);
        let made = variant.clone();
        let make =
            move || Product::new(&made, batch, (rows, cols, span)).case::<K>(&made).sample::<K>(|p| p.rows = SAMPLE);
        let case = LargeCase::new::<K>(variant, format!("{batch}x{rows}x{cols}{span}"), make);
        all.push(case.product([batch, rows, cols], false));
    }
}

/// Full batches and others in turn.
fn matvec_batch(variant: &Variant, turn: usize) -> usize {
    if variant.get("BATCH") == 1 { 1 } else { [2, 8, 3][turn % 3] }
}

fn u(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Sums of `cols` products of about `size`: on the way to a sum of random signs they reach `size * sqrt(cols)`.
fn tolerance(cols: usize, size: f32) -> Tolerance {
    Tolerance::sum(cols, size * (cols as f32).sqrt())
}

fn dense<K: Kernel<Params = DenseParams>>(variant: &Variant, batch: usize, (rows, cols): (usize, usize)) -> Case {
    let mut random = Random::new(u(rows * 43 + cols));
    let x = random.stored(variant.dtype(Role::Activation), batch * cols, 1.0);
    let w = random.stored(variant.dtype(Role::Weight), rows * cols, 0.02);
    let place = Place::of(rows, cols);
    let params = DenseParams {
        batch: u(batch),
        rows: u(rows),
        cols: u(cols),
        out_offset: u(place.offset),
        out_stride: u(place.stride),
    };
    let out = place.binding(batch, tolerance(cols, 0.02));
    let bindings = vec![Binding::In(x), Binding::In(w), out];
    Case::new::<K>(variant.clone(), format!("{batch}x{rows}x{cols}"), &params, bindings)
        .operations(2 * batch * rows * cols)
}

/// Where a result lies: alone, or as columns of a wider one, as those of a weight split by rows.
struct Place {
    offset: usize,
    stride: usize,
}

impl Place {
    fn of(rows: usize, cols: usize) -> Self {
        if cols == 172 { Self { offset: 3, stride: rows + 5 } } else { Self { offset: 0, stride: rows } }
    }

    fn binding(&self, batch: usize, tolerance: Tolerance) -> Binding {
        let words = batch * self.stride;
        if self.offset == 0 {
            Binding::Out(words, tolerance)
        } else {
            Binding::InOut(vec![KEPT.to_bits(); words], tolerance)
        }
    }
}

/// What lies around a result and must stay.
const KEPT: f32 = -77.0;

/// A quantized product's data.
#[derive(Clone)]
struct Product {
    batch: usize,
    rows: usize,
    cols: usize,
    span: Span,
    bits: Bits,
    x: Vec<u32>,
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<u8>,
    /// One a row, or none.
    bias: Vec<f32>,
}

impl Product {
    fn new(variant: &Variant, batch: usize, (rows, cols, span): (usize, usize, Span)) -> Self {
        let bits = Bits::ALL
            .into_iter()
            .find(|b| u32::from(b.get()) == variant.get("BITS"))
            .expect("a variant's width is one of all");
        let mut random = Random::new(u(rows * 47 + cols));
        // Of one sign, so that a wrong zero point shows in every group.
        let x: Vec<f32> = (0..batch * cols).map(|_| random.uniform() + 0.5).collect();
        let x = words(&variant.dtype(Role::Activation).encode(&x));
        let max = bits.max_code();
        let mut below = |bound: u8| random.below(u32::from(bound)).to_le_bytes()[0];
        // The last column may be a group of its own: its weight must not be zero whatever the zero point is.
        let code =
            |i: usize| if (i + 1).is_multiple_of(cols) { max } else { below(max) + u8::from(i.is_multiple_of(2)) };
        let codes = (0..rows * cols).map(code).collect();
        let groups = span.groups(rows, cols).count();
        let zeros = (0..groups).map(|_| below(max)).collect();
        // Of both signs, as full-range scales are, and none so small that its group would not count.
        let scales = (0..groups).map(|_| 0.02 * (0.5 + random.uniform()).copysign(random.normal())).collect();
        Self { batch, rows, cols, span, bits, x, codes, scales, zeros, bias: Vec::new() }
    }

    /// With a bias of the size of the sums, if so.
    fn biased(self, so: bool) -> Self {
        let (rows, size) = (self.rows, self.size() * (self.cols as f32).sqrt());
        let mut random = Random::new(u(rows));
        let bias = |_| size * (0.5 + random.uniform()).copysign(random.normal());
        Self { bias: if so { (0..rows).map(bias).collect() } else { Vec::new() }, ..self }
    }

    /// A weight is a third of all codes away from zero on average, at scales of about 0.02.
    fn size(&self) -> f32 {
        0.02 * (f32::from(self.bits.max_code()) / 3.0).max(1.0)
    }

    fn case<K: Kernel<Params = GroupParams>>(&self, variant: &Variant) -> Case {
        let Self { batch, rows, cols, span, bits, .. } = *self;
        let groups = span.groups(rows, cols);
        let place = Place::of(rows, cols);
        let params = GroupParams {
            batch: u(batch),
            rows: u(rows),
            cols: u(cols),
            group: u(groups.size()),
            groups_per_row: u(groups.per_row()),
            words_per_row: u(Packing::Rows.words(1, cols, bits)),
            out_offset: u(place.offset),
            out_stride: u(place.stride),
            bias: u32::from(!self.bias.is_empty()),
        };
        let codes = Packing::Rows.pack(&self.codes, rows, cols, bits).expect("as many codes as the shape has");
        let scales = words(&variant.dtype(Role::Scale).encode(&self.scales));
        let symmetric = is_symmetric(variant);
        let zeros = if symmetric { scales.clone() } else { words(&self.zeros) };
        let unread = if symmetric { 4 * zeros.len() } else { 0 };
        // Columns of a wider result have biases of their own; where there is none, a word holds the place.
        let (bias, biased) = match &self.bias[..] {
            [] => (vec![0], ""),
            bias => (vec![KEPT; place.offset].iter().chain(bias).map(|bias| bias.to_bits()).collect(), ".bias"),
        };
        let out = place.binding(batch, tolerance(cols + usize::from(params.bias == 1), self.size()));
        let inputs = [self.x.clone(), codes, scales, zeros, bias];
        let bindings = inputs.into_iter().map(Binding::In).chain([out]).collect();
        let name = format!("{batch}x{rows}x{cols}{span}{biased}");
        let mut case = Case::new::<K>(variant.clone(), name, &params, bindings);
        case.bytes -= unread;
        case.operations(2 * batch * rows * cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that doubles one scale, or errs by one in one zero point, must not pass.
    #[test]
    fn one_wrong_group_exceeds_the_tolerance() {
        for variant in MatvecGroup::variants().iter().filter(|v| v.dtype(Role::Scale) == Dtype::F32) {
            for (i, size) in GROUPS.into_iter().enumerate() {
                let product = Product::new(variant, matvec_batch(variant, i), size);
                let expected = product.case::<MatvecGroup>(variant).twin();
                let tolerance = tolerance(product.cols, 0.02 * f32::from(product.bits.max_code()) / 3.0);
                for group in 0..product.scales.len() {
                    let mut wrong = vec![product.clone(), product.clone()];
                    wrong[0].scales[group] *= 2.0;
                    wrong[1].zeros[group] ^= 1;
                    let stored = !is_symmetric(variant);
                    for wrong in wrong.into_iter().take(1 + usize::from(stored)) {
                        let found = wrong.case::<MatvecGroup>(variant).twin();
                        let accepted = expected[5].iter().zip(&found[5]).all(|(e, f)| tolerance.accepts(*e, *f));
                        assert!(!accepted, "{variant} {size:?}: group {group}");
                    }
                }
            }
        }
    }
}
