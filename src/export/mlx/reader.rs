//! Reads layers of an MLX model, checking every tensor against the configuration and the others.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::Config;
use super::{BIASES, CODES, NAME, SCALES};
use crate::error::{Error, Result};
use crate::export::layer_tensors::{FLOATS, LayerTensors, bytes_to_words, scale_type};
use crate::export::{Importer, LayerSpec, Stored, TensorSource};
use crate::io::StoredDtype;
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Scheme, Span, Zero};

/// How far a bias may be from a whole number of steps, in steps: what rounding it to bf16 does to the zero point of 8 bits.
const OFF_A_STEP: f32 = 0.5;

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

    /// The layer at `path`, its codes, scales and biases.
    fn parts<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<(LayerSpec, [Stored<'a>; 3])> {
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
        // Whether all biases are those of symmetric codes cannot be known before they are read.
        let scheme = Scheme::new(bits, Span::Group(size), Zero::Stored).with_scale_type(scale_type(&scales));
        Ok((LayerSpec { path: path.to_owned(), scheme, rows, cols, input: LayerInput::Exact }, [codes, scales, biases]))
    }
}

impl Importer for Reader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        let end = format!(".{SCALES}");
        let paths = source.names().filter_map(|name| name.strip_suffix(&end));
        paths.map(|path| Ok(self.parts(path, source)?.0)).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let (layer, [codes, scales, biases]) = self.parts(path, source)?;
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let LayerSpec { scheme, rows, cols, .. } = layer;
        let scales = tensors.numbers(SCALES, &scales)?;
        let biases = tensors.numbers(BIASES, &biases)?;
        let mut zeros = Vec::with_capacity(scales.len());
        for (at, (scale, bias)) in scales.iter().zip(&biases).enumerate() {
            let steps = if *bias == 0.0 { 0.0 } else { -bias / scale };
            let zero = steps.round();
            if !(0.0..=f32::from(scheme.bits().max_code())).contains(&zero) || (steps - zero).abs() >= OFF_A_STEP {
                return Err(Error::Unsupported {
                    what: format!("{path}.{BIASES} {at} of {}: {bias} at a scale of {scale}", self.folder.display()),
                    remedy: "a bias must be a code's worth of steps".to_owned(),
                });
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a code")]
            zeros.push(zero as u8);
        }
        Ok(PackedTensor {
            scheme,
            rows,
            cols,
            codes: bytes_to_words(codes.bytes),
            scales,
            zeros: Some(zeros),
            kept: None,
        })
    }
}
