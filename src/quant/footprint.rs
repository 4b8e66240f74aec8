//! What layers take in files, before they are written.

use super::LinearLayer;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::{Exporter, Fit, LayerSpec};
use crate::io::Checkpoint;
use crate::op::LayerInput;
use crate::scheme::Scheme;

/// The layers of a model that are to be quantized, and the real bytes that a file format makes of each.
///
/// ```
/// use bitsmith::io::Checkpoint;
/// use bitsmith::quant::{Footprint, Skip, linear_layers};
/// let checkpoint = Checkpoint::open("examples/tiny-llama".as_ref())?;
/// let mut skip = Skip::new(&["down_proj".to_owned()])?;
/// let layers = linear_layers(&checkpoint, &serde_json::json!({}), &mut skip);
/// let exporter = bitsmith::export::exporter("compressed-tensors")?;
/// let footprint = Footprint::new(&checkpoint, &layers, &*exporter, |layer| !layer.kept)?;
/// assert_eq!(footprint.layers().len(), 4 * 6);
/// let layer = &footprint.layers()[0];
/// assert!(footprint.bytes(layer, "w2g32s".parse()?) < footprint.bytes(layer, "w8g32s".parse()?));
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub struct Footprint<'a> {
    layers: Vec<SizedLayer>,
    size: ModelSize,
    exporter: &'a dyn Exporter,
}

/// A linear layer that is to be quantized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizedLayer {
    /// Module path.
    pub path: String,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// Type of its weight in the file.
    pub dtype: Dtype,
    /// Whether its weight is stored `[in, out]`.
    pub conv1d: bool,
}

/// How large a model is, apart from the layers that are to be quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSize {
    /// Bytes of all tensors of the original.
    pub original_bytes: u64,
    /// Bytes of the tensors that are kept.
    pub kept_bytes: u64,
    /// Weights of the layers that are to be quantized.
    pub weights: u64,
}

impl<'a> Footprint<'a> {
    /// Of the layers of a checkpoint that `quantized` picks.
    ///
    /// # Errors
    /// [`Error::Shape`] for a weight that is not in floating point.
    pub fn new(
        checkpoint: &Checkpoint,
        layers: &[LinearLayer],
        exporter: &'a dyn Exporter,
        quantized: impl Fn(&LinearLayer) -> bool,
    ) -> Result<Self> {
        let original_bytes = checkpoint.total_bytes();
        let mut size = ModelSize { original_bytes, kept_bytes: original_bytes, weights: 0 };
        let mut sized = Vec::new();
        for layer in layers.iter().filter(|layer| quantized(layer)) {
            let LinearLayer { path, rows, cols, conv1d, .. } = layer.clone();
            let info = checkpoint.info(&format!("{path}.weight"));
            let dtype = info.and_then(|info| info.dtype.dtype()).ok_or_else(|| Error::Shape {
                op: "quantize",
                expected: format!("{path}.weight in floating point"),
                found: info.map_or_else(|| "nothing".to_owned(), |info| info.dtype.to_string()),
            })?;
            size.kept_bytes -= info.map_or(0, |info| info.bytes() as u64);
            size.weights += (rows * cols) as u64;
            sized.push(SizedLayer { path, rows, cols, dtype, conv1d });
        }
        Ok(Self { layers: sized, size, exporter })
    }

    /// The layers to quantize, in the order of the checkpoint.
    pub fn layers(&self) -> &[SizedLayer] {
        &self.layers
    }

    /// The layer at a path, if it is to be quantized.
    pub fn layer(&self, path: &str) -> Option<&SizedLayer> {
        self.layers.iter().find(|layer| layer.path == path)
    }

    /// How large the model is.
    pub fn size(&self) -> ModelSize {
        self.size
    }

    /// Bytes that a layer takes in the file: codes, scales, zero points, and what else the format writes of it. None where
    /// the format has no room for the scheme.
    pub fn bytes(&self, layer: &SizedLayer, scheme: Scheme) -> Option<u64> {
        let SizedLayer { path, rows, cols, dtype, .. } = layer;
        let spec = LayerSpec { path: path.clone(), scheme, rows: *rows, cols: *cols, input: LayerInput::Exact };
        if let Fit::Refused(_) = self.exporter.fit(&spec) {
            return None;
        }
        self.exporter.tensors(&spec, *dtype).ok()?.iter().map(|tensor| tensor.bytes().ok()).sum()
    }
}
