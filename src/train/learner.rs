//! What trains, and what it learns.

use super::parameter::Parameter;
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::nn::BitLinearConfig;

/// A network with what it learns. What a step sees depends on the settings and on its number alone, so that a training can go
/// on at any step.
pub(super) trait Learner {
    /// Shares of the optimiser's moments that are kept.
    const BETAS: [f64; 2];

    /// Where it computes.
    fn device(&self) -> &Device;

    /// All that trains, in an order that stays.
    fn parameters(&self) -> &[Parameter];

    /// Has the linear layers compute like this from now on, with an even draw over `noise` of a quantization step that depends
    /// on `seed`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for layers that cannot be.
    fn quantize(&mut self, linear: BitLinearConfig, noise: f32, seed: u32) -> Result<()>;

    /// Batches of a step, counted from 0; their gradients are added up.
    fn batches(&self, step: u32) -> usize;

    /// Records the losses of a batch, and the gradients of their sum by the number of losses of the whole step.
    ///
    /// # Errors
    /// Those of recording.
    fn backward(&mut self, rec: &mut Recorder, step: u32, batch: usize) -> Result<Learned>;
}

/// What a batch gave.
pub(super) struct Learned {
    /// Of each token or image, f32.
    pub(super) losses: Buffer,
    /// Of each parameter, to be added up; none where it took no part.
    pub(super) gradients: Vec<Vec<Buffer>>,
}
