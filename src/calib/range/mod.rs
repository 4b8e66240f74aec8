//! Which range of values codes should cover. What lies outside is clipped, what lies inside is rounded; each method
//! trades one for the other by a measure of its own.

mod coder;
mod divergence;
mod gradient;
mod search;

pub use divergence::KlDivergence;
pub use gradient::Gradient;
pub use search::MeanSquaredError;

use super::Histogram;
use crate::error::{Error, Result};
use crate::scheme::{RangeRule, Scheme};

/// What the values become: bits and zero point of a scheme, and the rule that makes a scale of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coding {
    /// Its groups do not matter: the values are one.
    pub scheme: Scheme,
    /// How a range becomes a scale.
    pub rule: RangeRule,
}

impl From<Scheme> for Coding {
    fn from(scheme: Scheme) -> Self {
        Self { scheme, rule: RangeRule::default() }
    }
}

/// A way to choose the range of values, of weights and of activations alike. Implement it to bring a measure of your own.
///
/// ```
/// use bitsmith::calib::{Coding, Histogram, RangeMethod};
///
/// /// Three standard deviations around zero.
/// struct ThreeSigma;
///
/// impl RangeMethod for ThreeSigma {
///     fn name(&self) -> &str {
///         "three-sigma"
///     }
///     fn range(&self, values: &Histogram, _: Coding) -> [f32; 2] {
///         let square: f64 = values.bins().map(|(x, n)| x * x * n as f64).sum();
///         let sigma = (square / values.count().max(1) as f64).sqrt() as f32;
///         [(-3.0 * sigma).max(values.min()), (3.0 * sigma).min(values.max())]
///     }
/// }
///
/// let values = Histogram::of(&[-1.0, 1.0, -1.0, 1.0, 1.0, 9.0])?;
/// let [min, max] = ThreeSigma.range(&values, "w8g128s".parse::<bitsmith::Scheme>()?.into());
/// assert_eq!(min, -1.0);
/// assert!(max > 8.9);
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub trait RangeMethod {
    /// Its name.
    fn name(&self) -> &str;

    /// The smallest and the largest value that the codes should cover.
    fn range(&self, values: &Histogram, coding: Coding) -> [f32; 2];
}

/// All values: nothing is clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MinMax;

impl RangeMethod for MinMax {
    fn name(&self) -> &str {
        "min-max"
    }

    fn range(&self, values: &Histogram, _: Coding) -> [f32; 2] {
        [values.min(), values.max()]
    }
}

/// A share of the values; the outermost are clipped, the same share at both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile(f64);

impl Percentile {
    /// Keeps this many percent of the values inside.
    ///
    /// # Errors
    /// [`Error::Config`] for a number that is not above 50 and at most 100.
    pub fn new(percent: f64) -> Result<Self> {
        if percent > 50.0 && percent <= 100.0 {
            return Ok(Self(percent));
        }
        Err(Error::config("percentile", format!("{percent} is not above 50 and at most 100, such as 99.99")))
    }
}

impl Default for Percentile {
    fn default() -> Self {
        Self(99.99)
    }
}

impl RangeMethod for Percentile {
    fn name(&self) -> &str {
        "percentile"
    }

    fn range(&self, values: &Histogram, coding: Coding) -> [f32; 2] {
        let outside = 1.0 - self.0 / 100.0;
        // Where both ends are as far from zero, they share what may be outside; so do they where each has its own.
        let [low, high] = [outside / 2.0, 1.0 - outside / 2.0].map(|share| values.quantile(share));
        if coding.scheme.is_symmetric() {
            let most = low.abs().max(high.abs());
            return [(-most).max(values.min()), most.min(values.max())];
        }
        [low, high]
    }
}

/// The names that [`range_method`] knows.
pub const RANGE_METHODS: [&str; 5] = ["min-max", "percentile", "mse", "kl", "gradient"];

/// A range method by its name, with its defaults.
///
/// ```
/// use bitsmith::calib::{RANGE_METHODS, range_method};
/// assert!(RANGE_METHODS.iter().all(|name| range_method(name).is_ok_and(|method| method.name() == *name)));
/// assert!(range_method("entropy").is_err());
/// ```
///
/// # Errors
/// [`Error::Config`] for a name that is none of [`RANGE_METHODS`].
pub fn range_method(name: &str) -> Result<Box<dyn RangeMethod>> {
    Ok(match name {
        "min-max" => Box::new(MinMax),
        "percentile" => Box::new(Percentile::default()),
        "mse" => Box::new(MeanSquaredError),
        "kl" => Box::new(KlDivergence),
        "gradient" => Box::new(Gradient::default()),
        _ => {
            let detail = format!("`{name}` is not one of {}", RANGE_METHODS.join(", "));
            return Err(Error::config("range method", detail));
        }
    })
}
