//! Weights whose rounding is trained: quantized and decoded on the way, with gradients straight through the rounding.

use super::checks::shape;
use super::weight::DenseWeight;
use super::{Activations, param};
use crate::device::{Adjoint, Buffer, Gradients, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::fake_quant::{self as quant, FakeQuant};
use crate::kernel::fake_quant_backward::{self as quant_backward, FakeQuantBackward};
use crate::kernel::fake_range::{self as range, FakeRange};
use crate::kernel::fake_range_backward::{self as range_backward, FakeRangeBackward};
use crate::kernel::group_bounds::{self as bounds, GroupBounds, Lanes};
use crate::scheme::{Scheme, Span};

const OP: &str = "fake quantization";

/// A `[rows, cols]` weight on a device with the parameters that decide how it is quantized: an offset for each element,
/// in steps, added before rounding; and for each group a factor of its smallest and one of its largest value.
#[derive(Clone, Debug)]
pub struct TrainedWeight {
    pub(super) scheme: Scheme,
    pub(super) dtype: Dtype,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) values: Buffer,
    bounds: Buffer,
    /// Offsets, f32, `[rows, cols]`.
    pub offsets: Buffer,
    /// Factors of the smallest and of the largest value, f32, `[groups, 2]`.
    pub factors: Buffer,
}

/// A weight as it decodes, and how it was quantized.
#[derive(Clone, Debug)]
pub struct FakeQuantized {
    /// `(code - zero) * scale`, f32, `[rows, cols]`.
    pub values: Activations,
    /// Scale of each group, f32, rounded to its storage type.
    pub scales: Buffer,
    /// Zero point of each group, one word.
    pub zeros: Buffer,
}

impl TrainedWeight {
    /// Records what is needed of a weight, with offsets of 0 and factors of 1: round to nearest by
    /// [`RangeRule::FullRange`](crate::RangeRule::FullRange).
    ///
    /// # Errors
    /// [`Error::Config`] for one scale for the whole tensor, [`Error::Unsupported`] for a weight that is split because the
    /// device cannot bind it in one piece, and those of the device.
    pub fn new(rec: &mut Recorder, weight: &DenseWeight, scheme: Scheme) -> Result<Self> {
        if scheme.span() == Span::Tensor {
            return Err(Error::config("group_size", "one scale per tensor cannot be trained; use channel or a number"));
        }
        let [part] = weight.parts() else {
            let what = format!("training a weight of {} x {} on this device", weight.rows(), weight.cols());
            return Err(Error::Unsupported { what, remedy: "use a device with larger bindings, or the CPU".into() });
        };
        let (rows, cols, dtype) = (weight.rows(), weight.cols(), weight.dtype());
        param(OP, rows * cols)?;
        let groups = scheme.groups(rows, cols);
        let device = rec.device().clone();
        let offsets = device.upload(&vec![0f32; rows * cols])?;
        let factors = device.upload(&vec![1f32; groups.count() * 2])?;
        let bounds = rec.alloc(groups.count() * 8)?;
        let params = bounds::Params {
            rows: param(OP, rows)?,
            cols: param(OP, cols)?,
            group: param(OP, groups.size())?,
            groups_per_row: param(OP, groups.per_row())?,
        };
        let variant = bounds::variant(dtype, Lanes::suited(groups.size()));
        rec.dispatch::<GroupBounds>(&params, variant, &[&part.values, &bounds])?;
        Ok(Self { scheme, dtype, rows, cols, values: part.values.clone(), bounds, offsets, factors })
    }

    /// The same weight with other parameters.
    #[must_use]
    pub fn with(&self, offsets: Buffer, factors: Buffer) -> Self {
        Self { offsets, factors, ..self.clone() }
    }

    /// What the codes mean.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Output and input features.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    fn range_params(&self) -> Result<range::Params> {
        Ok(range::Params {
            groups: param(OP, self.scheme.groups(self.rows, self.cols).count())?,
            bits: self.scheme.bits().get().into(),
            symmetric: self.scheme.is_symmetric().into(),
            scale_type: self.scheme.scale_type() as u32,
        })
    }

    fn quant_params(&self) -> Result<quant::Params> {
        let groups = self.scheme.groups(self.rows, self.cols);
        Ok(quant::Params {
            rows: param(OP, self.rows)?,
            cols: param(OP, self.cols)?,
            group: param(OP, groups.size())?,
            groups_per_row: param(OP, groups.per_row())?,
            bits: self.scheme.bits().get().into(),
        })
    }
}

/// Quantizes a weight by its parameters and decodes it again. Gradients go to offsets and factors, as far as they are
/// watched, as if rounding were the identity within the range of codes.
///
/// ```
/// use bitsmith::{Device, Recorder, Tensor, op::{self, DenseWeight, TrainedWeight}};
/// let device = Device::cpu();
/// let tensor = Tensor::from_f32(vec![1, 4], &[-2.0, -0.6, 0.2, 1.9])?;
/// let mut rec = Recorder::new(&device);
/// let weight = TrainedWeight::new(&mut rec, &DenseWeight::upload(&device, &tensor)?, "w2g16s-f32".parse()?)?;
/// let quantized = op::fake_quant(&mut rec, &weight)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(quantized.values.read(&device))?, [-2.0, -1.0, 0.0, 1.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// Those of recording.
pub fn fake_quant(rec: &mut Recorder, w: &TrainedWeight) -> Result<FakeQuantized> {
    let groups = w.scheme.groups(w.rows, w.cols).count();
    let (scales, zeros) = (rec.alloc(groups * 4)?, rec.alloc(groups * 4)?);
    rec.dispatch::<FakeRange>(&w.range_params()?, range::variant(), &[&w.bounds, &w.factors, &scales, &zeros])?;
    let values = Activations { buffer: rec.alloc(w.rows * w.cols * 4)?, rows: w.rows, cols: w.cols };
    let buffers = [&w.values, &w.offsets, &scales, &zeros, &values.buffer];
    rec.dispatch::<FakeQuant>(&w.quant_params()?, quant::variant(w.dtype), &buffers)?;
    let quantized = FakeQuantized { values, scales, zeros };
    rec.keep(&[&w.offsets, &w.factors], &[&quantized.values.buffer], || FakeQuantAdjoint {
        weight: w.clone(),
        quantized: quantized.clone(),
    });
    Ok(quantized)
}

/// Gradients of the parameters of a weight.
#[derive(Clone, Debug)]
pub struct TrainedGradients {
    /// Of the offsets.
    pub offsets: Buffer,
    /// Of the factors, where they are asked for.
    pub factors: Option<Buffer>,
}

/// The gradients of [`fake_quant`] from that of the decoded values, straight through the rounding: what the tape of a
/// recorder does, for decoded values that are used in several recordings.
///
/// # Errors
/// [`Error::Shape`] if the gradient has another shape than the weight, and those of recording.
pub fn fake_quant_backward(
    rec: &mut Recorder,
    w: &TrainedWeight,
    quantized: &FakeQuantized,
    d_values: &Buffer,
    factors: bool,
) -> Result<TrainedGradients> {
    if d_values.bytes() != w.rows * w.cols * 4 {
        return Err(shape(OP, format!("a gradient of {} x {}", w.rows, w.cols), format!("{} bytes", d_values.bytes())));
    }
    let FakeQuantized { scales, zeros, .. } = quantized;
    let groups = w.scheme.groups(w.rows, w.cols);
    let (offsets, sums) = (rec.alloc(w.rows * w.cols * 4)?, rec.alloc(groups.count() * 8)?);
    let variant = quant_backward::variant(w.dtype, Lanes::suited(groups.size()));
    let buffers = [&w.values, &w.offsets, scales, zeros, d_values, &offsets, &sums];
    rec.dispatch::<FakeQuantBackward>(&w.quant_params()?, variant, &buffers)?;
    if !factors {
        return Ok(TrainedGradients { offsets, factors: None });
    }
    let d_factors = rec.alloc(groups.count() * 8)?;
    let buffers = [&w.bounds, &w.factors, scales, &sums, &d_factors];
    rec.dispatch::<FakeRangeBackward>(&w.range_params()?, range_backward::variant(), &buffers)?;
    Ok(TrainedGradients { offsets, factors: Some(d_factors) })
}

#[derive(Debug)]
struct FakeQuantAdjoint {
    weight: TrainedWeight,
    quantized: FakeQuantized,
}

impl Adjoint for FakeQuantAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Self { weight: w, quantized } = self;
        let Some(d_values) = gradients.take(&quantized.values.buffer) else { return Ok(()) };
        let factors = gradients.wants(&w.factors);
        let found = fake_quant_backward(rec, w, quantized, &d_values, factors)?;
        gradients.add(rec, &w.offsets, found.offsets)?;
        match found.factors {
            Some(d_factors) => gradients.add(rec, &w.factors, d_factors),
            None => Ok(()),
        }
    }
}
