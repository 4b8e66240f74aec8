//! Weights in f32 from a quantized weight.

use super::activations::Activations;
use super::param;
use super::weight::GroupWeight;
use crate::device::Recorder;
use crate::error::Result;
use crate::kernel::group_dequantize::{self, GroupDequantize, Params};

/// `(code - zero) * scale` for the whole weight: f32, `[rows, cols]`.
///
/// # Errors
/// If the result exceeds a limit of the device.
pub fn dequantize(recorder: &mut Recorder, w: &GroupWeight) -> Result<Activations> {
    const OP: &str = "dequantize";
    let (rows, cols, scheme) = (w.rows(), w.cols(), w.scheme());
    param(OP, rows * cols)?;
    let y = Activations { buffer: recorder.alloc(rows * cols * 4)?, rows, cols };
    let [group, groups_per_row, words_per_row] = w.layout(OP)?;
    for part in w.parts() {
        let params = Params {
            rows: param(OP, part.rows.len())?,
            cols: param(OP, cols)?,
            group,
            groups_per_row,
            words_per_row,
            out_offset: param(OP, part.rows.start * cols)?,
        };
        let variant = group_dequantize::variant(scheme.bits(), scheme.is_symmetric(), scheme.scale_type());
        recorder.dispatch::<GroupDequantize>(&params, variant, &[&part.codes, &part.scales, &part.zeros, &y.buffer])?;
    }
    Ok(y)
}
