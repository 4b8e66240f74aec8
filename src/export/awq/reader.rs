//! Reads layers of an AWQ model, checking every tensor against the configuration and the others.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{CODES, NAME, PER_WORD, SCALES, ZEROS, unpack};
use crate::error::{Error, Result};
use crate::export::layer_tensors::{FLOATS, LayerTensors, bytes_to_words, scale_type, transposed};
use crate::export::{Importer, LayerSpec, Stored, TensorSource};
use crate::io::StoredDtype;
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Bits, Scheme, Span, Zero};

/// Words, whatever a reader takes the highest bit for.
const WORDS: [StoredDtype; 2] = [StoredDtype::I32, StoredDtype::U32];

/// The reader of one model.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    group_size: u16,
    /// Whether zero points are looked at.
    zeros: bool,
}

/// Under the names of newer and of older files; other keys say nothing about the weights.
#[derive(Deserialize)]
struct Fields {
    #[serde(alias = "w_bit")]
    bits: u8,
    #[serde(alias = "q_group_size")]
    group_size: i64,
    #[serde(default = "yes")]
    zero_point: bool,
    version: Option<String>,
}

const fn yes() -> bool {
    true
}

impl Reader {
    /// A reader for the model in `folder` with this `quantization_config`.
    ///
    /// # Errors
    /// [`Error::Format`] or [`Error::Unsupported`] that names the field.
    pub fn new(config: &Value, folder: &Path) -> Result<Self> {
        let file = folder.join("config.json");
        let wrong = |name: &str, found: &str, remedy: &str| Error::Unsupported {
            what: format!("{}: quantization_config.{name} `{found}`", file.display()),
            remedy: remedy.to_owned(),
        };
        let fields: Fields =
            Deserialize::deserialize(config).map_err(|e| Error::format(&file, format!("quantization_config: {e}")))?;
        if fields.bits != 4 {
            return Err(wrong("bits", &fields.bits.to_string(), "4 bits can be read"));
        }
        if let Some(version) = fields.version.filter(|version| !version.eq_ignore_ascii_case("gemm")) {
            return Err(wrong("version", &version, "the layout of GEMM can be read"));
        }
        let size = usize::try_from(fields.group_size).ok().and_then(|size| Span::group(size).ok());
        let Some(Span::Group(group_size)) = size else {
            return Err(wrong("group_size", &fields.group_size.to_string(), "groups of 16 to 1024 can be read"));
        };
        Ok(Self { folder: folder.to_path_buf(), group_size, zeros: fields.zero_point })
    }

    /// The layer at `path`, its codes, zero points and scales.
    fn parts<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<(LayerSpec, [Stored<'a>; 3])> {
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let (codes, [cols, words]) = tensors.matrix(CODES, &WORDS)?;
        let size = usize::from(self.group_size);
        let Some(rows) = words.checked_mul(PER_WORD).filter(|rows| rows.checked_mul(cols).is_some()) else {
            return Err(tensors.wrong(format!("{CODES} has shape [{cols}, {words}], which is too large")));
        };
        let per_row = cols.div_ceil(size);
        let why = format!("{cols} x {rows} codes in groups of {size}");
        let zeros = tensors.shaped(ZEROS, &WORDS, &[per_row, words], &why)?;
        let scales = tensors.shaped(SCALES, &FLOATS, &[per_row, rows], &why)?;
        let zero = if self.zeros { Zero::Stored } else { Zero::Symmetric };
        let bits = Bits::new(4)?;
        let scheme = Scheme::new(bits, Span::Group(self.group_size), zero).with_scale_type(scale_type(&scales));
        Ok((LayerSpec { path: path.to_owned(), scheme, rows, cols, input: LayerInput::Exact }, [codes, zeros, scales]))
    }
}

impl Importer for Reader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        let end = format!(".{CODES}");
        let paths = source.names().filter_map(|name| name.strip_suffix(&end));
        paths.map(|path| Ok(self.parts(path, source)?.0)).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let (layer, [codes, zeros, scales]) = self.parts(path, source)?;
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let LayerSpec { scheme, rows, cols, .. } = layer;
        let per_row = scales.shape[0];
        let scales = transposed(&tensors.numbers(SCALES, &scales)?, per_row, rows);
        let codes = transposed(&unpack(&bytes_to_words(codes.bytes)), cols, rows);
        let codes = Packing::Rows.pack(&codes, rows, cols, scheme.bits())?;
        let zeros = self.zeros.then(|| transposed(&unpack(&bytes_to_words(zeros.bytes)), per_row, rows));
        Ok(PackedTensor { scheme, rows, cols, codes, scales, zeros, kept: None })
    }
}
