//! Reads layers of a bitsandbytes LLM.int8 model, checking every tensor against the others.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{CODES, NAME, ORDER, SCALES, STEPS, signed};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::layer_tensors::LayerTensors;
use crate::export::{Importer, LayerSpec, Stored, TensorSource};
use crate::io::StoredDtype;
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Bits, Scheme, Span, Zero};

/// The reader of one model.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    threshold: f32,
}

/// Other keys say nothing about 8-bit weights.
#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    load_in_8bit: bool,
    #[serde(default = "six")]
    llm_int8_threshold: f32,
}

/// The package's default.
const fn six() -> f32 {
    super::THRESHOLD
}

impl Reader {
    /// A reader for the model in `folder` with this `quantization_config`.
    ///
    /// # Errors
    /// [`Error::Format`] or [`Error::Unsupported`] that names the field.
    pub fn new(config: &Value, folder: &Path) -> Result<Self> {
        let file = folder.join("config.json");
        let fields: Fields =
            Deserialize::deserialize(config).map_err(|e| Error::format(&file, format!("quantization_config: {e}")))?;
        if !fields.load_in_8bit {
            return Err(Error::Unsupported {
                what: format!("{}: quantization_config.load_in_8bit, which is false", file.display()),
                remedy: "models of 8 bits (LLM.int8) can be read".to_owned(),
            });
        }
        let threshold = fields.llm_int8_threshold;
        if !(threshold >= 0.0 && threshold.is_finite()) {
            let detail = format!("quantization_config.llm_int8_threshold is {threshold}, no number from 0 up");
            return Err(Error::format(file, detail));
        }
        Ok(Self { folder: folder.to_path_buf(), threshold })
    }

    /// The layer at `path`, its codes and scales.
    fn parts<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<(LayerSpec, [Stored<'a>; 2])> {
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let (codes, [rows, cols]) = tensors.matrix(CODES, &[StoredDtype::I8])?;
        let why = format!("{rows} output features");
        let scales = tensors.shaped(SCALES, &[StoredDtype::F32], &[rows], &why)?;
        if let Some(order) = tensors.find(ORDER, &[StoredDtype::U8])?.filter(|order| order.bytes != [0]) {
            return Err(tensors.wrong(format!("{ORDER} is {:?}; 0, row by row, can be read", order.bytes)));
        }
        let scheme = Scheme::new(Bits::new(8)?, Span::Channel, Zero::Symmetric).with_scale_type(Dtype::F32);
        // None are outliers where the threshold is 0.
        let input = match self.threshold {
            0.0 => LayerInput::Tokens,
            threshold => LayerInput::Outliers { threshold, kept: false },
        };
        Ok((LayerSpec { path: path.to_owned(), scheme, rows, cols, input }, [codes, scales]))
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
        let (layer, [codes, scales]) = self.parts(path, source)?;
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let LayerSpec { scheme, rows, cols, .. } = layer;
        let scales = tensors.numbers(SCALES, &scales)?.into_iter().map(|scale| scale / STEPS).collect();
        let codes: Vec<u8> = codes.bytes.iter().map(|code| signed(*code)).collect();
        let codes = Packing::Rows.pack(&codes, rows, cols, scheme.bits())?;
        Ok(PackedTensor { scheme, rows, cols, codes, scales, zeros: None, kept: None })
    }
}
