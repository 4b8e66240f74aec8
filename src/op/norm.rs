//! Normalization of rows.

use super::checks::{like, matrix, room, shape, vector};
use super::norm_backward::NormAdjoint;
use super::{Activations, choose};
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::kernel::layer_norm::LayerNorm;
use crate::kernel::rms_norm::{self, Params, RmsNorm};

/// `x / sqrt(mean(x^2) + eps) * weight`, row by row; `weight` is f32 `[cols]`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the weight has another length than a row; as the device refuses memory.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 1, 2, &[3.0, 4.0])?;
/// let weight = device.upload(&[1.0f32, 2.0])?;
/// let mut recorder = Recorder::new(&device);
/// let y = op::rms_norm(&mut recorder, &x, &weight, 0.0)?;
/// recorder.submit()?;
/// let y = pollster::block_on(y.read(&device))?;
/// assert!((y[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6);
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub fn rms_norm(rec: &mut Recorder, x: &Activations, weight: &Buffer, eps: f32) -> Result<Activations> {
    matrix("rms_norm", x)?;
    let out = like(rec, x)?;
    rms_norm_into(rec, x, weight, eps, &out)?;
    Ok(out)
}

/// [`rms_norm()`] into a buffer that is there already, such as the caller's own, but not that of x.
///
/// # Errors
/// As [`rms_norm()`], and if the result does not fit `out`.
pub fn rms_norm_into(rec: &mut Recorder, x: &Activations, weight: &Buffer, eps: f32, out: &Activations) -> Result<()> {
    let (rows, cols) = matrix("rms_norm", x)?;
    vector("rms_norm", "weight", weight, x.cols)?;
    room("rms_norm", out, x.rows, x.cols)?;
    let variant = rms_norm::variant(choose::reduce(rec.device().caps()), x.cols);
    rec.dispatch::<RmsNorm>(&Params { rows, cols, eps }, variant, &[&x.buffer, weight, &out.buffer])?;
    let adjoint = || NormAdjoint { x: x.clone(), weight: weight.clone(), bias: None, eps, y: out.buffer.id() };
    rec.keep(&[&x.buffer, weight], &[&out.buffer], adjoint);
    Ok(())
}

/// [`rms_norm()`] of each of the `heads` that make up a row; `weight` is f32 `[cols / heads]`.
///
/// # Errors
/// As [`rms_norm()`], and if the heads do not divide a row.
pub fn rms_norm_heads(
    rec: &mut Recorder,
    x: &Activations,
    heads: usize,
    weight: &Buffer,
    eps: f32,
) -> Result<Activations> {
    if heads == 0 || !x.cols.is_multiple_of(heads) {
        return Err(shape("rms_norm_heads", format!("a multiple of {heads} columns"), x.cols));
    }
    let split = Activations { buffer: x.buffer.clone(), rows: x.rows * heads, cols: x.cols / heads };
    let out = rms_norm(rec, &split, weight, eps)?;
    Ok(Activations { buffer: out.buffer, ..*x })
}

/// `(x - mean) / sqrt(var + eps) * weight + bias`, row by row; `weight` and `bias` are f32 `[cols]`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if weight or bias have another length than a row; as the device refuses memory.
pub fn layer_norm(
    rec: &mut Recorder,
    x: &Activations,
    weight: &Buffer,
    bias: &Buffer,
    eps: f32,
) -> Result<Activations> {
    matrix("layer_norm", x)?;
    let out = like(rec, x)?;
    layer_norm_into(rec, x, weight, bias, eps, &out)?;
    Ok(out)
}

/// [`layer_norm()`] into a buffer that is there already, but not that of x.
///
/// # Errors
/// As [`layer_norm()`], and if the result does not fit `out`.
pub fn layer_norm_into(
    rec: &mut Recorder,
    x: &Activations,
    weight: &Buffer,
    bias: &Buffer,
    eps: f32,
    out: &Activations,
) -> Result<()> {
    let (rows, cols) = matrix("layer_norm", x)?;
    vector("layer_norm", "weight", weight, x.cols)?;
    vector("layer_norm", "bias", bias, x.cols)?;
    room("layer_norm", out, x.rows, x.cols)?;
    let variant = rms_norm::variant(choose::reduce(rec.device().caps()), x.cols);
    rec.dispatch::<LayerNorm>(&Params { rows, cols, eps }, variant, &[&x.buffer, weight, bias, &out.buffer])?;
    let adjoint =
        || NormAdjoint { x: x.clone(), weight: weight.clone(), bias: Some(bias.id()), eps, y: out.buffer.id() };
    rec.keep(&[&x.buffer, weight, bias], &[&out.buffer], adjoint);
    Ok(())
}
