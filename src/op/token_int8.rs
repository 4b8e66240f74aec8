//! Activations as int8 with a zero point.

use super::activations::Activations;
use super::checks::{matrix, shape};
use super::int8::Int8Activations;
use super::param;
use crate::device::Recorder;
use crate::error::Result;
use crate::kernel::activation_quantize::SMALLEST_SCALE;
use crate::kernel::product_int8::MAX_BLOCK;
use crate::kernel::token_quantize::{self, Params, TokenQuantize};

/// Rounds activations to int8, each token with a scale and a zero point of its own: 255 steps from its smallest to its
/// largest value, 0 included. A token with a NaN or an infinity makes every product with it NaN.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 1, 4, &[0.0, 51.0, 20.4, -0.0])?;
/// let mut recorder = Recorder::new(&device);
/// let x = op::int8_asymmetric(&mut recorder, &x)?;
/// recorder.submit()?;
/// // A step is 0.2.
/// assert_eq!(pollster::block_on(device.read::<i8>(&x.codes))?, [-128, 127, -26, -128]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Shape`] for empty activations or more than [`MAX_BLOCK`] features, and those of the device.
pub fn int8_asymmetric(recorder: &mut Recorder, x: &Activations) -> Result<Int8Activations> {
    // No scale is given: each token has its own.
    quantize(recorder, x, 0.0, 0)
}

/// Rounds activations to int8 with a scale and a zero point that are known: `x = (code - zero) * scale`. What is outside
/// is clipped; a token with a NaN or an infinity makes every product with it NaN.
///
/// # Errors
/// As [`int8_asymmetric`], and for a scale that is no number from 2^-100 up.
pub fn int8_static(recorder: &mut Recorder, x: &Activations, scale: f32, zero: i8) -> Result<Int8Activations> {
    if !(SMALLEST_SCALE..f32::INFINITY).contains(&scale) {
        return Err(shape(OP, "a scale of at least 2^-100", scale));
    }
    quantize(recorder, x, scale, zero)
}

const OP: &str = "int8 activations";

fn quantize(recorder: &mut Recorder, x: &Activations, scale: f32, zero: i8) -> Result<Int8Activations> {
    let (rows, cols) = matrix(OP, x)?;
    if x.cols > MAX_BLOCK {
        return Err(shape(OP, format!("1 to {MAX_BLOCK} features"), x.cols));
    }
    let params = Params { rows, cols, scale, zero: zero.into() };
    param(OP, x.rows * params.words())?;
    let codes = recorder.alloc(x.rows * params.words() * 4)?;
    let [scales, sums, zeros] = [(); 3].map(|()| recorder.alloc(x.rows * 4));
    let (scales, sums, zeros) = (scales?, sums?, zeros?);
    let buffers = [&x.buffer, &codes, &scales, &sums, &zeros];
    recorder.dispatch::<TokenQuantize>(&params, token_quantize::variant(), &buffers)?;
    // Codes whose zero point is 0 need no correction.
    let zeros = (scale == 0.0 || zero != 0).then_some(zeros);
    Ok(Int8Activations { codes, scales, sums, zeros, rows: x.rows, cols: x.cols, block: x.cols })
}
