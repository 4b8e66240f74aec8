//! The tensors of a quantized model, those of a layer taken together.

use crate::export::{DecodedLayer, LayerSpec};
use crate::io::TensorInfo;

/// What becomes of a tensor, or of several.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// It stays as it is.
    Kept(&'a TensorInfo),
    /// They are a layer that is written anew.
    Layer(&'a LayerSpec),
    /// They are a layer that is written in floating point.
    Decoded(&'a DecodedLayer),
}

impl Part<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Kept(info) => &info.name,
            Self::Layer(layer) => &layer.path,
            Self::Decoded(decoded) => &decoded.layer.path,
        }
    }
}
