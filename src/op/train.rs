//! What training takes besides gradients and steps: the loss, the best state so far. Nothing is read back.

use super::checks::{alike, matrix, same_size, size};
use super::{Activations, choose};
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::kernel::best_loss::{self, BestLoss};
use crate::kernel::keep_best::{self, KeepBest};
use crate::kernel::squared_error::{self as squared, SquaredError as Kernel};

/// How far a result is from a target.
#[derive(Clone, Debug)]
pub struct SquaredError {
    /// Of each row the sum of squared differences, `[1, rows]`.
    pub sums: Activations,
    /// The gradient of the mean squared difference.
    pub gradient: Activations,
}

/// Squared error of y against a target of the same shape.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let [y, target] = [[1.0, 5.0], [2.0, 3.0]].map(|values| Activations::upload(&device, 1, 2, &values));
/// let mut rec = Recorder::new(&device);
/// let error = op::squared_error(&mut rec, &y?, &target?)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(error.sums.read(&device))?, [5.0]);
/// assert_eq!(pollster::block_on(error.gradient.read(&device))?, [-1.0, 2.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ or hold nothing.
pub fn squared_error(rec: &mut Recorder, y: &Activations, target: &Activations) -> Result<SquaredError> {
    let count = alike("squared_error", y, target)?;
    let (rows, cols) = matrix("squared_error", y)?;
    let gradient = Activations { buffer: rec.alloc(y.rows * y.cols * 4)?, ..*y };
    let sums = Activations { buffer: rec.alloc(y.rows * 4)?, rows: 1, cols: y.rows };
    let params = squared::Params { rows, cols, factor: 2.0 / count as f32 };
    let variant = squared::variant(choose::reduce(rec.device().caps()));
    rec.dispatch::<Kernel>(&params, variant, &[&y.buffer, &target.buffer, &gradient.buffer, &sums.buffer])?;
    Ok(SquaredError { sums, gradient })
}

/// The best loss of a training, on the device.
#[derive(Clone, Debug)]
pub struct BestState {
    buffer: Buffer,
}

/// What a [`BestState`] holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// The best mean squared error.
    pub loss: f32,
    /// The iteration that had it.
    pub iteration: u32,
    /// The latest one.
    pub latest: f32,
}

impl BestState {
    /// No loss yet.
    ///
    /// # Errors
    /// As the device refuses memory.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self { buffer: device.upload(&[f32::MAX.to_bits(), 0, 0, 0])? })
    }

    /// Records the loss of an iteration, the sum of some sums of squares over so many elements; whether it is the best so
    /// far is known to [`Self::keep`] from then on.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if there are no sums, and those of recording.
    pub fn enter(&self, rec: &mut Recorder, sums: &Activations, elements: usize, iteration: u32) -> Result<()> {
        matrix("best_loss", sums)?;
        let (count, factor) = (size("best_loss", sums.rows * sums.cols)?, 1.0 / elements.max(1) as f32);
        let params = best_loss::Params { count, factor, iteration };
        let variant = best_loss::variant(choose::reduce(rec.device().caps()));
        rec.dispatch::<BestLoss>(&params, variant, &[&sums.buffer, &self.buffer])
    }

    /// Records that `kept` takes the words of `values` if the loss entered last is the best.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the sizes differ, and those of recording.
    pub fn keep(&self, rec: &mut Recorder, values: &Buffer, kept: &Buffer) -> Result<()> {
        same_size("keep_best", values, kept)?;
        let params = keep_best::Params { count: size("keep_best", values.bytes() / 4)? };
        rec.dispatch::<KeepBest>(&params, keep_best::variant(), &[&self.buffer, values, kept])
    }

    /// Reads it.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn read(&self, device: &Device) -> Result<Best> {
        let words = device.read::<u32>(&self.buffer).await?;
        Ok(Best { loss: f32::from_bits(words[0]), iteration: words[2], latest: f32::from_bits(words[3]) })
    }
}
