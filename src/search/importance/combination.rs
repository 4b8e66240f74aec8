//! Several measures in one number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Finding, Measure, UnitImportance};
use crate::error::{Error, Result};

/// How findings become one score from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Combination {
    /// The mean of the measures that were made, with these weights in the order of [`Measure::ALL`]. Each is its KL,
    /// [`normalised`]; of one with several rungs the mean over them. Measures without any weight all count alike where none
    /// of the others was made.
    Weighted([f64; 5]),
    /// As the system does that this method comes from: 0.7 of what perplexity says and 0.3 of what KL says; perplexity is 0.3
    /// of noise and 0.7 of rounding to 4 bits, KL 0.4 and 0.6.
    Source,
}

impl Default for Combination {
    /// 40 % rounding, 25 % upgrade, 20 % disabling, 15 % noise.
    fn default() -> Self {
        Self::Weighted([0.40, 0.25, 0.20, 0.15, 0.0])
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

/// The values of units that `value` takes from the findings at `place`.
fn column(units: &[UnitImportance], place: usize, value: fn(&Finding) -> f64) -> Vec<f64> {
    normalised(&units.iter().filter_map(|unit| unit.findings.get(place)).map(value).collect::<Vec<_>>())
}

/// Measure, of the findings of units.
fn findings(units: &[UnitImportance]) -> &[Finding] {
    units.first().map_or(&[], |unit| &unit.findings)
}

fn weighted(units: &[UnitImportance], weights: &[f64; 5]) -> Vec<f64> {
    let findings = findings(units);
    let rungs = |measure| findings.iter().filter(move |finding| finding.measure == measure).count();
    let made = || Measure::ALL.into_iter().zip(weights).filter(|(measure, _)| rungs(*measure) > 0);
    let total: f64 = made().map(|(_, weight)| weight).sum();
    let alike = 1.0 / made().count().max(1) as f64;
    let share = |weight: f64| if total > 0.0 { weight / total } else { alike };
    let mut scores = vec![0.0; units.len()];
    for (measure, weight) in made() {
        let each = share(*weight) / rungs(measure) as f64;
        for (place, _) in findings.iter().enumerate().filter(|(_, finding)| finding.measure == measure) {
            let values = column(units, place, |finding| finding.kl);
            scores.iter_mut().zip(values).for_each(|(score, value)| *score += each * value);
        }
    }
    scores
}

fn source(units: &[UnitImportance]) -> Result<Vec<f64>> {
    let place = |wanted: &dyn Fn(&Finding) -> bool, what: &str| {
        findings(units).iter().position(wanted).ok_or_else(|| {
            Error::config("weights", format!("`source` needs {what}; measure it as well, or give other weights"))
        })
    };
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let four = |f: &Finding| f.measure == Measure::Rtn && f.scheme.is_some_and(|scheme| scheme.bits().get() == 4);
    let rtn = place(&four, "rtn at 4 bits")?;
    let noise = place(&|finding| finding.measure == Measure::Noise, "noise")?;
    let mix = |value: fn(&Finding) -> f64, of_noise: f64| -> Vec<f64> {
        let (noise, rtn) = (column(units, noise, value), column(units, rtn, value));
        noise.into_iter().zip(rtn).map(|(noise, rtn)| of_noise * noise + (1.0 - of_noise) * rtn).collect()
    };
    let (perplexity, kl) = (mix(|finding| finding.increase, 0.3), mix(|finding| finding.kl, 0.4));
    Ok(perplexity.into_iter().zip(kl).map(|(perplexity, kl)| 0.7 * perplexity + 0.3 * kl).collect())
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Weighted(weights) => {
                let last = if weights[4] > 0.0 { 5 } else { 4 };
                // In percent, without the digits that a factor of 100 makes up.
                let percent = |weight: &f64| format!("{}", (weight * 1e8).round() / 1e6);
                f.write_str(&weights[..last].iter().map(percent).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl FromStr for Combination {
    type Err = Error;

    /// `40,25,20,15`: the weights in percent, or in any other unit, as only their ratios count; a fifth is that of the
    /// prediction. Or `source`.
    fn from_str(text: &str) -> Result<Self> {
        if text == "source" {
            return Ok(Self::Source);
        }
        let bad = || {
            let detail = "write four or five weights of rtn, upgrade, disable, noise and gradient, such as 40,25,20,15, \
                          one of them above 0; or source";
            Error::config("weights", format!("`{text}`: {detail}"))
        };
        let given: Vec<f64> = text.split(',').map(|w| w.trim().parse().map_err(|_| bad())).collect::<Result<_>>()?;
        let total: f64 = given.iter().sum();
        let usable = given.iter().all(|weight| weight.is_finite() && *weight >= 0.0) && total > 0.0;
        if !usable || !(4..=5).contains(&given.len()) {
            return Err(bad());
        }
        let mut weights = [0.0; 5];
        weights.iter_mut().zip(&given).for_each(|(to, weight)| *to = weight / total);
        Ok(Self::Weighted(weights))
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

    fn units(findings: &[&[(Measure, Option<&str>, f64, f64)]]) -> Vec<UnitImportance> {
        let finding = |(measure, scheme, kl, increase): &(Measure, Option<&str>, f64, f64)| Finding {
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

    #[test]
    fn weights_are_read_and_printed() {
        let parse = |text: &str| text.parse::<Combination>();
        assert_eq!(parse("40,25,20,15").expect("weights"), Combination::default());
        assert_eq!(Combination::default().to_string(), "40,25,20,15");
        assert_eq!(parse("1, 1,1,1,4").expect("weights").to_string(), "12.5,12.5,12.5,12.5,50");
        assert_eq!(parse("source").expect("a name").to_string(), "source");
        for bad in ["", "1,2,3", "1,2,3,4,5,6", "0,0,0,0", "1,-1,1,1", "nan,1,1,1", "a,b,c,d"] {
            let error = parse(bad).expect_err(bad).to_string();
            assert!(error.contains("40,25,20,15"), "{error}");
        }
    }
}
