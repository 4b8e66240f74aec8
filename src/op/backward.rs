//! The way back: gradients of what was recorded.

use super::{Activations, elementwise};
use crate::device::{Buffer, Gradients, Recorder};
use crate::error::{Error, Result};

/// Records the gradients of everything watched, from the gradient of a result: the tape of the recorder, played
/// backwards. `d_y` has the shape of `y`.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 1, 2, &[1.0, 2.0])?;
/// let mut rec = Recorder::new(&device);
/// rec.watch(&x.buffer);
/// let twice = op::add(&mut rec, &x, &x)?;
/// let d_y = Activations::upload(&device, 1, 2, &[10.0, 1.0])?;
/// let gradients = op::backward(&mut rec, &twice, &d_y)?;
/// rec.submit()?;
/// let d_x = gradients.of(&x.buffer).expect("x is watched");
/// assert_eq!(pollster::block_on(device.read::<f32>(d_x))?, [20.0, 2.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if the shapes differ, and those of recording.
pub fn backward(rec: &mut Recorder, y: &Activations, d_y: &Activations) -> Result<Gradients> {
    if (y.rows, y.cols) != (d_y.rows, d_y.cols) {
        let (expected, found) = (format!("{} x {}", y.rows, y.cols), format!("{} x {}", d_y.rows, d_y.cols));
        return Err(Error::Shape { op: "backward", expected, found });
    }
    rec.rewind(vec![(y.buffer.clone(), d_y.buffer.clone())], sum)
}

/// The sum of two gradients.
fn sum(rec: &mut Recorder, a: &Buffer, b: &Buffer) -> Result<Buffer> {
    let all = |buffer: &Buffer| Activations { buffer: buffer.clone(), rows: 1, cols: buffer.bytes() / 4 };
    Ok(elementwise::add(rec, &all(a), &all(b))?.buffer)
}
