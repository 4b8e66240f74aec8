//! Several measures in one number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Finding, Measure, UnitImportance};
use crate::error::{Error, Result};
use crate::search::{ImportanceWeights, SourceScores, source_importance};

/// How findings become one score from 0 to 1.
///
/// ```
/// use bitsmith::search::{Combination, ImportanceWeights};
/// let weights = Combination::Weighted(ImportanceWeights::default());
/// assert_eq!(("40,25,20,15".parse::<Combination>()?, Combination::default()), (weights, weights));
/// assert_eq!("source".parse::<Combination>()?, Combination::Source);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Combination {
    /// The mean of the measures that were made, with these weights. Each is its KL, [`normalised`]; of one with several rungs
    /// the mean over them. Where only measures without weight were made, such as the predicted one, all count alike.
    Weighted(ImportanceWeights),
    /// That of Bitween gradual: [`source_importance`], from rounding to 4 bits and noise.
    Source,
}

impl Default for Combination {
    /// 40 % rounding, 25 % upgrade, 20 % disabling, 15 % noise.
    fn default() -> Self {
        Self::Weighted(ImportanceWeights::default())
    }
}

/// Values as shares of their range, from 0 for the smallest to 1 for the largest, negative ones taken as 0. Where all are
/// equal, they are 0.5.
///
/// ```
/// use bitsmith::search::normalised;
/// assert_eq!(normalised(&[3.0, 1.0, 2.0]), [1.0, 0.0, 0.5]);
/// assert_eq!(normalised(&[-1.0, 0.0]), [0.5, 0.5]);
/// ```
pub fn normalised(values: &[f64]) -> Vec<f64> {
    let positive = values.iter().map(|value| value.max(0.0));
    let (low, high) =
        positive.clone().fold((f64::INFINITY, 0.0), |(low, high), v| (f64::min(low, v), f64::max(high, v)));
    let spread = high - low;
    positive.map(|value| if spread > 0.0 { (value - low) / spread } else { 0.5 }).collect()
}

impl Combination {
    /// The scores of units, one each.
    ///
    /// # Errors
    /// [`Error::Config`] where [`Self::Source`] lacks a measure.
    pub fn scores(&self, units: &[UnitImportance]) -> Result<Vec<f64>> {
        match self {
            Self::Weighted(weights) => Ok(weighted(units, weights)),
            Self::Source => source(units),
        }
    }
}

/// What was measured of each unit, and at which rung.
fn findings(units: &[UnitImportance]) -> &[Finding] {
    units.first().map_or(&[], |unit| &unit.findings)
}

fn weight(weights: &ImportanceWeights, measure: Measure) -> f64 {
    match measure {
        Measure::Rtn => weights.rtn,
        Measure::Upgrade => weights.upgrade,
        Measure::Disable => weights.disable,
        Measure::Noise => weights.noise,
        Measure::Gradient => 0.0,
    }
}

fn weighted(units: &[UnitImportance], weights: &ImportanceWeights) -> Vec<f64> {
    let findings = findings(units);
    let rungs = |measure| findings.iter().filter(move |finding| finding.measure == measure).count();
    let made: Vec<Measure> = Measure::ALL.into_iter().filter(|measure| rungs(*measure) > 0).collect();
    let total: f64 = made.iter().map(|measure| weight(weights, *measure)).sum();
    let share = |measure| if total > 0.0 { weight(weights, measure) / total } else { 1.0 / made.len() as f64 };
    let mut scores = vec![0.0; units.len()];
    for (place, finding) in findings.iter().enumerate() {
        let each = share(finding.measure) / rungs(finding.measure) as f64;
        let values = normalised(&units.iter().map(|unit| unit.findings[place].kl).collect::<Vec<_>>());
        scores.iter_mut().zip(values).for_each(|(score, value)| *score += each * value);
    }
    scores
}

fn source(units: &[UnitImportance]) -> Result<Vec<f64>> {
    let find = |wanted: &dyn Fn(&Finding) -> bool, what: &str| {
        findings(units).iter().position(wanted).ok_or_else(|| {
            Error::config("weights", format!("`source` needs {what}; measure it as well, or give other weights"))
        })
    };
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let four = |f: &Finding| f.measure == Measure::Rtn && f.scheme.is_some_and(|scheme| scheme.bits().get() == 4);
    let rtn = find(&four, "rtn at 4 bits")?;
    let noise = find(&|finding| finding.measure == Measure::Noise, "noise")?;
    let scores = |unit: &UnitImportance| SourceScores {
        noise_perplexity: unit.findings[noise].increase,
        rtn_perplexity: unit.findings[rtn].increase,
        noise_kl: unit.findings[noise].kl,
        rtn_kl: unit.findings[rtn].kl,
    };
    Ok(source_importance(&units.iter().map(scores).collect::<Vec<_>>()))
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Weighted(weights) => weights.fmt(f),
        }
    }
}

impl FromStr for Combination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "source" => Ok(Self::Source),
            weights => weights.parse().map(Self::Weighted),
        }
    }
}

impl TryFrom<String> for Combination {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Combination> for String {
    fn from(combination: Combination) -> Self {
        combination.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measure, scheme, divergence and increase.
    type Facts<'a> = (Measure, Option<&'a str>, f64, f64);

    fn units(findings: &[&[Facts<'_>]]) -> Vec<UnitImportance> {
        let finding = |(measure, scheme, kl, increase): &Facts<'_>| Finding {
            measure: *measure,
            scheme: scheme.map(|scheme| scheme.parse().expect("a scheme")),
            kl: *kl,
            increase: *increase,
        };
        let unit = |(block, findings): (usize, &&[_])| UnitImportance {
            path: format!("b{block}"),
            block,
            weights: 1,
            findings: findings.iter().map(finding).collect(),
            score: 0.0,
        };
        findings.iter().enumerate().map(unit).collect()
    }

    #[test]
    fn weights_count_for_what_was_measured() {
        use Measure::{Disable, Noise, Rtn};
        let of = |units: &[UnitImportance]| Combination::default().scores(units).expect("no name is missing");
        let two = units(&[
            &[(Rtn, Some("w4g32s"), 1.0, 0.0), (Rtn, Some("w2g32s"), 2.0, 0.0), (Disable, None, 5.0, 0.0)],
            &[(Rtn, Some("w4g32s"), 3.0, 0.0), (Rtn, Some("w2g32s"), 1.0, 0.0), (Disable, None, 5.0, 0.0)],
        ]);
        // Two thirds are rounding, half of which each rung is; one third is disabling, which is the same for both.
        for (found, expected) in of(&two).into_iter().zip([1.0 / 3.0 + 1.0 / 6.0, 1.0 / 3.0 + 1.0 / 6.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(of(&units(&[&[(Noise, None, 2.0, 0.0)], &[(Noise, None, -1.0, 0.0)]])), [1.0, 0.0]);
        let alone = units(&[&[(Measure::Gradient, None, 2.0, 0.0)], &[(Measure::Gradient, None, 1.0, 0.0)]]);
        assert_eq!(of(&alone), [1.0, 0.0]);
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn the_source_combines_perplexity_and_divergence() {
        use Measure::{Noise, Rtn};
        let three = units(&[
            &[(Rtn, Some("w4g32s"), 0.0, 2.0), (Noise, None, 4.0, 1.0)],
            &[(Rtn, Some("w4g32s"), 1.0, 0.0), (Noise, None, 0.0, 0.5)],
            &[(Rtn, Some("w4g32s"), 2.0, 1.0), (Noise, None, 1.0, 0.0)],
        ]);
        let expected = [0.7 * (0.3 + 0.7) + 0.3 * 0.4, 0.7 * 0.15 + 0.3 * 0.3, 0.7 * 0.35 + 0.3 * (0.1 + 0.6)];
        let found = Combination::Source.scores(&three).expect("both are there");
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let error = Combination::Source.scores(&units(&[&[(Noise, None, 1.0, 1.0)]])).expect_err("no rounding");
        assert!(error.to_string().contains("4 bits"), "{error}");
    }
}
