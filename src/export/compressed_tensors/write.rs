//! Layers as a `quantization_config`.

use serde_json::{Map, Value, json};

use super::inputs::Inputs;
use super::{Form, LINEAR, MIXED, NAME, NO_BLOCKS, THRESHOLD};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::LayerSpec;
use crate::op::LayerInput;
use crate::scheme::{Scheme, Span};

/// The version of the package that the configuration is written for.
const VERSION: &str = "0.12.2";

/// One group of all linear layers if they are alike, else one group for each kind with its layers by path.
pub(super) fn config(layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
    if layers.is_empty() {
        return Err(Error::config("plan", "no layer is quantized; plan at least one"));
    }
    if let Some(path) = kept.iter().find(|path| layers.iter().any(|layer| layer.path == **path)) {
        return Err(Error::config("plan", format!("{path} is both quantized and kept")));
    }
    let mut groups: Vec<(Kind, Vec<&str>)> = Vec::new();
    for layer in layers {
        let kind = Kind::of(layer)?;
        match groups.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, targets)) => targets.push(&layer.path),
            None => groups.push((kind, vec![&layer.path])),
        }
    }
    if let [(_, targets)] = &mut groups[..] {
        *targets = vec![LINEAR];
    }
    let first = groups[0].0.form;
    let format = if groups.iter().all(|(kind, _)| kind.form == first) { first.name() } else { MIXED };
    let groups: Map<String, Value> =
        groups.iter().enumerate().map(|(i, (kind, targets))| (format!("group_{i}"), kind.group(targets))).collect();
    let mut config = json!({
        "quant_method": NAME,
        "version": VERSION,
        "format": format,
        "quantization_status": "compressed",
        "global_compression_ratio": null,
        "ignore": kept,
        "kv_cache_scheme": null,
        "config_groups": groups,
        "sparsity_config": {},
        "transform_config": {},
    });
    if let Some(threshold) = threshold(layers)? {
        config[THRESHOLD] = threshold.into();
    }
    Ok(config)
}

/// The one threshold of all inputs with a scale for each token, if they have one.
fn threshold(layers: &[LayerSpec]) -> Result<Option<f32>> {
    let own = |layer: &LayerSpec| match layer.input {
        LayerInput::Tokens => Some(None),
        LayerInput::Outliers { threshold, .. } => Some(Some(threshold)),
        _ => None,
    };
    let mut thresholds = layers.iter().filter_map(|layer| Some((layer, own(layer)?)));
    let Some((_, first)) = thresholds.next() else { return Ok(None) };
    match thresholds.find(|(_, other)| *other != first) {
        None => Ok(first),
        Some((layer, _)) => Err(Error::Unsupported {
            what: format!("{} in {NAME} with a threshold for outliers of its own", layer.path),
            remedy: "give all layers the same threshold".to_owned(),
        }),
    }
}

/// All that a configuration says of a layer.
#[derive(Clone, Copy, PartialEq)]
struct Kind {
    /// But for the scale type, which the scales themselves tell.
    scheme: Scheme,
    form: Form,
    inputs: Inputs,
}

impl Kind {
    fn of(layer: &LayerSpec) -> Result<Self> {
        let inputs = Inputs::of(&layer.input).ok_or_else(|| Error::Unsupported {
            what: format!("{} in {NAME}: {NO_BLOCKS}", layer.path),
            remedy: "keep the layer as it is".to_owned(),
        })?;
        Ok(Self { scheme: layer.scheme.carrier().with_scale_type(Dtype::F32), form: Form::of(layer), inputs })
    }

    fn group(&self, targets: &[&str]) -> Value {
        let scheme = self.scheme;
        let (strategy, group_size) = match scheme.span() {
            Span::Tensor => ("tensor", None),
            Span::Channel => ("channel", None),
            Span::Group(size) => ("group", Some(size)),
        };
        json!({
            "targets": targets,
            "weights": {
                "num_bits": scheme.bits().get(),
                "type": "int",
                "symmetric": scheme.is_symmetric(),
                "strategy": strategy,
                "group_size": group_size,
                "dynamic": false,
                "actorder": null,
                "block_structure": null,
                "observer": "minmax",
                "observer_kwargs": {},
            },
            "input_activations": self.inputs.write(),
            "output_activations": null,
            "format": self.form.name(),
        })
    }
}
