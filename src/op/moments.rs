//! Sums over tokens of squares and products of features: what layers see of their inputs.

use std::ops::Range;

use super::checks::{matrix, shape, size};
use super::{Activations, param};
use crate::device::{Buffer, Device, Recorder};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::kernel::matmul_strided::{self, MatmulStrided};
use crate::kernel::second_moment::{self, SecondMoment};

/// Records `to[i, j] = sum over rows of x[row, i] * x[row, j]`, or that added to what `to` holds, for some features i and all
/// j: rows of the Gram matrix X'X. All of it over several batches is what one batch of all rows gives, but for the order in
/// which f32 sums are added.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 2, 2, &[1.0, 2.0, 3.0, 4.0])?;
/// let mut rec = Recorder::new(&device);
/// let gram = rec.alloc(16)?;
/// op::gram(&mut rec, &x, 0..2, &gram, false)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(device.read::<f32>(&gram))?, [10.0, 14.0, 14.0, 20.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for features that x does not have or a result of another size.
pub fn gram(rec: &mut Recorder, x: &Activations, features: Range<usize>, to: &Buffer, add: bool) -> Result<()> {
    const OP: &str = "gram";
    let (rows, cols) = matrix(OP, x)?;
    if features.start >= features.end || features.end > x.cols {
        return Err(shape(OP, format!("features within 0..{cols}"), format!("{features:?}")));
    }
    if to.bytes() != features.len() * x.cols * 4 {
        return Err(shape(OP, format!("room for {} x {cols} values", features.len()), format!("{} bytes", to.bytes())));
    }
    let params = matmul_strided::Params {
        batch: size(OP, features.len())?,
        rows: cols,
        cols: rows,
        x_first: size(OP, features.start)?,
        x_row: 1,
        x_step: cols,
        w_row: 1,
        w_step: cols,
        accumulate: add.into(),
    };
    rec.dispatch::<MatmulStrided>(&params, matmul_strided::variant(Dtype::F32), &[&x.buffer, &x.buffer, to])
}

/// Records `to[col] = sum over rows of x[row, col]^2`, or that added to what `to` holds.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 2, 2, &[1.0, 2.0, 3.0, 4.0])?;
/// let sums = device.upload(&[1.0f32, 1.0])?;
/// let mut rec = Recorder::new(&device);
/// op::second_moment(&mut rec, &x, &sums, true)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(device.read::<f32>(&sums))?, [11.0, 21.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for a result of another size.
pub fn second_moment(rec: &mut Recorder, x: &Activations, to: &Buffer, add: bool) -> Result<()> {
    const OP: &str = "second_moment";
    let (rows, cols) = matrix(OP, x)?;
    if to.bytes() != x.cols * 4 {
        return Err(shape(OP, format!("room for {cols} values"), format!("{} bytes", to.bytes())));
    }
    let params = second_moment::Params { rows, cols: param(OP, x.cols)?, accumulate: add.into() };
    rec.dispatch::<SecondMoment>(&params, second_moment::variant(), &[&x.buffer, to])
}

/// The least importance a column may have, beside the most important one: a feature that calibration never saw still counts.
const LEAST: f32 = 1.0 / (1 << 20) as f32;

/// How much each column counts in [`quantize_searched`](super::quantize_searched), on the device, from what its feature
/// weighs: in proportion to the root of that, from 2^-20 to 1. All alike where nothing weighs anything.
///
/// The full weight would be right for the error of the output if features were independent and the text were all there is;
/// its root gives the better perplexities.
///
/// # Errors
/// As the device refuses memory.
pub fn importance(device: &Device, moments: &[f32]) -> Result<Buffer> {
    device.upload(&proportions(moments))
}

/// What [`importance`] uploads.
pub fn proportions(moments: &[f32]) -> Vec<f32> {
    let most = moments.iter().copied().filter(|m| m.is_finite()).fold(0.0, f32::max);
    if most < f32::MIN_POSITIVE {
        return vec![1.0; moments.len()];
    }
    moments.iter().map(|m| if m.is_finite() { (m / most).sqrt().clamp(LEAST, 1.0) } else { 1.0 }).collect()
}
