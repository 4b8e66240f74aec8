//! What a search is to reach: a quality with the fewest bytes, or a size with the best quality.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::ByteSize;
use crate::quant::ModelSize;

/// An increase relative to what was before, as a fraction; typed as `5%` or `0.05`.
///
/// ```
/// use bitsmith::search::Increase;
/// assert_eq!("5%".parse::<Increase>()?.fraction(), 0.05);
/// assert_eq!("0.05".parse::<Increase>()?.to_string(), "5%");
/// let refused = "5".parse::<Increase>().unwrap_err().to_string();
/// assert!(refused.contains("write 5% for 5 in a hundred"), "{refused}");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Increase(f64);

impl Increase {
    /// Of this fraction: 0.05 for 5 %.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no number from 0 up.
    pub fn new(fraction: f64) -> Result<Self> {
        if fraction.is_finite() && fraction >= 0.0 {
            return Ok(Self(fraction));
        }
        Err(Error::config("increase", format!("{fraction} is not a number from 0 up")))
    }

    /// As a fraction.
    pub const fn fraction(self) -> f64 {
        self.0
    }

    /// As a difference of the mean negative log-likelihood of a token, in nats: perplexities are multiplied, nats add up.
    pub fn nats(self) -> f64 {
        self.0.ln_1p()
    }
}

impl FromStr for Increase {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: String| Err(Error::config("increase", format!("`{text}` {why}")));
        let (number, percent) = match text.trim().strip_suffix('%') {
            Some(number) => (number, true),
            None => (text, false),
        };
        match number.trim().parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => match percent {
                true => Self::new(value / 100.0),
                false if value >= 1.0 => refuse(format!(
                    "would be {:.0} in a hundred; write {value}% for {value} in a hundred",
                    value * 100.0
                )),
                false => Self::new(value),
            },
            _ => refuse("is no increase; write for example 5% or 0.05".to_owned()),
        }
    }
}

impl fmt::Display for Increase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0.07 * 100 is not 7.
        write!(f, "{}%", (self.0 * 1e12).round() / 1e10)
    }
}

impl TryFrom<f64> for Increase {
    type Error = Error;

    fn try_from(fraction: f64) -> Result<Self> {
        Self::new(fraction)
    }
}

impl From<Increase> for f64 {
    fn from(increase: Increase) -> Self {
        increase.0
    }
}

/// What a search is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The fewest bytes within these.
    Quality(Budgets),
    /// The best quality within this.
    Size(Target),
}

/// How far predictions may be from those of the original. What is not bounded is none.
///
/// ```
/// use bitsmith::search::Budgets;
/// let budgets = Budgets { perplexity: Some("5%".parse()?), kl: Some(0.03125) };
/// assert!(budgets.allow(0.04, 0.03) && !budgets.allow(0.04, 0.04));
/// assert_eq!(budgets.used(0.02, 0.0234375), 0.75);
/// assert_eq!(budgets.nats(), 0.03125);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budgets {
    /// Largest increase of perplexity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<Increase>,
    /// Largest mean divergence KL(original || quantized), in nats a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
}

impl Budgets {
    /// Whether a perplexity that grew by this fraction, and a divergence in nats a token, are within all that is bounded.
    /// What is no number is not.
    pub fn allow(&self, increase: f64, kl: f64) -> bool {
        self.used(increase, kl) <= 1.0
    }

    /// The largest share of a budget that is used: above 1 is too much, as is what is no number.
    pub fn used(&self, increase: f64, kl: f64) -> f64 {
        let share = |value: f64, budget: f64| match value / budget {
            _ if value.is_nan() => f64::INFINITY,
            // Nothing may be lost, and nothing is.
            share if share.is_nan() => 0.0,
            share => share,
        };
        let perplexity = self.perplexity.map(|budget| share(increase, budget.fraction()));
        let shares = [perplexity, self.kl.map(|budget| share(kl, budget))];
        shares.into_iter().flatten().fold(0.0, f64::max)
    }

    /// Budgets of so many times the nats.
    ///
    /// ```
    /// use bitsmith::search::Budgets;
    /// let budgets = Budgets { perplexity: Some("10%".parse()?), kl: Some(0.5) }.times(2.0)?;
    /// assert!((budgets.perplexity.unwrap().fraction() - 0.21).abs() < 1e-12 && budgets.kl == Some(1.0));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for a factor that is no number from 0 up.
    pub fn times(self, factor: f64) -> Result<Self> {
        let perplexity = self.perplexity.map(|budget| Increase::new((budget.nats() * factor).exp_m1())).transpose()?;
        Ok(Self { perplexity, kl: self.kl.map(|kl| kl * factor) })
    }

    /// The tightest of them, in nats a token; infinite if nothing is bounded.
    pub fn nats(&self) -> f64 {
        let bounds = [self.perplexity.map(Increase::nats), self.kl];
        bounds.into_iter().flatten().fold(f64::INFINITY, f64::min)
    }
}

/// How small a model is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The bytes of all tensors become fewer by this share, from 0 to 1.
    MemoryReduction(f64),
    /// Bits for each weight of the quantized layers on average, scales and zero points counted.
    Bits(f64),
    /// Bytes of all tensors, those included that are kept.
    Size(ByteSize),
}

impl Target {
    /// The most bytes that the quantized layers of a model may take, of which `least` are the fewest possible.
    ///
    /// ```
    /// use bitsmith::quant::ModelSize;
    /// use bitsmith::search::Target;
    /// let model = ModelSize { original_bytes: 2500, kept_bytes: 500, weights: 1000 };
    /// assert_eq!(Target::MemoryReduction(0.6).layer_bytes(model, 300)?, 500);
    /// assert_eq!(Target::Bits(4.0).layer_bytes(model, 300)?, 500);
    /// let refused = Target::Bits(2.0).layer_bytes(model, 300).unwrap_err().to_string();
    /// assert!(refused.contains("the nearest possible is 2.4"), "{refused}");
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] that names the nearest possible, in the terms of the target.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes from 0 to those of the original")]
    pub fn layer_bytes(self, model: ModelSize, least: u64) -> Result<u64> {
        let ModelSize { original_bytes, kept_bytes, weights } = model;
        let of_layers = |all: u64| all.checked_sub(kept_bytes);
        let bytes = match self {
            Self::MemoryReduction(share) => of_layers((original_bytes as f64 * (1.0 - share)) as u64),
            Self::Bits(bits) => Some((weights as f64 * bits / 8.0) as u64),
            Self::Size(ByteSize(all)) => of_layers(all),
        };
        match bytes.filter(|bytes| *bytes >= least) {
            Some(bytes) => Ok(bytes),
            None => Err(self.impossible(model, least)),
        }
    }

    fn impossible(self, model: ModelSize, least: u64) -> Error {
        let ModelSize { original_bytes, kept_bytes, weights } = model;
        let all = kept_bytes + least;
        // Rounded so that the value can be typed as it is printed.
        let (field, wanted, nearest) = match self {
            Self::MemoryReduction(share) => {
                let nearest = 1.0 - all as f64 / original_bytes.max(1) as f64;
                ("target_memory_reduction", share.to_string(), ((nearest * 1e3).floor() / 1e3).to_string())
            }
            Self::Bits(bits) => {
                let nearest = least as f64 * 8.0 / weights.max(1) as f64;
                ("target_bits", bits.to_string(), ((nearest * 1e3).ceil() / 1e3).to_string())
            }
            Self::Size(size) => ("target_size", size.to_string(), ByteSize(all).to_string()),
        };
        let detail = format!(
            "{wanted} cannot be reached: at the lowest rung of the ladder the quantized layers take {least} bytes and what is \
             kept takes {kept_bytes}; the nearest possible is {nearest}"
        );
        Error::config(field, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn increases_have_one_unit() {
        for (text, fraction) in
            [("5%", 0.05), (" 5 %", 0.05), ("0.05", 0.05), ("0", 0.0), ("150%", 1.5), ("0.5%", 0.005)]
        {
            let increase: Increase = text.parse().expect(text);
            assert_eq!(increase.fraction(), fraction, "{text}");
            assert_eq!(increase.to_string().parse::<Increase>().expect("its own").fraction(), fraction);
        }
        for (text, word) in
            [("5", "write 5%"), ("1", "write 1%"), ("-5%", "5% or 0.05"), ("NaN", "5% or"), ("", "5%"), ("inf%", "5%")]
        {
            let error = text.parse::<Increase>().expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert_eq!(serde_json::to_string(&Increase::new(0.07).expect("a number")).expect("a number"), "0.07");
        assert!(serde_json::from_str::<Increase>("-0.1").is_err());
    }

    #[test]
    fn budgets_that_are_nothing_allow_nothing_more() {
        let none = Budgets { perplexity: Some(Increase(0.0)), kl: None };
        assert!(none.allow(0.0, 5.0) && none.allow(-0.1, 5.0) && !none.allow(1e-9, 0.0) && !none.allow(f64::NAN, 0.0));
        assert!(Budgets::default().allow(9.0, 9.0) && Budgets::default().nats().is_infinite());
        let both = Budgets { perplexity: Some(Increase(0.05)), kl: Some(1.0) };
        assert!((both.nats() - 1.05f64.ln()).abs() < 1e-15);
        assert!(!both.allow(f64::INFINITY, 0.0) && !both.allow(0.0, f64::NAN));
    }

    #[test]
    fn what_is_named_as_nearest_is_possible() {
        let model = ModelSize { original_bytes: 1_000_003, kept_bytes: 200_001, weights: 400_001 };
        for target in [Target::MemoryReduction(0.99), Target::Bits(0.1), Target::Size(ByteSize(1000))] {
            let error = target.layer_bytes(model, 123_457).expect_err("too small").to_string();
            let nearest = error.rsplit(' ').next().expect("a word");
            let again = match target {
                Target::MemoryReduction(_) => Target::MemoryReduction(nearest.parse().expect("a number")),
                Target::Bits(_) => Target::Bits(nearest.parse().expect("a number")),
                Target::Size(_) => Target::Size(nearest.parse().expect("a size")),
            };
            let bytes = again.layer_bytes(model, 123_457).expect("the nearest possible");
            assert!((123_457..124_600).contains(&bytes), "{error}: {bytes}");
        }
    }
}
