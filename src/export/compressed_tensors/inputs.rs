//! What a configuration says of the activations that enter a layer: its `input_activations`.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::config::unsupported;
use crate::error::{Error, Result};
use crate::op::LayerInput;

/// The form of the inputs of a group of layers; scales and zero points that are known lie with each layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Inputs {
    /// As the model has them.
    #[default]
    Exact,
    /// int8, with a scale for each token that is found when it comes.
    Tokens { symmetric: bool },
    /// int8, with a scale that is known.
    Static { symmetric: bool },
}

impl Inputs {
    /// The form of what the input of one layer becomes; none where the format has no word for it.
    pub(super) fn of(input: &LayerInput) -> Option<Self> {
        match input {
            LayerInput::Exact => Some(Self::Exact),
            LayerInput::Blocks | LayerInput::Ordered { .. } => None,
            // What becomes of outliers lies beside the groups.
            LayerInput::Tokens | LayerInput::Outliers { .. } => Some(Self::Tokens { symmetric: true }),
            LayerInput::TokensAsymmetric => Some(Self::Tokens { symmetric: false }),
            LayerInput::Static { zero, .. } => Some(Self::Static { symmetric: *zero == 0 }),
        }
    }

    pub(super) fn write(self) -> Value {
        let (strategy, dynamic, observer, symmetric) = match self {
            Self::Exact => return Value::Null,
            // Found when they come: nothing observes them before.
            Self::Tokens { symmetric } => ("token", true, None, symmetric),
            Self::Static { symmetric } => ("tensor", false, Some("minmax"), symmetric),
        };
        json!({
            "num_bits": 8,
            "type": "int",
            "symmetric": symmetric,
            "strategy": strategy,
            "group_size": null,
            "dynamic": dynamic,
            "actorder": null,
            "block_structure": null,
            "observer": observer,
            "observer_kwargs": {},
        })
    }

    /// # Errors
    /// [`Error::Format`] for what is malformed, [`Error::Unsupported`] for what is not computed here.
    pub(super) fn read(value: Option<&Value>, file: &Path, at: &str) -> Result<Self> {
        let Some(value) = value else { return Ok(Self::Exact) };
        let at = format!("{at}.input_activations");
        let fields: Fields = Deserialize::deserialize(value).map_err(|e| Error::format(file, format!("{at}: {e}")))?;
        if fields.num_bits != 8 || fields.r#type.as_deref().is_some_and(|kind| kind != "int") {
            return Err(unsupported(file, &at, "activations of other than 8-bit integers are not computed here"));
        }
        let dynamic = match &fields.dynamic {
            None => false,
            Some(Value::Bool(dynamic)) => *dynamic,
            Some(other) => {
                return Err(unsupported(file, &format!("{at}.dynamic `{other}`"), "it is true or false here"));
            }
        };
        let symmetric = fields.symmetric;
        match (fields.strategy.as_deref(), dynamic) {
            (Some("token"), true) => Ok(Self::Tokens { symmetric }),
            (None | Some("tensor"), false) => Ok(Self::Static { symmetric }),
            (strategy, _) => {
                let what = format!("{at}.strategy `{}` with dynamic {dynamic}", strategy.unwrap_or("tensor"));
                Err(unsupported(file, &what, "dynamic ones are by token here, static ones by tensor"))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without a meaning here are listed so that unknown ones are refused")]
struct Fields {
    #[serde(default = "super::config::eight")]
    num_bits: u64,
    r#type: Option<String>,
    #[serde(default = "super::config::yes")]
    symmetric: bool,
    strategy: Option<String>,
    group_size: Option<i64>,
    dynamic: Option<Value>,
    actorder: Option<Value>,
    block_structure: Option<Value>,
    scale_dtype: Option<Value>,
    zp_dtype: Option<Value>,
    observer: Option<Value>,
    observer_kwargs: Option<Value>,
}
