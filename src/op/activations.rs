//! Matrices of activations on a device.

use crate::device::{Buffer, Device};
use crate::dtype::Dtype;
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

/// Activations in f16, two to a word, row-major `[rows, cols]`; see [`super::half`].
#[derive(Clone, Debug)]
pub struct Half {
    /// The values.
    pub buffer: Buffer,
    /// Tokens.
    pub rows: usize,
    /// Features.
    pub cols: usize,
}

/// Activations in either type, borrowed: what a matrix product takes.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub(super) buffer: &'a Buffer,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) dtype: Dtype,
}

impl<'a> From<&'a Activations> for Input<'a> {
    fn from(x: &'a Activations) -> Self {
        Self { buffer: &x.buffer, rows: x.rows, cols: x.cols, dtype: Dtype::F32 }
    }
}

impl<'a> From<&'a Half> for Input<'a> {
    fn from(x: &'a Half) -> Self {
        Self { buffer: &x.buffer, rows: x.rows, cols: x.cols, dtype: Dtype::F16 }
    }
}
