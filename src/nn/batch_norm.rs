//! A batch norm as it is once a network is trained.

use super::parameter::Parameter;
use super::source::Maker;
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::op::{self, Activations};

/// `(x - running_mean) / sqrt(running_var + eps) * weight + bias`, feature by feature. A training leaves all four as they are.
#[derive(Clone, Debug)]
pub(super) struct BatchNorm {
    name: String,
    stored: [Buffer; 4],
    features: usize,
    scale: Buffer,
    shift: Buffer,
}

/// The tensors of the layer, and what they are where there is no checkpoint.
const TENSORS: [(&str, f32); 4] = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)];

impl BatchNorm {
    #[allow(clippy::cast_possible_truncation, reason = "computed in f64, kept as f32")]
    pub(super) fn of(device: &Device, name: &str, features: usize, eps: f64, source: &impl Maker) -> Result<Self> {
        let mut values = Vec::with_capacity(TENSORS.len());
        for (part, otherwise) in TENSORS {
            values.push(source.vector(&format!("{name}.{part}"), features, otherwise)?);
        }
        let at = |part: usize, feature: usize| f64::from(values[part][feature]);
        let scale = |feature| at(0, feature) / (at(3, feature) + eps).sqrt();
        let shift = |feature| at(1, feature) - at(2, feature) * scale(feature);
        let upload = |of: &dyn Fn(usize) -> f64| {
            let values: Vec<f32> = (0..features).map(|feature| of(feature) as f32).collect();
            device.upload(&values)
        };
        let (scale, shift) = (upload(&scale)?, upload(&shift)?);
        let [weight, bias, mean, var] = [0, 1, 2, 3].map(|part: usize| device.upload(&values[part]));
        Ok(Self { name: name.to_owned(), stored: [weight?, bias?, mean?, var?], features, scale, shift })
    }

    /// What a checkpoint holds of it.
    pub(super) fn parameters(&self) -> impl Iterator<Item = Parameter> {
        TENSORS.iter().zip(&self.stored).map(|((part, _), buffer)| Parameter {
            name: format!("{}.{part}", self.name),
            shape: vec![self.features],
            buffer: buffer.clone(),
        })
    }

    pub(super) fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        op::scale_shift(rec, x, &self.scale, &self.shift)
    }
}
