//! A matrix of activations on a device.

use crate::device::{Buffer, Device};
use crate::error::{Error, Result};

/// Activations, f32, row-major `[rows, cols]`: one row a token.
#[derive(Clone, Debug)]
pub struct Activations {
    /// The values.
    pub buffer: Buffer,
    /// Tokens.
    pub rows: usize,
    /// Features.
    pub cols: usize,
}

impl Activations {
    /// Uploads row-major values.
    pub fn upload(device: &Device, rows: usize, cols: usize, values: &[f32]) -> Result<Self> {
        if values.len() != rows * cols {
            let (expected, found) = (format!("{rows} x {cols} values"), values.len().to_string());
            return Err(Error::Shape { op: "activations", expected, found });
        }
        Ok(Self { buffer: device.upload(values)?, rows, cols })
    }

    /// Reads the values back.
    pub async fn read(&self, device: &Device) -> Result<Vec<f32>> {
        let mut values = device.read(&self.buffer).await?;
        values.truncate(self.rows * self.cols);
        Ok(values)
    }
}
