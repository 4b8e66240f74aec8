//! How far a quantized weight is from the original.

use serde::{Deserialize, Serialize};

use super::weight::layout;
use super::{choose, param};
use crate::device::{Device, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::group_error::{self, GroupError};
use crate::pack::PackedTensor;
use crate::tensor::Tensor;

/// What quantization did to a weight, as sums over its elements: w the weight, v the dequantized one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightError {
    elements: u64,
    /// Of w*w, (w-v)^2, w*v, v*v.
    sums: [f64; 4],
}

impl WeightError {
    /// Both weights together, as if they were one.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let mut sums = self.sums;
        sums.iter_mut().zip(other.sums).for_each(|(sum, value)| *sum += value);
        Self { elements: self.elements + other.elements, sums }
    }

    /// Adds the sums of some rows.
    pub(super) fn add(&mut self, elements: usize, rows: &[f32]) {
        for row in rows.as_chunks::<4>().0 {
            self.sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        self.elements += elements as u64;
    }

    /// Mean squared error.
    pub fn mse(&self) -> f64 {
        self.sums[1] / self.elements.max(1) as f64
    }

    /// Signal to noise in decibels, `10 log10(sum w^2 / sum (w-v)^2)`; none without noise or without signal.
    pub fn sqnr_db(&self) -> Option<f64> {
        let ratio = self.sums[0] / self.sums[1];
        (ratio.is_finite() && ratio > 0.0).then(|| 10.0 * ratio.log10())
    }

    /// Cosine of the angle between w and v; none if either is zero.
    pub fn cosine(&self) -> Option<f64> {
        let norms = (self.sums[0] * self.sums[3]).sqrt();
        (norms > 0.0).then(|| (self.sums[2] / norms).clamp(-1.0, 1.0))
    }
}

/// What it did to a weight to become these codes.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ, and those of the device.
pub async fn weight_error(device: &Device, tensor: &Tensor<'_>, packed: &PackedTensor) -> Result<WeightError> {
    const OP: &str = "weight error";
    let (rows, cols, scheme) = (packed.rows, packed.cols, packed.scheme);
    if (tensor.rows(), tensor.cols()) != (rows, cols) {
        let (expected, found) = (format!("{rows} x {cols}"), format!("{} x {}", tensor.rows(), tensor.cols()));
        return Err(Error::Shape { op: OP, expected, found });
    }
    let [group, groups_per_row, words_per_row] = layout(scheme, rows, cols, OP)?;
    let mut error = WeightError::default();
    // Near the size that quantization works with.
    let step = ((4 << 20) / (cols * tensor.dtype().bytes()).max(1)).clamp(1, rows.max(1));
    for first in (0..rows).step_by(step) {
        let part = packed.rows_in(first..rows.min(first + step))?;
        let weight = device.upload(tensor.rows_in(first..first + part.rows).bytes())?;
        let zeros = part.zeros.unwrap_or_else(|| vec![scheme.bits().middle(); part.scales.len()]);
        let zeros: Vec<u32> = zeros.into_iter().map(u32::from).collect();
        let inputs = [device.upload(&part.codes)?, device.upload(&part.scales)?, device.upload(&zeros)?];
        let mut rec = Recorder::new(device);
        let sums = rec.alloc(part.rows * 16)?;
        let bits = scheme.bits().get().into();
        let (r, c) = (param(OP, part.rows)?, param(OP, cols)?);
        let params = group_error::Params { rows: r, cols: c, group, groups_per_row, words_per_row, bits };
        let variant = group_error::variant(tensor.dtype(), scheme.bits(), choose::reduce(device.caps()));
        let [codes, scales, zeros] = &inputs;
        rec.dispatch::<GroupError>(&params, variant, &[&weight, codes, scales, zeros, &sums])?;
        rec.submit()?;
        error.add(part.rows * cols, &Dtype::F32.decode(&device.read::<u8>(&sums).await?));
    }
    Ok(error)
}
