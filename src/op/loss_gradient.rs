//! Losses of rows of logits together with their gradients, all at once or in chunks of rows.

use std::ops::Range;

use super::cache::{RowCache, store_rows};
use super::checks::{alike, matrix, shape, size};
use super::loss::upload_targets;
use super::{Activations, choose};
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::kernel::cross_entropy::{self, CrossEntropy};
use crate::kernel::kl_loss::{self as kl, KlLoss};

/// What rows of logits cost, and which way their loss falls.
#[derive(Clone, Debug)]
pub struct RowLosses {
    /// Of each row the loss in nats, `[1, rows]`.
    pub losses: Activations,
    /// The gradient of the mean loss with respect to the logits.
    pub gradient: Activations,
}

/// Cross-entropy of logits against one target a row, as [`nll`](super::nll) computes it, and its gradient. The mean is over
/// `mean_of` rows: those that are scored, those of other chunks of the same mini-batch among them.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let logits = Activations::upload(&device, 2, 2, &[3.0, 3.0, 1.0, 2.0])?;
/// let mut rec = Recorder::new(&device);
/// let found = op::cross_entropy(&mut rec, &logits, &[0, u32::MAX], 1)?;
/// rec.submit()?;
/// assert_eq!(pollster::block_on(found.losses.read(&device))?, [2f32.ln(), 0.0]);
/// assert_eq!(pollster::block_on(found.gradient.read(&device))?, [-0.5, 0.5, 0.0, 0.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// As [`nll`](super::nll).
pub fn cross_entropy(rec: &mut Recorder, logits: &Activations, targets: &[u32], mean_of: usize) -> Result<RowLosses> {
    const OP: &str = "cross_entropy";
    let (rows, vocab) = matrix(OP, logits)?;
    let targets = upload_targets(rec, OP, logits, targets)?;
    let found = RowLosses::of(rec, logits)?;
    let params = cross_entropy::Params { rows, vocab, factor: 1.0 / mean_of.max(1) as f32 };
    let variant = cross_entropy::variant(choose::reduce(rec.device().caps()));
    let buffers = [&logits.buffer, &targets, &found.gradient.buffer, &found.losses.buffer];
    rec.dispatch::<CrossEntropy>(&params, variant, &buffers)?;
    Ok(found)
}

/// `KL(reference || model)` of two logits, row by row, and the gradient of its mean over `mean_of` rows with respect to the
/// model's logits.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the two differ in shape or hold nothing.
pub fn kl_loss(rec: &mut Recorder, reference: &Activations, model: &Activations, mean_of: usize) -> Result<RowLosses> {
    alike("kl_loss", model, reference)?;
    let (rows, vocab) = matrix("kl_loss", model)?;
    let found = RowLosses::of(rec, model)?;
    let params = kl::Params { rows, vocab, factor: 1.0 / mean_of.max(1) as f32 };
    let variant = kl::variant(choose::reduce(rec.device().caps()));
    let buffers = [&reference.buffer, &model.buffer, &found.gradient.buffer, &found.losses.buffer];
    rec.dispatch::<KlLoss>(&params, variant, &buffers)?;
    Ok(found)
}

impl RowLosses {
    /// Room for those of these logits.
    fn of(rec: &Recorder, logits: &Activations) -> Result<Self> {
        let losses = Activations { buffer: rec.alloc(logits.rows * 4)?, rows: 1, cols: logits.rows };
        let gradient = Activations { buffer: rec.alloc(logits.rows * logits.cols * 4)?, ..*logits };
        Ok(Self { losses, gradient })
    }
}

/// What a loss in chunks leaves behind.
#[derive(Clone, Debug)]
pub struct ChunkedLoss {
    /// Of each row the loss, `[1, rows]`.
    pub losses: Activations,
    /// The gradient with respect to the rows.
    pub gradient: Activations,
    /// The gradients of the watched buffers, each the sum over all chunks; none of one that moves nothing.
    pub watched: Vec<Option<Buffer>>,
}

/// The loss of rows that are wide only in between, as logits are: `record` gets some rows of `x` and which they are, and
/// records what is made of them and its loss; then the way back to these rows is recorded, before the next ones. About
/// `rows_at_once` rows, a multiple of 64, are wide at a time.
///
/// The chunks have tapes of their own: what was recorded before stays on the recorder's, for
/// [`backward`](super::backward) to go on from the gradient. `watched` are buffers that `record` computes with and whose
/// gradients are asked for as well.
///
/// ```
/// use bitsmith::{Device, Recorder, Tensor, op::{self, Activations, DenseWeight}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 100, 2, &[0.5; 200])?;
/// let head = DenseWeight::upload(&device, &Tensor::from_f32(vec![3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?)?;
/// let mut rec = Recorder::new(&device);
/// let found = op::loss_in_chunks(&mut rec, &x, 64, &[], |rec, x, rows| {
///     let logits = op::dense(rec, x, &head)?;
///     let loss = op::cross_entropy(rec, &logits, &vec![2; rows.len()], 100)?;
///     Ok((logits, loss))
/// })?;
/// rec.submit()?;
/// assert_eq!((found.losses.cols, found.gradient.rows), (100, 100));
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// Those of `record` and of recording.
pub fn loss_in_chunks(
    rec: &mut Recorder,
    x: &Activations,
    rows_at_once: usize,
    watched: &[&Buffer],
    mut record: impl FnMut(&mut Recorder, &Activations, Range<usize>) -> Result<(Activations, RowLosses)>,
) -> Result<ChunkedLoss> {
    const OP: &str = "loss_in_chunks";
    matrix(OP, x)?;
    let room = |cols: usize| -> Result<RowCache> {
        size(OP, x.rows * cols)?;
        Ok(RowCache { buffer: rec.alloc(x.rows * cols * 4)?, sequences: 1, capacity: x.rows, cols })
    };
    let (losses, gradient) = (room(1)?, room(x.cols)?);
    let mut sums: Vec<Option<Activations>> = vec![None; watched.len()];
    // Slices begin at multiples of 256 bytes, as 64 values of any number of columns do.
    let step = rows_at_once.max(1).next_multiple_of(64);
    for first in (0..x.rows).step_by(step) {
        let rows = first..x.rows.min(first + step);
        let chunk = x.part(rows.clone())?;
        let (found, gradients) = rec.apart(|rec| {
            rec.watch(&chunk.buffer);
            watched.iter().for_each(|buffer| rec.watch(buffer));
            let (y, found) = record(rec, &chunk, rows.clone())?;
            let gradients = super::backward(rec, &y, &found.gradient)?;
            Ok((found, gradients))
        })?;
        let d_x = gradients.of(&chunk.buffer).ok_or_else(|| shape(OP, "a loss of the rows", "one they do not move"))?;
        store_rows(rec, &Activations { buffer: d_x.clone(), ..chunk }, &gradient, first)?;
        store_rows(rec, &Activations { rows: rows.len(), cols: 1, ..found.losses }, &losses, first)?;
        for (sum, buffer) in sums.iter_mut().zip(watched) {
            let Some(new) = gradients.of(*buffer) else { continue };
            let new = Activations { buffer: new.clone(), rows: 1, cols: buffer.bytes() / 4 };
            *sum = Some(match sum.take() {
                Some(before) => super::add(rec, &before, &new)?,
                None => new,
            });
        }
    }
    Ok(ChunkedLoss {
        losses: Activations { buffer: losses.buffer, rows: 1, cols: x.rows },
        gradient: Activations { buffer: gradient.buffer, ..*x },
        watched: sums.into_iter().map(|sum| sum.map(|sum| sum.buffer)).collect(),
    })
}
