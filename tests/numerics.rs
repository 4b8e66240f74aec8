//! The arithmetic of schemes against f64 and exact oracles: division, rounding, ranges, and what groups decode to.

use bitsmith::scheme::{divide_exact, nearest_integer, uniform};
use bitsmith::{Dtype, QuantizedTensor, RangeRule, Rounding, Scheme};
use proptest::prelude::*;

/// Floats of every magnitude: random bits, made positive and finite.
fn positive() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(|bits| f32::from_bits(bits & 0x7FFF_FFFF)).prop_filter("finite", |v| v.is_finite())
}

/// Division of the host, which IEEE 754 demands to be correctly rounded; subnormal results become 0, and one
/// that is rounded up to the smallest normal number may.
fn check_division(value: f32, divisor: u32) {
    let (found, expected) = (divide_exact(value, divisor), value / divisor as f32);
    let below = f64::from(value) / f64::from(divisor) < f64::from(f32::MIN_POSITIVE);
    if value.is_subnormal() || expected < f32::MIN_POSITIVE {
        assert_eq!(found, 0.0, "{value:e} / {divisor}");
    } else {
        assert!(found == expected || (below && found == 0.0), "{value:e} / {divisor}: {found:e}, not {expected:e}");
    }
}

#[test]
fn divide_exact_agrees_with_division_at_the_edges() {
    let one = 1.0_f32.to_bits();
    let mut edges = vec![0.0, f32::MIN_POSITIVE, f32::MIN_POSITIVE / 2.0, f32::from_bits(1), f32::MAX];
    edges.extend([0, 1, 2, 0x003F_FFFF, 0x0040_0000, 0x007F_FFFE, 0x007F_FFFF].map(|f| f32::from_bits(one + f)));
    edges.extend((0..255).map(|e| f32::from_bits((e << 23) | 0x0055_5555)));
    for divisor in 1..=255 {
        for value in &edges {
            check_division(*value, divisor);
        }
        // Multiples of the divisor and of its half: no remainder, and ties at every place.
        for k in 1..=4096_u32 {
            check_division((k * divisor) as f32, divisor);
            check_division((k * divisor) as f32 * 0.5 * f32::from_bits(one + 1), divisor);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn divide_exact_agrees_with_division(value in positive()) {
        (1..=255).for_each(|divisor| check_division(value, divisor));
    }
}

/// `value / scale` in f64, rounded. A quotient below 1024 that is no tie is at least 2^-25 away from one,
/// so the 53 bits of f64 tell ties from others.
fn rounded(value: f32, scale: f32, rounding: Rounding) -> i32 {
    let quotient = f64::from(value) / f64::from(scale);
    let nearest = if rounding == Rounding::HalfEven { quotient.round_ties_even() } else { quotient.round() };
    nearest.clamp(-1024.0, 1024.0) as i32
}

#[test]
fn ties_go_where_the_rounding_says() {
    for scale in [0.375_f32, -0.375, 1.0, -2.0_f32.powi(-24), 2.0_f32.powi(60), -3.0 * 2.0_f32.powi(-66)] {
        for half in -511..=511_i32 {
            let value = scale * (half as f32 / 2.0);
            let (even, away) = ((half as f64 / 2.0).round_ties_even() as i32, (half as f64 / 2.0).round() as i32);
            assert_eq!(nearest_integer(value, scale, Rounding::HalfEven, 0.0), even, "{half}/2 of {scale}");
            assert_eq!(nearest_integer(value, scale, Rounding::HalfAway, 0.0), away, "{half}/2 of {scale}");
        }
    }
}

#[test]
fn far_quotients_are_clamped() {
    for rounding in Rounding::ALL {
        for (value, scale, expected) in
            [(1e30, 1e-3, 1024), (-1e30, 1e-3, -1024), (f32::MAX, -1e-10, -1024), (0.0, 1e-30, 0), (1e-40, 1.0, 0)]
        {
            assert_eq!(nearest_integer(value, scale, rounding, 0.5), expected, "{value} / {scale} {rounding}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Values anywhere, and values next to a tie, where a rounded product or quotient would mislead.
    #[test]
    fn nearest_integer_rounds_the_exact_quotient(
        value in -300.0_f32..300.0, magnitude in 0.5_f32..2.0, exponent in -60..60_i32, negative: bool,
        storage in 0..3_usize, near in 0..3_u8, half in -511..511_i32, ulps in -2..=2_i32, away: bool,
    ) {
        let unit = 2.0_f32.powi(if storage == 1 { exponent % 8 } else { exponent });
        let scale = Dtype::ALL[storage].round(if negative { -magnitude } else { magnitude } * unit);
        let tie = scale * (half as f32 / 2.0);
        let beside = f32::from_bits(tie.to_bits().saturating_add_signed(ulps));
        let value = if near == 0 || half == 0 { value * unit } else { beside };
        let rounding = if away { Rounding::HalfAway } else { Rounding::HalfEven };
        prop_assert_eq!(
            nearest_integer(value, scale, rounding, 0.0), rounded(value, scale, rounding), "{:e} / {:e}", value, scale
        );
    }

    /// Under `2n-1` the extreme of a group is half a step beyond the last code but for the rounding of the scale.
    #[test]
    fn nearest_integer_rounds_the_extreme_of_a_group(extreme in 1e-3_f32..1e3, bits in 0..4_usize, negative: bool) {
        let scheme: Scheme = format!("w{}cs-f32", [2, 3, 4, 8][bits]).parse().unwrap();
        let extreme = if negative { -extreme } else { extreme };
        let (scale, _) = RangeRule::TwoNMinusOne.scale_and_zero(extreme.min(0.0), extreme.max(0.0), scheme);
        let found = nearest_integer(extreme, scale, Rounding::HalfEven, 0.0);
        prop_assert_eq!(found, rounded(extreme, scale, Rounding::HalfEven));
    }

    /// Stochastic rounding takes one of the two neighbours, and never moves a whole multiple.
    #[test]
    fn stochastic_rounding_takes_a_neighbour(
        value in -300.0_f32..300.0, scale in 0.5_f32..2.0, short in 1..3_usize, steps in -255..255_i32, seed: u32, at: u32,
    ) {
        let scale = Dtype::ALL[short].round(scale);
        let found = f64::from(nearest_integer(value, scale, Rounding::Stochastic, uniform(seed, at)));
        let quotient = f64::from(value) / f64::from(scale);
        prop_assert!(found == quotient.floor() || found == quotient.ceil(), "{} became {}", quotient, found);
        for chance in [2.0_f32.powi(-24), uniform(seed, at), 1.0 - 2.0_f32.powi(-24)] {
            prop_assert_eq!(nearest_integer(scale * steps as f32, scale, Rounding::Stochastic, chance), steps);
        }
    }
}

/// Draws of each statistical test. The seeds are fixed, so the tests are deterministic.
const DRAWS: u32 = 1 << 18;
/// Five standard errors: a fair generator fails one run in two million.
const SIGMAS: f64 = 5.0;

#[test]
fn stochastic_rounding_is_unbiased() {
    for (seed, value) in [0.01_f32, 0.25, 0.5, 0.77, 0.99, -0.3, 3.9, -7.6, 100.1].into_iter().enumerate() {
        let scale = 0.5_f32;
        let draw = |i| nearest_integer(value * scale, scale, Rounding::Stochastic, uniform(seed as u32, i));
        let mean = (0..DRAWS).map(|i| f64::from(draw(i))).sum::<f64>() / f64::from(DRAWS);
        let fraction = f64::from(value) - f64::from(value).floor();
        let error = (fraction * (1.0 - fraction) / f64::from(DRAWS)).sqrt();
        assert!((mean - f64::from(value)).abs() < SIGMAS * error, "{value}: mean {mean}, standard error {error}");
    }
}

#[test]
fn uniform_draws_are_uniform_and_independent_of_their_neighbours() {
    const BINS: usize = 256;
    for seed in [0, 1, 0xFFFF_FFFF] {
        let draws: Vec<f64> = (0..DRAWS).map(|i| f64::from(uniform(seed, i))).collect();
        assert!(draws.iter().all(|u| 0.0 < *u && *u < 1.0));
        let mut counts = [0.0_f64; BINS];
        draws.iter().for_each(|u| counts[(u * BINS as f64) as usize] += 1.0);
        let expected = f64::from(DRAWS) / BINS as f64;
        let chi: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        let freedom = BINS as f64 - 1.0;
        assert!((chi - freedom).abs() < SIGMAS * (2.0 * freedom).sqrt(), "seed {seed}: chi squared {chi}");
        let covariance: f64 = draws.windows(2).map(|w| (w[0] - 0.5) * (w[1] - 0.5)).sum::<f64>() * 12.0;
        assert!(covariance.abs() < SIGMAS * f64::from(DRAWS).sqrt(), "seed {seed}: neighbours correlate, {covariance}");
    }
    assert!((0..64).filter(|i| uniform(1, *i) == uniform(2, *i)).count() < 2, "seeds give different draws");
}

/// Quantizes one group as the kernels do.
fn decoded(values: &[f32], rule: RangeRule, scheme: Scheme) -> (f32, Vec<f32>) {
    let (min, max) = values.iter().fold((f32::MAX, f32::MIN), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    let (scale, zero) = rule.scale_and_zero(min, max, scheme);
    let codes = values.iter().map(|value| {
        let steps = nearest_integer(*value, scale, Rounding::HalfEven, 0.0) + i32::from(zero);
        steps.clamp(rule.min_code().into(), scheme.bits().max_code().into()) as u8
    });
    let zeros = (!scheme.is_symmetric()).then(|| vec![zero]);
    let tensor = QuantizedTensor::new(scheme, 1, values.len(), codes.collect(), vec![scale], zeros).unwrap();
    (scale, tensor.dequantize())
}

/// The scale before it is rounded to its type, in f64.
fn ideal_scale(min: f64, max: f64, rule: RangeRule, scheme: Scheme) -> f64 {
    let steps = f64::from(scheme.bits().max_code());
    let extreme = max.max(-min);
    match (scheme.is_symmetric(), rule) {
        (true, RangeRule::TwoNMinusOne) => 2.0 * extreme / steps,
        (true, RangeRule::Restricted) => extreme / f64::from(scheme.bits().max_code() / 2),
        (true, _) => extreme / f64::from(scheme.bits().middle()),
        (false, _) => (max.max(0.0) - min.min(0.0)) / steps,
    }
}

/// The bound: half a step for rounding, and one whole step in symmetric full-range schemes, whose range lacks the
/// last code on one side; what the rounding of the scale to its type takes from the range; and f32 arithmetic.
fn check_bound(values: &[f32], rule: RangeRule, scheme: Scheme) {
    /// A few f32 roundings of values, products and ends, relative.
    const ARITHMETIC: f64 = 4.0 * f32::EPSILON as f64;
    let (scale, decoded) = decoded(values, rule, scheme);
    let (min, max) = values.iter().fold((0.0_f64, 0.0_f64), |(lo, hi), v| (lo.min((*v).into()), hi.max((*v).into())));
    let step = f64::from(scale.abs());
    let steps = if scheme.is_symmetric() && rule == RangeRule::FullRange { 1.0 } else { 0.5 };
    let lost = f64::from(scheme.bits().max_code()) * (ideal_scale(min, max, rule, scheme) - step).max(0.0);
    for (value, back) in values.iter().zip(decoded) {
        let error = (f64::from(*value) - f64::from(back)).abs();
        let bound = steps * step + lost + ARITHMETIC * max.max(-min);
        assert!(error <= bound, "{rule} {scheme}: {value:e} decodes to {back:e}, over {bound:e} away; scale {scale:e}");
    }
}

/// Every scheme of one group with each rule that it takes.
fn all_schemes() -> Vec<(RangeRule, Scheme)> {
    let mut all = Vec::new();
    for bits in [2, 3, 4, 8] {
        for zero in ["s", "a"] {
            for dtype in Dtype::ALL {
                let scheme: Scheme = format!("w{bits}c{zero}-{dtype}").parse().unwrap();
                all.extend(RangeRule::ALL.into_iter().filter(|r| r.check(scheme).is_ok()).map(|rule| (rule, scheme)));
            }
        }
    }
    all
}

#[test]
fn hard_groups_decode_within_the_bound() {
    let groups: [&[f32]; 12] = [
        &[0.0; 5],
        &[-0.0, 0.0],
        &[0.3; 4],
        &[-0.3; 4],
        &[0.1, 0.2, 5.0],
        &[-0.1, -0.2, -5.0],
        &[-1.0, 1.0],
        &[1e-40, -1e-42, 3e-39],
        &[f32::from_bits(1), 0.0],
        &[-6.0e4, 5.9e4, 1.0],
        &[1e-7, -3e-8, 5e-8],
        &[-1000.0, 1e-6, 0.01],
    ];
    for (rule, scheme) in all_schemes() {
        for values in groups {
            // The raw range saturates groups that lie on one side of zero; it promises nothing there.
            let spans_zero = values.iter().any(|v| *v <= 0.0) && values.iter().any(|v| *v >= 0.0);
            if rule != RangeRule::Raw || spans_zero {
                check_bound(values, rule, scheme);
            }
        }
    }
}

#[test]
fn zero_groups_decode_to_zero() {
    for (rule, scheme) in all_schemes() {
        assert!(decoded(&[0.0, -0.0, 0.0], rule, scheme).1.iter().all(|v| *v == 0.0), "{rule} {scheme}");
    }
}

#[test]
fn huge_groups_decode_or_say_that_the_scale_does_not_fit() {
    // Up to half the largest f32: beyond it the code after the extreme one may lie outside f32.
    let values = [-1.7e38_f32, 1.6e38, 0.0, 1.0e38];
    for (rule, scheme) in all_schemes() {
        let (scale, _) = rule.scale_and_zero(-1.7e38, 1.6e38, scheme);
        if scheme.scale_type() == Dtype::F16 {
            assert!(scale.is_infinite(), "{rule} {scheme}: {scale}");
        } else {
            check_bound(&values, rule, scheme);
        }
    }
}

#[test]
fn ends_that_are_not_finite_give_no_scale() {
    for (rule, scheme) in all_schemes() {
        for (min, max) in [(f32::NAN, 1.0), (-1.0, f32::INFINITY), (f32::NEG_INFINITY, f32::NAN)] {
            assert!(rule.scale_and_zero(min, max, scheme).0.is_nan(), "{rule} {scheme}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_groups_decode_within_the_bound(
        values in proptest::collection::vec(-1.0_f32..1.0, 1..40), exponent in -30..15_i32, offset in -2.0_f32..2.0,
    ) {
        let unit = 2.0_f32.powi(exponent);
        let shifted: Vec<f32> = values.iter().map(|v| (v + offset) * unit).collect();
        let spans_zero = shifted.iter().any(|v| *v <= 0.0) && shifted.iter().any(|v| *v >= 0.0);
        for (rule, scheme) in all_schemes() {
            if rule != RangeRule::Raw || spans_zero {
                check_bound(&shifted, rule, scheme);
            }
        }
    }
}
