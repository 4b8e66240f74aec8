//! What operations ask of their operands.

use super::Activations;
use crate::device::{Buffer, Recorder};
use crate::error::{Error, Result};

/// A size as kernels take it.
pub(super) fn size(op: &'static str, n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| shape(op, "fewer than 2^32 elements", n))
}

/// Rows and columns of activations that are not empty, that their buffer holds, and that 32 bits can index.
pub(super) fn matrix(op: &'static str, x: &Activations) -> Result<(u32, u32)> {
    let count = x.rows.saturating_mul(x.cols);
    if count == 0 || x.buffer.bytes() / 4 < count {
        let found = format!("{} x {} in {} bytes", x.rows, x.cols, x.buffer.bytes());
        return Err(shape(op, "activations that are not empty, f32", found));
    }
    size(op, count)?;
    Ok((size(op, x.rows)?, size(op, x.cols)?))
}

/// A buffer of one f32 a column.
pub(super) fn vector(op: &'static str, name: &str, buffer: &Buffer, cols: usize) -> Result<()> {
    if buffer.bytes() == cols * 4 {
        return Ok(());
    }
    Err(shape(op, format!("a {name} of {cols} f32 values"), format!("{} bytes", buffer.bytes())))
}

/// Two operands of one shape, and their number of elements.
pub(super) fn alike(op: &'static str, a: &Activations, b: &Activations) -> Result<u32> {
    matrix(op, a)?;
    matrix(op, b)?;
    if (a.rows, a.cols) != (b.rows, b.cols) {
        return Err(shape(op, format!("{} x {}", a.rows, a.cols), format!("{} x {}", b.rows, b.cols)));
    }
    size(op, a.rows * a.cols)
}

/// Two buffers of one size.
pub(super) fn same_size(op: &'static str, a: &Buffer, b: &Buffer) -> Result<()> {
    if a.bytes() == b.bytes() {
        return Ok(());
    }
    Err(shape(op, format!("{} bytes", b.bytes()), format!("{} bytes", a.bytes())))
}

/// Whether a result of this shape fits a buffer that is there already.
pub(super) fn room(op: &'static str, y: &Activations, rows: usize, cols: usize) -> Result<()> {
    if (y.rows, y.cols) == (rows, cols) && y.buffer.bytes() / 4 >= rows.saturating_mul(cols) {
        return Ok(());
    }
    let found = format!("{} x {} in {} bytes", y.rows, y.cols, y.buffer.bytes());
    Err(shape(op, format!("a result of {rows} x {cols} f32 values"), found))
}

/// A new buffer for a result of the shape of x.
pub(super) fn like(rec: &Recorder, x: &Activations) -> Result<Activations> {
    Ok(Activations { buffer: rec.alloc(x.rows * x.cols * 4)?, ..*x })
}

pub(super) fn shape(op: &'static str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Shape { op, expected: expected.to_string(), found: found.to_string() }
}
