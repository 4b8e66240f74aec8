//! Activations as int8 with zero points, on the CPU device: codes and products against formulas in f64, sums of integers
//! without any rounding.

use bitsmith::op::{self, Activations, GroupWeight, Int8Activations, LayerInput};
use bitsmith::{Device, Error, PackedTensor, QuantizedTensor, Random, Recorder, Result, Scheme};

/// Codes, scales and zero points, read back.
struct Read {
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    zeros: Vec<i32>,
}

fn read(device: &Device, x: &Int8Activations) -> Result<Read> {
    let zeros = match &x.zeros {
        Some(zeros) => pollster::block_on(device.read(zeros))?,
        None => vec![0; x.rows],
    };
    Ok(Read {
        codes: pollster::block_on(device.read(&x.codes))?,
        scales: pollster::block_on(device.read(&x.scales))?,
        sums: pollster::block_on(device.read(&x.sums))?,
        zeros,
    })
}

#[test]
#[allow(clippy::cast_possible_truncation, reason = "codes, scales and zero points fit")]
fn codes_follow_the_formula() -> Result<()> {
    let device = Device::cpu();
    let mut random = Random::new(1);
    for (rows, cols, shift) in [(1, 1, 0.0), (2, 33, 0.5), (3, 127, -2.0), (2, 300, 10.0), (1, 1029, -0.25)] {
        let x: Vec<f32> = random.normals(rows * cols).iter().map(|x| x + shift).collect();
        let mut recorder = Recorder::new(&device);
        let uploaded = Activations::upload(&device, rows, cols, &x)?;
        let own = op::int8_asymmetric(&mut recorder, &uploaded)?;
        let fixed = op::int8_static(&mut recorder, &uploaded, 0.011, 17)?;
        recorder.submit()?;
        let stride = cols.next_multiple_of(4);
        for (found, given) in [(read(&device, &own)?, None), (read(&device, &fixed)?, Some((0.011f32, 17)))] {
            for (row, values) in x.chunks(cols).enumerate() {
                let most = values.iter().fold(0.0f32, |a, b| a.max(*b));
                let least = values.iter().fold(0.0f32, |a, b| a.min(*b));
                let (scale, zero) = given.unwrap_or_else(|| {
                    let scale = ((f64::from(most) - f64::from(least)) / 255.0) as f32;
                    (scale, (f64::from(-least) / f64::from(scale)).round_ties_even() as i32 - 128)
                });
                // The sum of the ends is rounded before it is divided.
                assert!((found.scales[row] - scale).abs() <= scale * f32::EPSILON, "{scale}");
                let scale = found.scales[row];
                assert_eq!(found.zeros[row], zero);
                let codes = &found.codes[row * stride..][..stride];
                for (value, code) in values.iter().zip(codes) {
                    let expected = (f64::from(*value) / f64::from(scale)).round_ties_even() + f64::from(zero);
                    assert_eq!(f64::from(*code), expected.clamp(-128.0, 127.0), "{value} / {scale}");
                }
                assert!(codes[cols..].iter().all(|code| *code == 0));
                assert_eq!(found.sums[row], codes.iter().map(|c| i32::from(*c)).sum::<i32>());
            }
        }
    }
    Ok(())
}

#[test]
fn a_token_that_is_not_finite_is_nan_and_nothing_is_zero() -> Result<()> {
    let device = Device::cpu();
    let weight: Scheme = "w8ca-f32".parse()?;
    let weight = QuantizedTensor::new(weight, 1, 2, vec![3, 200], vec![0.5], Some(vec![100]))?;
    let x = Activations::upload(&device, 4, 2, &[0.0, -0.0, 1e-34, -1e-33, f32::NAN, 1.0, 2.0, f32::NEG_INFINITY])?;
    for input in [LayerInput::TokensAsymmetric, LayerInput::Static { scale: 0.1, zero: 5 }] {
        let w = input.upload(&device, &PackedTensor::pack(&weight))?;
        let mut recorder = Recorder::new(&device);
        let y = input.apply(&mut recorder, &x, &w)?;
        recorder.submit()?;
        let y = pollster::block_on(y.read(&device))?;
        assert_eq!(y[..2], [0.0, 0.0], "{input}");
        assert!(y[2].is_nan() && y[3].is_nan(), "{input}");
    }
    Ok(())
}

/// A weight of random codes.
fn weight(random: &mut Random, scheme: &str, rows: usize, cols: usize, scale: Option<f32>) -> Result<QuantizedTensor> {
    let scheme: Scheme = scheme.parse()?;
    let groups = scheme.groups(rows, cols).count();
    let mut code = || random.below(256).to_le_bytes()[0];
    let codes = (0..rows * cols).map(|_| code()).collect();
    let zeros = (0..groups).map(|_| code()).collect();
    let scales = (0..groups).map(|_| scale.unwrap_or_else(|| 0.02 * random.normal())).collect();
    QuantizedTensor::new(scheme, rows, cols, codes, scales, (!scheme.is_symmetric()).then_some(zeros))
}

#[test]
fn products_follow_the_formula() -> Result<()> {
    let device = Device::cpu();
    let mut random = Random::new(2);
    let inputs = [
        LayerInput::Tokens,
        LayerInput::TokensAsymmetric,
        LayerInput::Static { scale: 0.03, zero: 0 },
        LayerInput::Static { scale: 0.03, zero: -90 },
    ];
    for (i, scheme) in ["w8cs-f32", "w8ca-f32", "w8ts-f32", "w8ta-f32"].into_iter().enumerate() {
        for (j, input) in inputs.iter().enumerate() {
            let (rows, cols, batch) = (7, [1, 33, 172, 300][(i + j) % 4], [1, 2, 8, 9, 65][(i + 2 * j) % 5]);
            let tensor = weight(&mut random, scheme, rows, cols, None)?;
            let w = tensor.dequantize();
            let x: Vec<f32> = random.normals(batch * cols).iter().map(|x| x + 1.0).collect();
            let x = Activations::upload(&device, batch, cols, &x)?;
            let uploaded = input.upload(&device, &PackedTensor::pack(&tensor))?;
            let mut recorder = Recorder::new(&device);
            let codes = match *input {
                LayerInput::TokensAsymmetric => op::int8_asymmetric(&mut recorder, &x)?,
                LayerInput::Static { scale, zero } => op::int8_static(&mut recorder, &x, scale, zero)?,
                _ => op::int8(&mut recorder, &x, cols)?,
            };
            let bias = random.normals(rows);
            let y = input.apply_with_bias(&mut recorder, &x, &uploaded, Some(&device.upload(&bias)?))?;
            recorder.submit()?;
            let (found, y) = (read(&device, &codes)?, pollster::block_on(y.read(&device))?);
            let stride = cols.next_multiple_of(4);
            for (i, y) in y.iter().enumerate() {
                let (b, row) = (i / rows, i % rows);
                let value = |k: usize| {
                    let code = i32::from(found.codes[b * stride + k]) - found.zeros[b];
                    f64::from(code) * f64::from(found.scales[b]) * f64::from(w[row * cols + k])
                };
                let sum: f64 = (0..cols).map(value).sum::<f64>() + f64::from(bias[row]);
                // What is added up, the bias too, and what the zero point takes away again, each rounded a few times.
                let size = |k: usize| f64::from(w[row * cols + k]).abs() * 256.0 * f64::from(found.scales[b]);
                let bound =
                    4.0 * f64::from(f32::EPSILON) * ((0..cols).map(size).sum::<f64>() + f64::from(bias[row]).abs());
                assert!((f64::from(*y) - sum).abs() <= bound, "{scheme} {input} {batch}x{cols}: {y}, not {sum}");
            }
        }
    }
    Ok(())
}

/// With scales of 1 every sum is an integer, and below 2^24 nothing is rounded, so every device gives these.
#[test]
fn sums_of_integers_are_exact() -> Result<()> {
    let device = Device::cpu();
    let mut random = Random::new(3);
    for (scheme, cols, batch) in [("w8cs-f32", 120, 1), ("w8ca-f32", 120, 3), ("w8ta-f32", 97, 9), ("w8ts-f32", 64, 33)]
    {
        let tensor = weight(&mut random, scheme, 5, cols, Some(1.0))?;
        let middle =
            |i: usize| tensor.zeros().map_or(128, |zeros| i64::from(zeros[tensor.groups().index(i / cols, 0)]));
        let x: Vec<i64> = (0..batch * cols).map(|_| i64::from(random.below(256)) - 90).collect();
        let input = LayerInput::Static { scale: 1.0, zero: -38 };
        #[allow(clippy::cast_precision_loss, reason = "small integers")]
        let values: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let w = input.upload(&device, &PackedTensor::pack(&tensor))?;
        let mut recorder = Recorder::new(&device);
        let y = input.apply(&mut recorder, &Activations::upload(&device, batch, cols, &values)?, &w)?;
        recorder.submit()?;
        for (i, y) in pollster::block_on(y.read(&device))?.iter().enumerate() {
            let (b, row) = (i / 5, i % 5);
            let sum: i64 = (0..cols)
                .map(|k| x[b * cols + k] * (i64::from(tensor.codes()[row * cols + k]) - middle(row * cols + k)))
                .sum();
            #[allow(clippy::cast_precision_loss, reason = "below 2^24")]
            let expected = sum as f32;
            assert_eq!(*y, expected, "{scheme} {i}");
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let device = Device::cpu();
    let tensor = weight(&mut Random::new(4), "w8cs-f32", 2, 8, None)?;
    let packed = PackedTensor::pack(&tensor);
    let mut recorder = Recorder::new(&device);
    let x = Activations::upload(&device, 1, 8, &[1.0; 8])?;
    let refused = |result: Result<()>, words: &str| match result {
        Err(error @ Error::Shape { .. }) => assert!(error.to_string().contains(words), "{error}"),
        other => panic!("{words}: {other:?}"),
    };
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-38] {
        refused(op::int8_static(&mut recorder, &x, scale, 0).map(|_| ()), "a scale of at least");
    }
    let plain = GroupWeight::upload(&device, &packed)?;
    refused(LayerInput::TokensAsymmetric.apply(&mut recorder, &x, &plain).map(|_| ()), "sums of its rows");
    let other = PackedTensor::pack(&weight(&mut Random::new(4), "w8cs-f32", 3, 8, None)?);
    refused(plain.with_row_sums(&device, &other).map(|_| ()), "w8cs-f32 of 2 x 8");
    let empty = Activations::upload(&device, 0, 8, &[])?;
    refused(op::int8_asymmetric(&mut recorder, &empty).map(|_| ()), "not empty");
    Ok(())
}
