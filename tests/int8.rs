//! Int8 activations on the CPU device: codes and products against formulas in f64, fast code against the twins at shapes
//! of several panels, chunks and passes, the same bytes on any number of threads.

use bitsmith::check::{Binding, Case, Tolerance};
use bitsmith::kernel::activation_quantize::{self, ActivationQuantize};
use bitsmith::kernel::matmul_group_int8::{self, MatmulGroupInt8};
use bitsmith::kernel::product_int8::Int8Params;
use bitsmith::op::{self, ActivationPrecision, Activations, GroupWeight, Int8Activations, int8_block};
use bitsmith::{
    Bits, Device, Dtype, Error, PackedTensor, Packing, QuantizedTensor, Random, Recorder, Result, Scheme, Span, Zero,
};

/// Codes, scales and sums of activations, read back.
struct Read {
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Read {
    fn of(device: &Device, x: &Int8Activations) -> Result<Self> {
        let read = |b| pollster::block_on(device.read(b));
        Ok(Self {
            codes: pollster::block_on(device.read(&x.codes))?,
            scales: read(&x.scales)?,
            sums: pollster::block_on(device.read(&x.sums))?,
        })
    }
}

fn rounded(x: &[f32], rows: usize, cols: usize, block: usize) -> Result<Read> {
    let device = Device::cpu();
    let x = Activations::upload(&device, rows, cols, x)?;
    let mut recorder = Recorder::new(&device);
    let x = op::int8(&mut recorder, &x, block)?;
    recorder.submit()?;
    Read::of(&device, &x)
}

#[test]
#[allow(clippy::cast_possible_truncation, reason = "codes and scales fit")]
fn codes_follow_the_formula() -> Result<()> {
    let mut random = Random::new(1);
    for (rows, cols, block) in [(1, 1, 1), (2, 33, 16), (3, 127, 17), (2, 300, 128), (1, 1029, 1029)] {
        let mut x = random.normals(rows * cols);
        // Sixteenths: many exact ties where the scale is a power of two.
        for (i, x) in x.iter_mut().enumerate().filter(|(i, _)| i / cols % 2 == 0) {
            *x = if i % cols % block == 0 { -127.0 / 8.0 } else { (*x * 32.0).round() / 16.0 };
        }
        let found = rounded(&x, rows, cols, block)?;
        let (blocks, stride) = (cols.div_ceil(block), block.div_ceil(4) * 4);
        assert_eq!(found.codes.len(), rows * blocks * stride);
        for i in 0..rows * blocks {
            let from = i / blocks * cols + i % blocks * block;
            let values = &x[from..(from + block).min((i / blocks + 1) * cols)];
            let largest = values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let scale = (f64::from(largest) / 127.0) as f32;
            assert_eq!(found.scales[i], scale);
            let codes = &found.codes[i * stride..][..stride];
            for (value, code) in values.iter().zip(codes) {
                let expected = (f64::from(*value) / f64::from(scale)).round_ties_even();
                assert_eq!(f64::from(*code), expected, "{value} / {scale}");
            }
            assert!(codes[values.len()..].iter().all(|c| *c == 0));
            assert_eq!(found.sums[i], codes.iter().map(|c| i32::from(*c)).sum::<i32>());
        }
    }
    Ok(())
}

#[test]
fn blocks_without_a_scale() -> Result<()> {
    // Nothing, too little, a NaN, an infinity; the numbers beside them are whole blocks of their own.
    let x = [0.0, -0.0, 1e-30, -1e-31, 1.0, f32::NAN, f32::NEG_INFINITY, 2.0, 127.0, -3.0];
    let found = rounded(&x, 1, 10, 2)?;
    assert_eq!(found.codes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 127, -3, 0, 0]);
    assert_eq!(found.scales[..2], [0.0, 0.0]);
    assert!(found.scales[2].is_nan() && found.scales[3].is_nan());
    assert_eq!((found.scales[4], &found.sums[..]), (1.0, &[0, 0, 0, 0, 124][..]));
    Ok(())
}

fn quantized(random: &mut Random, scheme: Scheme, rows: usize, cols: usize) -> Result<QuantizedTensor> {
    let most = u32::from(scheme.bits().max_code()) + 1;
    let mut code = || random.below(most).to_le_bytes()[0];
    let codes = (0..rows * cols).map(|_| code()).collect();
    let groups = scheme.groups(rows, cols).count();
    let zeros = (0..groups).map(|_| code()).collect();
    let scales = (0..groups).map(|_| scheme.scale_type().round(0.02 * random.normal())).collect();
    QuantizedTensor::new(scheme, rows, cols, codes, scales, (!scheme.is_symmetric()).then_some(zeros))
}

/// Each block is an exact integer, converted, multiplied by a rounded product and added: three roundings of at most half an
/// epsilon of what has been added up, for each block.
fn bound(blocks: usize, total: f64) -> f64 {
    f64::from(f32::EPSILON) * (blocks + 3) as f64 * total
}

#[test]
fn products_follow_the_formula_for_every_scheme() -> Result<()> {
    let device = Device::cpu();
    let mut random = Random::new(2);
    let spans = [Span::Group(16), Span::Group(17), Span::Group(32), Span::Group(128), Span::Channel, Span::Tensor];
    let zeros = [Zero::Symmetric, Zero::Stored];
    let schemes = Bits::ALL.into_iter().flat_map(|b| zeros.map(|z| Dtype::ALL.map(|s| (b, z, s)))).flatten();
    for (i, (bits, zero, scale)) in schemes.enumerate() {
        for (j, span) in spans.into_iter().enumerate() {
            let scheme = Scheme::new(bits, span, zero).with_scale_type(scale);
            let (rows, cols, batch) = (7, [1, 33, 172, 256, 300][(i + j) % 5], [1, 2, 8, 9, 65][(i + 2 * j) % 5]);
            let tensor = quantized(&mut random, scheme, rows, cols)?;
            let w = tensor.dequantize();
            let x: Vec<f32> = random.normals(batch * cols).iter().map(|x| x + 0.5).collect();
            let block = int8_block(span, cols);
            let input = Activations::upload(&device, batch, cols, &x)?;
            // No split, and parts of a few rows.
            for limit in [u64::MAX, 1200] {
                let weight = GroupWeight::upload_in_parts(&device, &PackedTensor::pack(&tensor), limit)?;
                let mut recorder = Recorder::new(&device);
                let codes = op::int8(&mut recorder, &input, block)?;
                let y = op::group_int8(&mut recorder, &codes, &weight)?;
                recorder.submit()?;
                let (read, y) = (Read::of(&device, &codes)?, pollster::block_on(y.read(&device))?);
                let (blocks, stride) = (cols.div_ceil(block), block.div_ceil(4) * 4);
                let value = |b: usize, k: usize| {
                    let i = b * blocks + k / block;
                    f64::from(read.codes[i * stride + k % block]) * f64::from(read.scales[i])
                };
                for (i, y) in y.iter().enumerate() {
                    let (b, row) = (i / rows, i % rows);
                    let terms = || (0..cols).map(|k| value(b, k) * f64::from(w[row * cols + k]));
                    let (sum, total): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
                    let off = (f64::from(*y) - sum).abs();
                    assert!(off <= bound(blocks, total), "{scheme} {batch}x{rows}x{cols}: {i} is {y}, not {sum}");
                }
            }
        }
    }
    Ok(())
}

/// Bit for bit what a product and a sum after it give, without a dispatch of its own.
#[test]
fn a_bias_is_added_by_the_product() -> Result<()> {
    let device = Device::cpu();
    let mut random = Random::new(4);
    for scheme in ["w2ts", "w2cs-f32", "w3g32a", "w4g128s", "w8cs-bf16", "w8ta-f32"] {
        let (rows, cols, scheme) = (9, 300, scheme.parse::<Scheme>()?);
        let tensor = PackedTensor::pack(&quantized(&mut random, scheme, rows, cols)?);
        let bias = device.upload(&random.normals(rows))?;
        for (batch, limit) in [(1, u64::MAX), (2, 700), (7, u64::MAX), (12, 700)] {
            let weight = GroupWeight::upload_in_parts(&device, &tensor, limit)?;
            let input = Activations::upload(&device, batch, cols, &random.normals(batch * cols))?;
            let other = if scheme.groups(rows, cols).per_row() > 1 { 16 } else { cols };
            for block in [int8_block(scheme.span(), cols), other] {
                let mut recorder = Recorder::new(&device);
                let x = op::int8(&mut recorder, &input, block)?;
                let fused = op::group_int8_with_bias(&mut recorder, &x, &weight, Some(&bias))?;
                let recorded = recorder.finish();
                assert!(recorded.kernels().all(|kernel| kernel != "add_bias"), "{scheme}");
                device.submit(recorded)?;
                let mut recorder = Recorder::new(&device);
                let apart = op::group_int8(&mut recorder, &x, &weight)?;
                op::add_bias(&mut recorder, &apart, &bias)?;
                recorder.submit()?;
                let bits = |y: &Activations| pollster::block_on(device.read::<u32>(&y.buffer));
                assert_eq!(bits(&fused)?, bits(&apart)?, "{scheme} {batch} tokens, blocks of {block}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let device = Device::cpu();
    let w = quantized(&mut Random::new(3), "w4g32s".parse()?, 2, 64)?;
    let w = GroupWeight::upload(&device, &PackedTensor::pack(&w))?;
    let mut recorder = Recorder::new(&device);
    let x = Activations::upload(&device, 1, 64, &[1.0; 64])?;
    let narrow = Activations::upload(&device, 1, 32, &[1.0; 32])?;
    let refused = |result: Result<_>, words: &str| match result {
        Err(error @ Error::Shape { .. }) => assert!(error.to_string().contains(words), "{error}"),
        _ => panic!("not refused: {words}"),
    };
    refused(op::int8(&mut recorder, &x, 0).map(|_| ()), "blocks of 1 to");
    refused(op::int8(&mut recorder, &x, 1 << 20).map(|_| ()), "blocks of 1 to");
    let hollow = Int8Activations { block: 0, ..op::int8(&mut recorder, &x, 32)? };
    refused(op::group_int8(&mut recorder, &hollow, &w).map(|_| ()), "buffers hold them");
    let (odd, narrow) = (op::int8(&mut recorder, &x, 48)?, op::int8(&mut recorder, &narrow, 32)?);
    refused(op::group_int8(&mut recorder, &odd, &w).map(|_| ()), "blocks that divide groups of 32");
    refused(op::group_int8(&mut recorder, &narrow, &w).map(|_| ()), "activations of 64 features");
    let (whole, bias) = (op::int8(&mut recorder, &x, 32)?, device.upload(&[1.0f32; 3])?);
    refused(op::group_int8_with_bias(&mut recorder, &whole, &w, Some(&bias)).map(|_| ()), "a bias of 2 f32 values");
    assert_eq!(serde_json::to_value(ActivationPrecision::Int8).ok(), Some("int8".into()));
    Ok(())
}

fn u(n: usize) -> u32 {
    u32::try_from(n).expect("test shapes are small")
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytemuck::pod_collect_to_vec(&bytes)
}

/// What a case leaves in its last binding on this many threads.
fn on_threads(case: &Case, threads: usize) -> Vec<u8> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
    let device = Device::cpu();
    pool.install(|| {
        let mut recorder = Recorder::new(&device);
        let buffers = case.record(&mut recorder).expect("the case is valid");
        recorder.submit().expect("the case is valid");
        pollster::block_on(device.read(buffers.last().expect("a binding"))).expect("the device answers")
    })
}

fn product(batch: usize, rows: usize, cols: usize, [size, block]: [usize; 2], bits: Bits, symmetric: bool) {
    let mut random = Random::new(u(rows * cols + batch));
    let mut code = || random.below(u32::from(bits.max_code()) + 1).to_le_bytes()[0];
    let codes: Vec<u8> = (0..rows * cols).map(|_| code()).collect();
    let per_row = if size == cols { 0 } else { cols.div_ceil(size) };
    let groups = (rows * per_row).max(1);
    let zeros: Vec<u8> = (0..groups).map(|_| code()).collect();
    let scales = words(&Dtype::F16.encode(&random.normals(groups).iter().map(|s| s * 0.02).collect::<Vec<_>>()));
    let x_params = activation_quantize::Params { rows: u(batch), cols: u(cols), block: u(block) };
    let (blocks, block_words) = (x_params.blocks(), x_params.block_words());
    let x = bytemuck::cast_vec(random.normals(batch * cols));
    let outs = [batch * blocks * block_words, batch * blocks, batch * blocks];
    let bindings = [Binding::In(x)].into_iter().chain(outs.map(|n| Binding::Out(n, Tolerance::EXACT))).collect();
    let label = format!("{batch}x{rows}x{cols} w{bits}g{size} block {block}, symmetric {symmetric}");
    let quantize = Case::new::<ActivationQuantize>(activation_quantize::variant(), label.clone(), &x_params, bindings);
    let device = Device::cpu();
    pollster::block_on(quantize.check(&device)).expect(&label);
    let params = Int8Params {
        batch: u(batch),
        rows: u(rows),
        cols: u(cols),
        group: u(size),
        groups_per_row: u(per_row),
        words_per_row: u(Packing::Rows.words(1, cols, bits)),
        block: u(block),
        out_offset: 3,
        out_stride: u(rows + 5),
        bias: u(batch % 2),
    };
    let [x, x_scales, x_sums] = [1, 2, 3].map(|binding| quantize.result(binding));
    let codes = Packing::Rows.pack(&codes, rows, cols, bits).expect("as many codes as the shape has");
    let zeros = if symmetric { scales.clone() } else { words(&zeros) };
    let bias = if batch % 2 == 1 { bytemuck::cast_vec(random.normals(3 + rows)) } else { vec![0] };
    let mut bindings: Vec<_> = [x, x_scales, x_sums, codes, scales, zeros, bias].into_iter().map(Binding::In).collect();
    // Results go behind 3 elements, into rows longer by 5. Weights reach 255 steps of 0.02 a few times, activations 5.
    let tolerance = Tolerance::sum(blocks, 32.0 * (block as f32).sqrt());
    bindings.push(Binding::InOut(vec![0; 3 + batch * (rows + 5)], tolerance));
    let variant = matmul_group_int8::variant(bits, symmetric, Dtype::F16);
    let case = Case::new::<MatmulGroupInt8>(variant, label.clone(), &params, bindings);
    pollster::block_on(case.check(&device)).expect(&label);
    assert_eq!(on_threads(&case, 1), on_threads(&case, 3), "{label}: the thread count changes bits");
}

#[test]
fn fast_products_equal_their_twins() {
    for bits in Bits::ALL {
        for symmetric in [true, false] {
            // One row, several passes of every length; whole words, groups that share words, blocks within a group, a row
            // that is one group in one block and in several.
            for batch in [1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 75] {
                for (rows, cols, sizes) in [
                    (5, 1100, [32, 32]),
                    (70, 640, [100, 100]),
                    (37, 1024, [384, 128]),
                    (6, 777, [777, 777]),
                    (33, 1500, [1500, 128]),
                ] {
                    product(batch, rows, cols, sizes, bits, symmetric);
                }
            }
            product(1, 600, 2700, [128, 128], bits, symmetric);
            // Blocks of whole vectors of words, at each width.
            product(1, 301, 1536, [256, 256], bits, symmetric);
            product(1, 7, 2048, [2048, 512], bits, symmetric);
            product(80, 600, 200, [64, 32], bits, symmetric);
        }
    }
}
