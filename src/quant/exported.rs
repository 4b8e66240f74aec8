//! A quantized model into another format.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::reencode::Original;
use crate::error::Result;
use crate::export;
use crate::io::Staging;
use crate::progress::Progress;

/// What to write anew and where to put it.
///
/// ```
/// use bitsmith::quant::{ExportRequest, QuantizeRequest, Rtn, RtnConfig, export_model, quantize_model};
/// use bitsmith::{Device, Error, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let (packed, out) = (folder.path().join("packed"), folder.path().join("out"));
/// let rtn = Rtn::new(RtnConfig::default())?;
/// let request = QuantizeRequest::new("examples/tiny-llama", &packed);
/// pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Silent))?;
/// let done = export_model(&ExportRequest::new(&packed, &out, "compressed-tensors"), &mut Silent)?;
/// assert_eq!(done.layers, 4 * 7);
/// let four_bits = export_model(&ExportRequest::new(&packed, folder.path().join("b"), "bitnet"), &mut Silent);
/// assert!(matches!(four_bits, Err(Error::Unsupported { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExportRequest {
    /// Folder of the quantized model, or of a model in floating point whose layers are ternary.
    pub model: PathBuf,
    /// Folder to make.
    pub out: PathBuf,
    /// File format, one of [`export::FORMATS`].
    pub format: String,
    /// Replace an existing model folder.
    pub force: bool,
    /// Refuse what readers of the format would not load, or read with other numbers.
    pub strict: bool,
    /// Largest weight file in bytes.
    pub shard_size: u64,
}

impl ExportRequest {
    /// A request with the default shard size.
    pub fn new(model: impl Into<PathBuf>, out: impl Into<PathBuf>, format: &str) -> Self {
        let (model, out, format) = (model.into(), out.into(), format.to_owned());
        Self { model, out, format, force: false, strict: false, shard_size: 5_000_000_000 }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    /// The format.
    pub format: String,
    /// Number of quantized layers.
    pub layers: usize,
    /// Their weights.
    pub weights: u64,
    /// Their bytes in the files, without biases.
    pub layer_bytes: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Bytes of all tensors before.
    pub original_bytes: u64,
    /// Things a user should know, one a line.
    pub notes: Vec<String>,
}

/// Writes a quantized model in another format. One layer at a time is in memory. The new folder appears under its name only
/// when all of it was read back and found the same.
///
/// # Errors
/// [`Error::Unsupported`](crate::Error::Unsupported) that names the layer which the format cannot hold, or for a model without quantized layers; those
/// of reading and of writing.
pub fn export_model(request: &ExportRequest, progress: &mut dyn Progress) -> Result<Exported> {
    let original = Original::open(&request.model)?;
    let exporter = export::exporter_for(&request.format, original.config())?;
    // Said before a destination is looked at.
    let notes = original.fit(&*exporter, request.strict)?;
    let staging = stage(&request.out, exporter.whole_file(), request.force)?;
    let mut exported = original.written(&*exporter, &staging, request.shard_size, progress)?;
    exported.notes.splice(0..0, notes.into_iter().chain(staging.notes().iter().cloned()));
    staging.commit()?;
    Ok(exported)
}

/// Where a model is to grow that becomes `out`: a folder, or the one file of a format that has such a file, where `out` ends
/// like it.
pub(super) fn stage(out: &Path, whole: Option<&'static str>, force: bool) -> Result<Staging> {
    match whole.filter(|file| is_whole(out, file)) {
        Some(file) => Staging::create_file(out, file, force),
        None => Staging::create(out, force),
    }
}

/// Whether the one file of a format is asked for, and not a folder with it.
pub(super) fn is_whole(out: &Path, file: &str) -> bool {
    out.extension().is_some() && out.extension() == Path::new(file).extension()
}
