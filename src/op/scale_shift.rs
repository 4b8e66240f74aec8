//! A factor and a term for each feature.

use super::Activations;
use super::checks::{like, matrix, vector};
use crate::device::{Adjoint, Buffer, BufferId, Gradients, Recorder};
use crate::error::Result;
use crate::kernel::scale_shift::{self, Params, ScaleShift};

/// `x * scale + shift`, both f32 `[cols]` and without a gradient: a batch norm whose statistics are known.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 2, 2, &[1.0, 2.0, 3.0, 4.0])?;
/// let (scale, shift) = (device.upload(&[10.0f32, 0.5])?, device.upload(&[1.0f32, 0.0])?);
/// let mut rec = Recorder::new(&device);
/// let y = op::scale_shift(&mut rec, &x, &scale, &shift)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(y.read(&device))?, [11.0, 1.0, 31.0, 2.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if one of the two has another length than a row; as the device refuses memory.
pub fn scale_shift(rec: &mut Recorder, x: &Activations, scale: &Buffer, shift: &Buffer) -> Result<Activations> {
    let y = record(rec, x, scale, shift)?;
    rec.keep(&[&x.buffer], &[&y.buffer], || ScaleShiftAdjoint {
        scale: scale.clone(),
        x: x.buffer.id(),
        y: y.buffer.id(),
        rows: x.rows,
        cols: x.cols,
    });
    Ok(y)
}

fn record(rec: &mut Recorder, x: &Activations, scale: &Buffer, shift: &Buffer) -> Result<Activations> {
    let (rows, cols) = matrix("scale_shift", x)?;
    vector("scale_shift", "scale", scale, x.cols)?;
    vector("scale_shift", "shift", shift, x.cols)?;
    let y = like(rec, x)?;
    let buffers = [&x.buffer, scale, shift, &y.buffer];
    rec.dispatch::<ScaleShift>(&Params { rows, cols }, scale_shift::variant(), &buffers)?;
    Ok(y)
}

/// `d_x = d_y * scale`.
#[derive(Debug)]
struct ScaleShiftAdjoint {
    scale: Buffer,
    x: BufferId,
    y: BufferId,
    rows: usize,
    cols: usize,
}

impl Adjoint for ScaleShiftAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(buffer) = gradients.take(self.y) else { return Ok(()) };
        let none = rec.device().upload(&vec![0.0f32; self.cols])?;
        let d_y = Activations { buffer, rows: self.rows, cols: self.cols };
        let d_x = record(rec, &d_y, &self.scale, &none)?;
        gradients.add(rec, self.x, d_x.buffer)
    }
}
