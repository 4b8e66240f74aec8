//! Token embeddings.

use super::activations::Activations;
use super::checks::matrix;
use super::embed_backward::{self, EmbedAdjoint};
use super::param;
use super::weight::DenseWeight;
use crate::device::Recorder;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::embed::{self, Embed, Params};

/// The rows of `table` that `ids` name: `[ids.len(), table.cols()]`. The ids are uploaded now.
///
/// ```
/// use bitsmith::{Device, Recorder, Tensor, op::{self, DenseWeight}};
/// let device = Device::cpu();
/// let table = DenseWeight::upload(&device, &Tensor::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])?)?;
/// let mut recorder = Recorder::new(&device);
/// let y = op::embed(&mut recorder, &[1, 0, 1], &table)?;
/// recorder.submit()?;
/// assert_eq!(pollster::block_on(y.read(&device))?, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// If an id is not below the rows of the table, or the result exceeds a limit of the device.
pub fn embed(recorder: &mut Recorder, ids: &[u32], table: &DenseWeight) -> Result<Activations> {
    const OP: &str = "embed";
    if let Some(id) = ids.iter().find(|id| **id as usize >= table.rows()) {
        let (expected, found) = (format!("token ids below {}", table.rows()), id.to_string());
        return Err(Error::Shape { op: OP, expected, found });
    }
    let cols = table.cols();
    param(OP, ids.len() * cols)?;
    let y = Activations { buffer: recorder.alloc(ids.len() * cols * 4)?, rows: ids.len(), cols };
    let uploaded = recorder.device().upload(ids)?;
    for part in table.parts() {
        // A part without tokens has nothing to write.
        if !ids.iter().any(|id| part.rows.contains(&(*id as usize))) {
            continue;
        }
        let params = Params {
            tokens: param(OP, ids.len())?,
            first_row: param(OP, part.rows.start)?,
            rows: param(OP, part.rows.len())?,
            cols: param(OP, cols)?,
        };
        recorder.dispatch::<Embed>(&params, embed::variant(table.dtype()), &[&uploaded, &part.values, &y.buffer])?;
    }
    embed_backward::keep(recorder, ids, table, &y.buffer)?;
    Ok(y)
}

/// The last row of activations, as `[1, cols]`: the one that predicts the next token.
///
/// # Errors
/// [`Error::Shape`] if there are no rows, and those of the device.
pub fn last_row(recorder: &mut Recorder, x: &Activations) -> Result<Activations> {
    const OP: &str = "last_row";
    let (rows, cols) = matrix(OP, x)?;
    if rows == 1 {
        return Ok(x.clone());
    }
    let y = Activations { buffer: recorder.alloc(x.cols * 4)?, rows: 1, cols: x.cols };
    let last = recorder.device().upload(&[rows - 1])?;
    let params = Params { tokens: 1, first_row: 0, rows, cols };
    recorder.dispatch::<Embed>(&params, embed::variant(Dtype::F32), &[&last, &x.buffer, &y.buffer])?;
    recorder.keep(&[&x.buffer], &[&y.buffer], || EmbedAdjoint {
        ids: vec![rows - 1],
        parts: vec![(0..x.rows, x.buffer.id())],
        cols: x.cols,
        y: y.buffer.id(),
    });
    Ok(y)
}
