//! The bytes of a layer.

use super::super::LayerSpec;
use super::requantise::super_blocks;
use super::types::Choice;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::gguf_rows;
use crate::pack::{BlockType, BlockWeights, PackedTensor};
use crate::tensor::QuantizedTensor;

/// The rows of a layer in the type that was chosen; with `heads` in the order of rotary pairs.
pub(super) fn encode(
    layer: &LayerSpec,
    weight: &PackedTensor,
    choice: &Choice,
    heads: Option<usize>,
) -> Result<Vec<u8>> {
    let tensor = choice.widened(weight.clone())?.unpack()?;
    let bytes = match choice.dtype.block() {
        None => halves(layer, &tensor)?,
        Some(BlockType::Q2_K) => super_blocks(&tensor),
        Some(block) => blocks(layer, &tensor, block)?,
    };
    match heads {
        Some(heads) => gguf_rows::to_file(&bytes, layer.rows, heads),
        None => Ok(bytes),
    }
}

fn beyond(layer: &LayerSpec, what: &str, value: f32) -> Error {
    Error::Unsupported {
        what: format!("{} in {}: {what} {value}, beyond what f16 holds,", layer.path, super::NAME),
        remedy: "keep the layer as it is (--skip)".to_owned(),
    }
}

fn halves(layer: &LayerSpec, tensor: &QuantizedTensor) -> Result<Vec<u8>> {
    let values = tensor.dequantize();
    match values.iter().find(|value| !Dtype::F16.round(**value).is_finite()) {
        Some(value) => Err(beyond(layer, "a weight of", *value)),
        None => Ok(Dtype::F16.encode(&values)),
    }
}

fn blocks(layer: &LayerSpec, tensor: &QuantizedTensor, block: BlockType) -> Result<Vec<u8>> {
    let groups = tensor.groups();
    let mut weights = BlockWeights { codes: tensor.codes().to_vec(), ..BlockWeights::default() };
    for row in 0..tensor.rows() {
        for col in (0..tensor.cols()).step_by(block.weights()) {
            let group = groups.index(row, col);
            let scale = Dtype::F16.round(tensor.scales()[group]);
            if !scale.is_finite() {
                return Err(beyond(layer, "a scale of", tensor.scales()[group]));
            }
            weights.scales.push(scale);
            if let (BlockType::Q4_1, Some(zeros)) = (block, tensor.zeros()) {
                let minimum = minimum(scale, zeros[group]);
                if !minimum.is_finite() {
                    return Err(beyond(layer, "a minimum of", f32::from(zeros[group]) * -scale));
                }
                weights.minima.push(minimum);
            }
        }
    }
    block.pack(&weights)
}

/// What a code of 0 stands for, in f16, at this scale and zero point.
pub(super) fn minimum(scale: f32, zero: u8) -> f32 {
    // Not -0.
    0.0 - Dtype::F16.round(f32::from(zero) * scale)
}
