//! Steps of a training.

use super::config::TrainConfig;
use super::learner::{Learned, Learner};
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::nn::{BitLinearConfig, WeightPrecision};
use crate::op::{self, Activations, AdamW, AdamWConfig};

/// What learns, and what moves its parameters.
pub(super) struct Trainer<'a, L> {
    config: &'a TrainConfig,
    learner: L,
    optimisers: Vec<AdamW>,
    /// What the linear layers are, once a step was taken.
    linear: Option<BitLinearConfig>,
}

impl<'a, L: Learner> Trainer<'a, L> {
    /// With the moments that another trainer had, or none.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn new(config: &'a TrainConfig, learner: L, moments: Option<Vec<[Buffer; 2]>>) -> Result<Self> {
        let adamw = AdamWConfig { betas: L::BETAS, ..AdamWConfig::default() };
        let optimisers = match moments {
            Some(moments) => moments.into_iter().map(|both| AdamW::with_moments(adamw, both)).collect(),
            None => {
                let fresh = |elements| AdamW::new(learner.device(), elements, adamw);
                learner.parameters().iter().map(|parameter| fresh(parameter.elements())).collect::<Result<_>>()?
            }
        };
        Ok(Self { config, learner, optimisers, linear: None })
    }

    pub(super) fn learner(&self) -> &L {
        &self.learner
    }

    pub(super) fn learner_mut(&mut self) -> &mut L {
        &mut self.learner
    }

    /// What has learned; the memory of moments is given back.
    pub(super) fn into_learner(self) -> L {
        self.learner
    }

    /// Of each parameter the first and the second moment.
    pub(super) fn moments(&self) -> impl Iterator<Item = [&Buffer; 2]> {
        self.optimisers.iter().map(AdamW::moments)
    }

    /// Takes a step, counted from 0; gives its losses, batch by batch, still on the device.
    ///
    /// # Errors
    /// Those of recording and of the device.
    pub(super) fn step(&mut self, step: u32) -> Result<Vec<Buffer>> {
        self.quantize(step)?;
        let batches = self.learner.batches(step);
        let mut sums: Vec<Option<Activations>> = vec![None; self.learner.parameters().len()];
        let mut losses = Vec::with_capacity(batches);
        for batch in 0..batches {
            let mut rec = Recorder::new(self.learner.device());
            let Learned { losses: of_batch, gradients } = self.learner.backward(&mut rec, step, batch)?;
            self.add(&mut rec, &mut sums, gradients)?;
            losses.push(of_batch);
            if batch + 1 == batches {
                self.advance(&mut rec, &sums, step)?;
            }
            rec.submit()?;
        }
        Ok(losses)
    }

    /// Has the linear layers compute as this step wants it.
    fn quantize(&mut self, step: u32) -> Result<()> {
        let linear = self.config.linear_at(step);
        let noise = if linear.weights == WeightPrecision::Float { 0.0 } else { self.config.noise };
        if self.linear == Some(linear) && noise == 0.0 {
            return Ok(());
        }
        let seed = self.config.seed.wrapping_mul(0x85eb_ca6b).wrapping_add(step.wrapping_mul(0xc2b2_ae35));
        self.learner.quantize(linear, noise, seed)?;
        self.linear = Some(linear);
        Ok(())
    }

    /// Adds gradients to the sums.
    fn add(&self, rec: &mut Recorder, sums: &mut [Option<Activations>], gradients: Vec<Vec<Buffer>>) -> Result<()> {
        for ((sum, parameter), gradients) in sums.iter_mut().zip(self.learner.parameters()).zip(gradients) {
            for buffer in gradients {
                let new = Activations { buffer, ..parameter.values };
                *sum = Some(match sum.take() {
                    Some(before) => op::add(rec, &before, &new)?,
                    None => new,
                });
            }
        }
        Ok(())
    }

    /// Moves all parameters along their gradients.
    fn advance(&mut self, rec: &mut Recorder, sums: &[Option<Activations>], step: u32) -> Result<()> {
        let moved: Vec<usize> = (0..sums.len()).filter(|index| sums[*index].is_some()).collect();
        let mut gradients: Vec<Activations> = sums.iter().flatten().cloned().collect();
        if self.config.clip > 0.0 {
            gradients = op::clip(rec, &gradients, self.config.clip)?.0;
        }
        let (rate, decay) = (self.config.rate(step), self.config.weight_decay(step));
        for (index, gradient) in moved.into_iter().zip(&gradients) {
            let (parameter, adamw) = (&self.learner.parameters()[index], &mut self.optimisers[index]);
            // Norms should stay near one, biases where they are needed.
            adamw.set_weight_decay(if parameter.is_vector() { 0.0 } else { decay });
            adamw.step(rec, &parameter.values.buffer, &gradient.buffer, rate, step)?;
        }
        Ok(())
    }
}
