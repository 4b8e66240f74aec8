//! Products, embedding, cast and dequantization on the CPU device against formulas in f64, with weights whole and split.

use bitsmith::Random;
use bitsmith::op::{self, Activations, DenseWeight, GroupWeight};
use bitsmith::{Bits, Device, Dtype, Error, PackedTensor, QuantizedTensor, Recorder, Scheme, Span, Tensor, Zero};

/// Rows of x: both sides of the line between matvec and matmul.
const BATCHES: [usize; 5] = [1, 2, 8, 9, 65];
/// No split, and parts of a few rows.
const LIMITS: [u64; 2] = [u64::MAX, 1200];

/// What a sum of `terms` f32 products whose absolute values add up to `total` may be off by: each addition rounds by
/// half an epsilon of at most `total`; products and weights round as often again.
fn bound(terms: usize, total: f64) -> f64 {
    f64::from(f32::EPSILON) * (terms + 2) as f64 * total
}

/// Checks `y = x W^T` against f64, one element at a time.
fn assert_product(y: &[f32], x: &[f32], w: &[f32], cols: usize, label: &str) {
    let rows = w.len() / cols;
    assert_eq!(y.len(), x.len() / cols * rows, "{label}");
    for (i, y) in y.iter().enumerate() {
        let (x, w) = (&x[i / rows * cols..][..cols], &w[i % rows * cols..][..cols]);
        let products = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
        let (sum, total) = (products().sum::<f64>(), products().map(f64::abs).sum());
        let off = (f64::from(*y) - sum).abs();
        assert!(off <= bound(cols, total), "{label}: element {i} is {y}, not {sum}");
    }
}

fn run(device: &Device, record: impl FnOnce(&mut Recorder) -> bitsmith::Result<Activations>) -> Vec<f32> {
    let mut recorder = Recorder::new(device);
    let y = record(&mut recorder).expect("the shapes fit");
    recorder.submit().expect("the recording is valid");
    pollster::block_on(y.read(device)).expect("the device answers")
}

fn rounded(dtype: Dtype, values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| dtype.round(*v)).collect()
}

/// A quantized weight with random codes, scales of both signs and random zero points.
fn quantized(random: &mut Random, scheme: Scheme, rows: usize, cols: usize) -> QuantizedTensor {
    let codes_below = u32::from(scheme.bits().max_code()) + 1;
    let mut code = || random.below(codes_below) as u8;
    let codes = (0..rows * cols).map(|_| code()).collect();
    let groups = scheme.groups(rows, cols).count();
    let zeros = (0..groups).map(|_| code()).collect();
    let scales = (0..groups).map(|_| scheme.scale_type().round(0.02 * random.normal())).collect();
    let zeros = (!scheme.is_symmetric()).then_some(zeros);
    QuantizedTensor::new(scheme, rows, cols, codes, scales, zeros).expect("made to fit")
}

fn schemes() -> Vec<Scheme> {
    let spans = [Span::Group(16), Span::Group(17), Span::Group(32), Span::Group(128), Span::Channel, Span::Tensor];
    let mut all = Vec::new();
    for bits in Bits::ALL {
        for zero in [Zero::Symmetric, Zero::Stored] {
            for scale in Dtype::ALL {
                all.extend(spans.map(|span| Scheme::new(bits, span, zero).with_scale_type(scale)));
            }
        }
    }
    all
}

#[test]
fn dense_products_follow_the_formula() {
    let device = Device::cpu();
    let mut random = Random::new(1);
    for dtype in Dtype::ALL {
        for cols in [1, 33, 127, 172, 256] {
            let rows = 11;
            let w = rounded(dtype, &random.normals(rows * cols));
            let tensor = Tensor::new(dtype, vec![rows, cols], dtype.encode(&w)).expect("the bytes fit");
            for limit in LIMITS {
                let weight = DenseWeight::upload_in_parts(&device, &tensor, limit).expect("a row fits");
                for batch in BATCHES {
                    let label = format!("{dtype} {batch}x{rows}x{cols} in parts of {limit}");
                    let x = random.normals(batch * cols);
                    let input = Activations::upload(&device, batch, cols, &x).expect("the values fit");
                    let y = run(&device, |rec| op::dense(rec, &input, &weight));
                    assert_product(&y, &x, &w, cols, &label);
                    let y = run(&device, |rec| {
                        let half = op::half(rec, &input)?;
                        op::dense(rec, &half, &weight)
                    });
                    assert_product(&y, &rounded(Dtype::F16, &x), &w, cols, &format!("f16 activations, {label}"));
                }
            }
        }
    }
}

#[test]
fn quantized_products_follow_the_formula_for_every_scheme() {
    let device = Device::cpu();
    let mut random = Random::new(2);
    for (i, scheme) in schemes().into_iter().enumerate() {
        // Each scheme meets two widths and two batches; together they meet all.
        for (cols, batch) in [([1, 33, 127][i % 3], BATCHES[i % 5]), ([172, 256][i % 2], BATCHES[(i + 2) % 5])] {
            let rows = 7;
            let tensor = quantized(&mut random, scheme, rows, cols);
            let w = tensor.dequantize();
            let x: Vec<f32> = random.normals(batch * cols).iter().map(|x| x + 0.5).collect();
            let input = Activations::upload(&device, batch, cols, &x).expect("the values fit");
            for limit in LIMITS {
                let label = format!("{scheme} {batch}x{rows}x{cols} in parts of {limit}");
                let packed = PackedTensor::pack(&tensor);
                let weight = GroupWeight::upload_in_parts(&device, &packed, limit).expect("a row fits");
                let y = run(&device, |rec| op::group(rec, &input, &weight));
                assert_product(&y, &x, &w, cols, &label);
                let y = run(&device, |rec| {
                    let half = op::half(rec, &input)?;
                    op::group(rec, &half, &weight)
                });
                assert_product(&y, &rounded(Dtype::F16, &x), &w, cols, &format!("f16 activations, {label}"));
                assert_eq!(run(&device, |rec| op::dequantize(rec, &weight)), w, "{label}");
            }
        }
    }
}

#[test]
fn split_weights_have_several_dispatches_and_the_same_result() {
    let device = Device::cpu();
    let mut random = Random::new(3);
    let tensor = quantized(&mut random, "w4g32a".parse().expect("a scheme"), 10, 64);
    let packed = PackedTensor::pack(&tensor);
    let x = Activations::upload(&device, 3, 64, &random.normals(3 * 64)).expect("the values fit");
    // Rows of 32 bytes: three to a part.
    let split = GroupWeight::upload_in_parts(&device, &packed, 100).expect("a row fits");
    let mut recorder = Recorder::new(&device);
    op::group(&mut recorder, &x, &split).expect("the shapes fit");
    assert_eq!(recorder.finish().len(), 4);
    let whole = GroupWeight::upload(&device, &packed).expect("it fits");
    let product = |w: &GroupWeight| run(&device, |rec| op::group(rec, &x, w));
    assert_eq!(product(&split), product(&whole));
    assert!(matches!(GroupWeight::upload_in_parts(&device, &packed, 31), Err(Error::Limit { .. })));
}

/// Bit for bit what a product and a sum after it give, without a dispatch of its own.
#[test]
fn a_bias_is_added_by_the_product() {
    let device = Device::cpu();
    let mut random = Random::new(7);
    for scheme in ["w2g32s", "w3g32a", "w4g128s", "w8cs-bf16"] {
        let tensor = quantized(&mut random, scheme.parse().expect("a scheme"), 10, 300);
        let packed = PackedTensor::pack(&tensor);
        let bias = device.upload(&random.normals(10)).expect("the values fit");
        for (batch, limit) in [(1, u64::MAX), (3, 900), (8, u64::MAX), (20, 900), (80, u64::MAX)] {
            let weight = GroupWeight::upload_in_parts(&device, &packed, limit).expect("a row fits");
            let x = Activations::upload(&device, batch, 300, &random.normals(batch * 300)).expect("the values fit");
            let mut recorder = Recorder::new(&device);
            op::group_with_bias(&mut recorder, &x, &weight, Some(&bias)).expect("the shapes fit");
            assert!(recorder.finish().kernels().all(|kernel| kernel != "add_bias"), "{scheme}");
            let fused = run(&device, |rec| op::group_with_bias(rec, &x, &weight, Some(&bias)));
            let apart = run(&device, |rec| {
                let y = op::group(rec, &x, &weight)?;
                op::add_bias(rec, &y, &bias)?;
                Ok(y)
            });
            let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&fused), bits(&apart), "{scheme} {batch} tokens");
        }
    }
}

#[test]
fn embedding_reads_the_rows_of_its_ids() {
    let device = Device::cpu();
    let ids = [9u32, 0, 4, 9, 3, 8, 1];
    for dtype in Dtype::ALL {
        for cols in [1, 33, 64] {
            let values = rounded(dtype, &Random::new(4).normals(10 * cols));
            let tensor = Tensor::new(dtype, vec![10, cols], dtype.encode(&values)).expect("the bytes fit");
            let expected: Vec<f32> =
                ids.iter().flat_map(|id| &values[*id as usize * cols..][..cols]).copied().collect();
            for limit in [u64::MAX, 3 * (cols * dtype.bytes()).next_multiple_of(4) as u64] {
                let table = DenseWeight::upload_in_parts(&device, &tensor, limit).expect("a row fits");
                assert_eq!(run(&device, |rec| op::embed(rec, &ids, &table)), expected, "{dtype} {cols} {limit}");
                let beyond = op::embed(&mut Recorder::new(&device), &[3, 10], &table);
                assert!(matches!(beyond, Err(Error::Shape { .. })));
            }
        }
    }
}

#[test]
fn casts_round_half_to_even() {
    let device = Device::cpu();
    // Ties between neighbouring f16 numbers, a subnormal tie, overflow.
    let x = [2049.0, 2051.0, -2049.0, 2.980_232_2e-8, 65519.0, 65520.0, 0.1];
    let expected = [2048.0, 2052.0, -2048.0, 0.0, 65504.0, f32::INFINITY, 0.099_975_586];
    let input = Activations::upload(&device, 1, 7, &x).expect("the values fit");
    let y = run(&device, |rec| {
        let half = op::half(rec, &input)?;
        op::widen(rec, &half)
    });
    assert_eq!(y, expected);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let device = Device::cpu();
    let mut recorder = Recorder::new(&device);
    let w = Tensor::from_f32(vec![2, 3], &[0.0; 6]).expect("the values fit");
    let dense = DenseWeight::upload(&device, &w).expect("it fits");
    let x = Activations::upload(&device, 2, 2, &[0.0; 4]).expect("the values fit");
    let error = op::dense(&mut recorder, &x, &dense).expect_err("3 columns are not 2");
    assert_eq!(error.to_string(), "dense product: expected activations of 3 features, found 2");
    let tensor = quantized(&mut Random::new(5), "w2g16s".parse().expect("a scheme"), 2, 3);
    let mut packed = PackedTensor::pack(&tensor);
    let group = GroupWeight::upload(&device, &packed).expect("it fits");
    let error = op::group(&mut recorder, &x, &group).expect_err("3 columns are not 2");
    assert_eq!(error.to_string(), "quantized product: expected activations of 3 features, found 2");
    let (x, bias) = (Activations::upload(&device, 1, 3, &[0.0; 3]), device.upload(&[0.0f32; 3]));
    let (x, bias) = (x.expect("the values fit"), bias.expect("the values fit"));
    let error = op::group_with_bias(&mut recorder, &x, &group, Some(&bias)).expect_err("3 biases are not 2");
    assert_eq!(error.to_string(), "quantized product: expected a bias of 2 f32 values, found 12 bytes");
    packed.scales.pop();
    assert!(matches!(GroupWeight::upload(&device, &packed), Err(Error::Shape { .. })));
    assert!(recorder.finish().is_empty());
}

#[test]
fn no_tokens_and_no_rows_give_empty_results() {
    let device = Device::cpu();
    let w = Tensor::from_f32(vec![2, 3], &[0.0; 6]).expect("the values fit");
    let dense = DenseWeight::upload(&device, &w).expect("it fits");
    let none = Activations::upload(&device, 0, 3, &[]).expect("the values fit");
    assert!(run(&device, |rec| op::dense(rec, &none, &dense)).is_empty());
    assert!(run(&device, |rec| op::embed(rec, &[], &dense)).is_empty());
    let empty = DenseWeight::upload(&device, &Tensor::from_f32(vec![0, 3], &[]).expect("no values")).expect("it fits");
    let x = Activations::upload(&device, 1, 3, &[0.0; 3]).expect("the values fit");
    assert!(run(&device, |rec| op::dense(rec, &x, &empty)).is_empty());
}
