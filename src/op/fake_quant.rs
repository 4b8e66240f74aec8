//! Weights whose rounding is trained: quantized and decoded on the way, with gradients straight through the rounding.

use super::checks::shape;
use super::weight::DenseWeight;
use super::{Activations, param};
use crate::device::{Adjoint, Buffer, Device, Gradients, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::fake_quant::{self as quant, FakeQuant};
use crate::kernel::fake_quant_backward::{self as quant_backward, FakeQuantBackward};
use crate::kernel::fake_range::{self as range, FakeRange};
use crate::kernel::fake_range_backward::{self as range_backward, FakeRangeBackward};
use crate::kernel::free_range::{self, FreeRange};
use crate::kernel::free_range_backward::{self, FreeRangeBackward};
use crate::kernel::group_bounds::{self as bounds, GroupBounds, Lanes};
use crate::pack::PackedTensor;
use crate::scheme::{Scheme, Span};
use crate::tensor::QuantizedTensor;

const OP: &str = "fake quantization";

/// A `[rows, cols]` weight on a device with the parameters that decide how it is quantized: an offset for each element,
/// in steps, added before rounding; and two numbers for each group: a factor of its smallest and one of its largest value, or
/// a factor of its scale and a zero point.
#[derive(Clone, Debug)]
pub struct TrainedWeight {
    pub(super) scheme: Scheme,
    pub(super) dtype: Dtype,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) values: Buffer,
    range: Range,
    /// Offsets, f32, `[rows, cols]`.
    pub offsets: Buffer,
    /// The two numbers of each group, f32, `[groups, 2]`.
    pub factors: Buffer,
}

/// What scale and zero point of a group follow from.
#[derive(Clone, Debug)]
enum Range {
    /// The smallest and the largest value, times their factors.
    Bounds(Buffer),
    /// A scale, times its factor; the zero point is trained by itself.
    Scale(Buffer),
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
        let values = whole(weight, scheme)?;
        let (rows, cols, dtype) = (weight.rows(), weight.cols(), weight.dtype());
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
        rec.dispatch::<GroupBounds>(&params, variant, &[&values, &bounds])?;
        let range = Range::Bounds(bounds);
        Ok(Self { scheme, dtype, rows, cols, values, range, offsets, factors })
    }

    /// A weight with the codes it was given: scales and zero points are trained by themselves from there on. An offset
    /// brings an element to where its code is the nearest, and no farther than .45 steps from that.
    ///
    /// # Errors
    /// [`Error::Shape`] if weight and codes differ in shape, as [`Self::new`], and those of the device.
    pub async fn from_codes(device: &Device, weight: &DenseWeight, packed: &PackedTensor) -> Result<Self> {
        let (rows, cols, dtype, scheme) = (weight.rows(), weight.cols(), weight.dtype(), packed.scheme);
        let values = whole(weight, scheme)?;
        if (packed.rows, packed.cols) != (rows, cols) {
            let found = format!("codes of {} x {}", packed.rows, packed.cols);
            return Err(shape(OP, format!("a weight of {rows} x {cols}"), found));
        }
        let start = packed.unpack()?;
        let elements = dtype.decode(&device.read::<u8>(&values).await?[..rows * cols * dtype.bytes()]);
        let offsets = device.upload(&offsets(&elements, &start))?;
        let zero = |g: usize| start.zeros().map_or(f32::from(scheme.bits().middle()), |zeros| f32::from(zeros[g]));
        let factors: Vec<_> = (0..start.scales().len()).flat_map(|g| [1.0, zero(g)]).collect();
        let (range, factors) = (Range::Scale(device.upload(start.scales())?), device.upload(&factors)?);
        Ok(Self { scheme, dtype, rows, cols, values, range, offsets, factors })
    }

    /// The same weight, whose scales and zero points are trained by themselves, from where its factors put them.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn freed(&self, device: &Device) -> Result<Self> {
        let mut rec = Recorder::new(device);
        let FakeQuantized { scales, zeros, .. } = fake_quant(&mut rec, self)?;
        rec.submit()?;
        let read = device.read_all(&[&zeros]).await?;
        let zeros = read[0].as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word) as f32);
        let factors: Vec<_> = zeros.flat_map(|zero| [1.0, zero]).collect();
        Ok(Self { range: Range::Scale(scales), factors: device.upload(&factors)?, ..self.clone() })
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

/// The values of a weight that can be trained: all in one piece, each row with scales of its own.
fn whole(weight: &DenseWeight, scheme: Scheme) -> Result<Buffer> {
    if scheme.span() == Span::Tensor {
        return Err(Error::config("group_size", "one scale per tensor cannot be trained; use channel or a number"));
    }
    param(OP, weight.rows() * weight.cols())?;
    let [part] = weight.parts() else {
        let what = format!("training a weight of {} x {} on this device", weight.rows(), weight.cols());
        return Err(Error::Unsupported { what, remedy: "use a device with larger bindings, or the CPU".into() });
    };
    Ok(part.values.clone())
}

/// How far from its code an element may lie, in steps, where the next one lies on that side.
const HOLD: f32 = 0.45;

/// What brings elements to their codes.
fn offsets(elements: &[f32], start: &QuantizedTensor) -> Vec<f32> {
    let (cols, scheme) = (start.cols(), start.scheme());
    let (groups, most) = (scheme.groups(start.rows(), cols), scheme.bits().max_code());
    let middle = scheme.bits().middle();
    let offset = |(i, element): (usize, &f32)| {
        let group = i / cols * groups.per_row() + i % cols / groups.size();
        let (code, zero) = (start.codes()[i], start.zeros().map_or(middle, |zeros| zeros[group]));
        let (steps, at) = (element / start.scales()[group], f32::from(code) - f32::from(zero));
        let low = if code == 0 { f32::MIN } else { at - HOLD };
        let high = if code == most { f32::MAX } else { at + HOLD };
        steps.clamp(low, high) - steps
    };
    elements.iter().enumerate().map(offset).collect()
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
    let params = w.range_params()?;
    match &w.range {
        Range::Bounds(bounds) => {
            rec.dispatch::<FakeRange>(&params, range::variant(), &[bounds, &w.factors, &scales, &zeros])?;
        }
        Range::Scale(start) => {
            rec.dispatch::<FreeRange>(&params, free_range::variant(), &[start, &w.factors, &scales, &zeros])?;
        }
    }
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
    let params = w.range_params()?;
    match &w.range {
        Range::Bounds(bounds) => {
            let buffers = [bounds, &w.factors, scales, &sums, &d_factors];
            rec.dispatch::<FakeRangeBackward>(&params, range_backward::variant(), &buffers)?;
        }
        Range::Scale(start) => {
            let buffers = [start, scales, &sums, &d_factors];
            rec.dispatch::<FreeRangeBackward>(&params, free_range_backward::variant(), &buffers)?;
        }
    }
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
