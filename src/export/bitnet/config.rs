//! The `quantization_config` of bitnet.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::NAME;
use crate::error::{Error, Result};
use crate::scheme::Pattern;

/// Most regular expressions among the layers that are kept; names are not limited.
const MAX_EXPRESSIONS: usize = 1000;

/// What the layers of a model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Packed; the scale is stored as its reciprocal.
    BitLinear,
    /// Packed or not, with its scale.
    AutoBitLinear,
    /// A weight in floating point that is quantized whenever it is used.
    Online,
}

/// A configuration that was read and checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) class: Class,
    names: Vec<String>,
    expressions: Vec<Pattern>,
}

/// Other keys say nothing about the weights.
#[derive(Deserialize)]
struct Fields {
    quant_method: String,
    linear_class: Option<String>,
    quantization_mode: Option<String>,
    modules_to_not_convert: Option<Vec<String>>,
    use_rms_norm: Option<bool>,
}

impl Config {
    /// Checks every field that changes the meaning of a weight.
    pub(super) fn read(config: &Value, file: &Path) -> Result<Self> {
        let field = "quantization_config";
        let wrong = |name: &str, found: &str, remedy: &str| {
            Err(Error::format(file, format!("{field}.{name} is `{found}`; it must be {remedy}")))
        };
        let fields: Fields =
            Deserialize::deserialize(config).map_err(|e| Error::format(file, format!("{field}: {e}")))?;
        if fields.quant_method != NAME {
            return wrong("quant_method", &fields.quant_method, NAME);
        }
        if fields.use_rms_norm == Some(true) {
            return Err(Error::Unsupported {
                what: format!("{}: {field}.use_rms_norm", file.display()),
                remedy: "models whose layers have no norm of their own can be read".to_owned(),
            });
        }
        let online = match fields.quantization_mode.as_deref() {
            None | Some("offline") => false,
            Some("online") => true,
            Some(other) => return wrong("quantization_mode", other, "offline or online"),
        };
        let class = match fields.linear_class.as_deref() {
            // Its weights are packed in either mode.
            None | Some("bitlinear") => Class::BitLinear,
            Some("autobitlinear") if online => Class::Online,
            Some("autobitlinear") => Class::AutoBitLinear,
            Some(other) => return wrong("linear_class", other, "bitlinear or autobitlinear"),
        };
        let mut read = Self { class, names: Vec::new(), expressions: Vec::new() };
        for key in fields.modules_to_not_convert.unwrap_or_default() {
            let at = format!("{field}.modules_to_not_convert");
            if key.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                read.names.push(key);
                continue;
            }
            if read.expressions.len() == MAX_EXPRESSIONS {
                return Err(Error::format(file, format!("{at} holds over {MAX_EXPRESSIONS} expressions")));
            }
            let text = format!("{}(?:{key})(?:\\.|$)", Pattern::REGEX_PREFIX);
            let pattern = Pattern::parse(&text).map_err(|e| Error::format(file, format!("{at}: {e}")))?;
            read.expressions.push(pattern);
            read.names.push(key);
        }
        Ok(read)
    }

    /// Whether a layer is kept as it is, by the rules of transformers: a key names a module and all within it, by its
    /// path, by an expression, or by the end of its path.
    pub(super) fn keeps(&self, path: &str) -> bool {
        let within = |key: &String| path.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('.'));
        self.names.iter().any(|key| path.ends_with(key.as_str()) || within(key))
            || self.expressions.iter().any(|pattern| pattern.matches(path))
    }
}
