//! Matrices of activations on a device.

use std::ops::Range;

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

    /// Some of the rows, in the same memory. They begin at a multiple of 256 bytes: at a multiple of 64 rows, they always
    /// do.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows that are not there or begin elsewhere.
    pub fn part(&self, rows: Range<usize>) -> Result<Self> {
        if rows.start >= rows.end || rows.end > self.rows {
            let (expected, found) = (format!("some of {} rows", self.rows), format!("{rows:?}"));
            return Err(Error::Shape { op: "activations", expected, found });
        }
        let row = self.cols * 4;
        let buffer = self.buffer.slice(rows.start * row, rows.len() * row)?;
        Ok(Self { buffer, rows: rows.len(), cols: self.cols })
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
