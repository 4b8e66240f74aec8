//! A weight to codes, scales and zero points on a device, with the error that this makes.

use rayon::prelude::*;

use super::ternary::Levels;
use super::{FakeQuantized, TrainedWeight, WeightError, choose, fake_quant, param};
use crate::device::{Buffer, Caps, Device, DeviceKind, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::group_error::{self, GroupError};
use crate::kernel::group_quantize::{self, GroupQuantize};
use crate::kernel::group_range::{self, GroupRange, Lanes};
use crate::kernel::group_search::{self, GroupSearch};
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{RangeRule, Rounding, Scheme, Span};
use crate::tensor::Tensor;

/// How codes are chosen: what they mean, and by which rules range and rounding are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// What the codes mean.
    pub scheme: Scheme,
    /// From the extremes of a group to its scale.
    pub range: RangeRule,
    /// From a quotient to a code.
    pub rounding: Rounding,
    /// Seed of [`Rounding::Stochastic`].
    pub seed: u32,
}

impl From<Scheme> for Quantization {
    /// The scheme with the default rules.
    fn from(scheme: Scheme) -> Self {
        Self { scheme, range: RangeRule::default(), rounding: Rounding::default(), seed: 0 }
    }
}

/// Input bytes handled at once: bounds memory on the host and the device whatever the weight's size. On a processor all
/// steps of a part find it in the cache, and it is still enough for all threads.
fn part_bytes(caps: &Caps) -> usize {
    let most = if caps.kind == DeviceKind::Cpu { 4 << 20 } else { 64 << 20 };
    usize::try_from(caps.max_binding_bytes).unwrap_or(most).min(most)
}

/// Quantizes a `[rows, cols]` weight. `name` is for errors.
///
/// # Errors
/// [`Error::NotFinite`] for a NaN or an infinity, [`Error::Config`] for a range rule that the scheme cannot have or
/// a scale that its type cannot hold, [`Error::Shape`] for an empty tensor, and those of the device.
pub async fn quantize(
    device: &Device,
    tensor: &Tensor<'_>,
    quantization: &Quantization,
    name: &str,
) -> Result<(PackedTensor, WeightError)> {
    check(tensor, quantization, name)?;
    let scales = match quantization.scheme.span() {
        Span::Tensor => Scales::One(tensor_scale(tensor, quantization, name)?),
        Span::Channel | Span::Group(_) => Scales::Rule,
    };
    in_parts(device, tensor, quantization, scales, name).await
}

/// [`quantize`] of a tensor that is one group, with a range of values that was found before.
///
/// # Errors
/// As [`quantize`], and [`Error::Config`] for a scheme whose group is not the tensor.
pub async fn quantize_within(
    device: &Device,
    tensor: &Tensor<'_>,
    quantization: &Quantization,
    [min, max]: [f32; 2],
    name: &str,
) -> Result<(PackedTensor, WeightError)> {
    check(tensor, quantization, name)?;
    let scheme = quantization.scheme;
    if scheme.span() != Span::Tensor {
        return Err(Error::config("scheme", format!("{scheme} has several groups; one range is for one, as in w8ts")));
    }
    if tensor.to_f32().iter().any(|x| !x.is_finite()) {
        return Err(first_not_finite(tensor, name));
    }
    let (scale, zero) = quantization.range.scale_and_zero(min, max, scheme);
    if !scale.is_finite() {
        return Err(Error::config("range", format!("{min} to {max} gives no scale in {}", scheme.scale_type())));
    }
    in_parts(device, tensor, quantization, Scales::One((scale, zero)), name).await
}

/// [`quantize`] with the scale, and zero point, of each group searched for: of a grid, those with the least squared error,
/// in which each column counts by its `importance`, one number a column on the device as [`importance`](super::importance)
/// gives it. The range rule is without effect.
///
/// # Errors
/// As [`quantize`], [`Error::Config`] for one scale for the whole tensor, and [`Error::Shape`] for another number of
/// columns.
pub async fn quantize_searched(
    device: &Device,
    tensor: &Tensor<'_>,
    quantization: &Quantization,
    importance: &Buffer,
    name: &str,
) -> Result<(PackedTensor, WeightError)> {
    if quantization.scheme.span() == Span::Tensor {
        return Err(Error::config("group_size", "`tensor` cannot be searched; use a number or channel"));
    }
    if importance.bytes() != tensor.cols() * 4 {
        let (expected, found) = (format!("{} importances", tensor.cols()), format!("{} bytes", importance.bytes()));
        return Err(Error::Shape { op: "quantize", expected, found });
    }
    let quantization = Quantization { range: RangeRule::FullRange, ..*quantization };
    check(tensor, &quantization, name)?;
    in_parts(device, tensor, &quantization, Scales::Searched(importance), name).await
}

/// Where scales and zero points come from.
#[derive(Clone, Copy)]
pub(super) enum Scales<'a> {
    /// From the range of each group.
    Rule,
    /// One group spans the tensor, and this is its scale and zero point.
    One((f32, u8)),
    /// From a search of each group, for these importances of columns.
    Searched(&'a Buffer),
    /// From a rule for three levels.
    Ternary(Levels),
}

/// Part by part.
pub(super) async fn in_parts(
    device: &Device,
    tensor: &Tensor<'_>,
    quantization: &Quantization,
    scales: Scales<'_>,
    name: &str,
) -> Result<(PackedTensor, WeightError)> {
    let (scheme, rows, cols) = (quantization.scheme, tensor.rows(), tensor.cols());
    let mut job = Job { device, tensor, quantization, scales, name, error: WeightError::default() };
    let mut packed = PackedTensor {
        scheme,
        rows,
        cols,
        codes: Vec::with_capacity(Packing::Rows.words(rows, cols, scheme.bits())),
        scales: Vec::with_capacity(scheme.groups(rows, cols).count()),
        zeros: (!scheme.is_symmetric()).then(Vec::new),
        kept: None,
    };
    let step = (part_bytes(device.caps()) / (cols * tensor.dtype().bytes())).clamp(1, rows);
    for first in (0..rows).step_by(step) {
        job.part(first, step.min(rows - first), &mut packed).await?;
    }
    if scheme.span() == Span::Tensor {
        // Every part has told the one there is.
        packed.scales.truncate(1);
        packed.zeros.iter_mut().for_each(|zeros| zeros.truncate(1));
    }
    packed.check()?;
    Ok((packed, job.error))
}

fn check(tensor: &Tensor<'_>, quantization: &Quantization, name: &str) -> Result<()> {
    quantization.range.check(quantization.scheme)?;
    check_shape(tensor, name)
}

/// Refuses a tensor without elements.
pub(super) fn check_shape(tensor: &Tensor<'_>, name: &str) -> Result<()> {
    if tensor.rows() == 0 || tensor.cols() == 0 {
        let found = format!("{:?}", tensor.shape());
        return Err(Error::Shape { op: "quantize", expected: format!("{name} with elements"), found });
    }
    Ok(())
}

/// Codes, scales and zero points of a weight under its trained parameters: they decode to what
/// [`fake_quant`](super::fake_quant) gives, bit for bit. `name` is for errors.
///
/// # Errors
/// [`Error::NotFinite`] for a NaN or an infinity, [`Error::Config`] for a scale that its type cannot hold, and those of the
/// device.
pub async fn quantize_trained(device: &Device, w: &TrainedWeight, name: &str) -> Result<(PackedTensor, WeightError)> {
    const OP: &str = "quantize";
    let (scheme, rows, cols) = (w.scheme, w.rows, w.cols);
    let mut rec = Recorder::new(device);
    let FakeQuantized { values, scales, zeros } = fake_quant(&mut rec, w)?;
    let (groups, words) = (scheme.groups(rows, cols), Packing::Rows.words(1, cols, scheme.bits()));
    let codes = rec.alloc(rows * words * 4)?;
    let params = group_quantize::Params {
        rows: param(OP, rows)?,
        cols: param(OP, cols)?,
        group: param(OP, groups.size())?,
        groups_per_row: param(OP, groups.per_row())?,
        words_per_row: param(OP, words)?,
        bits: scheme.bits().get().into(),
        min_code: 0,
        rounding: Rounding::HalfEven.tag(),
        seed: 0,
        first_element: 0,
    };
    // A decoded value is within a rounding of code - zero scales, so its nearest code is the one it came from.
    let variant = group_quantize::variant(Dtype::F32);
    rec.dispatch::<GroupQuantize>(&params, variant, &[&values.buffer, &scales, &zeros, &codes])?;
    let sums = rec.alloc(rows * 16)?;
    let group_quantize::Params { rows: r, cols: c, group, groups_per_row, words_per_row, bits, .. } = params;
    let params = group_error::Params { rows: r, cols: c, group, groups_per_row, words_per_row, bits };
    let variant = group_error::variant(w.dtype, scheme.bits(), choose::reduce(device.caps()));
    rec.dispatch::<GroupError>(&params, variant, &[&w.values, &codes, &scales, &zeros, &sums])?;
    rec.submit()?;

    let read = device.read_all(&[&codes, &scales, &zeros, &sums]).await?;
    let [codes, scales, zeros, sums] = &read[..] else { unreachable!("four buffers were read") };
    let scales = Dtype::F32.decode(scales);
    if let Some(bad) = scales.iter().position(|s| !s.is_finite()) {
        let row = bad / groups.per_row().max(1);
        if scales[bad].is_infinite() {
            return Err(too_large(name, row, scheme));
        }
        let bytes = device.read::<u8>(&w.values).await?;
        return Err(first_not_finite(
            &Tensor::new(w.dtype, vec![rows, cols], &bytes[..rows * cols * w.dtype.bytes()])?,
            name,
        ));
    }
    let mut error = WeightError::default();
    error.add(rows * cols, &Dtype::F32.decode(sums));
    let codes = codes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let zeros = (!scheme.is_symmetric()).then(|| zeros.iter().step_by(4).copied().collect());
    let packed = PackedTensor { scheme, rows, cols, codes, scales, zeros, kept: None };
    packed.check()?;
    Ok((packed, error))
}

struct Job<'a> {
    device: &'a Device,
    tensor: &'a Tensor<'a>,
    quantization: &'a Quantization,
    scales: Scales<'a>,
    name: &'a str,
    error: WeightError,
}

impl Job<'_> {
    /// Quantizes `rows` rows from `first` on and appends them.
    async fn part(&mut self, first: usize, rows: usize, packed: &mut PackedTensor) -> Result<()> {
        let (device, scheme) = (self.device, self.quantization.scheme);
        let (dtype, cols) = (self.tensor.dtype(), self.tensor.cols());
        let stride = cols * dtype.bytes();
        let weight = device.upload(&self.tensor.bytes()[first * stride..(first + rows) * stride])?;
        let mut rec = Recorder::new(device);
        let groups = scheme.groups(rows, cols);
        // Three levels alone are chosen by steps that are not the scales.
        let mut steps = None;
        let (scales, zeros) = match self.scales {
            Scales::One((scale, zero)) => (device.upload(&[scale])?, device.upload(&[u32::from(zero)])?),
            Scales::Rule => self.group_scales(&mut rec, &weight, rows, None)?,
            Scales::Searched(importance) => self.group_scales(&mut rec, &weight, rows, Some(importance))?,
            Scales::Ternary(levels) => {
                let found = levels.of_rows(self.tensor, first..first + rows, scheme);
                steps = Some(device.upload(&found.iter().map(|l| l.step).collect::<Vec<_>>())?);
                let scales: Vec<_> = found.iter().map(|l| l.scale).collect();
                (device.upload(&scales)?, device.upload(&vec![u32::from(scheme.bits().middle()); scales.len()])?)
            }
        };
        let steps = steps.as_ref().unwrap_or(&scales);
        let words_per_row = Packing::Rows.words(1, cols, scheme.bits());
        let codes = rec.alloc(rows * words_per_row * 4)?;
        let params = group_quantize::Params {
            rows: param("quantize", rows)?,
            cols: param("quantize", cols)?,
            group: param("quantize", groups.size())?,
            groups_per_row: param("quantize", groups.per_row())?,
            words_per_row: param("quantize", words_per_row)?,
            bits: scheme.bits().get().into(),
            min_code: self.quantization.range.min_code().max(scheme.bits().min_code()).into(),
            rounding: self.quantization.rounding.tag(),
            seed: self.quantization.seed,
            #[allow(clippy::cast_possible_truncation, reason = "a position for random numbers; wrapping is harmless")]
            first_element: (first * cols) as u32,
        };
        rec.dispatch::<GroupQuantize>(&params, group_quantize::variant(dtype), &[&weight, steps, &zeros, &codes])?;
        let sums = rec.alloc(rows * 16)?;
        let group_quantize::Params { rows: r, cols: c, group, groups_per_row, words_per_row, bits, .. } = params;
        let params = group_error::Params { rows: r, cols: c, group, groups_per_row, words_per_row, bits };
        let variant = group_error::variant(dtype, scheme.bits(), choose::reduce(device.caps()));
        rec.dispatch::<GroupError>(&params, variant, &[&weight, &codes, &scales, &zeros, &sums])?;
        rec.submit()?;

        let read = device.read_all(&[&codes, &scales, &zeros, &sums]).await?;
        let [codes, scales, zeros, sums] = &read[..] else { unreachable!("four buffers were read") };
        packed.codes.extend(codes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)));
        let scales = Dtype::F32.decode(scales);
        self.check_scales(&scales, first)?;
        packed.scales.extend(&scales);
        if let Some(all) = &mut packed.zeros {
            all.extend(zeros.iter().step_by(4));
        }
        self.error.add(rows * cols, &Dtype::F32.decode(sums));
        Ok(())
    }

    fn group_scales(
        &self,
        rec: &mut Recorder,
        weight: &Buffer,
        rows: usize,
        importance: Option<&Buffer>,
    ) -> Result<(Buffer, Buffer)> {
        let (scheme, cols, dtype) = (self.quantization.scheme, self.tensor.cols(), self.tensor.dtype());
        let groups = scheme.groups(rows, cols);
        let (scales, zeros) = (rec.alloc(groups.count() * 4)?, rec.alloc(groups.count() * 4)?);
        let [r, c, group, groups_per_row] = [rows, cols, groups.size(), groups.per_row()].map(|n| param("quantize", n));
        let (r, c, group, groups_per_row) = (r?, c?, group?, groups_per_row?);
        let lanes = Lanes::suited(groups.size());
        if let Some(importance) = importance {
            let params = group_search::Params::new(r, c, group, groups_per_row, scheme);
            let variant = group_search::variant(dtype, lanes);
            rec.dispatch::<GroupSearch>(&params, variant, &[weight, importance, &scales, &zeros])?;
            return Ok((scales, zeros));
        }
        let params = group_range::Params {
            rows: r,
            cols: c,
            group,
            groups_per_row,
            bits: scheme.bits().get().into(),
            symmetric: scheme.is_symmetric().into(),
            rule: self.quantization.range.tag(),
            scale_type: scheme.scale_type() as u32,
        };
        rec.dispatch::<GroupRange>(&params, group_range::variant(dtype, lanes), &[weight, &scales, &zeros])?;
        Ok((scales, zeros))
    }

    /// Scales of the part that starts at row `first`: NaN stands for a bad weight, infinity for a scale too large.
    fn check_scales(&self, scales: &[f32], first: usize) -> Result<()> {
        let Some(bad) = scales.iter().position(|s| !s.is_finite()) else { return Ok(()) };
        let groups = self.quantization.scheme.groups(self.tensor.rows(), self.tensor.cols());
        let row = first + bad / groups.per_row().max(1);
        if scales[bad].is_nan() { Err(first_not_finite(self.tensor, self.name)) } else { Err(self.too_large(row)) }
    }

    fn too_large(&self, row: usize) -> Error {
        too_large(self.name, row, self.quantization.scheme)
    }
}

fn too_large(name: &str, row: usize, scheme: Scheme) -> Error {
    let detail = format!("a scale in row {row} of {name} is too large for {}; use f32 or bf16", scheme.scale_type());
    Error::config("scale type", detail)
}

/// Scale and zero point of a tensor that is one group: a single pass over values that lie in main memory anyway.
fn tensor_scale(tensor: &Tensor<'_>, quantization: &Quantization, name: &str) -> Result<(f32, u8)> {
    let row_bytes = tensor.cols() * tensor.dtype().bytes();
    let extremes = |bytes: &[u8]| {
        let values = tensor.dtype().decode(bytes);
        let finite = values.iter().all(|v| v.is_finite());
        let min = if finite { values.iter().copied().fold(f32::MAX, f32::min) } else { f32::NAN };
        (min, values.iter().copied().fold(f32::MIN, f32::max))
    };
    let merge = |a: (f32, f32), b: (f32, f32)| {
        (if a.0.is_nan() || b.0.is_nan() { f32::NAN } else { a.0.min(b.0) }, a.1.max(b.1))
    };
    let (min, max) = tensor.bytes().par_chunks(row_bytes).map(extremes).reduce(|| (f32::MAX, f32::MIN), merge);
    let (scale, zero) = quantization.range.scale_and_zero(min, max, quantization.scheme);
    if scale.is_nan() {
        return Err(first_not_finite(tensor, name));
    }
    if scale.is_infinite() {
        return Err(too_large(name, 0, quantization.scheme));
    }
    Ok((scale, zero))
}

/// The error that names the first element that is not finite.
fn first_not_finite(tensor: &Tensor<'_>, name: &str) -> Error {
    let values = tensor.to_f32();
    let index = values.iter().position(|v| !v.is_finite()).unwrap_or_default();
    let (row, col) = (index / tensor.cols(), index % tensor.cols());
    Error::NotFinite { tensor: name.to_owned(), row, col, value: values[index] }
}
