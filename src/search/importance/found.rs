//! What an analysis found.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ImportanceConfig, Measure, rank_correlation};
use crate::error::Result;
use crate::export::ImportanceRecord;
use crate::scheme::Scheme;

/// What one measure says of a layer or block. For [`Measure::Upgrade`] and [`Measure::Noise`] it is what comes back, for
/// the others what is lost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// How it was measured.
    pub measure: Measure,
    /// At which rung, for measures that look at each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// KL(original || changed), in nats a token.
    pub kl: f64,
    /// Increase of perplexity as a share of the original's.
    pub increase: f64,
}

impl fmt::Display for Finding {
    /// The measure, and its rung where it has one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        named(f, self.measure, self.scheme)
    }
}

impl fmt::Display for RankCorrelation {
    /// The measure, and its rung where it has one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        named(f, self.measure, self.scheme)
    }
}

fn named(f: &mut fmt::Formatter<'_>, measure: Measure, scheme: Option<Scheme>) -> fmt::Result {
    match scheme {
        Some(scheme) => write!(f, "{measure} {scheme}"),
        None => write!(f, "{measure}"),
    }
}

/// A layer or a block, and how important it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitImportance {
    /// Module path.
    pub path: String,
    /// Number of the block that it is or lies in.
    pub block: usize,
    /// Its weights, those of linear layers.
    pub weights: u64,
    /// What each measure says, in the same order for all layers and blocks.
    pub findings: Vec<Finding>,
    /// All of them in one number from 0 to 1, as the [`Combination`](super::Combination) says.
    pub score: f64,
}

/// What a measure cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasureCost {
    /// Which one.
    pub measure: Measure,
    /// Wall time.
    pub seconds: f64,
    /// Blocks that were computed: all sequences through one block are one. Of [`Measure::Gradient`], the way back is beside
    /// that.
    pub block_passes: u64,
    /// What the same changes would have taken with a whole pass each.
    pub whole_block_passes: u64,
}

/// How far the predicted order is that of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankCorrelation {
    /// The measure.
    pub measure: Measure,
    /// Its rung, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The rung of the prediction: the same, or else the lowest.
    pub predicted: Scheme,
    /// Spearman's rank correlation over the layers, by KL.
    pub layers: Option<f64>,
    /// The same over the blocks.
    pub blocks: Option<f64>,
}

/// How important the layers and blocks of a model are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// What layers were changed to, and how findings became scores.
    pub settings: ImportanceConfig,
    /// Each layer, in the order of the model.
    pub layers: Vec<UnitImportance>,
    /// Each block.
    pub blocks: Vec<UnitImportance>,
    /// What it cost.
    pub costs: Vec<MeasureCost>,
    /// The prediction against the measures, where both were made.
    pub correlations: Vec<RankCorrelation>,
    /// Perplexity of the original on the same tokens.
    pub perplexity: f64,
    /// Tokens that each measurement predicts.
    pub tokens: usize,
    /// Wall time of one pass through the whole model.
    pub pass_seconds: f64,
}

impl Importance {
    /// Computes scores and correlations from the findings.
    ///
    /// # Errors
    /// Those of [`Combination::scores`](super::Combination::scores).
    pub fn combine(&mut self) -> Result<()> {
        for units in [&mut self.layers, &mut self.blocks] {
            let scores = self.settings.combination.scores(units)?;
            units.iter_mut().zip(scores).for_each(|(unit, score)| unit.score = score);
        }
        self.correlations = self.correlate();
        Ok(())
    }

    /// Units by falling score, those of equal score in the order of the model.
    pub fn ranked(units: &[UnitImportance]) -> Vec<&UnitImportance> {
        let mut ranked: Vec<_> = units.iter().collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        ranked
    }

    /// What the record of a search holds of it: of each layer its KL by each measure, and its score.
    pub fn records(&self) -> Vec<ImportanceRecord> {
        let record = |measure: String, unit: &str, value: &dyn Fn(&UnitImportance) -> f64| ImportanceRecord {
            measure,
            unit: unit.to_owned(),
            values: self.layers.iter().map(|layer| (layer.path.clone(), value(layer))).collect(),
        };
        let findings = self.layers.first().map_or(&[][..], |layer| &layer.findings);
        let measures = findings.iter().enumerate();
        let mut records: Vec<_> = measures
            .map(|(at, finding)| record(finding.to_string(), "nats a token", &|layer| layer.findings[at].kl))
            .collect();
        records.push(record("score".to_owned(), "of the range", &|layer| layer.score));
        records
    }

    fn correlate(&self) -> Vec<RankCorrelation> {
        let findings: Vec<Finding> = self.layers.first().map_or_else(Vec::new, |unit| unit.findings.clone());
        let place = |scheme: Option<Scheme>| {
            let predicted = |f: &Finding| f.measure == Measure::Gradient && (scheme.is_none() || f.scheme == scheme);
            findings.iter().rposition(predicted)
        };
        let column = |units: &[UnitImportance], at: usize| -> Vec<f64> {
            units.iter().filter_map(|unit| unit.findings.get(at)).map(|finding| finding.kl).collect()
        };
        let measured = findings.iter().enumerate().filter(|(_, finding)| finding.measure != Measure::Gradient);
        let correlation = |(at, finding): (usize, &Finding)| {
            let with = place(finding.scheme)?;
            let of = |units: &[UnitImportance]| rank_correlation(&column(units, at), &column(units, with));
            Some(RankCorrelation {
                measure: finding.measure,
                scheme: finding.scheme,
                predicted: findings[with].scheme?,
                layers: of(&self.layers),
                blocks: of(&self.blocks),
            })
        };
        measured.filter_map(correlation).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_are_compared_at_the_same_rung_or_the_lowest() {
        let [high, low]: [Scheme; 2] = ["w4g32s", "w2g32s"].map(|scheme| scheme.parse().expect("a scheme"));
        let unit = |block: usize, kl: [f64; 5]| {
            let finding = |measure, scheme, kl| Finding { measure, scheme, kl, increase: kl };
            let findings = vec![
                finding(Measure::Rtn, Some(high), kl[0]),
                finding(Measure::Rtn, Some(low), kl[1]),
                finding(Measure::Disable, None, kl[2]),
                finding(Measure::Gradient, Some(high), kl[3]),
                finding(Measure::Gradient, Some(low), kl[4]),
            ];
            UnitImportance { path: block.to_string(), block, weights: 1, findings, score: 0.0 }
        };
        let layers = vec![unit(0, [1.0, 2.0, 9.0, 5.0, 6.0]), unit(1, [2.0, 1.0, 8.0, 6.0, 5.0])];
        let mut found = Importance { layers, ..Importance::default() };
        found.combine().expect("measures are there");
        let seen: Vec<_> = found.correlations.iter().map(|c| (c.measure, c.predicted, c.layers, c.blocks)).collect();
        let expected = [
            (Measure::Rtn, high, Some(1.0), None),
            (Measure::Rtn, low, Some(1.0), None),
            (Measure::Disable, low, Some(1.0), None),
        ];
        assert_eq!(seen, expected);
        let records = found.records();
        let names: Vec<_> = records.iter().map(|record| record.measure.as_str()).collect();
        assert_eq!(names, ["rtn w4g32s", "rtn w2g32s", "disable", "gradient w4g32s", "gradient w2g32s", "score"]);
        assert_eq!(records[2].values, [("0".to_owned(), 9.0), ("1".to_owned(), 8.0)]);
    }
}
