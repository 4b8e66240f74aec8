//! Parameters as tensors of a checkpoint.

use std::path::Path;

use crate::device::{Buffer, Device};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::io::{SafetensorsWriter, TensorSpec};
use crate::model::{Layout, ModelParameter};
use crate::tensor::Tensor;

/// Writes parameters as their checkpoint has them, f32, and vectors of f32 beside them, to a file that must not exist; waits
/// for the disk.
///
/// # Errors
/// Those of the device, and [`Error::Io`](crate::Error::Io).
pub(super) async fn write(
    device: &Device,
    path: &Path,
    parameters: &[ModelParameter],
    beside: &[(String, &Buffer)],
) -> Result<()> {
    let tensors: Vec<&[ModelParameter]> = parameters.chunk_by(|a, b| a.name == b.name).collect();
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

/// The tensor that some parameters are rows of.
fn spec(parts: &[ModelParameter]) -> TensorSpec {
    let rows: usize = parts.iter().map(|part| part.values.rows).sum();
    let cols: usize = parts.iter().map(|part| part.values.cols).sum();
    let width = parts[0].values.cols;
    let shape = match parts[0].layout {
        Layout::Vector => vec![cols],
        Layout::Matrix => vec![rows, width],
        Layout::Transposed => vec![width, rows],
    };
    TensorSpec::new(parts[0].name.clone(), Dtype::F32, shape)
}

async fn bytes(device: &Device, parts: &[ModelParameter]) -> Result<Vec<u8>> {
    let buffers: Vec<&Buffer> = parts.iter().map(|part| &part.values.buffer).collect();
    let mut all = Vec::new();
    for (part, read) in parts.iter().zip(device.read_all(&buffers).await?) {
        all.extend_from_slice(&read[..part.values.rows * part.values.cols * 4]);
    }
    if parts[0].layout != Layout::Transposed {
        return Ok(all);
    }
    let rows = parts.iter().map(|part| part.values.rows).sum();
    let tensor = Tensor::new(Dtype::F32, vec![rows, parts[0].values.cols], all)?;
    Ok(tensor.transposed().bytes().to_vec())
}
