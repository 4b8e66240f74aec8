//! A linear layer, in whatever form its weight is held.

use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::op::{self, ActivationPrecision, Activations, DenseWeight, GroupWeight};

/// The weight of a linear layer on a device.
#[derive(Debug)]
pub(crate) enum Weight {
    /// Floating point.
    Dense(DenseWeight),
    /// Packed integers with a scale per group, and what the activations become that meet them.
    Group(GroupWeight, ActivationPrecision),
}

/// `y = x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    pub(super) weight: Weight,
    pub(super) bias: Option<Buffer>,
}

impl Linear {
    /// Applies the layer to `[rows, in_features]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the width of `x` is another, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: &Activations) -> Result<Activations> {
        let y = match &self.weight {
            Weight::Dense(weight) => op::dense(rec, x, weight)?,
            Weight::Group(weight, ActivationPrecision::Exact) => op::group(rec, x, weight)?,
            Weight::Group(weight, ActivationPrecision::Int8) => {
                let x = op::int8(rec, x, op::int8_block(weight.scheme().span(), weight.cols()))?;
                op::group_int8(rec, &x, weight)?
            }
        };
        if let Some(bias) = &self.bias {
            op::add_bias(rec, &y, bias)?;
        }
        Ok(y)
    }

    /// Bytes of the weight on the device.
    pub fn bytes(&self) -> u64 {
        match &self.weight {
            Weight::Dense(weight) => weight.bytes() as u64,
            Weight::Group(weight, _) => weight.bytes() as u64,
        }
    }
}
