//! Reads layers of an MLX model, checking every tensor against the configuration and the others.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::Config;
use super::{BIASES, CODES, NAME, SCALES};
use crate::error::{Error, Result};
use crate::export::layer_tensors::{FLOATS, LayerTensors, bytes_to_words, scale_type};
use crate::export::{DecodedLayer, Importer, LayerSpec, Stored, TensorSource};
use crate::io::StoredDtype;
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Scheme, Span, Zero};
use crate::tensor::Tensor;

/// How far a bias may be from a whole number of steps, in steps: an eighth of the largest error of a code. One that the scale's
/// type cannot tell from a whole number of steps is one too.
const OFF_A_STEP: f32 = 0.0625;

/// The reader of one model.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    config: Config,
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

    /// Paths of all layers.
    fn paths<'a>(&self, source: &'a dyn TensorSource) -> impl Iterator<Item = &'a str> {
        source.names().filter_map(|name| name.strip_suffix(SCALES)?.strip_suffix('.'))
    }

    /// The layer at `path`.
    fn layer<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<Layer<'a>> {
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let Some((bits, size)) = self.config.shape(path) else {
            return Err(tensors.wrong(format!("{SCALES} is there, but the configuration keeps the layer")));
        };
        let (codes, [rows, words]) = tensors.matrix(CODES, &[StoredDtype::U32])?;
        let (scales, [_, per_row]) = tensors.matrix(SCALES, &FLOATS)?;
        let cols = per_row * usize::from(size);
        if rows.checked_mul(cols).is_none() || Packing::Rows.words(1, cols, bits) != words {
            let found =
                format!("{CODES} has {words} words in a row, but {per_row} groups of {size} codes of {bits} bits");
            return Err(tensors.wrong(format!("{found} do not fill them")));
        }
        let why = format!("{rows} x {cols} codes in groups of {size}");
        tensors.shaped(SCALES, &FLOATS, &[rows, per_row], &why)?;
        let biases = tensors.shaped(BIASES, &FLOATS, &[rows, per_row], &why)?;
        // Whether all of them are those of symmetric codes is not looked for.
        let scheme = Scheme::new(bits, Span::Group(size), Zero::Stored).with_scale_type(scale_type(&scales));
        let spec = LayerSpec { path: path.to_owned(), scheme, rows, cols, input: LayerInput::Exact };
        let (scales, biases) = (tensors.numbers(SCALES, &scales)?, tensors.numbers(BIASES, &biases)?);
        Ok(Layer { spec, codes, scales, biases })
    }
}

/// The zero points that biases stand for; none if they are no such numbers.
fn zero_points(scales: &[f32], biases: &[f32], scheme: Scheme) -> Option<Vec<u8>> {
    let largest = f32::from(scheme.bits().max_code());
    let zero = |(scale, bias): (&f32, &f32)| {
        let steps = if *bias == 0.0 { 0.0 } else { -bias / scale };
        let zero = steps.round();
        let whole = (steps - zero).abs() <= OFF_A_STEP || scheme.scale_type().round(-zero * scale) == *bias;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a code")]
        ((0.0..=largest).contains(&zero) && whole).then_some(zero as u8)
    };
    scales.iter().zip(biases).map(zero).collect()
}

/// A layer, its codes, scales and biases.
struct Layer<'a> {
    spec: LayerSpec,
    codes: Stored<'a>,
    scales: Vec<f32>,
    biases: Vec<f32>,
}

impl Layer<'_> {
    /// Its zero points, or why its codes cannot be computed with.
    fn zeros(&self) -> std::result::Result<Vec<u8>, &'static str> {
        let module = self.spec.path.rsplit('.').next().unwrap_or_default();
        if module.contains("embed") || matches!(module, "wte" | "wpe") {
            return Err("embeddings are looked up in floating point");
        }
        zero_points(&self.scales, &self.biases, self.spec.scheme).ok_or("their biases are no whole number of steps")
    }
}

impl Importer for Reader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        let layers = self.paths(source).map(|path| self.layer(path, source));
        layers.filter_map(|layer| layer.map(|layer| layer.zeros().is_ok().then_some(layer.spec)).transpose()).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let layer = self.layer(path, source)?;
        let zeros = layer.zeros().map_err(|reason| Error::Unsupported {
            what: format!("{path} of {}: {reason}", self.folder.display()),
            remedy: "it can be read in floating point".to_owned(),
        })?;
        let LayerSpec { scheme, rows, cols, .. } = layer.spec;
        let codes = bytes_to_words(layer.codes.bytes);
        Ok(PackedTensor { scheme, rows, cols, codes, scales: layer.scales, zeros: Some(zeros), kept: None })
    }

    fn decoded(&self, source: &dyn TensorSource) -> Result<Vec<DecodedLayer>> {
        let layers = self.paths(source).map(|path| self.layer(path, source));
        let decoded = |layer: Layer<'_>| layer.zeros().err().map(|reason| DecodedLayer { layer: layer.spec, reason });
        layers.filter_map(|layer| layer.map(decoded).transpose()).collect()
    }

    fn values(&self, path: &str, source: &dyn TensorSource) -> Result<Tensor<'static>> {
        let Layer { spec: LayerSpec { scheme, rows, cols, .. }, codes, scales, biases } = self.layer(path, source)?;
        let codes = Packing::Rows.unpack(&bytes_to_words(codes.bytes), rows, cols, scheme.bits())?;
        let groups = codes.chunks(scheme.groups(rows, cols).size()).zip(scales.iter().zip(&biases));
        let values =
            groups.flat_map(|(codes, (scale, bias))| codes.iter().map(move |code| scale * f32::from(*code) + bias));
        Tensor::from_f32(vec![rows, cols], &values.collect::<Vec<f32>>())
    }
}
