//! Operations that go element by element.

use super::Activations;
use super::checks::{alike, matrix, size, vector};
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
    let count = size("activate", x.rows * x.cols)?;
    let out = Activations { buffer: rec.alloc(x.rows * x.cols * 4)?, ..*x };
    rec.dispatch::<Activate>(&Params { count }, activate::variant(activation), &[&x.buffer, &out.buffer])?;
    Ok(out)
}

/// `activation(gate) * up`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ or are empty; as the device refuses memory.
pub fn gate(rec: &mut Recorder, activation: Activation, gate: &Activations, up: &Activations) -> Result<Activations> {
    let count = alike("gate", gate, up)?;
    let out = Activations { buffer: rec.alloc(gate.rows * gate.cols * 4)?, ..*gate };
    let buffers = [&gate.buffer, &up.buffer, &out.buffer];
    rec.dispatch::<Gate>(&Params { count }, activate::variant(activation), &buffers)?;
    Ok(out)
}

/// `a + b`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes differ or are empty; as the device refuses memory.
pub fn add(rec: &mut Recorder, a: &Activations, b: &Activations) -> Result<Activations> {
    let count = alike("add", a, b)?;
    let out = Activations { buffer: rec.alloc(a.rows * a.cols * 4)?, ..*a };
    rec.dispatch::<Add>(&Params { count }, add::variant(), &[&a.buffer, &b.buffer, &out.buffer])?;
    Ok(out)
}

/// Adds `bias`, f32 `[cols]`, to every row of x, in place.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the bias has another length than a row.
pub fn add_bias(rec: &mut Recorder, x: &Activations, bias: &Buffer) -> Result<()> {
    let (rows, cols) = matrix("add_bias", x)?;
    vector("add_bias", "bias", bias, x.cols)?;
    rec.dispatch::<AddBias>(&add_bias::Params { rows, cols }, add_bias::variant(), &[&x.buffer, bias])
}
