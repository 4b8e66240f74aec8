//! Reads layers in GPTQ's layout, checking every tensor against the configuration and the others.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::Config;
use super::{CODES, GROUP_INDEX, NAME, SCALES, ZEROS, plus_one};
use crate::error::Result;
use crate::export::layer_tensors::{FLOATS, LayerTensors, bytes_to_words, scale_type, transposed};
use crate::export::{Importer, LayerSpec, Stored, TensorSource};
use crate::io::StoredDtype;
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Scheme, Span, Zero};

/// Words, whatever a reader takes the highest bit for.
const WORDS: [StoredDtype; 2] = [StoredDtype::I32, StoredDtype::U32];

/// The reader of one model.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    config: Config,
}

/// The tensors of a layer, checked against each other.
struct Parts<'a> {
    layer: LayerSpec,
    codes: Stored<'a>,
    zeros: Stored<'a>,
    scales: Stored<'a>,
}

impl Reader {
    /// A reader for the model in `folder` with this `quantization_config`.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) or [`Error::Unsupported`](crate::Error::Unsupported) that names the field.
    pub fn new(config: &Value, folder: &Path) -> Result<Self> {
        let config = Config::read(config, &folder.join("config.json"))?;
        Ok(Self { folder: folder.to_path_buf(), config })
    }

    fn parts<'a>(&self, path: &str, source: &'a dyn TensorSource) -> Result<Parts<'a>> {
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let Some(shape) = self.config.shape(path) else {
            return Err(tensors.wrong(format!("{CODES} is there, but `dynamic` keeps the layer")));
        };
        let bits = shape.bits;
        let (codes, [words, rows]) = tensors.matrix(CODES, &WORDS)?;
        let cols = words * 32 / usize::from(bits.get());
        if rows.checked_mul(cols).is_none() || Packing::Columns.words(cols, 1, bits) != words {
            return Err(
                tensors.wrong(format!("{CODES} has {words} rows of words, which hold no whole codes of {bits} bits"))
            );
        }
        let per_row = match shape.span {
            Span::Group(size) => cols.div_ceil(size.into()),
            Span::Channel | Span::Tensor => 1,
        };
        let why = format!("{cols} x {rows} codes of {bits} bits in groups of {}", shape.span);
        let scales = tensors.shaped(SCALES, &FLOATS, &[per_row, rows], &why)?;
        let zeros = tensors.shaped(ZEROS, &WORDS, &[per_row, Packing::Rows.words(1, rows, bits)], &why)?;
        let mut input = LayerInput::Exact;
        if let Some(index) = tensors.find(GROUP_INDEX, &WORDS)? {
            if index.shape != [cols] {
                return Err(tensors.wrong(format!("{GROUP_INDEX} has shape {:?}; {why} make it [{cols}]", index.shape)));
            }
            let size = if let Span::Group(size) = shape.span { size.into() } else { cols };
            let columns = by_group(&bytes_to_words(index.bytes), size).map_err(|detail| tensors.wrong(detail))?;
            input = columns.map_or(input, |columns| LayerInput::Ordered { columns, then: Box::default() });
        }
        let zero = if self.config.symmetric { Zero::Symmetric } else { Zero::Stored };
        let scheme = Scheme::new(bits, shape.span, zero).with_scale_type(scale_type(&scales));
        let layer = LayerSpec { path: path.to_owned(), scheme, rows, cols, input };
        Ok(Parts { layer, codes, zeros, scales })
    }
}

/// The columns by their groups, those of a group in the order of the file; none if they are so already. `Err` says which
/// group has not as many columns as it should.
fn by_group(index: &[u32], size: usize) -> std::result::Result<Option<Vec<u32>>, String> {
    let mut columns: Vec<u32> = (0..).take(index.len()).collect();
    columns.sort_by_key(|column| index[*column as usize]);
    if let Some(at) = (0..index.len()).find(|at| index[columns[*at] as usize] as usize != at / size) {
        let (found, group) = (index[columns[at] as usize], at / size);
        return Err(format!(
            "{GROUP_INDEX} has a column in group {found} where {size} columns a group leave one to {group}"
        ));
    }
    Ok((!columns.is_sorted()).then_some(columns))
}

impl Importer for Reader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, source: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        let end = format!(".{CODES}");
        let paths = source.names().filter_map(|name| name.strip_suffix(&end));
        paths.map(|path| Ok(self.parts(path, source)?.layer)).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let Parts { layer, codes, zeros, scales } = self.parts(path, source)?;
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let LayerSpec { scheme, rows, cols, input, .. } = layer;
        let (bits, per_row) = (scheme.bits(), scales.shape[0]);
        let scales = transposed(&tensors.numbers(SCALES, &scales)?, per_row, rows);
        let mut codes = Packing::Columns.unpack(&bytes_to_words(codes.bytes), cols, rows, bits)?;
        if let Some(columns) = input.columns() {
            codes = columns.iter().flat_map(|column| &codes[*column as usize * rows..][..rows]).copied().collect();
        }
        let codes = Packing::Rows.pack(&transposed(&codes, cols, rows), rows, cols, bits)?;
        let zeros = Packing::Rows.unpack(&bytes_to_words(zeros.bytes), per_row, rows, bits)?;
        let mut zeros = transposed(&zeros, per_row, rows);
        if !self.config.version_2 {
            zeros.iter_mut().for_each(|zero| *zero = plus_one(*zero, bits));
        }
        if scheme.is_symmetric() {
            if let Some(zero) = zeros.iter().find(|zero| **zero != bits.middle()) {
                let version = if self.config.version_2 { "gptq_v2" } else { "gptq" };
                let detail = format!(
                    "{ZEROS} holds a zero point of {zero}, but the configuration says symmetric, {}; correct `sym`, or \
                     `checkpoint_format`, which is {version}",
                    bits.middle()
                );
                return Err(tensors.wrong(detail));
            }
            return Ok(PackedTensor { scheme, rows, cols, codes, scales, zeros: None, kept: None });
        }
        Ok(PackedTensor { scheme, rows, cols, codes, scales, zeros: Some(zeros), kept: None })
    }
}
