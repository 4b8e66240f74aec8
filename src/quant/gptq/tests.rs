//! One layer at a time, against the definition in f64.

use super::solve::{Factor, Ranges, solve};
use crate::device::Device;
use crate::quant;
use crate::random::Random;
use crate::scheme::Scheme;
use crate::tensor::{QuantizedTensor, Tensor};

const PLAIN: Ranges = Ranges { search: false, fixed: true };
const DAMPING: f64 = 0.01;

/// A weight, and the Gram matrix of inputs whose features depend on each other.
struct Layer {
    rows: usize,
    cols: usize,
    weight: Vec<f32>,
    gram: Vec<f32>,
}

impl Layer {
    fn new(rows: usize, cols: usize, tokens: usize) -> Self {
        let mut random = Random::new(11);
        let weight = random.normals(rows * cols);
        let mut x = random.normals(tokens * cols);
        for x in x.chunks_exact_mut(cols) {
            for col in 1..cols {
                x[col] = 0.8 * x[col - 1] + 0.2 * x[col] * (1 + col % 4) as f32;
            }
        }
        let product = |i: usize, j: usize| x.chunks_exact(cols).map(|x| x[i] * x[j]).sum::<f32>();
        let gram = (0..cols * cols).map(|at| product(at / cols, at % cols)).collect();
        Self { rows, cols, weight, gram }
    }

    fn factor(&self, act_order: bool) -> Factor {
        Factor::new(&self.gram, self.cols, DAMPING, act_order).expect("the matrix is positive definite")
    }

    fn solve(&self, scheme: Scheme, act_order: bool, ranges: Ranges) -> QuantizedTensor {
        solve(&self.weight, self.rows, scheme, &self.factor(act_order), ranges).expect("all is finite")
    }

    fn nearest(&self, scheme: Scheme) -> QuantizedTensor {
        let weight = Tensor::from_f32(vec![self.rows, self.cols], &self.weight).expect("it has as many values");
        pollster::block_on(quant::quantize(&Device::cpu(), &weight, scheme)).expect("all is finite")
    }

    /// The squared error of the outputs.
    fn error(&self, found: &QuantizedTensor) -> f64 {
        let values = found.dequantize();
        let mut total = 0.0;
        for (w, v) in self.weight.chunks_exact(self.cols).zip(values.chunks_exact(self.cols)) {
            let d: Vec<f64> = w.iter().zip(v).map(|(w, v)| f64::from(w - v)).collect();
            for (i, a) in d.iter().enumerate() {
                for (j, b) in d.iter().enumerate() {
                    total += a * b * f64::from(self.gram[i * self.cols + j]);
                }
            }
        }
        total
    }
}

fn scheme(text: &str) -> Scheme {
    text.parse().expect("a scheme")
}

/// The inverse of a matrix, by elimination.
fn inverse(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let mut b: Vec<f64> = (0..n * n).map(|at| if at / n == at % n { 1.0 } else { 0.0 }).collect();
    for pivot in 0..n {
        let by = a[pivot * n + pivot];
        for col in 0..n {
            a[pivot * n + col] /= by;
            b[pivot * n + col] /= by;
        }
        for row in (0..n).filter(|row| *row != pivot) {
            let by = a[row * n + pivot];
            for col in 0..n {
                a[row * n + col] -= by * a[pivot * n + col];
                b[row * n + col] -= by * b[pivot * n + col];
            }
        }
    }
    b
}

/// The definition: after each column the others take the change that costs the least, which the inverse of what is left of
/// the Gram matrix tells; that inverse is formed anew each time. Scales are those of `like`.
fn by_definition(layer: &Layer, act_order: bool, like: &QuantizedTensor) -> Vec<u8> {
    let n = layer.cols;
    let diagonal = |i: usize| layer.gram[i * n + i];
    let mut left: Vec<usize> = (0..n).collect();
    if act_order {
        left.sort_by(|a, b| diagonal(*b).total_cmp(&diagonal(*a)));
    }
    let damping = DAMPING * (0..n).map(|i| f64::from(diagonal(i))).sum::<f64>() / n as f64;
    let mut weight: Vec<f64> = layer.weight.iter().map(|w| f64::from(*w)).collect();
    let mut codes = vec![0; weight.len()];
    while let Some(col) = left.first().copied() {
        let m = left.len();
        let part = left.iter().flat_map(|i| {
            left.iter().map(move |j| f64::from(layer.gram[i * n + j]) + if i == j { damping } else { 0.0 })
        });
        let inverse = inverse(part.collect(), m);
        for row in 0..layer.rows {
            let group = like.groups().index(row, col);
            let (scale, zero) =
                (f64::from(like.scales()[group]), like.zeros().map_or(like.scheme().bits().middle(), |z| z[group]));
            let value = weight[row * n + col];
            let most = f64::from(like.scheme().bits().max_code());
            let code = ((value / scale).round_ties_even() + f64::from(zero)).clamp(0.0, most);
            codes[row * n + col] = code as u8;
            let error = (value - (code - f64::from(zero)) * scale) / inverse[0];
            for (place, other) in left.iter().enumerate() {
                weight[row * n + other] -= error * inverse[place];
            }
        }
        left.remove(0);
    }
    codes
}

/// Codes that may differ from those of the definition: values that f32 and f64 see on two sides of a middle.
const DIFFERENT: f64 = 0.01;

#[test]
fn codes_are_those_of_the_definition() {
    let layer = Layer::new(6, 40, 200);
    for act_order in [false, true] {
        for kind in ["w4g16s", "w2g16a", "w3ca"] {
            let found = layer.solve(scheme(kind), act_order, PLAIN);
            let expected = by_definition(&layer, act_order, &found);
            let different = found.codes().iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert!(different as f64 <= DIFFERENT * expected.len() as f64, "{kind} {act_order}: {different} codes");
        }
    }
}

/// Sizes below, at and beyond a block, with groups of which the last is shorter, groups larger than a block, and whole rows.
#[test]
fn outputs_are_nearer_than_rounding_brings_them() {
    for (cols, kinds) in [(40, ["w4g16s", "w2g32a"]), (128, ["w3g128s", "w2ca"]), (300, ["w4g48s", "w2g256a"])] {
        let layer = Layer::new(7, cols, 2 * cols);
        for kind in kinds.map(scheme) {
            let nearest = layer.error(&layer.nearest(kind));
            for ranges in [(false, false), (false, true), (true, false), (true, true)] {
                let ranges = Ranges { search: ranges.0, fixed: ranges.1 };
                for act_order in [false, true].into_iter().filter(|order| ranges.fixed || !order) {
                    let found = layer.error(&layer.solve(kind, act_order, ranges));
                    assert!(found < 0.8 * nearest, "{kind} {cols}: {found} {nearest}");
                }
            }
        }
    }
}

#[test]
fn independent_columns_are_rounded_to_nearest() {
    let mut layer = Layer::new(5, 150, 200);
    for at in 0..layer.gram.len() {
        if at / layer.cols != at % layer.cols {
            layer.gram[at] = 0.0;
        }
    }
    for kind in ["w4g32s", "w2g32a", "w3cs"].map(scheme) {
        for act_order in [false, true] {
            assert_eq!(layer.solve(kind, act_order, PLAIN), layer.nearest(kind), "{kind}");
        }
    }
}

#[test]
fn features_that_are_never_seen_are_rounded_to_nearest() {
    let mut layer = Layer::new(5, 48, 100);
    for i in 0..48 {
        layer.gram[3 * 48 + i] = 0.0;
        layer.gram[i * 48 + 3] = 0.0;
    }
    let (found, nearest) = (layer.solve(scheme("w4g16s"), true, PLAIN), layer.nearest(scheme("w4g16s")));
    (0..5).for_each(|row| assert_eq!(found.codes()[row * 48 + 3], nearest.codes()[row * 48 + 3]));
    layer.gram.fill(0.0);
    assert_eq!(layer.solve(scheme("w4g16s"), true, PLAIN), nearest);
}

#[test]
fn few_tokens_are_enough() {
    let layer = Layer::new(5, 64, 3);
    let found = layer.solve(scheme("w2g16s"), true, PLAIN);
    assert!(layer.error(&found) < 0.5 * layer.error(&layer.nearest(scheme("w2g16s"))));
}

#[test]
fn damping_is_raised_until_the_matrix_is_positive_definite() {
    let damping = |gram: &[f32]| Factor::new(gram, 2, DAMPING, false).map(|factor| factor.damping);
    assert_eq!(damping(&[1.0, 0.5, 0.5, 1.0]), Some(DAMPING));
    assert_eq!(damping(&[1.0, 1.05, 1.05, 1.0]), Some(10.0 * DAMPING));
    assert_eq!(damping(&[1.0, 50.0, 50.0, 1.0]), None);
    assert_eq!(damping(&[1.0, f32::NAN, f32::NAN, 1.0]), None);
    assert_eq!(damping(&[f32::INFINITY, 0.0, 0.0, 1.0]), None);
}

#[test]
fn threads_change_no_byte() {
    let layer = Layer::new(100, 200, 300);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| layer.solve(scheme("w3g32a"), true, Ranges { search: true, fixed: true }))
    };
    let one = on(1);
    assert_eq!(one, on(1));
    assert_eq!(one, on(3));
}
