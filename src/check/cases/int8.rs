//! Cases of int8 activations and their products with packed weights.

use super::Wanted;
use super::group::{is_symmetric, u};
use super::matmul::takes_long;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::check::large::{LargeCase, Scale};
use crate::dispatch::{Bindings, Kernel, Role, Variant, View};
use crate::dtype::Dtype;
use crate::kernel::activation_quantize::{self as quantize, ActivationQuantize};
use crate::kernel::matmul_group_int8::MatmulGroupInt8;
use crate::kernel::matvec_group_int8::MatvecGroupInt8;
use crate::kernel::product_int8::Int8Params;
use crate::pack::Packing;
use crate::random::{Random, words};
use crate::scheme::{Bits, Span};

/// `[rows, cols]` and block: single elements, words that are not full, more than one pass of a workgroup, tails.
pub(super) const ACTIVATIONS: [(usize, usize, usize); 7] =
    [(1, 1, 16), (1, 16, 16), (3, 33, 16), (5, 127, 17), (2, 172, 32), (9, 256, 128), (3, 1029, 1029)];

/// `[rows, cols]`, groups of the weight and blocks of the activations: tails, groups that share words, blocks within a
/// group, blocks of a row that is one group.
const PRODUCTS: [(usize, usize, Span, usize); 9] = [
    (1, 1, Span::Group(16), 16),
    (3, 33, Span::Group(16), 16),
    (5, 127, Span::Group(17), 17),
    (67, 172, Span::Group(32), 32),
    (9, 256, Span::Group(128), 64),
    (6, 172, Span::Channel, 172),
    (11, 1301, Span::Tensor, 1301),
    (5, 301, Span::Tensor, 128),
    (2, 1029, Span::Group(21), 21),
];

/// Shapes that entries for tensor cores take, with tails, and the rows of x of matmul.
const TILES: [((usize, usize, Span, usize), usize); 2] =
    [((67, 320, Span::Group(64), 32), 17), ((33, 640, Span::Channel, 640), 65)];
/// As many rows as entries with tiles of 64 rows take of few rows of x; only some variants have it.
const LONG: ((usize, usize, Span, usize), usize) = ((6401, 128, Span::Group(128), 128), 16);
/// Rows of x that matmul is used for: the fewest, and one more than a tile.
const MATMUL_BATCHES: [usize; 2] = [9, 65];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for variant in wanted(ActivationQuantize::SPEC) {
        cases.extend(ACTIVATIONS.map(|size| quantize_case(&variant, size)));
    }
    for variant in wanted(MatvecGroupInt8::SPEC) {
        for (i, size) in PRODUCTS.into_iter().enumerate() {
            let batch = if variant.get("BATCH") == 1 { 1 } else { [2, 8, 3][i % 3] };
            cases.push(Product::new(&variant, batch, size).biased(i % 2 == 1).case::<MatvecGroupInt8>(&variant));
        }
        for (i, (size, _)) in TILES.into_iter().chain(long(&variant)).enumerate() {
            let batch = if variant.get("BATCH") == 1 { 1 } else { 7 };
            cases.push(Product::new(&variant, batch, size).biased(i % 2 == 1).case::<MatvecGroupInt8>(&variant));
        }
        cases.push(Product::new(&variant, 1, WHOLE).biased(true).of_integers().case::<MatvecGroupInt8>(&variant));
    }
    for variant in wanted(MatmulGroupInt8::SPEC) {
        for (i, (size, batch)) in TILES.into_iter().chain(long(&variant)).enumerate() {
            cases.push(Product::new(&variant, batch, size).biased(i != 0).case::<MatmulGroupInt8>(&variant));
        }
        for (i, size) in PRODUCTS.into_iter().enumerate() {
            let batch = MATMUL_BATCHES[i % 2];
            cases.push(Product::new(&variant, batch, size).biased(i % 2 == 1).case::<MatmulGroupInt8>(&variant));
        }
        cases.push(Product::new(&variant, 9, WHOLE).biased(true).of_integers().case::<MatmulGroupInt8>(&variant));
    }
    cases
}

fn long(variant: &Variant) -> Option<((usize, usize, Span, usize), usize)> {
    takes_long(variant).then_some(LONG)
}

/// A shape whose results are integers below 2^24 where all scales are 1: 255 * 127 * 512 / 2 at most in size.
const WHOLE: (usize, usize, Span, usize) = (5, 160, Span::Group(64), 32);

/// Rows of the weight that the twin computes of a large case, and of which the error is measured.
const SAMPLE: u32 = 16;

/// As the products with exact activations, of one token, as many as matvec takes, and a window of text.
pub(super) fn large(scale: Scale) -> Vec<LargeCase> {
    let (rows, cols) = scale.pick((4096, 14336), (256, 1024));
    let mut all = Vec::new();
    for (batch, block) in [(1, 128), (scale.pick(512, 64), 128), (scale.pick(512, 64), cols)] {
        let make = move || {
            let case = quantize_case(&quantize::variant(), (batch, cols, block));
            case.sample::<ActivationQuantize>(|p| p.rows = 1)
        };
        let name = format!("{batch}x{cols}g{block}");
        all.push(LargeCase::new::<ActivationQuantize>(quantize::variant(), name, make));
    }
    let shape = (rows, cols, Span::Group(128), 128);
    for batch in [1, 8] {
        for variant in usual::<MatvecGroupInt8>().filter(|v| v.get("BATCH") as usize == batch) {
            all.push(large_product::<MatvecGroupInt8>(variant, batch, shape));
        }
    }
    // Three levels as BitNet has them: one scale for the weight, one for each token.
    let whole = (rows, cols, Span::Tensor, cols);
    for variant in usual::<MatvecGroupInt8>().filter(|v| v.get("BATCH") == 1 && v.get("BITS") == 2) {
        all.push(large_product::<MatvecGroupInt8>(variant, 1, whole));
    }
    for variant in usual::<MatmulGroupInt8>().filter(|v| v.get("BITS") == 2) {
        all.push(large_product::<MatmulGroupInt8>(variant, scale.pick(512, 64), whole));
    }
    for variant in usual::<MatmulGroupInt8>() {
        all.push(large_product::<MatmulGroupInt8>(variant, scale.pick(512, 64), shape));
    }
    all
}

/// The scheme that most checkpoints have.
fn usual<K: Kernel>() -> impl Iterator<Item = Variant> {
    K::variants().into_iter().filter(|v| v.dtype(Role::Scale) == Dtype::F16 && is_symmetric(v))
}

fn large_product<K: Kernel<Params = Int8Params>>(
    variant: Variant,
    batch: usize,
    shape: (usize, usize, Span, usize),
) -> LargeCase {
    let (rows, cols, span, _) = shape;
    let (made, measured) = (variant.clone(), variant.clone());
    let make = move || Product::new(&made, batch, shape).normal().case::<K>(&made).sample::<K>(|p| p.rows = SAMPLE);
    let error = move || Product::new(&measured, batch, shape).normal().relative_error(SAMPLE as usize);
    LargeCase::new::<K>(variant, format!("{batch}x{rows}x{cols}{span}"), make)
        .product([batch, rows, cols], false)
        .measuring(error)
}

/// Blocks with what is awkward: zeros, ties, tiny values and scales, one that is not finite.
fn activations(random: &mut Random, (rows, cols, block): (usize, usize, usize)) -> Vec<f32> {
    let mut values = random.normals(rows * cols);
    for (i, value) in values.iter_mut().enumerate() {
        let (row, col) = (i / cols, i % cols);
        match (row + col / block) % 7 {
            1 => *value *= 0.0,
            // A scale of 1/8: exact ties. The largest is the first or, in a tail, what there is.
            2 => *value = if col % block == 0 { 127.0 / 8.0 } else { (*value * 20.0).floor() / 16.0 },
            3 => *value *= 1e-34,
            4 => *value *= 1e-28,
            5 if col % block == 0 => *value = if row % 2 == 0 { f32::NAN } else { f32::NEG_INFINITY },
            6 => *value *= 1e30,
            _ => {}
        }
    }
    values
}

fn quantize_case(variant: &Variant, (rows, cols, block): (usize, usize, usize)) -> Case {
    let mut random = Random::new(u(rows * 53 + cols));
    let x = activations(&mut random, (rows, cols, block));
    let params = quantize::Params { rows: u(rows), cols: u(cols), block: u(block) };
    let count = rows * params.blocks();
    let codes = Binding::Out(count * params.block_words(), Tolerance::EXACT);
    let out = Binding::Out(count, Tolerance::EXACT);
    let bindings = vec![Binding::In(bytemuck::cast_vec(x)), codes, out.clone(), out];
    Case::new::<ActivationQuantize>(variant.clone(), format!("{rows}x{cols}g{block}"), &params, bindings)
}

/// Codes, scales and sums of activations, by the twin.
fn quantized(params: &quantize::Params, x: &[f32]) -> [Vec<u32>; 3] {
    let count = params.rows as usize * params.blocks();
    let [mut codes, mut scales, mut sums] = [vec![0; count * params.block_words()], vec![0; count], vec![0; count]];
    let outs = [&mut codes, &mut scales, &mut sums].map(|out| View::Write(out));
    let views = [View::Read(bytemuck::must_cast_slice(x))].into_iter().chain(outs);
    ActivationQuantize::run(params, &quantize::variant(), Bindings::new(views));
    [codes, scales, sums]
}

/// A quantized product's data.
struct Product {
    batch: usize,
    shape: (usize, usize, Span, usize),
    bits: Bits,
    x: Vec<f32>,
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<u8>,
    /// One a row, or none.
    bias: Vec<f32>,
    exact: bool,
}

impl Product {
    fn new(variant: &Variant, batch: usize, shape: (usize, usize, Span, usize)) -> Self {
        let (rows, cols, span, block) = shape;
        let bits = Bits::ALL.into_iter().find(|b| u32::from(b.get()) == variant.get("BITS"));
        let bits = bits.expect("a variant's width is one of all");
        let mut random = Random::new(u(rows * 59 + cols));
        // Of one sign within a block, so that a wrong zero point shows in every group.
        let sign = |i: usize| if (i % cols / block).is_multiple_of(2) { 1.0 } else { -1.0 };
        let x = (0..batch * cols).map(|i| (random.uniform() + 0.5) * sign(i)).collect();
        let max = bits.max_code();
        let mut below = |bound: u8| random.below(u32::from(bound)).to_le_bytes()[0];
        // The last column may be a group of its own: its weight must not be zero whatever the zero point is.
        let code =
            |i: usize| if (i + 1).is_multiple_of(cols) { max } else { below(max) + u8::from(i.is_multiple_of(2)) };
        let codes = (0..rows * cols).map(code).collect();
        let groups = span.groups(rows, cols).count();
        let zeros = (0..groups).map(|_| below(max)).collect();
        let scales = (0..groups).map(|_| 0.02 * (0.5 + random.uniform()).copysign(random.normal())).collect();
        Self { batch, shape, bits, x, codes, scales, zeros, bias: Vec::new(), exact: false }
    }

    /// With a bias of the size of the sums, if so.
    fn biased(self, so: bool) -> Self {
        let (rows, size) = (self.shape.0, self.size());
        let mut random = Random::new(u(rows));
        let bias = |_| size * (0.5 + random.uniform()).copysign(random.normal());
        Self { bias: if so { (0..rows).map(bias).collect() } else { Vec::new() }, ..self }
    }

    /// With activations as in the middle of a model.
    fn normal(self) -> Self {
        let x = Random::new(u(self.batch)).normals(self.x.len());
        Self { x, ..self }
    }

    /// With all scales 1, so that every sum is an integer and the same in any order.
    fn of_integers(self) -> Self {
        let (_, cols, _, block) = self.shape;
        let largest = |(i, x): (usize, &f32)| if i % cols % block == 0 { 127.0 } else { (x * 80.0).round() };
        let x = self.x.iter().enumerate().map(largest).collect();
        let bias = self.bias.iter().map(|bias| (bias * 100.0).round()).collect();
        Self { x, scales: vec![1.0; self.scales.len()], bias, exact: true, ..self }
    }

    fn activations(&self) -> quantize::Params {
        let (_, cols, _, block) = self.shape;
        quantize::Params { rows: u(self.batch), cols: u(cols), block: u(block) }
    }

    /// A weight is a third of all codes away from zero on average, at scales of about 0.02; on the way to a sum of random
    /// signs they reach the root of their number.
    fn size(&self) -> f32 {
        0.02 * (f32::from(self.bits.max_code()) / 3.0).max(1.0) * (self.shape.1 as f32).sqrt()
    }

    /// Sums over blocks, or parts of 16 columns, are scaled and added in any order; then comes the bias.
    fn tolerance(&self) -> Tolerance {
        let (rows, cols, span, block) = self.shape;
        // One scale for all: integers that f32 holds, then one product and one sum.
        let once = block >= cols && span.groups(rows, cols).per_row() <= 1;
        if self.exact || once && 127 * usize::from(self.bits.max_code()) * cols < 1 << 24 {
            return Tolerance::EXACT;
        }
        Tolerance::sum(cols / 16 + 1 + usize::from(!self.bias.is_empty()), self.size())
    }

    fn case<K: Kernel<Params = Int8Params>>(&self, variant: &Variant) -> Case {
        let (batch, bits, (rows, cols, span, block)) = (self.batch, self.bits, self.shape);
        let groups = span.groups(rows, cols);
        // Alone, or as columns of a wider result, as those of a weight split by rows.
        let (offset, stride) = if cols == 172 { (3, rows + 5) } else { (0, rows) };
        let params = Int8Params {
            batch: u(batch),
            rows: u(rows),
            cols: u(cols),
            group: u(groups.size()),
            groups_per_row: u(groups.per_row()),
            words_per_row: u(Packing::Rows.words(1, cols, bits)),
            block: u(block),
            out_offset: u(offset),
            out_stride: u(stride),
            bias: u32::from(!self.bias.is_empty()),
        };
        let out = match offset {
            0 => Binding::Out(batch * stride, self.tolerance()),
            _ => Binding::InOut(vec![KEPT.to_bits(); batch * stride], self.tolerance()),
        };
        let symmetric = is_symmetric(variant);
        let scales = words(&variant.dtype(Role::Scale).encode(&self.scales));
        let zeros = if symmetric { scales.clone() } else { words(&self.zeros) };
        // Columns of a wider result have biases of their own; where there is none, a word holds the place.
        let bias = match &self.bias[..] {
            [] => vec![0],
            bias => vec![KEPT; offset].iter().chain(bias).map(|bias| bias.to_bits()).collect(),
        };
        let unread = if symmetric { 4 * zeros.len() } else { 0 };
        let codes = Packing::Rows.pack(&self.codes, rows, cols, bits).expect("as many codes as the shape has");
        let x = quantized(&self.activations(), &self.x);
        let bindings = x.into_iter().chain([codes, scales, zeros, bias]).map(Binding::In).chain([out]).collect();
        let exact = if self.exact { ".integers" } else { "" };
        let biased = if self.bias.is_empty() { "" } else { ".bias" };
        let name = format!("{batch}x{rows}x{cols}{span}.block{block}{biased}{exact}");
        let mut case = Case::new::<K>(variant.clone(), name, &params, bindings);
        case.bytes -= unread;
        case.operations(2 * batch * rows * cols)
    }

    /// Of the first rows of a symmetric weight, the error of int8 activations: the root of `sum (y - exact)^2` over
    /// `sum exact^2`, in f64.
    fn relative_error(&self, sample: usize) -> f64 {
        let (rows, cols, span, block) = self.shape;
        let groups = span.groups(rows, cols);
        let [codes, scales, _] = quantized(&self.activations(), &self.x);
        let (p, middle) = (self.activations(), f64::from(1u32 << (self.bits.get() - 1)));
        let x_of = |b: usize, k: usize| {
            let i = b * p.blocks() + k / block;
            let code = codes[i * p.block_words() + k % block / 4].to_le_bytes()[k % block % 4] as i8;
            f64::from(code) * f64::from(f32::from_bits(scales[i]))
        };
        let (mut error, mut size) = (0.0, 0.0);
        for b in 0..self.batch {
            let difference: Vec<f64> = (0..cols).map(|k| x_of(b, k) - f64::from(self.x[b * cols + k])).collect();
            for row in 0..sample.min(rows) {
                let weight = |k: usize| {
                    let scale = f64::from(self.scales[groups.index(row, k)]);
                    (f64::from(self.codes[row * cols + k]) - middle) * scale
                };
                let (mut wrong, mut right) = (0.0, 0.0);
                for (k, difference) in difference.iter().enumerate() {
                    let w = weight(k);
                    wrong += w * difference;
                    right += w * f64::from(self.x[b * cols + k]);
                }
                error += wrong * wrong;
                size += right * right;
            }
        }
        (error / size).sqrt()
    }
}

/// What lies around a result and must stay.
const KEPT: f32 = -77.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::matvec_group_int8;

    /// A device that doubles one scale, or errs by one in one zero point, must not pass.
    #[test]
    fn one_wrong_group_exceeds_the_tolerance() {
        for variant in MatvecGroupInt8::variants().iter().filter(|v| v.dtype(Role::Scale) == Dtype::F32) {
            for size in PRODUCTS {
                let right = Product::new(variant, 1, size);
                let (expected, tolerance) = (right.case::<MatvecGroupInt8>(variant).twin(), right.tolerance());
                let groups = size.2.groups(size.0, size.1).count();
                for group in 0..groups {
                    let mut wrong = [Product::new(variant, 1, size), Product::new(variant, 1, size)];
                    wrong[0].scales[group] *= 2.0;
                    wrong[1].zeros[group] ^= 1;
                    let stored = !is_symmetric(variant);
                    for wrong in wrong.into_iter().take(1 + usize::from(stored)) {
                        let found = wrong.case::<MatvecGroupInt8>(variant).twin();
                        let accepted = expected[7].iter().zip(&found[7]).all(|(e, f)| tolerance.accepts(*e, *f));
                        assert!(!accepted, "{variant} {size:?}: group {group}");
                    }
                }
            }
        }
    }

    /// Uniform rounding within a step of 1/127 of the largest of 128 normal numbers, about 2.6: 0.6 %.
    #[test]
    fn the_error_is_that_of_rounding_to_8_bits() {
        let variant =
            matvec_group_int8::variant(Bits::ALL[2], true, Dtype::F16, crate::kernel::part::Reduce::Shared, 1);
        let error = Product::new(&variant, 4, (16, 4096, Span::Group(128), 128)).normal().relative_error(16);
        assert!((0.004..0.009).contains(&error), "{error}");
    }
}
