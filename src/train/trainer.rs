//! Steps of a training.

use super::batches::{Batch, Batches};
use super::config::TrainConfig;
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::model::{Cache, Layout, Model, ModelParameter};
use crate::nn::{BitLinearConfig, WeightPrecision};
use crate::op::{self, Activations, AdamW, AdamWConfig, LatentWeight};
use crate::scheme::Span;

/// Shares of the moments that are kept: those that language models are trained with.
const BETAS: [f64; 2] = [0.9, 0.95];
/// Logits that are held at once: 64 MiB.
const LOGITS: usize = 1 << 24;

/// A model, what moves its parameters, and what goes in.
pub(super) struct Trainer<'a> {
    config: &'a TrainConfig,
    model: Model,
    parameters: Vec<ModelParameter>,
    optimisers: Vec<AdamW>,
    cache: Cache,
    batches: Batches,
    /// What the linear layers are, once a step was taken.
    linear: Option<BitLinearConfig>,
}

impl<'a> Trainer<'a> {
    /// With the moments that another trainer had, or none.
    ///
    /// # Errors
    /// [`Error::Config`] for quantization that the model's layers cannot have, and those of the device.
    pub(super) fn new(
        config: &'a TrainConfig,
        (model, parameters): (Model, Vec<ModelParameter>),
        batches: Batches,
        seq_len: usize,
        moments: Option<Vec<[Buffer; 2]>>,
    ) -> Result<Self> {
        let quantized = config.weights() != WeightPrecision::Float || !config.progressive.0.is_empty();
        // The scale of a layer that is stored with others would be another when it is packed.
        let joined = model.linears().find(|linear| linear.rows().start > 0);
        if let (true, Span::Tensor, Some(linear)) = (quantized, config.granularity.0, joined) {
            let detail = format!("tensor: {} is stored as one tensor and used as several; take channel", linear.path());
            return Err(Error::config("granularity", detail));
        }
        let adamw = AdamWConfig { betas: BETAS, ..AdamWConfig::default() };
        let optimisers = match moments {
            Some(moments) => moments.into_iter().map(|both| AdamW::with_moments(adamw, both)).collect(),
            None => {
                let fresh = parameters.iter().map(|p| AdamW::new(model.device(), p.values.rows * p.values.cols, adamw));
                fresh.collect::<Result<_>>()?
            }
        };
        let cache = model.cache(config.batch_size, seq_len)?;
        Ok(Self { config, model, parameters, optimisers, cache, batches, linear: None })
    }

    pub(super) fn device(&self) -> &Device {
        self.model.device()
    }

    pub(super) fn parameters(&self) -> &[ModelParameter] {
        &self.parameters
    }

    /// Of each parameter the first and the second moment.
    pub(super) fn moments(&self) -> impl Iterator<Item = [&Buffer; 2]> {
        self.optimisers.iter().map(AdamW::moments)
    }

    /// Module paths of the linear layers that train with quantization in the loop.
    pub(super) fn linear_paths(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.model.linears().map(|linear| linear.path().to_owned()).collect();
        paths.dedup();
        paths
    }

    /// Takes a step, counted from 0; gives the losses of all tokens, still on the device.
    ///
    /// # Errors
    /// Those of recording and of the device.
    pub(super) fn step(&mut self, step: u32) -> Result<Vec<Buffer>> {
        self.quantize(step)?;
        let (batches, sequences) = (self.config.accumulate, self.config.batch_size);
        let mut sums: Vec<Option<Activations>> = vec![None; self.parameters.len()];
        let mut losses = Vec::with_capacity(batches);
        let first = u64::from(step) * (batches * sequences) as u64;
        for index in 0..batches {
            let batch = self.batches.batch(first + (index * sequences) as u64, sequences);
            let mut rec = Recorder::new(self.model.device());
            losses.push(self.backward(&mut rec, &batch, &mut sums)?);
            if index + 1 == batches {
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
        let mut seed = self.config.seed.wrapping_mul(0x85eb_ca6b).wrapping_add(step.wrapping_mul(0xc2b2_ae35));
        for layer in self.model.linears_mut() {
            let Some(values) = layer.latent().map(|latent| latent.values().clone()) else { continue };
            seed = seed.wrapping_add(0x9e37_79b9);
            let latent = LatentWeight::new(values, linear.scheme(), linear.input())?;
            layer.set_latent(latent.with_noise(noise, seed))?;
        }
        self.linear = Some(linear);
        Ok(())
    }

    /// Adds the gradients of a batch to the sums; gives the losses of its tokens.
    fn backward(&mut self, rec: &mut Recorder, batch: &Batch, sums: &mut [Option<Activations>]) -> Result<Buffer> {
        let tokens = batch.ids.len() * self.config.accumulate;
        let buffers: Vec<&Buffer> = self.parameters.iter().map(|parameter| &parameter.values.buffer).collect();
        buffers.iter().for_each(|buffer| rec.watch(buffer));
        self.cache.clear();
        let hidden = self.model.hidden(rec, &batch.ids, &mut self.cache)?;
        let rows_at_once = LOGITS / self.model.config().vocab_size.max(1);
        let model = &self.model;
        let found = op::loss_in_chunks(rec, &hidden, rows_at_once, &buffers, |rec, x, rows| {
            let logits = model.logits(rec, x)?;
            let loss = op::cross_entropy(rec, &logits, &batch.targets[rows], tokens)?;
            Ok((logits, loss))
        })?;
        let gradients = op::backward(rec, &hidden, &found.gradient)?;
        for ((sum, parameter), of_head) in sums.iter_mut().zip(&self.parameters).zip(found.watched) {
            let of_blocks = gradients.of(&parameter.values.buffer).cloned();
            for buffer in of_blocks.into_iter().chain(of_head) {
                let new = Activations { buffer, ..parameter.values };
                *sum = Some(match sum.take() {
                    Some(before) => op::add(rec, &before, &new)?,
                    None => new,
                });
            }
        }
        Ok(found.losses.buffer)
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
            let (parameter, adamw) = (&self.parameters[index], &mut self.optimisers[index]);
            // Norms should stay near one, biases where they are needed.
            adamw.set_weight_decay(if parameter.layout == Layout::Vector { 0.0 } else { decay });
            adamw.step(rec, &parameter.values.buffer, &gradient.buffer, rate, step)?;
        }
        Ok(())
    }
}
