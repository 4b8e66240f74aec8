//! Ternary layers in floating point, as training leaves them: no configuration tells of them, their values do.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{NAME, is_end, is_scale, matrix, pack, scheme, tensor_name};
use crate::error::{Error, Result};
use crate::export::{Importer, LayerSpec, TensorSource, file_of};
use crate::io::is_conv1d;
use crate::op::LayerInput;
use crate::pack::PackedTensor;
use crate::tensor::Tensor;

/// A reader that takes each matrix of exactly the values -s, 0 and s for a ternary layer of scale s.
#[derive(Debug)]
pub struct Unpacked {
    folder: PathBuf,
    /// The whole config.json.
    config: Value,
}

impl Unpacked {
    /// A reader for the model in `folder` with this `config.json`.
    pub fn new(config: &Value, folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), config: config.clone() }
    }

    /// The weight of a linear layer, and its scale if it is ternary.
    fn ternary<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<Option<(Tensor<'a>, f32)>> {
        if is_end(path) || is_conv1d(&self.config, path) {
            return Ok(None);
        }
        let stored = source.find(&tensor_name(path, super::WEIGHT))?;
        Ok(stored.and_then(|stored| matrix(&stored)).and_then(|weight| level(&weight).map(|scale| (weight, scale))))
    }
}

/// The magnitude that all values have that are not 0, if there is one. One row is decoded at a time.
fn level(weight: &Tensor<'_>) -> Option<f32> {
    let mut level = None;
    for row in 0..weight.rows() {
        for value in weight.rows_in(row..row + 1).to_f32() {
            let magnitude = value.abs();
            if magnitude != 0.0 && *level.get_or_insert(magnitude) != magnitude {
                return None;
            }
        }
    }
    level.filter(|level| is_scale(*level))
}

impl Importer for Unpacked {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        let paths = source.names().filter_map(|name| name.strip_suffix(".weight"));
        let layer = |path: &str| {
            let found = self.ternary(path, source)?;
            let spec = |(weight, _): (Tensor<'_>, f32)| LayerSpec {
                path: path.to_owned(),
                scheme: scheme(),
                rows: weight.rows(),
                cols: weight.cols(),
                input: LayerInput::Tokens,
            };
            Ok(found.map(spec))
        };
        paths.filter_map(|path| layer(path).transpose()).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let found = self.ternary(path, source)?;
        let packed = found.and_then(|(weight, scale)| pack(&weight, scale, |w| w / scale));
        packed.ok_or_else(|| {
            let file = file_of(source, path).unwrap_or(&self.folder);
            Error::format(file, format!("{path}.weight holds other values than -s, 0 and s"))
        })
    }
}
