//! The `quantization` of MLX, both ways.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{NAME, group_size};
use crate::error::{Error, Result};
use crate::export::LayerSpec;
use crate::scheme::{Bits, Span};

/// Bits and group size of a layer.
pub(super) type Shape = (Bits, u16);

/// A configuration that was read and checked.
#[derive(Debug)]
pub(super) struct Config {
    all: Shape,
    /// Layers with a shape of their own, or kept.
    own: BTreeMap<String, Option<Shape>>,
}

#[derive(Deserialize)]
struct Fields {
    bits: u8,
    group_size: u64,
    mode: Option<String>,
}

impl Fields {
    fn shape(&self, file: &Path, at: &str) -> Result<Shape> {
        let wrong = |name: &str, found: &str, remedy: &str| Error::Unsupported {
            what: format!("{}: {at}.{name} `{found}`", file.display()),
            remedy: remedy.to_owned(),
        };
        if let Some(mode) = self.mode.as_deref().filter(|mode| *mode != "affine") {
            return Err(wrong("mode", mode, "affine can be read"));
        }
        let bits = Bits::new(self.bits)
            .map_err(|_| wrong("bits", &self.bits.to_string(), "2, 3, 4 and 8 bits can be read"))?;
        let size = usize::try_from(self.group_size).ok().and_then(|size| Span::group(size).ok());
        match size {
            Some(Span::Group(size)) => Ok((bits, size)),
            _ => Err(wrong("group_size", &self.group_size.to_string(), "groups of 16 to 1024 can be read")),
        }
    }
}

impl Config {
    pub(super) fn read(config: &Value, file: &Path) -> Result<Self> {
        let field = "quantization_config";
        let read = |value: &Value, at: &str| -> Result<Shape> {
            let fields: Fields =
                Deserialize::deserialize(value).map_err(|e| Error::format(file, format!("{at}: {e}")))?;
            fields.shape(file, at)
        };
        let all = read(config, field)?;
        let mut own = BTreeMap::new();
        for (path, value) in config.as_object().into_iter().flatten() {
            match value {
                Value::Bool(false) => drop(own.insert(path.clone(), None)),
                Value::Object(_) => drop(own.insert(path.clone(), Some(read(value, &format!("{field}.{path}"))?))),
                _ => {}
            }
        }
        Ok(Self { all, own })
    }

    /// What is said of the layer at `path`; none if it is kept.
    pub(super) fn shape(&self, path: &str) -> Option<Shape> {
        self.own.get(path).copied().unwrap_or(Some(self.all))
    }
}

/// The configuration of a model with these layers.
pub(super) fn write(layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
    let shapes: Vec<(&LayerSpec, Shape)> = layers
        .iter()
        .filter_map(|layer| Some((layer, (layer.scheme.carrier().bits(), group_size(layer.scheme, layer.cols)?))))
        .collect();
    let mut counts = BTreeMap::<Shape, usize>::new();
    shapes.iter().for_each(|(_, shape)| *counts.entry(*shape).or_default() += 1);
    let Some((all, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
        return Err(Error::config("plan", format!("no layer is quantized that {NAME} can hold; plan at least one")));
    };
    if let Some(layer) = layers.iter().find(|layer| kept.contains(&layer.path)) {
        return Err(Error::config("plan", format!("{} is both quantized and kept", layer.path)));
    }
    let object = |(bits, size): Shape| json!({"group_size": size, "bits": bits.get(), "mode": "affine"});
    let mut config = match object(all) {
        Value::Object(config) => config,
        _ => Map::new(),
    };
    let others = shapes.iter().filter(|(_, shape)| *shape != all);
    config.extend(others.map(|(layer, shape)| (layer.path.clone(), object(*shape))));
    config.extend(kept.iter().map(|path| (path.clone(), false.into())));
    Ok(config.into())
}
