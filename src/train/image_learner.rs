//! A classifier that learns images.

use super::config::TrainConfig;
use super::learner::{Learned, Learner};
use super::parameter::Parameter;
use crate::device::{Device, Recorder};
use crate::error::Result;
use crate::nn::{AutoBitModel, BitLinearConfig, Pass, Samples};
use crate::op;
use crate::random::Random;

/// A network and the images that go through it. Each epoch shows each image once, in an order of its own; the last step of an
/// epoch sees what is left of it.
pub(super) struct ImageLearner<'a> {
    config: &'a TrainConfig,
    model: AutoBitModel,
    parameters: Vec<Parameter>,
    samples: Samples,
    /// An epoch, and its order.
    epoch: Option<(u32, Vec<usize>)>,
}

impl<'a> ImageLearner<'a> {
    pub(super) fn new(config: &'a TrainConfig, model: AutoBitModel, samples: Samples) -> Self {
        let parameters = model.parameters().into_iter().map(Parameter::from).collect();
        Self { config, model, parameters, samples, epoch: None }
    }

    /// Has the network compute as it is deployed: all its layers quantized as in the end, without noise.
    ///
    /// # Errors
    /// As [`AutoBitModel::quantize`].
    pub(super) fn settle(&mut self) -> Result<()> {
        self.model.quantize(self.config.linear(), 0.0, 0)
    }

    pub(super) fn model(&self) -> &AutoBitModel {
        &self.model
    }

    pub(super) fn into_model(self) -> AutoBitModel {
        self.model
    }

    /// Images that a step sees, in places of its epoch.
    fn places(&self, step: u32) -> std::ops::Range<usize> {
        let size = self.config.images_of_step();
        let steps = self.samples.len().div_ceil(size).max(1);
        let start = (step as usize % steps) * size;
        start..self.samples.len().min(start.saturating_add(size))
    }

    /// The images in the order of a step's epoch.
    #[allow(clippy::cast_possible_truncation, reason = "an epoch has at most as many steps as there are")]
    fn order(&mut self, step: u32) -> &[usize] {
        let epoch = step / self.samples.len().div_ceil(self.config.images_of_step()).max(1) as u32;
        let order = match self.epoch.take() {
            Some((same, order)) if same == epoch => order,
            _ => {
                // Epochs are far apart in the numbers of a seed.
                let mut random = Random::new(self.config.seed.wrapping_add(epoch.wrapping_mul(0x9e37_79b9)));
                let mut order: Vec<usize> = (0..self.samples.len()).collect();
                random.shuffle(&mut order);
                order
            }
        };
        &self.epoch.insert((epoch, order)).1
    }
}

impl Learner for ImageLearner<'_> {
    /// `PyTorch`'s.
    const BETAS: [f64; 2] = [0.9, 0.999];

    fn device(&self) -> &Device {
        self.model.device()
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn quantize(&mut self, linear: BitLinearConfig, noise: f32, seed: u32) -> Result<()> {
        self.model.quantize(linear, noise, seed)
    }

    fn batches(&self, step: u32) -> usize {
        self.places(step).len().div_ceil(self.config.batch_size)
    }

    fn backward(&mut self, rec: &mut Recorder, step: u32, batch: usize) -> Result<Learned> {
        let (places, size) = (self.places(step), self.config.batch_size);
        let start = places.start + batch * size;
        let rows = self.order(step)[start..places.end.min(start.saturating_add(size))].to_vec();
        let (x, labels) = self.samples.gather(self.model.device(), &rows)?;
        // Every batch drops its own.
        #[allow(clippy::cast_possible_truncation, reason = "wrapping is harmless")]
        let number = step.wrapping_mul(self.config.accumulate as u32).wrapping_add(batch as u32);
        let logits = self.model.forward(rec, &x, Pass::Train { seed: self.config.seed, step: number })?;
        let loss = op::cross_entropy(rec, &logits, &labels, places.len())?;
        let found = op::backward(rec, &logits, &loss.gradient)?;
        let of = |parameter: &Parameter| found.of(&parameter.values.buffer).cloned().into_iter().collect();
        Ok(Learned { losses: loss.losses.buffer, gradients: self.parameters.iter().map(of).collect() })
    }
}
