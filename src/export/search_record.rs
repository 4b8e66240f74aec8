//! What a search for mixed precision did: part of `bitsmith.json`.

use serde::{Deserialize, Serialize};

use crate::scheme::Scheme;

/// A search: what it was to reach, what it tried, what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchRecord {
    /// What it was to reach.
    pub goal: SearchGoal,
    /// Perplexity of the original on the text that steps are measured on.
    pub original_perplexity: f64,
    /// What each layer got, in the model's order.
    pub layers: Vec<SearchedLayer>,
    /// Importance by each measure that was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub importance: Vec<ImportanceRecord>,
    /// All that was tried, in order.
    pub steps: Vec<SearchStep>,
    /// Bytes.
    pub memory: SearchMemory,
    /// The whole model on text that the search did not decide by, where there was any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
    /// Wall time, resumed runs added up.
    pub seconds: f64,
}

/// What a search is to reach: budgets of quality, or a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchGoal {
    /// Largest increase of perplexity, as a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_perplexity_increase: Option<f64>,
    /// Largest mean divergence in nats a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_kl: Option<f64>,
    /// Most bytes of the quantized layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_bytes: Option<u64>,
}

/// What a layer got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchedLayer {
    /// Module path.
    pub path: String,
    /// What its codes mean.
    pub scheme: Scheme,
    /// How they were chosen.
    pub codes: CodesFrom,
    /// Bytes in the file.
    pub bytes: u64,
}

/// How codes were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodesFrom {
    /// Round to nearest.
    Rtn,
    /// Round to nearest with searched scales.
    Searched,
    /// Learned rounding.
    Learned,
    /// Tuned with those of all other layers, whatever they were before.
    Tuned,
}

/// Importance by one measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportanceRecord {
    /// Which measure.
    pub measure: String,
    /// What its values are in.
    pub unit: String,
    /// The value of each layer or block, by path.
    pub values: Vec<(String, f64)>,
}

/// Something that a search tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchStep {
    /// In which part of the search.
    pub phase: SearchPhase,
    /// The layers that it changed, by path.
    pub layers: Vec<String>,
    /// What their codes meant before; none for layers that were as in the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Scheme>,
    /// What they were to mean.
    pub to: Scheme,
    /// How they were chosen.
    pub codes: CodesFrom,
    /// What was expected with the step in place, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<SearchQuality>,
    /// What was measured with the step, and all before that were accepted, in place.
    pub measured: SearchQuality,
    /// Bytes of the layers to quantize with the step in place; of those that are as in the original, their own.
    pub bytes: u64,
    /// Why it was rolled back; none for a step that was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// Parts of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchPhase {
    /// Steps down, the one that costs least first.
    Walk,
    /// Upgrades until the whole is inside the budget.
    Upgrade,
    /// Downgrades while there is room.
    Downgrade,
    /// All blocks tuned together.
    Tune,
}

/// How good a model is; what is no number is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchQuality {
    /// Perplexity.
    pub perplexity: Option<f64>,
    /// Mean divergence from the original's predictions in nats a token.
    pub kl: Option<f64>,
}

/// Bytes of all tensors, those included that are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchMemory {
    /// Of the original.
    pub before: u64,
    /// Of the result.
    pub after: u64,
    /// The most that the search had in memory, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
}

/// The whole model on text that no step was decided by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Sequences.
    pub samples: usize,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Perplexity of the original.
    pub original_perplexity: f64,
    /// Of the result.
    pub quality: SearchQuality,
    /// Whether the budgets hold; none for a search by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_budget: Option<bool>,
}

impl SearchQuality {
    /// What was measured.
    ///
    /// ```
    /// use bitsmith::export::SearchQuality;
    /// assert_eq!(SearchQuality::new(f64::INFINITY, 0.5), SearchQuality { perplexity: None, kl: Some(0.5) });
    /// ```
    pub fn new(perplexity: f64, kl: f64) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        Self { perplexity: finite(perplexity), kl: finite(kl) }
    }
}

impl SearchRecord {
    /// What cannot be recorded.
    pub(super) fn check(&self) -> Result<(), String> {
        let perplexities = [
            ("original_perplexity", self.original_perplexity),
            ("held_out.original_perplexity", self.held_out.map_or(1.0, |held| held.original_perplexity)),
        ];
        if let Some((field, value)) = perplexities.into_iter().find(|(_, value)| !value.is_finite() || *value < 1.0) {
            return Err(format!("{field} is {value}; a perplexity is finite and at least 1"));
        }
        if !self.seconds.is_finite() || self.seconds < 0.0 {
            return Err(format!("seconds is {}, not a number from 0 up", self.seconds));
        }
        let steps = self.steps.iter().flat_map(|step| [Some(step.measured), step.predicted]);
        let qualities = steps.chain([self.held_out.map(|held| held.quality)]).flatten();
        let wrong = qualities.flat_map(|quality| [quality.perplexity, quality.kl]).flatten().find(|v| !v.is_finite());
        let importance = self.importance.iter().flat_map(|measure| &measure.values);
        let unusable = importance.map(|(_, value)| *value).find(|value| !value.is_finite());
        match wrong.or(unusable) {
            Some(value) => Err(format!("{value} is no measurement; leave it out")),
            None => Ok(()),
        }
    }
}
