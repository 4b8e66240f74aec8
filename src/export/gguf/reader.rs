//! Reads layers whose blocks are codes of this crate.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::encode::minimum;
use super::{NAME, WEIGHT};
use crate::error::{Error, Result};
use crate::export::layer_tensors::{LayerTensors, tensor_name};
use crate::export::{Importer, LayerSpec, Stored, TensorSource};
use crate::io::{GgufArchitecture, StoredDtype, gguf_rows};
use crate::op::LayerInput;
use crate::pack::{BlockType, BlockWeights, PackedTensor};
use crate::scheme::{Bits, Scheme, Span, Zero};
use crate::tensor::QuantizedTensor;

/// The reader of one model.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    /// Heads that share the rows of queries and of keys, where these are in the order of rotary pairs.
    heads: Option<[usize; 2]>,
    input: LayerInput,
}

/// Ends of the paths of matrices that are looked up, not multiplied with.
const TABLES: [&str; 3] = ["embed_tokens", "wte", "wpe"];

impl Reader {
    /// A reader for the model at `folder` with this `quantization_config`, which no file holds: it says what of the settings
    /// of a GGUF file decides how its layers are read.
    ///
    /// # Errors
    /// [`Error::Format`] that names the field.
    pub fn new(config: &Value, folder: &Path) -> Result<Self> {
        let heads = |field: &str| match config.get(field) {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) {
                Some(heads) => Ok(Some(heads)),
                None => Err(Error::format(folder, format!("`{field}` is {value}; it must be a number of heads"))),
            },
        };
        let heads = heads("heads")?.zip(heads("key_value_heads")?).map(|(heads, kv_heads)| [heads, kv_heads]);
        let bitnet = config["architecture"].as_str() == Some(GgufArchitecture::Bitnet.name());
        let input = if bitnet { LayerInput::Tokens } else { LayerInput::Exact };
        Ok(Self { folder: folder.to_path_buf(), heads, input })
    }

    fn tensors<'l, 'a>(&'l self, path: &'l str, source: &'a dyn TensorSource) -> LayerTensors<'l, 'a> {
        LayerTensors { folder: &self.folder, path, source }
    }

    /// The weight of a layer, if its blocks can be codes.
    fn stored<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<Option<(Stored<'a>, BlockType)>> {
        let Some(found) = source.find(&tensor_name(path, WEIGHT))? else { return Ok(None) };
        let Some(dtype) = StoredDtype::from_name(found.dtype).filter(|dtype| dtype.block().is_some()) else {
            return Ok(None);
        };
        if TABLES.contains(&path.rsplit('.').next().unwrap_or(path)) {
            return Ok(None);
        }
        let (stored, _) = self.tensors(path, source).matrix(WEIGHT, &[dtype])?;
        Ok(dtype.block().map(|block| (stored, block)))
    }

    /// The scheme of a layer, if its blocks are codes.
    fn scheme(stored: &Stored<'_>, block: BlockType) -> Result<Option<Scheme>> {
        let scheme = |bits, group, zero| Ok(Some(Scheme::new(bits, Span::group(group)?, zero)));
        match block {
            BlockType::Q4_0 => scheme(Bits::new(4)?, 32, Zero::Symmetric),
            BlockType::Q8_0 => scheme(Bits::new(8)?, 32, Zero::Symmetric),
            BlockType::TQ1_0 | BlockType::TQ2_0 => scheme(Bits::TERNARY, 256, Zero::Symmetric),
            // Any minimum is possible; those of zero points are told by looking at all of them.
            BlockType::Q4_1 => match zeros(stored.bytes)? {
                Some(_) => scheme(Bits::new(4)?, 32, Zero::Stored),
                None => Ok(None),
            },
            BlockType::Q2_K => Ok(None),
        }
    }

    fn layer(&self, path: &str, source: &dyn TensorSource) -> Result<Option<LayerSpec>> {
        let Some((stored, block)) = self.stored(path, source)? else { return Ok(None) };
        let Some(scheme) = Self::scheme(&stored, block)? else { return Ok(None) };
        let (rows, cols) = (stored.shape[0], stored.shape[1]);
        Ok(Some(LayerSpec { path: path.to_owned(), scheme, rows, cols, input: self.input.clone() }))
    }

    /// The heads that share the rows of a layer.
    fn heads_of(&self, path: &str) -> Option<usize> {
        let [heads, kv_heads] = self.heads?;
        match path.rsplit('.').next() {
            Some("q_proj") => Some(heads),
            Some("k_proj") => Some(kv_heads),
            _ => None,
        }
    }
}

/// The zero point of each block of `Q4_1` whose minimum is that of one; none if one of them is not.
fn zeros(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut zeros = Vec::with_capacity(bytes.len() / BlockType::Q4_1.bytes());
    for block in bytes.chunks_exact(BlockType::Q4_1.bytes()) {
        let BlockWeights { scales, minima, .. } = BlockType::Q4_1.unpack(block)?;
        let (scale, low) = (scales[0], minima[0]);
        let steps = if scale == 0.0 { 0.0 } else { (-low / scale).round() };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is compared")]
        let zero = steps as u8;
        if zero > 15 || minimum(scale, zero) != low {
            return Ok(None);
        }
        zeros.push(zero);
    }
    Ok(Some(zeros))
}

impl Importer for Reader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        let paths = source.names().filter_map(|name| name.strip_suffix(".weight"));
        paths.filter_map(|path| self.layer(path, source).transpose()).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let tensors = self.tensors(path, source);
        let missing = || tensors.wrong(format!("{WEIGHT} is missing or holds no blocks of codes"));
        let (stored, block) = self.stored(path, source)?.ok_or_else(missing)?;
        let scheme = Self::scheme(&stored, block)?.ok_or_else(missing)?;
        let (rows, cols) = (stored.shape[0], stored.shape[1]);
        let no_blocks = |error: Error| tensors.wrong(format!("{WEIGHT}: {error}"));
        let ordered = match self.heads_of(path) {
            Some(heads) => gguf_rows::to_family(stored.bytes, rows, heads).map_err(no_blocks)?.into(),
            None => std::borrow::Cow::Borrowed(stored.bytes),
        };
        let BlockWeights { codes, scales, .. } = block.unpack(&ordered).map_err(no_blocks)?;
        if let Some((at, scale)) = scales.iter().enumerate().find(|(_, scale)| !scale.is_finite()) {
            return Err(tensors.wrong(format!("{WEIGHT}: the scale of block {at} is {scale}")));
        }
        let zeros = if block == BlockType::Q4_1 { zeros(&ordered)? } else { None };
        Ok(PackedTensor::pack(&QuantizedTensor::new(scheme, rows, cols, codes, scales, zeros)?))
    }
}
