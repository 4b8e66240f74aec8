//! A layer against the formulas of definitions, in f64.

use bitsmith::nn::{BitLinear, BitLinearConfig, InputPrecision, WeightPrecision};
use bitsmith::op::{self, Activations};
use bitsmith::{Bits, Device, Random, Recorder, Result, Span, Tensor};

const ROWS: usize = 3;
const COLS: usize = 37;
const TOKENS: usize = 4;
/// Sums of 37 products of numbers up to 3 in f32: 8 times the root of 37 times 2^-24 times 9.
const SUMS: f64 = 3e-5;

/// An element of a result by its index.
type Formula<'a> = &'a dyn Fn(usize) -> f64;

pub fn by_hand(device: &Device) -> Result<()> {
    let widths = [2, 3, 4, 8].map(|bits| Bits::new(bits).map(WeightPrecision::Bits));
    let weights = widths.into_iter().chain([Ok(WeightPrecision::Ternary), Ok(WeightPrecision::Float)]);
    for weights in weights.collect::<Result<Vec<_>>>()? {
        for granularity in [Span::Tensor, Span::Channel, Span::Group(16)] {
            for activations in [InputPrecision::Float, InputPrecision::Int8] {
                // A scale for each token has no product with several groups a row.
                let layer = BitLinearConfig { weights, activations, granularity, bias: true };
                if granularity != Span::Group(16) || activations == InputPrecision::Float {
                    check(device, layer)?;
                }
            }
        }
    }
    Ok(())
}

fn check(device: &Device, config: BitLinearConfig) -> Result<()> {
    let mut random = Random::new(5);
    let (w, x) = (random.normals(ROWS * COLS), random.normals(TOKENS * COLS));
    let (bias, d_y) = (random.normals(ROWS), random.normals(TOKENS * ROWS));
    let tensor = Tensor::from_f32(vec![ROWS, COLS], &w)?;
    let layer = BitLinear::from_values(device, "fc", &tensor, Some(&bias), config)?;
    let input = Activations::upload(device, TOKENS, COLS, &x)?;
    let mut rec = Recorder::new(device);
    rec.watch(&input.buffer);
    layer.parameters().iter().for_each(|parameter| rec.watch(&parameter.buffer));
    let y = layer.forward(&mut rec, &input)?;
    let gradients = op::backward(&mut rec, &y, &Activations::upload(device, TOKENS, ROWS, &d_y)?)?;
    rec.submit()?;
    let mut found = vec![pollster::block_on(y.read(device))?];
    for buffer in layer.parameters().iter().map(|p| &p.buffer).chain([&input.buffer]) {
        let gradient = gradients.of(buffer).expect("everything moves the result");
        found.push(pollster::block_on(device.read::<f32>(gradient))?);
    }

    let (w, x) = (weights(&w, &config), activations(&x, &config));
    let d = |token: usize, row: usize| f64::from(d_y[token * ROWS + row]);
    let sum = |n: usize, term: &dyn Fn(usize) -> f64| (0..n).map(term).sum::<f64>();
    let y = |i: usize| sum(COLS, &|k| x[i / ROWS * COLS + k] * w[i % ROWS * COLS + k]) + f64::from(bias[i % ROWS]);
    let d_w = |i: usize| sum(TOKENS, &|t| d(t, i / COLS) * x[t * COLS + i % COLS]);
    let d_bias = |i: usize| sum(TOKENS, &|t| d(t, i));
    let d_x = |i: usize| sum(ROWS, &|row| d(i / COLS, row) * w[row * COLS + i % COLS]);
    let formulas: [(&str, usize, Formula<'_>); 4] =
        [("y", TOKENS * ROWS, &y), ("d_w", ROWS * COLS, &d_w), ("d_bias", ROWS, &d_bias), ("d_x", TOKENS * COLS, &d_x)];
    for ((name, count, formula), found) in formulas.into_iter().zip(&found) {
        assert_eq!(found.len(), count, "{name}");
        for (i, found) in found.iter().enumerate() {
            let right = formula(i);
            let near = (f64::from(*found) - right).abs() <= SUMS * right.abs().max(1.0);
            assert!(near, "{config}: {name}[{i}] is {found}, not {right}");
        }
    }
    Ok(())
}

/// A weight as it comes back from quantization.
fn weights(w: &[f32], config: &BitLinearConfig) -> Vec<f64> {
    let Some(scheme) = config.scheme() else { return w.iter().map(|w| f64::from(*w)).collect() };
    let groups = scheme.groups(ROWS, COLS);
    let group = |i: usize| groups.index(i / COLS, i % COLS);
    let members = |g: usize| (0..w.len()).filter(move |i| group(*i) == g).map(|i| f64::from(w[i]));
    let (low, high) = match scheme.bits().is_ternary() {
        true => (-1.0, 1.0),
        false => (-f64::from(scheme.bits().middle()), f64::from(scheme.bits().middle()) - 1.0),
    };
    let scale = |g: usize| match scheme.bits().is_ternary() {
        true => members(g).map(f64::abs).sum::<f64>() / members(g).count() as f64 + 1e-6,
        // The value of the largest magnitude takes the lowest code.
        false => members(g).fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a }) / low,
    };
    let scales: Vec<f64> = (0..groups.count()).map(scale).collect();
    let decoded = |i: usize| (f64::from(w[i]) / scales[group(i)]).round_ties_even().clamp(low, high) * scales[group(i)];
    (0..w.len()).map(decoded).collect()
}

/// Activations as they come back from int8, each token with its scale.
fn activations(x: &[f32], config: &BitLinearConfig) -> Vec<f64> {
    let exact = config.scheme().is_none() || config.activations == InputPrecision::Float;
    let token = |x: &[f32]| -> Vec<f64> {
        let most = x.iter().fold(0f64, |most, x| most.max(f64::from(x.abs())));
        let scale = most / 127.0;
        x.iter()
            .map(|x| if exact { f64::from(*x) } else { (f64::from(*x) / scale).round_ties_even() * scale })
            .collect()
    };
    x.chunks(COLS).flat_map(token).collect()
}
