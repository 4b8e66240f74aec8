//! Reads layers of a bitnet model, checking every tensor against the configuration and the others.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::{Class, Config};
use super::{NAME, SCALE, WEIGHT, is_end, is_scale, matrix, pack, scheme, tensor_name};
use crate::error::{Error, Result};
use crate::export::{Importer, LayerSpec, Stored, TensorSource, file_of};
use crate::io::StoredDtype;
use crate::op::LayerInput;
use crate::pack::{PackedTensor, blocked_rows};
use crate::tensor::Tensor;

/// The reader of one model.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    config: Config,
}

/// The weight of a layer as the file holds it.
enum Weight<'a> {
    /// Packed codes.
    Packed(&'a [u8]),
    /// -1, 0 and 1 in floating point.
    Levels(Tensor<'a>),
    /// Any numbers, quantized when they are used.
    Master(Tensor<'a>),
}

impl Reader {
    /// A reader for the model in `folder` with this `quantization_config`.
    ///
    /// # Errors
    /// [`Error::Format`] or [`Error::Unsupported`] that names the field.
    pub fn new(config: &Value, folder: &Path) -> Result<Self> {
        let config = Config::read(config, &folder.join("config.json"))?;
        Ok(Self { folder: folder.to_path_buf(), config })
    }

    fn malformed(&self, path: &str, source: &dyn TensorSource, detail: &str) -> Error {
        Error::format(file_of(source, path).unwrap_or(&self.folder), format!("{path}.{detail}"))
    }

    /// The layer at `path` and its weight; none if it is not of the format.
    fn layer<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<Option<(LayerSpec, Weight<'a>)>> {
        let wrong = |detail: String| Err(self.malformed(path, source, &detail));
        let Some(stored) = source.find(&tensor_name(path, WEIGHT))? else { return Ok(None) };
        let scale = source.find(&tensor_name(path, SCALE))?;
        let spec =
            |rows, cols| LayerSpec { path: path.to_owned(), scheme: scheme(), rows, cols, input: LayerInput::Tokens };
        if stored.dtype != StoredDtype::U8.name() {
            let Some(weight) = matrix(&stored).filter(|_| !self.config.keeps(path)) else { return Ok(None) };
            let layer = spec(weight.rows(), weight.cols());
            return match (self.config.class, scale) {
                (Class::Online, _) if !is_end(path) => Ok(Some((layer, Weight::Master(weight)))),
                (Class::AutoBitLinear, Some(_)) => {
                    self.check_bias(path, source)?;
                    Ok(Some((layer, Weight::Levels(weight))))
                }
                (Class::BitLinear, Some(_)) => {
                    wrong(format!("{WEIGHT} is {}; beside {SCALE} it should be packed, U8", stored.dtype))
                }
                _ => Ok(None),
            };
        }
        if self.config.keeps(path) {
            return wrong(format!("{WEIGHT} is packed, but modules_to_not_convert names the layer"));
        }
        if self.config.class == Class::Online {
            return wrong(format!("{WEIGHT} is packed, but quantization_mode is online"));
        }
        let Stored { shape, bytes, .. } = stored;
        let [packed, cols] = shape[..] else {
            return wrong(format!("{WEIGHT} is packed and should have two axes, but has shape {shape:?}"));
        };
        let rows = packed.checked_mul(4).filter(|rows| rows.checked_mul(cols).is_some());
        let Some(rows) = rows.filter(|rows| *rows > 0 && cols > 0 && bytes.len() == packed * cols) else {
            return wrong(format!("{WEIGHT} has {} bytes, which is no weight of shape {shape:?}", bytes.len()));
        };
        self.scale_at(path, source)?;
        self.check_bias(path, source)?;
        Ok(Some((spec(rows, cols), Weight::Packed(bytes))))
    }

    /// The one value of `weight_scale`, whatever it is.
    fn scale_at(&self, path: &str, source: &dyn TensorSource) -> Result<f32> {
        let Some(stored) = source.find(&tensor_name(path, SCALE))? else {
            return Err(self.malformed(path, source, &format!("{SCALE} is missing: the weight is packed")));
        };
        let dtype = StoredDtype::from_name(stored.dtype).and_then(StoredDtype::dtype);
        let one = stored.shape.iter().all(|extent| *extent == 1);
        match dtype.filter(|dtype| one && stored.bytes.len() == dtype.bytes()) {
            Some(dtype) => Ok(dtype.decode(stored.bytes)[0]),
            None => {
                let found = format!("{} of shape {:?}", stored.dtype, stored.shape);
                let detail = format!("{SCALE} should be one F32, F16 or BF16, but is {found}");
                Err(self.malformed(path, source, &detail))
            }
        }
    }

    /// What a step of the layer's codes is.
    fn scale(&self, path: &str, source: &dyn TensorSource) -> Result<f32> {
        let stored = self.scale_at(path, source)?;
        let scale = if self.config.class == Class::BitLinear { 1.0 / stored } else { stored };
        if is_scale(stored) && is_scale(scale) {
            return Ok(scale);
        }
        Err(self.malformed(path, source, &format!("{SCALE} is {stored}; it must be a positive finite number")))
    }

    /// Readers multiply the bias of an `autobitlinear` layer with the scale of its weight.
    fn check_bias(&self, path: &str, source: &dyn TensorSource) -> Result<()> {
        let bias = source.find(&tensor_name(path, "bias"))?;
        match bias.filter(|bias| self.config.class == Class::AutoBitLinear && bias.bytes.iter().any(|b| *b != 0)) {
            None => Ok(()),
            Some(_) => Err(Error::Unsupported {
                what: format!("{path}.bias with linear_class autobitlinear in {}", self.folder.display()),
                remedy: "models of linear_class bitlinear can have biases".to_owned(),
            }),
        }
    }
}

/// A weight quantized as its readers do whenever they use it: in units of its mean magnitude.
fn quantized(weight: &Tensor<'_>) -> Option<PackedTensor> {
    /// Smaller means count as this.
    const SMALLEST_MEAN: f64 = 1e-5;
    let sum = |row| weight.rows_in(row..row + 1).to_f32().iter().map(|w| f64::from(w.abs())).sum::<f64>();
    let mean = (0..weight.rows()).map(sum).sum::<f64>() / weight.len() as f64;
    #[allow(clippy::cast_possible_truncation, reason = "the precision of scales")]
    let scale = 1.0 / mean.max(SMALLEST_MEAN) as f32;
    pack(weight, 1.0 / scale, |w| (w * scale).round_ties_even().clamp(-1.0, 1.0))
}

impl Importer for Reader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        let paths = source.names().filter_map(|name| name.strip_suffix(".weight"));
        paths.filter_map(|path| self.layer(path, source).map(|found| Some(found?.0)).transpose()).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let Some((layer, weight)) = self.layer(path, source)? else {
            return Err(self.malformed(path, source, &format!("{WEIGHT} is missing or kept")));
        };
        match weight {
            Weight::Packed(bytes) => {
                let scale = self.scale(path, source)?;
                let codes = blocked_rows::unpack(bytes, layer.rows, layer.cols)
                    .map_err(|error| self.malformed(path, source, &format!("{WEIGHT}: {error}")))?;
                let LayerSpec { scheme, rows, cols, .. } = layer;
                Ok(PackedTensor { scheme, rows, cols, codes, scales: vec![scale], zeros: None, kept: None })
            }
            Weight::Levels(levels) => pack(&levels, self.scale(path, source)?, |t| t)
                .ok_or_else(|| self.malformed(path, source, &format!("{WEIGHT} holds other numbers than -1, 0 and 1"))),
            Weight::Master(weight) => quantized(&weight)
                .ok_or_else(|| self.malformed(path, source, &format!("{WEIGHT} holds a NaN or an infinity"))),
        }
    }
}
