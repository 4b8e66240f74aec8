//! A block whose codes, scales and zero points are tuned.

use std::ops::Range;

use super::TuneConfig;
use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::model::{Cache, LoadedBlock};
use crate::op::{self, Activations, AdamW, AdamWConfig, DenseWeight, FakeQuantized, TrainedWeight};
use crate::quant::{NamedLayer, QuantizedLayer, QuantizedPart};

/// Offsets may take any value.
const ANY: [f32; 2] = [f32::MIN, f32::MAX];
/// The factor of a scale and a zero point may not be negative.
const POSITIVE: [f32; 2] = [0.0, f32::MAX];

/// A block on the device with the parameters of its quantized layers.
pub(super) struct TunedBlock {
    block: LoadedBlock,
    layers: Vec<Layer>,
}

struct Layer {
    /// Its place among the block's linear layers.
    index: usize,
    path: String,
    rows: Range<usize>,
    weight: TrainedWeight,
    offsets: AdamW,
    ranges: AdamW,
    /// Length of its longest step.
    rate: f32,
}

/// A step of all parameters.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Its length, as a share of the longest.
    pub(super) share: f32,
    /// How many were before it.
    pub(super) number: u32,
}

impl TunedBlock {
    /// From an original block and the codes of its layers.
    pub(super) async fn new(
        device: &Device,
        config: &TuneConfig,
        block: LoadedBlock,
        codes: &[NamedLayer],
    ) -> Result<Self> {
        let mut layers = Vec::new();
        for (index, linear) in block.linears().into_iter().flatten().enumerate() {
            let Some(found) = codes.iter().find(|layer| layer.path == linear.path()) else { continue };
            let Some(dense) = linear.dense() else {
                let what = format!("tuning {}, which is quantized already", linear.path());
                return Err(Error::Unsupported { what, remedy: "give the original model".into() });
            };
            let packed = found.layer.weight.rows_in(linear.rows())?;
            let weight = TrainedWeight::from_codes(device, dense, &packed).await?;
            let optimiser = |bytes: usize, bounds| {
                let config = AdamWConfig { betas: [0.9, 0.95], bounds, ..AdamWConfig::default() };
                AdamW::new(device, bytes / 4, config)
            };
            layers.push(Layer {
                index,
                path: linear.path().to_owned(),
                rows: linear.rows(),
                offsets: optimiser(weight.offsets.bytes(), ANY)?,
                ranges: optimiser(weight.factors.bytes(), POSITIVE)?,
                rate: config.rate(packed.scheme.bits()),
                weight,
            });
        }
        Ok(Self { block, layers })
    }

    /// Lets the block compute with the weights as they decode.
    pub(super) fn decode(&mut self, rec: &mut Recorder) -> Result<Vec<FakeQuantized>> {
        let mut linears: Vec<_> = self.block.linears_mut().into_iter().flatten().collect();
        let mut all = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let quantized = op::fake_quant(rec, &layer.weight)?;
            linears[layer.index].set_dense(DenseWeight::from_values(quantized.values.clone())?)?;
            all.push(quantized);
        }
        Ok(all)
    }

    /// The output of a block whose weights were decoded.
    pub(super) fn forward(&self, rec: &mut Recorder, x: Activations, cache: &mut Cache) -> Result<Activations> {
        self.block.forward(rec, x, cache)
    }

    /// From inputs, part by part, and the gradients of their outputs to the gradients of the inputs, after which all
    /// parameters take a step. What goes on within the block is computed again.
    pub(super) fn backward(
        &mut self,
        device: &Device,
        parts: &[(Activations, Activations)],
        cache: &mut Cache,
        step: Step,
    ) -> Result<Vec<Activations>> {
        let mut rec = Recorder::new(device);
        let decoded = self.decode(&mut rec)?;
        let mut sums: Vec<Option<Activations>> = vec![None; decoded.len()];
        let mut d_inputs = Vec::with_capacity(parts.len());
        for (x, d_y) in parts {
            rec.watch(&x.buffer);
            decoded.iter().for_each(|quantized| rec.watch(&quantized.values.buffer));
            let y = self.block.forward(&mut rec, x.clone(), cache)?;
            let gradients = op::backward(&mut rec, &y, d_y)?;
            d_inputs.extend(gradients.of(&x.buffer).cloned().map(|buffer| Activations { buffer, ..*x }));
            for (sum, quantized) in sums.iter_mut().zip(&decoded) {
                let new = gradients.of(&quantized.values.buffer).cloned();
                let new = new.map(|buffer| Activations { buffer, ..quantized.values });
                *sum = match (sum.take(), new) {
                    (Some(before), Some(new)) => Some(op::add(&mut rec, &before, &new)?),
                    (before, new) => before.or(new),
                };
            }
            std::mem::replace(&mut rec, Recorder::new(device)).submit()?;
        }
        for (layer, (quantized, d_values)) in self.layers.iter().zip(decoded.iter().zip(&sums)) {
            let (Some(d_values), weight) = (d_values, &layer.weight) else { continue };
            let gradients = op::fake_quant_backward(&mut rec, weight, quantized, &d_values.buffer, true)?;
            let rate = layer.rate * step.share;
            layer.offsets.step(&mut rec, &weight.offsets, &gradients.offsets, rate, step.number)?;
            if let Some(gradient) = gradients.factors {
                layer.ranges.step(&mut rec, &weight.factors, &gradient, rate, step.number)?;
            }
        }
        rec.submit()?;
        Ok(d_inputs)
    }

    /// The codes of the parameters.
    pub(super) async fn finish(self, device: &Device) -> Result<Vec<QuantizedPart>> {
        let mut parts = Vec::with_capacity(self.layers.len());
        for Layer { path, rows, weight, .. } in self.layers {
            let (weight, error) = op::quantize_trained(device, &weight, &path).await?;
            parts.push(QuantizedPart { path, rows, layer: QuantizedLayer { weight, error } });
        }
        Ok(parts)
    }
}
