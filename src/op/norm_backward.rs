//! Gradients of norms.

use super::checks::matrix;
use super::elementwise_backward::column_sum;
use super::{Activations, choose};
use crate::device::{Adjoint, Buffer, BufferId, Gradients, Recorder};
use crate::error::Result;
use crate::kernel::layer_norm_backward::LayerNormBackward;
use crate::kernel::norm_weight_backward::{self, NormWeightBackward};
use crate::kernel::rms_norm::{self, Params};
use crate::kernel::rms_norm_backward::RmsNormBackward;

/// RMSNorm, or with a bias LayerNorm.
#[derive(Debug)]
pub(super) struct NormAdjoint {
    pub(super) x: Activations,
    pub(super) weight: Buffer,
    pub(super) bias: Option<BufferId>,
    pub(super) eps: f32,
    pub(super) y: BufferId,
}

impl Adjoint for NormAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Self { x, weight, bias, eps, y } = self;
        let Some(d_y) = gradients.take(*y) else { return Ok(()) };
        let (rows, cols) = matrix("norm", x)?;
        let (d_x, stats) = (rec.alloc(x.rows * x.cols * 4)?, rec.alloc(x.rows * 2 * 4)?);
        let params = Params { rows, cols, eps: *eps };
        let variant = rms_norm::variant(choose::reduce(rec.device().caps()), x.cols);
        let buffers = [&x.buffer, weight, &d_y, &d_x, &stats];
        match bias {
            None => rec.dispatch::<RmsNormBackward>(&params, variant, &buffers)?,
            Some(_) => rec.dispatch::<LayerNormBackward>(&params, variant, &buffers)?,
        }
        gradients.add(rec, &x.buffer, d_x)?;
        if gradients.wants(weight) {
            let d_weight = rec.alloc(x.cols * 4)?;
            let params = norm_weight_backward::Params { rows, cols };
            let buffers = [&x.buffer, &d_y, &stats, &d_weight];
            rec.dispatch::<NormWeightBackward>(&params, norm_weight_backward::variant(), &buffers)?;
            gradients.add(rec, weight, d_weight)?;
        }
        match bias.filter(|bias| gradients.wants(*bias)) {
            Some(bias) => {
                let d_bias = column_sum(rec, &Activations { buffer: d_y, ..*x })?;
                gradients.add(rec, bias, d_bias.buffer)
            }
            None => Ok(()),
        }
    }
}
