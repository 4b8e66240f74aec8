//! What rows of logits say: losses, the likeliest token, the divergence of two models.

use super::{Activations, choose};
use crate::device::{Buffer, Recorder};
use crate::error::{Error, Result};
use crate::kernel::argmax::{self as argmax_kernel, Argmax};
use crate::kernel::kl_rows::{self, KlRows};
use crate::kernel::softmax_loss::{self, NOT_SCORED, SoftmaxLoss};

/// Negative log-likelihood of each row's target under the softmax of the row, in nats: f32, one a row. A target of
/// `u32::MAX` is not scored: its loss is 0.
///
/// # Errors
/// [`Error::Shape`] if there is not one target a row, or one is beyond the columns.
///
/// ```
/// use bitsmith::op::{self, Activations};
/// let device = bitsmith::Device::cpu();
/// let logits = Activations::upload(&device, 2, 2, &[3.0, 3.0, 0.0, 50.0])?;
/// let mut rec = bitsmith::Recorder::new(&device);
/// let losses = op::nll(&mut rec, &logits, &[0, 1])?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(device.read::<f32>(&losses))?, [2f32.ln(), 0.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub fn nll(rec: &mut Recorder, logits: &Activations, targets: &[u32]) -> Result<Buffer> {
    let (rows, vocab) = sizes("nll", logits)?;
    let targets = upload_targets(rec, "nll", logits, targets)?;
    let losses = rec.alloc(logits.rows * size_of::<f32>())?;
    let variant = softmax_loss::variant(choose::reduce(rec.device().caps()));
    let params = softmax_loss::Params { rows, vocab };
    rec.dispatch::<SoftmaxLoss>(&params, variant, &[&logits.buffer, &targets, &losses])?;
    Ok(losses)
}

/// One target a row, below the columns or not scored.
pub(super) fn upload_targets(
    rec: &Recorder,
    op: &'static str,
    logits: &Activations,
    targets: &[u32],
) -> Result<Buffer> {
    let (rows, vocab) = sizes(op, logits)?;
    if targets.len() != logits.rows {
        let (expected, found) = (format!("{rows} targets"), targets.len().to_string());
        return Err(Error::Shape { op, expected, found });
    }
    if let Some(target) = targets.iter().find(|t| **t >= vocab && **t != NOT_SCORED) {
        let (expected, found) = (format!("targets below {vocab}"), target.to_string());
        return Err(Error::Shape { op, expected, found });
    }
    rec.device().upload(targets)
}

/// Index of each row's largest value, the lowest on ties: u32, one a row.
///
/// # Errors
/// [`Error::Shape`] if there are no values.
pub fn argmax(rec: &mut Recorder, values: &Activations) -> Result<Buffer> {
    let (rows, cols) = sizes("argmax", values)?;
    let indices = rec.alloc(values.rows * size_of::<u32>())?;
    rec.dispatch::<Argmax>(
        &argmax_kernel::Params { rows, cols },
        argmax_kernel::variant(),
        &[&values.buffer, &indices],
    )?;
    Ok(indices)
}

/// Divergence of a model's predictions from a reference's: f32 `[rows, 3]`, per row `KL(reference || model)` and
/// `KL(model || reference)` in nats, and 1 where both have the same likeliest token, else 0.
///
/// # Errors
/// [`Error::Shape`] if the two differ in shape or hold nothing.
pub fn kl(rec: &mut Recorder, reference: &Activations, model: &Activations) -> Result<Buffer> {
    let (rows, vocab) = sizes("kl", reference)?;
    if (reference.rows, reference.cols) != (model.rows, model.cols) {
        let (expected, found) = (format!("{rows} x {vocab} logits"), format!("{} x {}", model.rows, model.cols));
        return Err(Error::Shape { op: "kl", expected, found });
    }
    let out = rec.alloc(reference.rows * 3 * size_of::<f32>())?;
    let variant = kl_rows::variant(choose::reduce(rec.device().caps()));
    rec.dispatch::<KlRows>(&kl_rows::Params { rows, vocab }, variant, &[&reference.buffer, &model.buffer, &out])?;
    Ok(out)
}

fn sizes(op: &'static str, values: &Activations) -> Result<(u32, u32)> {
    let wrong = || Error::Shape {
        op,
        expected: "1 to 2^32 - 1 rows and columns".into(),
        found: format!("{} x {}", values.rows, values.cols),
    };
    match (u32::try_from(values.rows), u32::try_from(values.cols)) {
        (Ok(rows @ 1..), Ok(cols @ 1..)) => Ok((rows, cols)),
        _ => Err(wrong()),
    }
}
