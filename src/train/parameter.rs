//! Parameters that train, and the tensors of a checkpoint that they are.

use std::path::Path;

use crate::device::{Buffer, Device};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::io::{SafetensorsWriter, TensorSpec};
use crate::model::{Layout, ModelParameter};
use crate::nn;
use crate::op::Activations;
use crate::tensor::Tensor;

/// A parameter that trains.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    /// Name in the checkpoint. Parameters of one name, which follow each other, are parts of one tensor along its first axis.
    name: String,
    /// The values, f32; a vector is one row.
    pub(super) values: Activations,
    /// Extent of each axis of this part.
    shape: Vec<usize>,
    /// Whether the checkpoint has the matrix transposed.
    transposed: bool,
}

impl From<ModelParameter> for Parameter {
    fn from(parameter: ModelParameter) -> Self {
        let ModelParameter { name, values, layout } = parameter;
        let shape = match layout {
            Layout::Vector => vec![values.cols],
            Layout::Matrix | Layout::Transposed => vec![values.rows, values.cols],
        };
        Self { name, values, shape, transposed: layout == Layout::Transposed }
    }
}

impl From<nn::Parameter> for Parameter {
    fn from(parameter: nn::Parameter) -> Self {
        let elements = parameter.elements();
        let nn::Parameter { name, shape, buffer } = parameter;
        let rows = if shape.len() > 1 { shape[0] } else { 1 };
        let values = Activations { buffer, rows, cols: elements / rows.max(1) };
        Self { name, values, shape, transposed: false }
    }
}

impl Parameter {
    /// Whether it is a norm's or a bias.
    pub(super) fn is_vector(&self) -> bool {
        self.shape.len() == 1
    }

    /// Number of elements.
    pub(super) fn elements(&self) -> usize {
        self.values.rows * self.values.cols
    }
}

/// Writes parameters as their checkpoint has them, f32, and vectors of f32 beside them, to a file that must not exist; waits
/// for the disk.
///
/// # Errors
/// Those of the device, and [`Error::Io`](crate::Error::Io).
pub(super) async fn write(
    device: &Device,
    path: &Path,
    parameters: &[Parameter],
    beside: &[(String, &Buffer)],
) -> Result<()> {
    let tensors: Vec<&[Parameter]> = parameters.chunk_by(|a, b| a.name == b.name).collect();
    let mut specs: Vec<_> = tensors.iter().map(|parts| spec(parts)).collect();
    specs.extend(beside.iter().map(|(name, buffer)| TensorSpec::new(name.clone(), Dtype::F32, [buffer.bytes() / 4])));
    let mut writer = SafetensorsWriter::create(path, &specs)?;
    for (parts, spec) in tensors.iter().zip(&specs) {
        writer.write(&spec.name, &bytes(device, parts).await?)?;
    }
    for (name, buffer) in beside {
        writer.write(name, &device.read_all(&[buffer]).await?[0])?;
    }
    writer.finish()
}

/// The tensor that some parameters are parts of.
fn spec(parts: &[Parameter]) -> TensorSpec {
    let mut shape = parts[0].shape.clone();
    shape[0] = parts.iter().map(|part| part.shape[0]).sum();
    if parts[0].transposed {
        shape.reverse();
    }
    TensorSpec::new(parts[0].name.clone(), Dtype::F32, shape)
}

async fn bytes(device: &Device, parts: &[Parameter]) -> Result<Vec<u8>> {
    let buffers: Vec<&Buffer> = parts.iter().map(|part| &part.values.buffer).collect();
    let mut all = Vec::new();
    for (part, read) in parts.iter().zip(device.read_all(&buffers).await?) {
        all.extend_from_slice(&read[..part.elements() * 4]);
    }
    if !parts[0].transposed {
        return Ok(all);
    }
    let rows = parts.iter().map(|part| part.values.rows).sum();
    let tensor = Tensor::new(Dtype::F32, vec![rows, parts[0].values.cols], all)?;
    Ok(tensor.transposed().bytes().to_vec())
}
