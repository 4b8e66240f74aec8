//! Gradients of `y = x W^T`: `d_x = d_y W` and `d_W = d_y^T x`.

use super::activations::{Activations, Input};
use super::dequantize::dequantize;
use super::param;
use super::weight::{DenseWeight, GroupWeight};
use crate::device::{Adjoint, Buffer, BufferId, Gradients, Recorder};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernel::matmul_strided::{self, MatmulStrided, Params};

const OP: &str = "gradient of a product";

/// Keeps what the gradients of `y = x W^T` take.
pub(super) fn keep_dense(rec: &mut Recorder, x: Input<'_>, w: &DenseWeight, y: &Activations) -> Result<()> {
    let mut inputs: Vec<&Buffer> = w.parts().iter().map(|part| &part.values).collect();
    inputs.push(x.buffer);
    let x = differentiable(rec, x, &inputs)?;
    if w.dtype() != Dtype::F32 && w.parts().iter().any(|part| rec.watches(&part.values)) {
        let what = format!("the gradient of a weight in {}", w.dtype());
        return Err(Error::Unsupported { what, remedy: "take the weight in f32".into() });
    }
    rec.keep(&inputs, &[&y.buffer], || DenseAdjoint { x, w: w.clone(), y: y.buffer.id() });
    Ok(())
}

/// The same for a quantized weight.
pub(super) fn keep_group(rec: &mut Recorder, x: Input<'_>, w: &GroupWeight, y: &Activations) -> Result<()> {
    let Activations { buffer, rows, .. } = differentiable(rec, x, &[x.buffer])?;
    rec.keep(&[&buffer], &[&y.buffer], || GroupAdjoint { x: buffer.id(), rows, w: w.clone(), y: y.buffer.id() });
    Ok(())
}

/// Activations that have gradients; those in f16 have none.
fn differentiable(rec: &Recorder, x: Input<'_>, inputs: &[&Buffer]) -> Result<Activations> {
    if x.dtype != Dtype::F32 && inputs.iter().any(|buffer| rec.watches(buffer)) {
        let what = "gradients of a product of f16 activations".to_owned();
        return Err(Error::Unsupported { what, remedy: "take activations in f32".into() });
    }
    Ok(Activations { buffer: x.buffer.clone(), rows: x.rows, cols: x.cols })
}

/// A product with a dense weight.
#[derive(Debug)]
struct DenseAdjoint {
    x: Activations,
    w: DenseWeight,
    y: BufferId,
}

impl Adjoint for DenseAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Self { x, w, y } = self;
        let Some(d_y) = gradients.take(*y) else { return Ok(()) };
        if gradients.wants(&x.buffer) {
            let d_x = d_x(rec, &d_y, x.rows, w)?;
            gradients.add(rec, &x.buffer, d_x)?;
        }
        for part in w.parts() {
            if !gradients.wants(&part.values) {
                continue;
            }
            let d_w = rec.alloc(part.rows.len() * w.cols() * 4)?;
            let params = Params {
                batch: param(OP, part.rows.len())?,
                rows: param(OP, w.cols())?,
                cols: param(OP, x.rows)?,
                x_first: param(OP, part.rows.start)?,
                x_row: 1,
                x_step: param(OP, w.rows())?,
                w_row: 1,
                w_step: param(OP, x.cols)?,
                accumulate: 0,
            };
            rec.dispatch::<MatmulStrided>(&params, matmul_strided::variant(Dtype::F32), &[&d_y, &x.buffer, &d_w])?;
            gradients.add(rec, &part.values, d_w)?;
        }
        Ok(())
    }
}

/// A product with a quantized weight, which itself has no gradient.
#[derive(Debug)]
struct GroupAdjoint {
    x: BufferId,
    rows: usize,
    w: GroupWeight,
    y: BufferId,
}

impl Adjoint for GroupAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.take(self.y) else { return Ok(()) };
        let w = DenseWeight::from_values(dequantize(rec, &self.w)?)?;
        let d_x = d_x(rec, &d_y, self.rows, &w)?;
        gradients.add(rec, self.x, d_x)
    }
}

/// `d_y W`, the parts of the weight one after the other.
fn d_x(rec: &mut Recorder, d_y: &Buffer, batch: usize, w: &DenseWeight) -> Result<Buffer> {
    let d_x = rec.alloc(batch * w.cols() * 4)?;
    for (i, part) in w.parts().iter().enumerate() {
        let params = Params {
            batch: param(OP, batch)?,
            rows: param(OP, w.cols())?,
            cols: param(OP, part.rows.len())?,
            x_first: param(OP, part.rows.start)?,
            x_row: param(OP, w.rows())?,
            x_step: 1,
            w_row: 1,
            w_step: param(OP, w.cols())?,
            accumulate: u32::from(i > 0),
        };
        rec.dispatch::<MatmulStrided>(&params, matmul_strided::variant(w.dtype()), &[d_y, &part.values, &d_x])?;
    }
    Ok(d_x)
}
