//! From the values of a group to its scale and its threshold where there are three levels, by named rule.
//!
//! All sums are f64, in an order that depends on the number of values alone, and made on the processor that holds the
//! weight; devices only compare. So scales and codes are the same whatever the device and the number of threads.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::RangeRule;
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// How the values `w` of a group become a scale and the trits `t` in -1, 0, 1: the weight is `scale * t`.
///
/// | rule | scale | t is not 0 where |
/// | --- | --- | --- |
/// | `absmean` | mean of \|w\| | \|w\| > (scale + 10^-6) / 2 |
/// | `twn` | mean of the \|w\| above the threshold | \|w\| > 0.7 mean of \|w\| |
/// | `mse` | the same | \|w\| > scale / 2, for the threshold with the least squared error of all |
///
/// `absmean` is what BitNet b1.58 and BitLab do, and the rule of models that are trained with three levels. `twn` is that of
/// ternary weight networks: for a given threshold the mean of what is kept is the scale with the least squared error.
/// `mse` searches all thresholds: the k largest magnitudes, of sum `S`, are kept for the k with the largest `S^2 / k`.
///
/// Scales are rounded to their type first; `absmean` and `mse` compare with the rounded ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TernaryRule {
    /// The mean magnitude is the scale, values are rounded to nearest.
    #[default]
    AbsMean,
    /// A fixed share of the mean magnitude is the threshold.
    Twn,
    /// The threshold with the least squared error.
    Mse,
}

/// What `absmean` adds to the scale that values are divided by.
const EPSILON: f32 = 1e-6;
/// The threshold of `twn` by the mean magnitude.
const TWN_SHARE: f64 = 0.7;

/// What the values of a group become: `scale * t` with `t = clamp(round(w / step), -1, 1)`, halves to 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TernaryLevels {
    /// The scale, rounded to its storage type; infinite where that cannot hold it, NaN where a value is not finite.
    pub scale: f32,
    /// Twice the threshold.
    pub step: f32,
}

impl TernaryRule {
    /// All rules.
    pub const ALL: [Self; 3] = [Self::AbsMean, Self::Twn, Self::Mse];

    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AbsMean => "absmean",
            Self::Twn => "twn",
            Self::Mse => "mse",
        }
    }

    /// The levels of a group of values.
    ///
    /// ```
    /// use bitsmith::{Dtype, TernaryRule};
    /// let values = [0.1, -0.25, 2.0, -1.0];
    /// let levels = TernaryRule::Twn.levels(&values, Dtype::F32);
    /// assert_eq!((levels.scale, levels.trits(&values)), (1.5, vec![0, 0, 1, -1]));
    /// assert_eq!(TernaryRule::AbsMean.levels(&values, Dtype::F32).scale, 0.8375);
    /// ```
    pub fn levels(self, values: &[f32], scale_type: Dtype) -> TernaryLevels {
        let sums = |above| Sums::of(values, above);
        let magnitudes = || {
            let mut all: Vec<u32> = values.iter().map(|v| v.abs().to_bits()).collect();
            all.sort_unstable();
            all
        };
        self.find(scale_type, sums, magnitudes)
    }

    /// The levels of a group that comes in pieces; `piece` is asked for each of `0..pieces` by several threads, twice for
    /// `twn`.
    pub fn levels_of_pieces<P: AsRef<[f32]>>(
        self,
        pieces: usize,
        piece: impl Fn(usize) -> P + Sync,
        scale_type: Dtype,
    ) -> TernaryLevels {
        let sums = |above| {
            let each = (0..pieces).into_par_iter().map(|i| Sums::of(piece(i).as_ref(), above));
            each.collect::<Vec<_>>().into_iter().fold(Sums::default(), Sums::and)
        };
        let magnitudes = || {
            let each = |i| piece(i).as_ref().iter().map(|v| v.abs().to_bits()).collect::<Vec<_>>();
            let mut all: Vec<u32> = (0..pieces).into_par_iter().flat_map_iter(each).collect();
            all.par_sort_unstable();
            all
        };
        self.find(scale_type, sums, magnitudes)
    }

    /// `sums` are those of the magnitudes that are not below or at a number, `magnitudes` the bits of all, which order as the
    /// numbers do, in ascending order.
    #[allow(clippy::cast_possible_truncation, reason = "to the nearest f32")]
    fn find(
        self,
        scale_type: Dtype,
        sums: impl Fn(f32) -> Sums,
        magnitudes: impl FnOnce() -> Vec<u32>,
    ) -> TernaryLevels {
        let stored = |scale: f64| {
            if scale.is_finite() { RangeRule::stored(scale as f32, scale_type) } else { f32::NAN }
        };
        match self {
            Self::AbsMean => {
                let scale = stored(sums(ALL_VALUES).mean());
                TernaryLevels { scale, step: scale + EPSILON }
            }
            Self::Twn => {
                let mean = sums(ALL_VALUES).mean();
                let threshold = (TWN_SHARE * mean) as f32;
                let kept = if mean.is_finite() { sums(threshold).mean() } else { mean };
                let step = (2.0 * threshold).max(RangeRule::smallest_scale(Dtype::F32));
                TernaryLevels { scale: stored(kept), step }
            }
            Self::Mse => {
                let scale = stored(best_mean(&magnitudes()));
                TernaryLevels { scale, step: scale }
            }
        }
    }
}

/// Below every magnitude.
const ALL_VALUES: f32 = -1.0;

/// The mean of the k largest magnitudes, for the k that leaves the least squared error; NaN if one is not finite. What is
/// left is `sum w^2 - S^2 / k`.
fn best_mean(ascending: &[u32]) -> f64 {
    let (mut sum, mut count, mut best, mut mean) = (0.0, 0.0, 0.0, 0.0);
    for bits in ascending.iter().rev() {
        if *bits >= f32::INFINITY.to_bits() {
            return f64::NAN;
        }
        sum += f64::from(f32::from_bits(*bits));
        count += 1.0;
        let gained = sum * (sum / count);
        if gained > best {
            (best, mean) = (gained, sum / count);
        }
    }
    mean
}

/// Sum and number of some magnitudes.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sum: f64,
    count: u64,
}

/// Partial sums, so that additions need not wait for each other.
const LANES: usize = 16;

impl Sums {
    /// Of the magnitudes of values, but those below or at a number. A NaN is in the sum.
    fn of(values: &[f32], above: f32) -> Self {
        let (mut sums, mut counts) = ([0.0f64; LANES], [0u32; LANES]);
        let (chunks, rest) = values.as_chunks::<LANES>();
        // The counts of a run of chunks fit 32 bits.
        let mut count = 0;
        for run in chunks.chunks(1 << 20) {
            for chunk in run {
                for lane in 0..LANES {
                    let size = chunk[lane].abs();
                    let out = size <= above;
                    sums[lane] += f64::from(if out { 0.0 } else { size });
                    counts[lane] += u32::from(!out);
                }
            }
            count += counts.iter().copied().map(u64::from).sum::<u64>();
            counts = [0; LANES];
        }
        let mut sum = sums.iter().sum::<f64>();
        for size in
            rest.iter().map(|v| v.abs()).filter(|size| !matches!(size.partial_cmp(&above), Some(o) if o.is_le()))
        {
            sum += f64::from(size);
            count += 1;
        }
        Self { sum, count }
    }

    fn and(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, count: self.count + other.count }
    }

    /// 0 of none.
    fn mean(self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

impl TernaryLevels {
    /// The trits of values.
    pub fn trits(self, values: &[f32]) -> Vec<i8> {
        let trit = |value: &f32| if value.abs() > self.step * 0.5 { 1f32.copysign(*value) as i8 } else { 0 };
        values.iter().map(trit).collect()
    }
}

impl fmt::Display for TernaryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TernaryRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.name() == text)
            .ok_or_else(|| Error::config("rule", format!("`{text}` is not one of absmean, twn, mse")))
    }
}
