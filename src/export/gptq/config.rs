//! The `quantization_config` of GPTQ and of auto-round, both ways.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AUTO_ROUND, Gptq, NAME, version_2};
use crate::error::{Error, Result};
use crate::export::LayerSpec;
use crate::scheme::{Bits, Pattern, Span};

/// Most entries of `dynamic`: each layer is compared with each of them.
const MAX_PATTERNS: usize = 1000;

/// Bits and groups of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) bits: Bits,
    pub(super) span: Span,
}

/// A configuration that was read and checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) symmetric: bool,
    /// Whether zero points are stored as they are.
    pub(super) version_2: bool,
    all: Shape,
    /// Overrides in their order; none keeps a layer.
    patterns: Vec<(Pattern, Option<Shape>)>,
    /// Overrides by path.
    paths: BTreeMap<String, Shape>,
}

/// Other keys say nothing about the weights.
#[derive(Deserialize)]
struct Fields {
    quant_method: String,
    bits: u8,
    group_size: i64,
    #[serde(default = "yes")]
    sym: bool,
    checkpoint_format: Option<String>,
    packing_format: Option<String>,
    pack_dtype: Option<String>,
    data_type: Option<String>,
    #[serde(default)]
    dynamic: Option<Map<String, Value>>,
    #[serde(default)]
    extra_config: Option<Map<String, Value>>,
}

const fn yes() -> bool {
    true
}

/// What a layer may have of its own.
#[derive(Deserialize)]
struct Override {
    bits: Option<u8>,
    group_size: Option<i64>,
    sym: Option<bool>,
}

impl Config {
    /// Checks every field that changes the meaning of a weight.
    pub(super) fn read(config: &Value, file: &Path) -> Result<Self> {
        let field = |name: &str| format!("quantization_config.{name}");
        let wrong = |name: &str, found: &str, remedy: &str| Error::Unsupported {
            what: format!("{}: {} `{found}`", file.display(), field(name)),
            remedy: remedy.to_owned(),
        };
        let fields: Fields =
            Deserialize::deserialize(config).map_err(|e| Error::format(file, format!("quantization_config: {e}")))?;
        let version_2 = match (fields.quant_method.as_str(), fields.checkpoint_format.as_deref()) {
            (NAME, None | Some("gptq")) => false,
            (NAME, Some("gptq_v2")) => true,
            (NAME, Some(other)) => return Err(wrong("checkpoint_format", other, "gptq and gptq_v2 can be read")),
            _ => false,
        };
        if let Some(other) = fields.packing_format.as_deref().filter(|format| *format != PACKING) {
            return Err(wrong("packing_format", other, "auto_round:auto_gptq can be read"));
        }
        if let Some(other) = fields.pack_dtype.as_deref().filter(|dtype| *dtype != "int32") {
            return Err(wrong("pack_dtype", other, "int32 can be read"));
        }
        if let Some(other) = fields.data_type.as_deref().filter(|dtype| *dtype != "int") {
            return Err(wrong("data_type", other, "integers can be read"));
        }
        let shape = |at: &str, bits: u8, size: i64| -> Result<Shape> {
            let refused = |name: &str, found: String, e: Error| wrong(&format!("{at}{name}"), &found, &e.to_string());
            let bits = Bits::new(bits).map_err(|e| refused("bits", bits.to_string(), e))?;
            let span = match usize::try_from(size) {
                Err(_) if size == -1 => Ok(Span::Channel),
                Err(_) => Err(Error::config("group_size", "it is -1 or a size")),
                Ok(size) => Span::group(size),
            };
            Ok(Shape { bits, span: span.map_err(|e| refused("group_size", size.to_string(), e))? })
        };
        let all = shape("", fields.bits, fields.group_size)?;
        let (mut patterns, mut paths) = (Vec::new(), BTreeMap::new());
        let own = |at: &str, value: &Value| -> Result<Shape> {
            let own: Override = Deserialize::deserialize(value)
                .map_err(|e| Error::format(file, format!("{}: {e}", field(at.trim_end_matches('.')))))?;
            if own.sym.is_some_and(|sym| sym != fields.sym) {
                return Err(wrong(&format!("{at}sym"), "", "all layers are of one kind"));
            }
            shape(at, own.bits.unwrap_or(fields.bits), own.group_size.unwrap_or(fields.group_size))
        };
        let dynamic = fields.dynamic.unwrap_or_default();
        if dynamic.len() > MAX_PATTERNS {
            return Err(Error::format(file, format!("{} holds over {MAX_PATTERNS} entries", field("dynamic"))));
        }
        for (key, value) in &dynamic {
            let (keep, body) = match key.split_once(':') {
                Some(("-", body)) => (true, body),
                Some(("+", body)) => (false, body),
                _ => (false, key.as_str()),
            };
            let at = format!("dynamic.{key}");
            let pattern = Pattern::parse(&format!("{}{body}", Pattern::REGEX_PREFIX))
                .map_err(|e| Error::format(file, format!("{}: {e}", field(&at))))?;
            let own = if keep { None } else { Some(own(&format!("{at}."), value)?) };
            patterns.push((pattern, own));
        }
        for (path, value) in &fields.extra_config.unwrap_or_default() {
            // Layers of 16 bits are kept; they have no codes.
            if value.get("bits").and_then(Value::as_u64).is_none_or(|bits| bits < 16) {
                paths.insert(path.clone(), own(&format!("extra_config.{path}."), value)?);
            }
        }
        Ok(Self { symmetric: fields.sym, version_2, all, patterns, paths })
    }

    /// What is said of the layer at `path`; none if it is kept.
    pub(super) fn shape(&self, path: &str) -> Option<Shape> {
        if let Some(shape) = self.paths.get(path) {
            return Some(*shape);
        }
        match self.patterns.iter().find(|(pattern, _)| pattern.matches(path)) {
            Some((_, own)) => *own,
            None => Some(self.all),
        }
    }
}

/// How auto-round calls the layout.
const PACKING: &str = "auto_round:auto_gptq";

/// The configuration of a model with these layers.
pub(super) fn write(flavour: Gptq, layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
    let mut counts = BTreeMap::<Shape, usize>::new();
    let shape = |layer: &LayerSpec| {
        let scheme = layer.scheme.carrier();
        let span = if scheme.span() == Span::Tensor { Span::Channel } else { scheme.span() };
        Shape { bits: scheme.bits(), span }
    };
    layers.iter().for_each(|layer| *counts.entry(shape(layer)).or_default() += 1);
    let Some((all, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
        return Err(Error::config("plan", "no layer is quantized; plan at least one"));
    };
    if let Some(layer) = layers.iter().find(|layer| kept.contains(&layer.path)) {
        return Err(Error::config("plan", format!("{} is both quantized and kept", layer.path)));
    }
    let version_2 = version_2(layers)?;
    let size = |span| match span {
        Span::Group(size) => i64::from(size),
        Span::Channel | Span::Tensor => -1,
    };
    let own = |shape: Shape| json!({"bits": shape.bits.get(), "group_size": size(shape.span)});
    let others = layers.iter().map(|layer| (layer, shape(layer))).filter(|(_, shape)| *shape != all);
    let mut config = json!({
        "bits": all.bits.get(),
        "group_size": size(all.span),
        "sym": !version_2,
    });
    if flavour == Gptq::AutoRound {
        config["quant_method"] = AUTO_ROUND.into();
        config["packing_format"] = PACKING.into();
        config["data_type"] = "int".into();
        let mut extra: Map<String, Value> = others.map(|(layer, shape)| (layer.path.clone(), own(shape))).collect();
        extra.extend(kept.iter().map(|path| (path.clone(), json!({"bits": 16, "data_type": "float"}))));
        config["extra_config"] = extra.into();
        return Ok(config);
    }
    config["quant_method"] = NAME.into();
    config["desc_act"] = layers.iter().any(|layer| layer.input.columns().is_some()).into();
    config["lm_head"] = false.into();
    config["checkpoint_format"] = if version_2 { "gptq_v2" } else { "gptq" }.into();
    config["pack_dtype"] = "int32".into();
    config["meta"] = json!({"quantizer": [concat!("bitsmith:", env!("CARGO_PKG_VERSION"))]});
    let mut dynamic: Map<String, Value> =
        others.map(|(layer, shape)| (format!("+:^{}$", escaped(&layer.path)), own(shape))).collect();
    let in_blocks = kept.iter().filter(|path| inner(path).is_some());
    dynamic.extend(in_blocks.map(|path| (format!("-:^{}$", escaped(path)), json!({}))));
    if !dynamic.is_empty() {
        config["dynamic"] = dynamic.into();
    }
    if let Some(inner) = inner_layers(layers, kept) {
        config["modules_in_block_to_quantize"] = json!([inner]);
    }
    Ok(config)
}

fn escaped(path: &str) -> String {
    path.replace('.', "\\.")
}

/// The path within a block: `self_attn.q_proj` of `model.layers.0.self_attn.q_proj`.
fn inner(path: &str) -> Option<&str> {
    let mut parts = path.split('.');
    parts.find(|part| part.bytes().all(|b| b.is_ascii_digit()))?;
    let rest: usize = parts.map(|part| part.len() + 1).sum();
    (rest > 0).then(|| &path[path.len() - rest + 1..])
}

/// What transformers is to quantize in each block, where layers are kept, and the same ones in each.
fn inner_layers(layers: &[LayerSpec], kept: &[String]) -> Option<Vec<String>> {
    let kept: Vec<&str> = kept.iter().filter_map(|path| inner(path)).collect();
    let mut names: Vec<String> = Vec::new();
    for layer in layers {
        let name = inner(&layer.path)?;
        if kept.contains(&name) {
            return None;
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    (!kept.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_within_a_block() {
        assert_eq!(inner("model.layers.10.self_attn.q_proj"), Some("self_attn.q_proj"));
        assert_eq!(inner("transformer.h.0.mlp.c_fc"), Some("mlp.c_fc"));
        assert_eq!(inner("lm_head"), None);
        assert_eq!(inner("model.layers.0"), None);
    }
}
