//! Operations that go element by element.

use super::Activations;
use super::checks::{alike, like, matrix, room, size, vector};
use super::elementwise_backward::{ActivateAdjoint, AddAdjoint, AddBiasAdjoint, GateAdjoint};
use crate::activation::Activation;
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::kernel::activate::{self, Activate, Params};
use crate::kernel::add::{self, Add};
use crate::kernel::add_bias::{self, AddBias};
use crate::kernel::gate::Gate;

/// `activation(x)`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if x is empty; as the device refuses memory.
pub fn activate(rec: &mut Recorder, activation: Activation, x: &Activations) -> Result<Activations> {
    matrix("activate", x)?;
    let out = like(rec, x)?;
    activate_into(rec, activation, x, &out)?;
    Ok(out)
}

/// [`activate()`] into a buffer that is there already, such as the caller's own, but not that of x.
///
/// # Errors
/// As [`activate()`], and if the result does not fit `out`.
pub fn activate_into(rec: &mut Recorder, activation: Activation, x: &Activations, out: &Activations) -> Result<()> {
    matrix("activate", x)?;
    room("activate", out, x.rows, x.cols)?;
    let count = size("activate", x.rows * x.cols)?;
    rec.dispatch::<Activate>(&Params { count }, activate::variant(activation), &[&x.buffer, &out.buffer])?;
    rec.keep(&[&x.buffer], &[&out.buffer], || ActivateAdjoint { activation, x: x.clone(), y: out.buffer.id() });
    Ok(())
}

/// `activation(gate) * up`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ or are empty; as the device refuses memory.
pub fn gate(rec: &mut Recorder, activation: Activation, gate: &Activations, up: &Activations) -> Result<Activations> {
    alike("gate", gate, up)?;
    let out = like(rec, gate)?;
    gate_into(rec, activation, gate, up, &out)?;
    Ok(out)
}

/// [`gate()`] into a buffer that is there already, but not that of an operand.
///
/// # Errors
/// As [`gate()`], and if the result does not fit `out`.
pub fn gate_into(
    rec: &mut Recorder,
    activation: Activation,
    gate: &Activations,
    up: &Activations,
    out: &Activations,
) -> Result<()> {
    let count = alike("gate", gate, up)?;
    room("gate", out, gate.rows, gate.cols)?;
    let buffers = [&gate.buffer, &up.buffer, &out.buffer];
    rec.dispatch::<Gate>(&Params { count }, activate::variant(activation), &buffers)?;
    let adjoint = || GateAdjoint { activation, gate: gate.clone(), up: up.clone(), y: out.buffer.id() };
    rec.keep(&[&gate.buffer, &up.buffer], &[&out.buffer], adjoint);
    Ok(())
}

/// `a + b`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ or are empty; as the device refuses memory.
pub fn add(rec: &mut Recorder, a: &Activations, b: &Activations) -> Result<Activations> {
    alike("add", a, b)?;
    let out = like(rec, a)?;
    add_into(rec, a, b, &out)?;
    Ok(out)
}

/// [`add()`] into a buffer that is there already, but not that of an operand.
///
/// # Errors
/// As [`add()`], and if the result does not fit `out`.
pub fn add_into(rec: &mut Recorder, a: &Activations, b: &Activations, out: &Activations) -> Result<()> {
    let count = alike("add", a, b)?;
    room("add", out, a.rows, a.cols)?;
    rec.dispatch::<Add>(&Params { count }, add::variant(), &[&a.buffer, &b.buffer, &out.buffer])?;
    let [a, b, y] = [&a.buffer, &b.buffer, &out.buffer];
    rec.keep(&[a, b], &[y], || AddAdjoint { a: a.id(), b: b.id(), y: y.id() });
    Ok(())
}

/// Adds `bias`, f32 `[cols]`, to every row of x, in place.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the bias has another length than a row.
pub fn add_bias(rec: &mut Recorder, x: &Activations, bias: &Buffer) -> Result<()> {
    let (rows, cols) = matrix("add_bias", x)?;
    vector("add_bias", "bias", bias, x.cols)?;
    rec.dispatch::<AddBias>(&add_bias::Params { rows, cols }, add_bias::variant(), &[&x.buffer, bias])?;
    let adjoint = || AddBiasAdjoint { bias: bias.id(), rows: x.rows, cols: x.cols, y: x.buffer.id() };
    rec.keep(&[&x.buffer, bias], &[&x.buffer], adjoint);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::error::Error;

    #[test]
    fn sums() {
        let device = Device::cpu();
        let a = Activations::upload(&device, 2, 2, &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let bias = device.upload(&[10.0f32, 20.0]).unwrap();
        let mut rec = Recorder::new(&device);
        let twice = add(&mut rec, &a, &a).unwrap();
        add_bias(&mut rec, &twice, &bias).unwrap();
        rec.submit().unwrap();
        assert_eq!(pollster::block_on(twice.read(&device)).unwrap(), [12.0, 24.0, 16.0, 28.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let device = Device::cpu();
        let a = Activations::upload(&device, 2, 3, &[0.0; 6]).unwrap();
        let b = Activations { rows: 3, cols: 2, ..a.clone() };
        let beyond = Activations { rows: 1000, ..a.clone() };
        let empty = Activations { rows: 0, ..a.clone() };
        let mut rec = Recorder::new(&device);
        let refused = |result: Result<Activations>| assert!(matches!(result, Err(Error::Shape { .. })));
        refused(add(&mut rec, &a, &b));
        refused(gate(&mut rec, Activation::Silu, &a, &b));
        refused(activate(&mut rec, Activation::Relu, &beyond));
        refused(activate(&mut rec, Activation::Relu, &empty));
        assert!(add_bias(&mut rec, &a, &device.upload(&[0.0f32; 2]).unwrap()).is_err());
    }
}
