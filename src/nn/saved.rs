//! Networks in folders: config.json and model.safetensors.

use std::path::Path;

use serde_json::Value;

use super::auto::AutoBitConfig;
use super::parameter::Parameter;
use crate::device::{Buffer, Device};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{CONFIG_FILE, Checkpoint, SINGLE_FILE, SafetensorsWriter, Staging, TensorSpec, read_config};

/// The field of config.json that tells how layers are packed.
pub(super) const QUANTIZATION: &str = "quantization_config";

/// What a folder holds.
pub(super) struct Saved {
    pub(super) config: AutoBitConfig,
    pub(super) checkpoint: Checkpoint,
    /// How layers are packed, if they are.
    pub(super) quantization: Option<Value>,
}

pub(super) fn read(folder: &Path) -> Result<Saved> {
    let wrong = |error: serde_json::Error| Error::format(folder.join(CONFIG_FILE), error.to_string());
    let mut value = read_config(folder)?;
    let quantization = value.as_object_mut().and_then(|fields| fields.remove(QUANTIZATION));
    let quantization = quantization.filter(|value| !value.is_null());
    let config = serde_json::from_value(value).map_err(wrong)?;
    Ok(Saved { config, checkpoint: Checkpoint::open(folder)?, quantization })
}

/// Parameters as tensors of a file, f32.
pub(super) async fn values(device: &Device, parameters: &[Parameter]) -> Result<Vec<(TensorSpec, Vec<u8>)>> {
    let buffers: Vec<&Buffer> = parameters.iter().map(|p| &p.buffer).collect();
    let tensor = |(parameter, mut bytes): (&Parameter, Vec<u8>)| {
        // Buffers may be longer than what they hold.
        bytes.truncate(parameter.elements() * 4);
        (TensorSpec::new(parameter.name.clone(), Dtype::F32, parameter.shape.clone()), bytes)
    };
    Ok(parameters.iter().zip(device.read_all(&buffers).await?).map(tensor).collect())
}

/// Writes a folder that was not there before, or, by force, over one that was; and a file beside config and tensors.
pub(super) fn write(
    (folder, force): (&Path, bool),
    config: &Value,
    tensors: &[(TensorSpec, Vec<u8>)],
    file: Option<(&str, &[u8])>,
) -> Result<()> {
    let staging = Staging::create(folder, force)?;
    write_config(staging.path(), config)?;
    if let Some((name, bytes)) = file {
        let path = staging.path().join(name);
        std::fs::write(&path, bytes).map_err(|e| Error::io(&path, e))?;
    }
    let specs: Vec<_> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = SafetensorsWriter::create(&staging.path().join(SINGLE_FILE), &specs)?;
    for (spec, bytes) in tensors {
        writer.write(&spec.name, bytes)?;
    }
    writer.finish()?;
    staging.commit()
}

/// Writes config.json.
pub(super) fn write_config(folder: &Path, config: &Value) -> Result<()> {
    let path = folder.join(CONFIG_FILE);
    let text = serde_json::to_string_pretty(config).unwrap_or_default() + "\n";
    std::fs::write(&path, text).map_err(|e| Error::io(&path, e))
}
