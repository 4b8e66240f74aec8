//! `y = x W^T + b`: matvec for up to 8 rows of x, matmul for more.

use super::activations::{Activations, Half, Input};
use super::checks::{room, vector};
use super::choose::Shape;
use super::weight::{DenseWeight, GroupWeight};
use super::{add_bias, cast, choose, matmul_backward, param};
use crate::device::{Buffer, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::matmul::Matmul;
use crate::kernel::matmul_group::MatmulGroup;
use crate::kernel::matvec::Matvec;
use crate::kernel::matvec_group::MatvecGroup;
use crate::kernel::product::{DenseParams, GroupParams};

/// `x W^T` with a dense weight: `[tokens, cols]` by `[rows, cols]` gives `[tokens, rows]`. `x` is a reference to
/// [`Activations`] or [`Half`].
///
/// ```
/// use bitsmith::{Device, Recorder, Tensor, op::{self, Activations, DenseWeight}};
/// let device = Device::cpu();
/// let w = DenseWeight::upload(&device, &Tensor::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])?)?;
/// let x = Activations::upload(&device, 1, 2, &[10.0, 1.0])?;
/// let mut recorder = Recorder::new(&device);
/// let y = op::dense(&mut recorder, &x, &w)?;
/// recorder.submit()?;
/// assert_eq!(pollster::block_on(y.read(&device))?, [12.0, 34.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// If the features of `x` are not the columns of `w`, or the result exceeds a limit of the device.
pub fn dense<'a>(recorder: &mut Recorder, x: impl Into<Input<'a>>, w: &DenseWeight) -> Result<Activations> {
    let x = x.into();
    let y = result(DENSE, recorder, x, w.rows(), w.cols())?;
    dense_into(recorder, x, w, &y)?;
    Ok(y)
}

/// [`dense`] into a buffer that is there already, such as the caller's own: `[tokens, rows]`.
///
/// # Errors
/// As [`dense`], and if the result does not fit `y`.
pub fn dense_into<'a>(
    recorder: &mut Recorder,
    x: impl Into<Input<'a>>,
    w: &DenseWeight,
    y: &Activations,
) -> Result<()> {
    const OP: &str = DENSE;
    let x = x.into();
    fits(OP, x, w.rows(), w.cols())?;
    room(OP, y, x.rows, w.rows())?;
    if x.rows == 0 {
        return Ok(());
    }
    for part in w.parts() {
        let params = DenseParams {
            batch: param(OP, x.rows)?,
            rows: param(OP, part.rows.len())?,
            cols: param(OP, w.cols())?,
            out_offset: param(OP, part.rows.start)?,
            out_stride: param(OP, w.rows())?,
        };
        let buffers = [x.buffer, &part.values, &y.buffer];
        if choose::is_matvec(x.rows) {
            let variant = choose::matvec(recorder.device().caps(), w.dtype(), x.dtype, x.rows);
            recorder.dispatch::<Matvec>(&params, variant, &buffers)?;
        } else {
            let shape = Shape { batch: x.rows, rows: part.rows.len(), cols: w.cols() };
            let variant = choose::matmul(recorder.device().caps(), w.dtype(), x.dtype, shape);
            recorder.dispatch::<Matmul>(&params, variant, &buffers)?;
        }
    }
    matmul_backward::keep_dense(recorder, x, w, y)
}

/// `x W^T` with a quantized weight, as [`dense`] with the weights `(code - zero) * scale`.
///
/// # Errors
/// As [`dense`].
pub fn group<'a>(recorder: &mut Recorder, x: impl Into<Input<'a>>, w: &GroupWeight) -> Result<Activations> {
    group_with_bias(recorder, x, w, None)
}

/// [`group`] with a bias, f32 `[rows]`, which the product itself adds; but for one that is watched, which has a gradient.
///
/// ```
/// use bitsmith::{Device, PackedTensor, QuantizedTensor, Recorder, op::{self, Activations, GroupWeight}};
/// let device = Device::cpu();
/// let w = QuantizedTensor::new("w4g16s".parse()?, 1, 2, vec![9, 6], vec![0.5], None)?;
/// let w = GroupWeight::upload(&device, &PackedTensor::pack(&w))?;
/// let (x, bias) = (Activations::upload(&device, 1, 2, &[4.0, 1.0])?, device.upload(&[10.0f32])?);
/// let mut recorder = Recorder::new(&device);
/// let y = op::group_with_bias(&mut recorder, &x, &w, Some(&bias))?;
/// recorder.submit()?;
/// // 0.5 * (1 * 4 - 2 * 1) + 10
/// assert_eq!(pollster::block_on(y.read(&device))?, [11.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// As [`dense`], and if the bias has another length.
pub fn group_with_bias<'a>(
    recorder: &mut Recorder,
    x: impl Into<Input<'a>>,
    w: &GroupWeight,
    bias: Option<&Buffer>,
) -> Result<Activations> {
    let x = x.into();
    let y = result(GROUP, recorder, x, w.rows(), w.cols())?;
    let (fused, apart) = fusable(recorder, bias);
    record_group(recorder, x, w, fused, &y)?;
    if let Some(bias) = apart {
        add_bias(recorder, &y, bias)?;
    }
    Ok(y)
}

/// A bias that a product can add, and one that has a gradient, which [`add_bias`] knows.
pub(super) fn fusable<'a>(recorder: &Recorder, bias: Option<&'a Buffer>) -> (Option<&'a Buffer>, Option<&'a Buffer>) {
    if bias.is_some_and(|bias| recorder.watches(bias)) { (None, bias) } else { (bias, None) }
}

/// [`group`] into a buffer that is there already, such as the caller's own: `[tokens, rows]`.
///
/// # Errors
/// As [`dense`], and if the result does not fit `y`.
pub fn group_into<'a>(
    recorder: &mut Recorder,
    x: impl Into<Input<'a>>,
    w: &GroupWeight,
    y: &Activations,
) -> Result<()> {
    record_group(recorder, x.into(), w, None, y)
}

fn record_group(
    recorder: &mut Recorder,
    x: Input<'_>,
    w: &GroupWeight,
    bias: Option<&Buffer>,
    y: &Activations,
) -> Result<()> {
    const OP: &str = GROUP;
    if x.dtype == Dtype::F16 && !choose::takes_half(w.scheme().scale_type()) {
        let half = Half { buffer: x.buffer.clone(), rows: x.rows, cols: x.cols };
        let wide = cast::widen(recorder, &half)?;
        return record_group(recorder, (&wide).into(), w, bias, y);
    }
    fits(OP, x, w.rows(), w.cols())?;
    room(OP, y, x.rows, w.rows())?;
    bias.map_or(Ok(()), |bias| vector(OP, "bias", bias, w.rows()))?;
    if x.rows == 0 {
        return Ok(());
    }
    let [group, groups_per_row, words_per_row] = w.layout(OP)?;
    for part in w.parts() {
        let params = GroupParams {
            batch: param(OP, x.rows)?,
            rows: param(OP, part.rows.len())?,
            cols: param(OP, w.cols())?,
            group,
            groups_per_row,
            words_per_row,
            out_offset: param(OP, part.rows.start)?,
            out_stride: param(OP, w.rows())?,
            bias: bias.is_some().into(),
        };
        // A binding must hold something.
        let bias = bias.unwrap_or(&part.scales);
        let buffers = [x.buffer, &part.codes, &part.scales, &part.zeros, bias, &y.buffer];
        if choose::is_matvec(x.rows) {
            let variant = choose::matvec_group(recorder.device().caps(), w.scheme(), x.dtype, x.rows);
            recorder.dispatch::<MatvecGroup>(&params, variant, &buffers)?;
        } else {
            let shape = Shape { batch: x.rows, rows: part.rows.len(), cols: w.cols() };
            let variant = choose::matmul_group(recorder.device().caps(), w.scheme(), x.dtype, shape, group as usize);
            recorder.dispatch::<MatmulGroup>(&params, variant, &buffers)?;
        }
    }
    matmul_backward::keep_group(recorder, x, w, y)
}

/// Names of the products in errors.
const DENSE: &str = "dense product";
const GROUP: &str = "quantized product";

/// Room for the product, once the shapes fit.
fn result(op: &'static str, recorder: &Recorder, x: Input<'_>, rows: usize, cols: usize) -> Result<Activations> {
    fits(op, x, rows, cols)?;
    Ok(Activations { buffer: recorder.alloc(x.rows * rows * 4)?, rows: x.rows, cols: rows })
}

fn fits(op: &'static str, x: Input<'_>, rows: usize, cols: usize) -> Result<()> {
    if x.cols != cols {
        let (expected, found) = (format!("activations of {cols} features"), x.cols.to_string());
        return Err(Error::Shape { op, expected, found });
    }
    let needed = x.rows.saturating_mul(x.cols).saturating_mul(x.dtype.bytes());
    if x.buffer.bytes() < needed {
        let (expected, found) = (format!("activations of {needed} bytes"), x.buffer.bytes().to_string());
        return Err(Error::Shape { op, expected, found });
    }
    // Also keeps the offsets that kernels compute within 32 bits.
    param(op, x.rows * rows)?;
    param(op, x.rows * cols)?;
    Ok(())
}
