//! Activations as int8, and their products with quantized weights.

use super::activations::Activations;
use super::checks::{matrix, shape, vector};
use super::matmul::fusable;
use super::weight::GroupWeight;
use super::{add_bias, choose, param};
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::kernel::activation_quantize::{self, ActivationQuantize};
use crate::kernel::matmul_group_int8::MatmulGroupInt8;
use crate::kernel::matvec_group_int8::MatvecGroupInt8;
use crate::kernel::product_int8::{Int8Params, MAX_BLOCK};
use crate::kernel::zero_point_correct::{self, ZeroPointCorrect};
use crate::scheme::Span;

/// Features of a block where a row of the weight is one group.
const BLOCK: usize = 128;

/// Features of an activation that share a scale beside a weight of this span: those of a group, so that a scale of each
/// side serves for a whole sum; 128 where a group is a row or more, or all features if they are fewer.
pub fn int8_block(span: Span, cols: usize) -> usize {
    match span {
        Span::Group(size) => size as usize,
        Span::Channel | Span::Tensor => BLOCK,
    }
    .min(cols.max(1))
}

/// Activations `[rows, cols]` as int8 codes with a scale for each block of a row; what lies where is told by
/// [`activation_quantize`](crate::kernel::activation_quantize).
#[derive(Clone, Debug)]
pub struct Int8Activations {
    /// Codes, four a word.
    pub codes: Buffer,
    /// Scales, f32.
    pub scales: Buffer,
    /// Sums of the codes of each block, i32.
    pub sums: Buffer,
    /// Zero points of the tokens, i32, where they have any; then a token is one block.
    pub zeros: Option<Buffer>,
    /// Tokens.
    pub rows: usize,
    /// Features.
    pub cols: usize,
    /// Features of a block; the last one of a row may have fewer.
    pub block: usize,
}

impl Int8Activations {
    /// An error unless the buffers hold what the sizes say.
    fn check(&self, op: &'static str) -> Result<()> {
        let blocks = if self.block == 0 { 0 } else { self.rows.saturating_mul(self.cols.div_ceil(self.block)) };
        let words = blocks.saturating_mul(self.block.div_ceil(4));
        let held = |buffer: &Buffer, words: usize| buffer.bytes() / 4 >= words;
        let zeros = self.zeros.as_ref().is_none_or(|zeros| blocks == self.rows && held(zeros, blocks));
        if blocks > 0 && held(&self.codes, words) && held(&self.scales, blocks) && held(&self.sums, blocks) && zeros {
            return Ok(());
        }
        let found = format!("{} x {} in blocks of {}", self.rows, self.cols, self.block);
        Err(shape(op, "int8 activations whose buffers hold them", found))
    }
}

/// Rounds activations to int8: `absmax / 127` of a block of `block` features is its scale. A block with a NaN or an infinity
/// makes every product with it NaN.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 1, 4, &[1.0, -127.0, 2.6, 0.0])?;
/// let mut recorder = Recorder::new(&device);
/// let x = op::int8(&mut recorder, &x, 4)?;
/// recorder.submit()?;
/// assert_eq!(pollster::block_on(device.read::<i8>(&x.codes))?, [1, -127, 3, 0]);
/// assert_eq!(pollster::block_on(device.read::<f32>(&x.scales))?, [1.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Shape`] for empty activations or a block of no feature or more than [`MAX_BLOCK`], and those of the device.
pub fn int8(recorder: &mut Recorder, x: &Activations, block: usize) -> Result<Int8Activations> {
    const OP: &str = "int8 activations";
    let (rows, cols) = matrix(OP, x)?;
    if block == 0 || block > MAX_BLOCK {
        return Err(shape(OP, format!("blocks of 1 to {MAX_BLOCK} features"), block));
    }
    let block = block.min(x.cols);
    let params = activation_quantize::Params { rows, cols, block: param(OP, block)? };
    let count = x.rows * params.blocks();
    let codes = recorder.alloc(count * params.block_words() * 4)?;
    let (scales, sums) = (recorder.alloc(count * 4)?, recorder.alloc(count * 4)?);
    let buffers = [&x.buffer, &codes, &scales, &sums];
    recorder.dispatch::<ActivationQuantize>(&params, activation_quantize::variant(), &buffers)?;
    Ok(Int8Activations { codes, scales, sums, zeros: None, rows: x.rows, cols: x.cols, block })
}

/// `x W^T` of int8 activations with a quantized weight: over each block an integer, scaled and added in f32.
///
/// ```
/// use bitsmith::{Device, PackedTensor, QuantizedTensor, Recorder, op::{self, Activations, GroupWeight}};
/// let device = Device::cpu();
/// let w = QuantizedTensor::new("w4g16s".parse()?, 1, 2, vec![9, 6], vec![0.5], None)?;
/// let w = GroupWeight::upload(&device, &PackedTensor::pack(&w))?;
/// let x = Activations::upload(&device, 1, 2, &[127.0, 3.2])?;
/// let mut recorder = Recorder::new(&device);
/// let x = op::int8(&mut recorder, &x, op::int8_block(w.scheme().span(), w.cols()))?;
/// let y = op::group_int8(&mut recorder, &x, &w)?;
/// recorder.submit()?;
/// // 0.5 * (1 * 127 - 2 * 3)
/// assert_eq!(pollster::block_on(y.read(&device))?, [60.5]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Shape`] if the features of `x` are not the columns of `w`, or its blocks are no whole parts of the groups of
/// `w`, or if `x` has zero points and `w` no [sums of its rows](GroupWeight::with_row_sums); those of the device.
pub fn group_int8(recorder: &mut Recorder, x: &Int8Activations, w: &GroupWeight) -> Result<Activations> {
    group_int8_with_bias(recorder, x, w, None)
}

/// [`group_int8`] with a bias, f32 `[rows]`, which the product itself adds; but for one that is watched, which has a gradient.
///
/// # Errors
/// As [`group_int8`], and [`crate::Error::Shape`] if the bias has another length.
pub fn group_int8_with_bias(
    recorder: &mut Recorder,
    x: &Int8Activations,
    w: &GroupWeight,
    bias: Option<&Buffer>,
) -> Result<Activations> {
    const OP: &str = "quantized product with int8 activations";
    if x.cols != w.cols() {
        return Err(shape(OP, format!("activations of {} features", w.cols()), x.cols));
    }
    let [group, groups_per_row, words_per_row] = w.layout(OP)?;
    x.check(OP)?;
    if groups_per_row > 1 && !(group as usize).is_multiple_of(x.block) {
        return Err(shape(OP, format!("blocks that divide groups of {group} features"), x.block));
    }
    let (fused, apart) = fusable(recorder, bias);
    fused.map_or(Ok(()), |bias| vector(OP, "bias", bias, w.rows()))?;
    let correction = match (&x.zeros, w.row_sums()) {
        (None, _) => None,
        (Some(zeros), Some(sums)) => Some((zeros, sums)),
        (Some(_), None) => return Err(shape(OP, "a weight with the sums of its rows", "none beside zero points")),
    };
    // Also keeps the offsets that kernels compute within 32 bits.
    param(OP, x.rows * w.rows())?;
    let y = Activations { buffer: recorder.alloc(x.rows * w.rows() * 4)?, rows: x.rows, cols: w.rows() };
    for part in w.parts() {
        let params = Int8Params {
            batch: param(OP, x.rows)?,
            rows: param(OP, part.rows.len())?,
            cols: param(OP, w.cols())?,
            group,
            groups_per_row,
            words_per_row,
            block: param(OP, x.block)?,
            out_offset: param(OP, part.rows.start)?,
            out_stride: param(OP, w.rows())?,
            bias: fused.is_some().into(),
        };
        // A binding must hold something.
        let bias = fused.unwrap_or(&part.scales);
        let buffers = [&x.codes, &x.scales, &x.sums, &part.codes, &part.scales, &part.zeros, bias, &y.buffer];
        if choose::is_matvec(x.rows) {
            let variant = choose::matvec_group_int8(recorder.device().caps(), w.scheme(), x.rows);
            recorder.dispatch::<MatvecGroupInt8>(&params, variant, &buffers)?;
        } else {
            recorder.dispatch::<MatmulGroupInt8>(&params, choose::matmul_group_int8(w.scheme()), &buffers)?;
        }
    }
    if let Some((zeros, sums)) = correction {
        let params = zero_point_correct::Params { tokens: param(OP, x.rows)?, rows: param(OP, w.rows())? };
        let buffers = [&y.buffer, &x.scales, zeros, sums];
        recorder.dispatch::<ZeroPointCorrect>(&params, zero_point_correct::variant(), &buffers)?;
    }
    if let Some(bias) = apart {
        add_bias(recorder, &y, bias)?;
    }
    Ok(y)
}
