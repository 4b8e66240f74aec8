//! Gradients whose common norm is bounded, without reading anything back.

use super::checks::size;
use super::moments::second_moment;
use super::{Activations, choose};
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::kernel::clip_factor::{self, ClipFactor};
use crate::kernel::scale_by::{self, ScaleBy};

/// The norm that some gradients had together, on the device.
#[derive(Clone, Debug)]
pub struct GradientNorm {
    /// What they were multiplied by, and the norm; f32.
    pub factor_and_norm: Buffer,
}

/// Multiplies all gradients alike so that the root of the sum of all their squares is at most `most`; gradients below that are
/// as they were. They go to new memory, since a gradient may be shared.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let gradients = [Activations::upload(&device, 1, 1, &[3.0])?, Activations::upload(&device, 2, 1, &[0.0, 4.0])?];
/// let mut rec = Recorder::new(&device);
/// let (clipped, norm) = op::clip(&mut rec, &gradients, 2.5)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(clipped[1].read(&device))?, [0.0, 2.0]);
/// assert_eq!(pollster::block_on(device.read::<f32>(&norm.factor_and_norm))?, [0.5, 5.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for a gradient that holds nothing, and those of recording.
pub fn clip(rec: &mut Recorder, gradients: &[Activations], most: f32) -> Result<(Vec<Activations>, GradientNorm)> {
    const OP: &str = "clip";
    // Sums of squares of columns, those of all gradients one after the other; memory of tensors begins at 256 bytes.
    const ALIGNED: usize = 64;
    let room: usize = gradients.iter().map(|gradient| gradient.cols.next_multiple_of(ALIGNED)).sum();
    let sums = rec.device().upload(&vec![0f32; room.max(1)])?;
    let mut at = 0;
    for gradient in gradients {
        let to = sums.slice(at * 4, gradient.cols * 4)?;
        second_moment(rec, gradient, &to, false)?;
        at += gradient.cols.next_multiple_of(ALIGNED);
    }
    let factor_and_norm = rec.alloc(8)?;
    let params = clip_factor::Params { count: size(OP, room.max(1))?, most };
    let variant = clip_factor::variant(choose::reduce(rec.device().caps()));
    rec.dispatch::<ClipFactor>(&params, variant, &[&sums, &factor_and_norm])?;
    let mut clipped = Vec::with_capacity(gradients.len());
    for gradient in gradients {
        let out = Activations { buffer: rec.alloc(gradient.rows * gradient.cols * 4)?, ..*gradient };
        let params = scale_by::Params { count: size(OP, gradient.rows * gradient.cols)? };
        rec.dispatch::<ScaleBy>(&params, scale_by::variant(), &[&gradient.buffer, &factor_and_norm, &out.buffer])?;
        clipped.push(out);
    }
    Ok((clipped, GradientNorm { factor_and_norm }))
}
