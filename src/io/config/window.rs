//! Which layers look back on a limited number of tokens.

use super::Family;
use super::fields::Fields;
use crate::error::{Error, Result};

/// The layers that a sliding window applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowLayers {
    /// From this layer on.
    From(usize),
    /// Layer by layer.
    Listed(Vec<bool>),
}

impl WindowLayers {
    /// Qwen's `layer_types`, or the older `max_window_layers`; all layers of Mistral.
    pub(super) fn read(config: Fields<'_>, family: Family, layers: usize) -> Result<Self> {
        /// What a file that names neither means.
        const MAX_WINDOW_LAYERS: u64 = 28;
        if !matches!(family, Family::Qwen2 | Family::Qwen3) {
            return Ok(Self::From(0));
        }
        if let Some(types) = config.get("layer_types") {
            let Some(list) = types.as_array().filter(|list| list.len() == layers) else {
                return Err(config.bad("layer_types", types, &format!("must be a list of {layers} layers")));
            };
            let windowed = list.iter().map(|kind| match kind.as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                _ => Err(Error::Unsupported {
                    what: format!("layer_types {kind}"),
                    remedy: "layers of full_attention and sliding_attention can be run".into(),
                }),
            });
            return windowed.collect::<Result<_>>().map(Self::Listed);
        }
        let first = match config.get("max_window_layers") {
            None => Some(MAX_WINDOW_LAYERS),
            Some(value) => value.as_u64(),
        };
        match first.and_then(|first| usize::try_from(first).ok()) {
            Some(first) => Ok(Self::From(first)),
            None => {
                let value = config.get("max_window_layers").map(ToString::to_string).unwrap_or_default();
                Err(config.bad("max_window_layers", value, "must be a whole number"))
            }
        }
    }

    /// Whether a layer is one of them.
    pub fn contains(&self, layer: usize) -> bool {
        match self {
            Self::From(first) => layer >= *first,
            Self::Listed(windowed) => windowed.get(layer).copied().unwrap_or(false),
        }
    }
}
