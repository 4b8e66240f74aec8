//! Dropout: some elements become 0, at random and yet reproducibly.

use super::Activations;
use super::checks::{like, matrix, size};
use crate::device::{Adjoint, BufferId, Gradients, Recorder};
use crate::error::{Error, Result};
use crate::kernel::dropout::{self, Dropout, Params};

/// Each element becomes 0 with probability `rate`, and is divided by `1 - rate` otherwise. Which ones depends on `seed` and
/// their position alone. A rate of 0 gives `x` itself.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 1, 1000, &[1.0; 1000])?;
/// let mut rec = Recorder::new(&device);
/// let y = op::dropout(&mut rec, &x, 0.5, 7)?;
/// rec.submit()?;
/// let y = pollster::block_on(y.read(&device))?;
/// assert!(y.iter().all(|y| *y == 0.0 || *y == 2.0));
/// assert!((400..600).contains(&y.iter().filter(|y| **y == 0.0).count()));
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a rate outside 0..1, [`Error::Shape`] if x is empty; as the device refuses memory.
pub fn dropout(rec: &mut Recorder, x: &Activations, rate: f32, seed: u32) -> Result<Activations> {
    matrix("dropout", x)?;
    if !(0.0..1.0).contains(&rate) {
        return Err(Error::config("dropout", format!("{rate} is not at least 0 and below 1")));
    }
    if rate == 0.0 {
        return Ok(x.clone());
    }
    let params = Params { count: size("dropout", x.rows * x.cols)?, seed, rate, factor: 1.0 / (1.0 - rate) };
    let y = record(rec, x, &params)?;
    let adjoint = || DropoutAdjoint { x: x.buffer.id(), y: y.buffer.id(), rows: x.rows, cols: x.cols, params };
    rec.keep(&[&x.buffer], &[&y.buffer], adjoint);
    Ok(y)
}

fn record(rec: &mut Recorder, x: &Activations, params: &Params) -> Result<Activations> {
    let y = like(rec, x)?;
    rec.dispatch::<Dropout>(params, dropout::variant(), &[&x.buffer, &y.buffer])?;
    Ok(y)
}

/// The gradient of what was kept is multiplied by the same factor, the others have none.
#[derive(Debug)]
struct DropoutAdjoint {
    x: BufferId,
    y: BufferId,
    rows: usize,
    cols: usize,
    params: Params,
}

impl Adjoint for DropoutAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.take(self.y) else { return Ok(()) };
        let d_y = Activations { buffer: d_y, rows: self.rows, cols: self.cols };
        let d_x = record(rec, &d_y, &self.params)?;
        gradients.add(rec, self.x, d_x.buffer)
    }
}
