//! A language model that learns a text.

use super::batches::Batches;
use super::config::TrainConfig;
use super::learner::{Learned, Learner};
use super::parameter::Parameter;
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::model::{Cache, Model, ModelParameter};
use crate::nn::{BitLinearConfig, WeightPrecision};
use crate::op::{self, LatentWeight};
use crate::scheme::Span;

/// Logits that are held at once: 64 MiB.
const LOGITS: usize = 1 << 24;

/// A model and the sequences that go through it.
pub(super) struct TextLearner<'a> {
    config: &'a TrainConfig,
    model: Model,
    parameters: Vec<Parameter>,
    cache: Cache,
    batches: Batches,
}

impl<'a> TextLearner<'a> {
    /// # Errors
    /// [`Error::Config`] for quantization that the model's layers cannot have, and those of the device.
    pub(super) fn new(
        config: &'a TrainConfig,
        (model, parameters): (Model, Vec<ModelParameter>),
        batches: Batches,
        seq_len: usize,
    ) -> Result<Self> {
        let quantized = config.weights() != WeightPrecision::Float || !config.progressive.0.is_empty();
        // The scale of a layer that is stored with others would be another when it is packed.
        let joined = model.linears().find(|linear| linear.rows().start > 0);
        if let (true, Span::Tensor, Some(linear)) = (quantized, config.granularity.0, joined) {
            let detail = format!("tensor: {} is stored as one tensor and used as several; take channel", linear.path());
            return Err(Error::config("granularity", detail));
        }
        let cache = model.cache(config.batch_size, seq_len)?;
        Ok(Self { config, model, parameters: parameters.into_iter().map(Parameter::from).collect(), cache, batches })
    }

    /// Module paths of the linear layers that train with quantization in the loop.
    pub(super) fn linear_paths(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.model.linears().map(|linear| linear.path().to_owned()).collect();
        paths.dedup();
        paths
    }
}

impl Learner for TextLearner<'_> {
    /// Those that language models are trained with.
    const BETAS: [f64; 2] = [0.9, 0.95];

    fn device(&self) -> &Device {
        self.model.device()
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn quantize(&mut self, linear: BitLinearConfig, noise: f32, mut seed: u32) -> Result<()> {
        for layer in self.model.linears_mut() {
            let Some(values) = layer.latent().map(|latent| latent.values().clone()) else { continue };
            seed = seed.wrapping_add(0x9e37_79b9);
            let latent = LatentWeight::new(values, linear.scheme(), linear.input())?;
            layer.set_latent(latent.with_noise(noise, seed))?;
        }
        Ok(())
    }

    fn batches(&self, _: u32) -> usize {
        self.config.accumulate
    }

    fn backward(&mut self, rec: &mut Recorder, step: u32, batch: usize) -> Result<Learned> {
        let (batches, sequences) = (self.config.accumulate, self.config.batch_size);
        let first = u64::from(step) * (batches * sequences) as u64 + (batch * sequences) as u64;
        let batch = self.batches.batch(first, sequences);
        let tokens = batch.ids.len() * batches;
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
        let of_blocks = op::backward(rec, &hidden, &found.gradient)?;
        let both = |(buffer, of_head): (&&Buffer, Option<Buffer>)| {
            of_blocks.of(*buffer).cloned().into_iter().chain(of_head).collect()
        };
        let gradients = buffers.iter().zip(found.watched).map(both).collect();
        Ok(Learned { losses: found.losses.buffer, gradients })
    }
}
