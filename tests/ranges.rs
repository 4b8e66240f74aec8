//! Range methods: each on distributions on which, by its own measure, it must be better than all others.

use bitsmith::calib::{Coding, Histogram, RANGE_METHODS, range_method};
use bitsmith::{Random, Scheme};

const VALUES: usize = 100_000;
/// What outliers are above.
const OUTLIER: f32 = 100.0;

/// What a weight is like: a normal distribution.
fn normal() -> Vec<f32> {
    Random::new(1).normals(VALUES)
}

/// What follows a tanh: bounded.
fn bounded() -> Vec<f32> {
    normal().into_iter().map(f32::tanh).collect()
}

/// What follows a squared ReLU: nothing below zero, a long tail above.
fn one_sided() -> Vec<f32> {
    Random::new(3).normals(VALUES).into_iter().map(|x| x.max(0.0) * x.max(0.0)).collect()
}

/// Normal values, of which a few are a hundred times as large.
fn outliers(values: Vec<f32>) -> Vec<f32> {
    let large = |x: f32| OUTLIER * (1.0 + x.abs());
    values.into_iter().enumerate().map(|(i, x)| if i % 30_000 == 7 { large(x) } else { x }).collect()
}

/// Different tails on both sides.
fn skewed() -> Vec<f32> {
    let mut random = Random::new(5);
    (0..VALUES).map(|_| -random.uniform().ln() * if random.uniform() < 0.5 { 1.0 } else { -0.3 } - 0.1).collect()
}

fn decoded(values: &[f32], [min, max]: [f32; 2], coding: Coding) -> Vec<f32> {
    let (scale, zero) = coding.rule.scale_and_zero(min, max, coding.scheme);
    let most = f32::from(coding.scheme.bits().max_code());
    values
        .iter()
        .map(|x| (((x / scale).round_ties_even() + f32::from(zero)).clamp(0.0, most) - f32::from(zero)) * scale)
        .collect()
}

fn errors(values: &[f32], decoded: &[f32]) -> Vec<f64> {
    values.iter().zip(decoded).map(|(x, y)| f64::from((x - y).abs())).collect()
}

fn largest(values: &[f32], decoded: &[f32]) -> f64 {
    errors(values, decoded).into_iter().fold(0.0, f64::max)
}

fn mean_square(values: &[f32], decoded: &[f32]) -> f64 {
    errors(values, decoded).iter().map(|e| e * e).sum::<f64>() / values.len() as f64
}

/// The largest error of the values that are no outliers.
fn largest_within(values: &[f32], decoded: &[f32]) -> f64 {
    let errors = errors(values, decoded);
    values.iter().zip(errors).filter(|(x, _)| x.abs() < OUTLIER).map(|(_, e)| e).fold(0.0, f64::max)
}

/// How far the distribution of decoded values is from that of the values: both smoothed to a resolution of a twentieth
/// of a standard deviation, Kullback-Leibler.
fn divergence(values: &[f32], decoded: &[f32]) -> f64 {
    let variance = values.iter().map(|x| f64::from(x * x)).sum::<f64>() / values.len() as f64;
    let width = variance.sqrt() / 2.0;
    let counts = |values: &[f32]| {
        let mut counts = std::collections::BTreeMap::<i64, f64>::new();
        #[allow(clippy::cast_possible_truncation)]
        values.iter().for_each(|x| *counts.entry((f64::from(*x) / width).floor() as i64).or_default() += 1.0);
        counts
    };
    let (p, q) = (counts(values), counts(decoded));
    let total = values.len() as f64;
    p.iter().map(|(bin, n)| n / total * (n / q.get(bin).copied().unwrap_or(0.01)).ln()).sum()
}

type Measure = fn(&[f32], &[f32]) -> f64;

/// `besides` is a method that starts from the result of this one.
fn wins(name: &str, besides: &str, values: &[f32], scheme: &str, measure: Measure) {
    let coding = Coding::from(scheme.parse::<Scheme>().expect("a scheme"));
    let histogram = Histogram::of(values).expect("finite values");
    let found: Vec<(&str, f64)> = RANGE_METHODS
        .iter()
        .map(|name| {
            let range = range_method(name).expect("a name").range(&histogram, coding);
            let inside = histogram.min() <= range[0] && range[0] < range[1] && range[1] <= histogram.max();
            assert!(inside, "{name}: {range:?}");
            (*name, measure(values, &decoded(values, range, coding)))
        })
        .collect();
    let own = found.iter().find(|(other, _)| *other == name).expect("it is one of them").1;
    for (other, value) in found.iter().filter(|(other, _)| *other != name && *other != besides) {
        assert!(own < *value, "{scheme}: {name} gives {own}, {other} {value}; all: {found:?}");
    }
}

const WEIGHTS: &str = "w4cs-f32";
const FINE_WEIGHTS: &str = "w8cs-f32";
const ZERO_POINTS: &str = "w4ca-f32";
const ACTIVATIONS: &str = "w8ta-f32";
const COARSE_ACTIVATIONS: &str = "w4ta-f32";

#[test]
fn min_max_loses_least_on_the_extremes() {
    wins("min-max", "", &normal(), FINE_WEIGHTS, largest);
    wins("min-max", "", &one_sided(), ACTIVATIONS, largest);
}

#[test]
fn a_percentile_leaves_only_outliers_out() {
    wins("percentile", "", &outliers(bounded()), FINE_WEIGHTS, largest_within);
    wins("percentile", "", &outliers(bounded()), ACTIVATIONS, largest_within);
}

#[test]
fn the_search_has_the_least_squared_error() {
    wins("mse", "gradient", &normal(), WEIGHTS, mean_square);
    wins("mse", "gradient", &normal(), COARSE_ACTIVATIONS, mean_square);
}

#[test]
fn the_divergence_keeps_the_distribution() {
    wins("kl", "", &outliers(normal()), WEIGHTS, divergence);
    wins("kl", "", &outliers(one_sided()), COARSE_ACTIVATIONS, divergence);
}

#[test]
fn learned_ends_fit_tails_that_differ() {
    wins("gradient", "", &skewed(), ZERO_POINTS, mean_square);
    wins("gradient", "", &skewed(), COARSE_ACTIVATIONS, mean_square);
}

/// One value, no spread, no value at all: still a range.
#[test]
fn odd_values_have_a_range() {
    for values in [&[0.0f32; 5][..], &[3.5], &[-2.0, -2.0], &[]] {
        let histogram = Histogram::of(values).expect("finite values");
        for (name, scheme) in RANGE_METHODS.iter().flat_map(|name| [(name, WEIGHTS), (name, ACTIVATIONS)]) {
            let coding = Coding::from(scheme.parse::<Scheme>().expect("a scheme"));
            let range = range_method(name).expect("a name").range(&histogram, coding);
            assert!(range[0] <= range[1] && range.iter().all(|end| end.is_finite()), "{name}: {range:?}");
        }
    }
}
