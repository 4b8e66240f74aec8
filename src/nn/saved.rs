//! Networks in folders: config.json and model.safetensors.

use std::path::Path;

use super::auto::AutoBitConfig;
use super::parameter::Parameter;
use crate::device::{Buffer, Device};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{CONFIG_FILE, Checkpoint, SINGLE_FILE, SafetensorsWriter, Staging, TensorSpec, read_config};

/// The config of a folder and its tensors.
pub(super) fn read(folder: &Path) -> Result<(AutoBitConfig, Checkpoint)> {
    let wrong = |error: serde_json::Error| Error::format(folder.join(CONFIG_FILE), error.to_string());
    let config = serde_json::from_value(read_config(folder)?).map_err(wrong)?;
    Ok((config, Checkpoint::open(folder)?))
}

/// Writes a folder that was not there before.
pub(super) async fn write(
    device: &Device,
    folder: &Path,
    config: &AutoBitConfig,
    parameters: &[Parameter],
) -> Result<()> {
    let staging = Staging::create(folder, false)?;
    let path = staging.path().join(CONFIG_FILE);
    let text = serde_json::to_string_pretty(config).expect("a config has nothing that JSON cannot hold");
    std::fs::write(&path, text + "\n").map_err(|e| Error::io(&path, e))?;
    let spec = |p: &Parameter| TensorSpec::new(p.name.clone(), Dtype::F32, p.shape.clone());
    let specs: Vec<_> = parameters.iter().map(spec).collect();
    let mut writer = SafetensorsWriter::create(&staging.path().join(SINGLE_FILE), &specs)?;
    let buffers: Vec<&Buffer> = parameters.iter().map(|p| &p.buffer).collect();
    for (parameter, bytes) in parameters.iter().zip(device.read_all(&buffers).await?) {
        writer.write(&parameter.name, &bytes[..parameter.elements() * 4])?;
    }
    writer.finish()?;
    staging.commit()
}
