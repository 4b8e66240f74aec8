//! Values as they come back from quantization, with gradients as if nothing had been rounded or clipped: the identity.

use super::checks::matrix;
use super::int8::int8;
use super::weight::GroupWeight;
use super::{Activations, choose, dequantize, param};
use crate::device::{Adjoint, Buffer, BufferId, Gradients, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::activation_dequantize::{self, ActivationDequantize};
use crate::kernel::group_absmean::{self, GroupAbsmean};
use crate::kernel::group_quantize::{self, GroupQuantize};
use crate::kernel::group_range::{self, GroupRange, Lanes};
use crate::kernel::weight_noise::{self, WeightNoise};
use crate::pack::Packing;
use crate::scheme::{RangeRule, Rounding, Scheme, Span};

const OP: &str = "quantization of a latent weight";

/// Added to the mean magnitude that is the scale of ternary weights.
const TERNARY_EPS: f32 = 1e-6;

/// Packs a `[rows, cols]` weight of f32 values that are on the device, without reading it back. Three levels have the
/// scale `mean |w| + 1e-6` of a group and the codes `clamp(round(w / scale), -1, 1)`; other widths go by
/// [`RangeRule::FullRange`]. Rounding is half to even. A group that holds a NaN or an infinity gets a scale that is not finite.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let w = Activations::upload(&device, 1, 4, &[-3.0, 0.4, 1.6, 3.0])?;
/// let mut rec = Recorder::new(&device);
/// let packed = op::pack_weight(&mut rec, &w, "w1.58cs-f32".parse()?)?;
/// rec.submit()?;
/// let packed = pollster::block_on(packed.read(&device))?.unpack()?;
/// // Codes are t + 2; the scale is the mean magnitude, 2.
/// assert_eq!((packed.codes(), packed.scales()), (&[1, 2, 3, 3][..], &[2.000001][..]));
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a scheme with zero points or with scales that are not f32, [`Error::Shape`] for an empty weight, and
/// those of recording.
pub fn pack_weight(rec: &mut Recorder, w: &Activations, scheme: Scheme) -> Result<GroupWeight> {
    let (rows, cols) = matrix(OP, w)?;
    if !scheme.is_symmetric() || scheme.scale_type() != Dtype::F32 {
        let detail = format!("{scheme} cannot be trained; take a symmetric one with f32 scales, such as w1.58cs-f32");
        return Err(Error::config("scheme", detail));
    }
    let groups = scheme.groups(w.rows, w.cols);
    let scales = rec.alloc(groups.count() * 4)?;
    // Of symmetric codes: the middle one, in every group.
    let zeros = rec.device().upload(&vec![u32::from(scheme.bits().middle()); groups.count()])?;
    if scheme.bits().is_ternary() {
        absmean(rec, w, scheme, &scales)?;
    } else {
        range(rec, w, scheme, &scales)?;
    }
    let words = Packing::Rows.words(1, w.cols, scheme.bits());
    let codes = rec.alloc(w.rows * words * 4)?;
    let params = group_quantize::Params {
        rows,
        cols,
        group: param(OP, groups.size())?,
        groups_per_row: param(OP, groups.per_row())?,
        words_per_row: param(OP, words)?,
        bits: scheme.bits().get().into(),
        min_code: scheme.bits().min_code().into(),
        rounding: Rounding::HalfEven.tag(),
        seed: 0,
        first_element: 0,
    };
    let variant = group_quantize::variant(Dtype::F32);
    rec.dispatch::<GroupQuantize>(&params, variant, &[&w.buffer, &scales, &zeros, &codes])?;
    GroupWeight::symmetric(scheme, w.rows, w.cols, codes, scales)
}

/// Scales of three levels. Those of a whole tensor come from the means of its rows.
fn absmean(rec: &mut Recorder, w: &Activations, scheme: Scheme, scales: &Buffer) -> Result<()> {
    let variant = group_absmean::variant(choose::reduce(rec.device().caps()));
    let groups = scheme.groups(w.rows, w.cols);
    let [rows, cols, group] = [w.rows, w.cols, groups.size()].map(|n| param(OP, n));
    let whole = scheme.span() == Span::Tensor;
    let (per_row, eps) = if whole { (1, 0.0) } else { (param(OP, groups.per_row())?, TERNARY_EPS) };
    let params = group_absmean::Params { rows: rows?, cols: cols?, group: group?, groups_per_row: per_row, eps };
    if !whole {
        return rec.dispatch::<GroupAbsmean>(&params, variant, &[&w.buffer, scales]);
    }
    let means = rec.alloc(w.rows * 4)?;
    rec.dispatch::<GroupAbsmean>(&params, variant.clone(), &[&w.buffer, &means])?;
    let rows = params.rows;
    let all = group_absmean::Params { rows: 1, cols: rows, group: rows, groups_per_row: 1, eps: TERNARY_EPS };
    rec.dispatch::<GroupAbsmean>(&all, variant, &[&means, scales])
}

/// Scales of other widths. A whole tensor is one row to the kernel.
fn range(rec: &mut Recorder, w: &Activations, scheme: Scheme, scales: &Buffer) -> Result<()> {
    let [rows, cols] = if scheme.span() == Span::Tensor { [1, w.rows * w.cols] } else { [w.rows, w.cols] };
    let group = scheme.groups(rows, cols).size();
    let per_row = cols.div_ceil(group);
    let params = group_range::Params {
        rows: param(OP, rows)?,
        cols: param(OP, cols)?,
        group: param(OP, group)?,
        groups_per_row: param(OP, per_row)?,
        bits: scheme.bits().get().into(),
        symmetric: 1,
        rule: RangeRule::FullRange.tag(),
        scale_type: scheme.scale_type() as u32,
    };
    let zeros = rec.alloc(rows * per_row * 4)?;
    let variant = group_range::variant(Dtype::F32, Lanes::suited(group));
    rec.dispatch::<GroupRange>(&params, variant, &[&w.buffer, scales, &zeros])
}

/// A `[rows, cols]` weight as it comes back from [`pack_weight`], f32 of the same shape; its gradient is that of `w`.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let w = Activations::upload(&device, 1, 4, &[-3.0, 0.4, 1.6, 3.0])?;
/// let mut rec = Recorder::new(&device);
/// rec.watch(&w.buffer);
/// let quantized = op::fake_weight(&mut rec, &w, "w1.58cs-f32".parse()?)?;
/// let d = Activations::upload(&device, 1, 4, &[1.0, 2.0, 3.0, 4.0])?;
/// let gradients = op::backward(&mut rec, &quantized, &d)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(quantized.read(&device))?, [-2.000001, 0.0, 2.000001, 2.000001]);
/// let d_w = gradients.of(&w.buffer).expect("w is watched");
/// assert_eq!(pollster::block_on(device.read::<f32>(d_w))?, [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// As [`pack_weight`].
pub fn fake_weight(rec: &mut Recorder, w: &Activations, scheme: Scheme) -> Result<Activations> {
    noisy_weight(rec, w, scheme, (0.0, 0))
}

/// [`fake_weight`] with an even draw over a share of a quantization step, around 0, added to each weight; the draws depend on
/// the seed that comes with the share.
pub(super) fn noisy_weight(
    rec: &mut Recorder,
    w: &Activations,
    scheme: Scheme,
    (share, seed): (f32, u32),
) -> Result<Activations> {
    let packed = pack_weight(rec, w, scheme)?;
    let mut y = dequantize(rec, &packed)?;
    if share > 0.0 {
        let [group, groups_per_row, _] = packed.layout(OP)?;
        let count = param(OP, w.rows * w.cols)?;
        let params = weight_noise::Params { count, cols: param(OP, w.cols)?, group, groups_per_row, share, seed };
        let noisy = rec.alloc(w.rows * w.cols * 4)?;
        for part in packed.parts() {
            rec.dispatch::<WeightNoise>(&params, weight_noise::variant(), &[&y.buffer, &part.scales, &noisy])?;
        }
        y.buffer = noisy;
    }
    keep(rec, &w.buffer, &y.buffer);
    Ok(y)
}

/// Activations as they come back from [`int8`](super::int8()) with a scale for each `block` features of a row; their gradient
/// is that of `x`. A block of all features is a scale for each token; one scale for all of `x` is that of `x` seen as one row.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 1, 3, &[127.0, 0.4, -2.6])?;
/// let mut rec = Recorder::new(&device);
/// let y = op::fake_int8(&mut rec, &x, 3)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(y.read(&device))?, [127.0, 0.0, -3.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// As [`int8`](super::int8()).
pub fn fake_int8(rec: &mut Recorder, x: &Activations, block: usize) -> Result<Activations> {
    const OP: &str = "fake int8 activations";
    let codes = int8(rec, x, block)?;
    let [rows, cols, block] = [codes.rows, codes.cols, codes.block].map(|n| param(OP, n));
    let params = activation_dequantize::Params { rows: rows?, cols: cols?, block: block? };
    let y = Activations { buffer: rec.alloc(x.rows * x.cols * 4)?, ..*x };
    let buffers = [&codes.codes, &codes.scales, &y.buffer];
    rec.dispatch::<ActivationDequantize>(&params, activation_dequantize::variant(), &buffers)?;
    keep(rec, &x.buffer, &y.buffer);
    Ok(y)
}

/// Keeps that the gradient of `to` is that of `from`.
fn keep(rec: &mut Recorder, from: &Buffer, to: &Buffer) {
    rec.keep(&[from], &[to], || StraightThrough { from: from.id(), to: to.id() });
}

/// The gradient's buffer is shared, not copied.
#[derive(Debug)]
struct StraightThrough {
    from: BufferId,
    to: BufferId,
}

impl Adjoint for StraightThrough {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        match gradients.take(self.to) {
            Some(gradient) => gradients.add(rec, self.from, gradient),
            None => Ok(()),
        }
    }
}
