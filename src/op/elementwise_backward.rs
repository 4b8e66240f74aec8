//! Gradients of operations that go element by element.

use super::Activations;
use super::checks::size;
use crate::activation::Activation;
use crate::device::{Adjoint, BufferId, Gradients, Recorder};
use crate::error::Result;
use crate::kernel::activate::Params;
use crate::kernel::activate_backward::{self, ActivateBackward};
use crate::kernel::column_sum::{self, ColumnSum};
use crate::kernel::gate_backward::{self, GateBackward};

/// Both terms get the gradient of the sum.
#[derive(Debug)]
pub(super) struct AddAdjoint {
    pub(super) a: BufferId,
    pub(super) b: BufferId,
    pub(super) y: BufferId,
}

impl Adjoint for AddAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.take(self.y) else { return Ok(()) };
        gradients.add(rec, self.a, d_y.clone())?;
        gradients.add(rec, self.b, d_y)
    }
}

/// `y = activation(x)`.
#[derive(Debug)]
pub(super) struct ActivateAdjoint {
    pub(super) activation: Activation,
    pub(super) x: Activations,
    pub(super) y: BufferId,
}

impl Adjoint for ActivateAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.take(self.y) else { return Ok(()) };
        let elements = self.x.rows * self.x.cols;
        let d_x = rec.alloc(elements * 4)?;
        let (params, variant) =
            (Params { count: size("activate", elements)? }, activate_backward::variant(self.activation));
        rec.dispatch::<ActivateBackward>(&params, variant, &[&self.x.buffer, &d_y, &d_x])?;
        gradients.add(rec, &self.x.buffer, d_x)
    }
}

/// `y = activation(gate) * up`.
#[derive(Debug)]
pub(super) struct GateAdjoint {
    pub(super) activation: Activation,
    pub(super) gate: Activations,
    pub(super) up: Activations,
    pub(super) y: BufferId,
}

impl Adjoint for GateAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.take(self.y) else { return Ok(()) };
        let Self { activation, gate, up, .. } = self;
        let elements = gate.rows * gate.cols;
        let (d_gate, d_up) = (rec.alloc(elements * 4)?, rec.alloc(elements * 4)?);
        let buffers = [&gate.buffer, &up.buffer, &d_y, &d_gate, &d_up];
        let params = Params { count: size("gate", elements)? };
        rec.dispatch::<GateBackward>(&params, gate_backward::variant(*activation), &buffers)?;
        gradients.add(rec, &gate.buffer, d_gate)?;
        gradients.add(rec, &up.buffer, d_up)
    }
}

/// `y += bias`, in place: the gradient of y is also that of what it was before.
#[derive(Debug)]
pub(super) struct AddBiasAdjoint {
    pub(super) bias: BufferId,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) y: BufferId,
}

impl Adjoint for AddBiasAdjoint {
    fn record(&self, rec: &mut Recorder, gradients: &mut Gradients) -> Result<()> {
        let Some(d_y) = gradients.of(self.y).cloned() else { return Ok(()) };
        if !gradients.wants(self.bias) {
            return Ok(());
        }
        let d_bias = column_sum(rec, &Activations { buffer: d_y, rows: self.rows, cols: self.cols })?;
        gradients.add(rec, self.bias, d_bias.buffer)
    }
}

/// The sum of all rows, `[1, cols]`.
pub(super) fn column_sum(rec: &mut Recorder, x: &Activations) -> Result<Activations> {
    let out = Activations { buffer: rec.alloc(x.cols * 4)?, rows: 1, cols: x.cols };
    let params = column_sum::Params { rows: size("column_sum", x.rows)?, cols: size("column_sum", x.cols)? };
    rec.dispatch::<ColumnSum>(&params, column_sum::variant(), &[&x.buffer, &out.buffer])?;
    Ok(out)
}
