//! Fast [`softmax_loss`](crate::kernel::softmax_loss), [`kl_rows`](crate::kernel::kl_rows),
//! [`argmax`](crate::kernel::argmax) and the losses with gradients, [`cross_entropy`](crate::kernel::cross_entropy) and
//! [`kl_loss`](crate::kernel::kl_loss).

use rayon::prelude::*;

use super::exp::exp;
use super::{LANES, reduce, rows};
use crate::dispatch::{Bindings, Variant, View};
use crate::kernel::kl_rows::term;
use crate::kernel::softmax_loss::NOT_SCORED;
use crate::kernel::{argmax, cross_entropy, kl_loss, kl_rows, softmax_loss};

/// Steps of work that a logit costs with its exponential.
const EXPONENTIAL: usize = 4;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of softmax_loss.
pub fn softmax_loss(p: &softmax_loss::Params, _: &Variant, bindings: Bindings<'_>) {
    let [logits, targets, mut losses] = bindings.take();
    let (rows, vocab) = (p.rows as usize, p.vocab as usize);
    rows::each(&mut losses.f32_mut()[..rows], 1, rows::per_task(EXPONENTIAL * vocab), |first, losses| {
        for ((row, loss), target) in (first..).zip(losses).zip(&targets.words()[first..]) {
            let logits = &logits.f32()[row * vocab..][..vocab];
            *loss = if *target == NOT_SCORED { 0.0 } else { loss_of(logits, *target as usize) };
        }
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of kl_rows.
pub fn kl_rows(p: &kl_rows::Params, _: &Variant, bindings: Bindings<'_>) {
    let [reference, model, mut out] = bindings.take();
    let (rows, vocab) = (p.rows as usize, p.vocab as usize);
    rows::each(&mut out.f32_mut()[..rows * 3], 3, rows::per_task(4 * EXPONENTIAL * vocab), |first, out| {
        for (row, out) in (first..).zip(out.as_chunks_mut::<3>().0) {
            let at = row * vocab..(row + 1) * vocab;
            let [forward, reversed] = divergences(&reference.f32()[at.clone()], &model.f32()[at.clone()]);
            let same = largest(&reference.words()[at.clone()]) == largest(&model.words()[at]);
            *out = [forward, reversed, f32::from(u8::from(same))];
        }
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of cross_entropy.
pub fn cross_entropy(p: &cross_entropy::Params, _: &Variant, bindings: Bindings<'_>) {
    let [logits, targets, mut d_logits, mut losses] = bindings.take();
    let (count, vocab) = (p.rows as usize, p.vocab as usize);
    each_row(count, vocab, &mut d_logits, &mut losses, |row, d_logits, loss| {
        let target = targets.words()[row];
        *loss = if target == NOT_SCORED {
            d_logits.fill(0.0);
            0.0
        } else {
            entropy(p.factor, &logits.f32()[row * vocab..][..vocab], target as usize, d_logits)
        };
    });
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of kl_loss.
pub fn kl_loss(p: &kl_loss::Params, _: &Variant, bindings: Bindings<'_>) {
    let [reference, model, mut d_model, mut losses] = bindings.take();
    let (count, vocab) = (p.rows as usize, p.vocab as usize);
    each_row(count, vocab, &mut d_model, &mut losses, |row, d_model, loss| {
        let at = row * vocab..(row + 1) * vocab;
        *loss = divergence(p.factor, &reference.f32()[at.clone()], &model.f32()[at], d_model);
    });
}

/// Calls `visit(row, gradients, loss)` for each row.
fn each_row(
    count: usize,
    vocab: usize,
    gradients: &mut View<'_>,
    losses: &mut View<'_>,
    visit: impl Fn(usize, &mut [f32], &mut f32) + Sync,
) {
    let panel = rows::per_task(2 * EXPONENTIAL * vocab);
    let gradients = gradients.f32_mut()[..count * vocab].par_chunks_mut(panel * vocab);
    gradients.zip(losses.f32_mut()[..count].par_chunks_mut(panel)).enumerate().for_each(
        |(task, (gradients, losses))| {
            for (i, (gradients, loss)) in gradients.chunks_exact_mut(vocab).zip(losses).enumerate() {
                visit(task * panel + i, gradients, loss);
            }
        },
    );
}

/// [`Kernel::run`](crate::dispatch::Kernel::run) of argmax.
pub fn argmax(p: &argmax::Params, _: &Variant, bindings: Bindings<'_>) {
    let [values, mut indices] = bindings.take();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    rows::each(&mut indices.words_mut()[..rows], 1, rows::per_task(cols), |first, indices| {
        for (row, index) in (first..).zip(indices) {
            *index = largest(&values.words()[row * cols..][..cols]);
        }
    });
}

vectorized! {
    fn loss_of(logits: &[f32], target: usize) -> f32 {
        let (largest, log) = normalizer(logits);
        (largest - logits[target]) + log
    }

    fn divergences(reference: &[f32], model: &[f32]) -> [f32; 2] {
        let (r, m) = (normalizer(reference), normalizer(model));
        let shift = (r.0 - m.0) + (r.1 - m.1);
        let mut sums = [[0.0; LANES]; 2];
        let ((r_whole, r_tail), (m_whole, m_tail)) = (reference.as_chunks::<LANES>(), model.as_chunks::<LANES>());
        for (reference, model) in r_whole.iter().zip(m_whole) {
            for lane in 0..LANES {
                let terms = terms(reference[lane], model[lane], r, m, shift);
                sums[0][lane] += terms[0];
                sums[1][lane] += terms[1];
            }
        }
        for (lane, (reference, model)) in r_tail.iter().zip(m_tail).enumerate() {
            let terms = terms(*reference, *model, r, m, shift);
            sums.iter_mut().zip(terms).for_each(|(sum, term)| sum[lane] += term);
        }
        sums.map(|lanes| lanes.iter().sum())
    }

    fn entropy(factor: f32, logits: &[f32], target: usize, d_logits: &mut [f32]) -> f32 {
        let largest = reduce::largest(logits);
        d_logits.iter_mut().zip(logits).for_each(|(d, x)| *d = exp(x - largest));
        let sum = reduce::sum(d_logits, |e| e);
        d_logits.iter_mut().for_each(|d| *d = factor * (*d / sum));
        d_logits[target] -= factor;
        (largest - logits[target]) + sum.ln()
    }

    fn divergence(factor: f32, reference: &[f32], model: &[f32], d_model: &mut [f32]) -> f32 {
        let (r, m) = (normalizer(reference), normalizer(model));
        let shift = (r.0 - m.0) + (r.1 - m.1);
        let mut sums = [0.0; LANES];
        let chunks = d_model.chunks_mut(LANES).zip(reference.chunks(LANES).zip(model.chunks(LANES)));
        for (d_model, (reference, model)) in chunks {
            for (lane, ((d, reference), model)) in d_model.iter_mut().zip(reference).zip(model).enumerate() {
                let (p, q) = (exp((reference - r.0) - r.1), exp((model - m.0) - m.1));
                *d = factor * (q - p);
                sums[lane] += term(weight(p), q, (reference - model) - shift);
            }
        }
        sums.iter().sum()
    }

    /// Index of the largest f32, given as bits; the lowest such index on ties. 0 of nothing.
    #[allow(clippy::cast_possible_truncation, reason = "a row's length is a u32")]
    fn largest(row: &[u32]) -> u32 {
        let best = row.iter().map(|bits| argmax::order(*bits)).max();
        row.iter().position(|bits| Some(argmax::order(*bits)) == best).unwrap_or(0) as u32
    }
}

/// The largest value, and the logarithm of the sum of exponentials beyond it.
#[inline(always)]
fn normalizer(row: &[f32]) -> (f32, f32) {
    let largest = reduce::largest(row);
    (largest, reduce::sum(row, |x| exp(x - largest)).ln())
}

/// What one value adds to both divergences; `r` and `m` are the normalizers.
#[inline(always)]
fn terms(reference: f32, model: f32, r: (f32, f32), m: (f32, f32), shift: f32) -> [f32; 2] {
    let (p, q) = (exp((reference - r.0) - r.1), exp((model - m.0) - m.1));
    let d = (reference - model) - shift;
    [term(weight(p), q, d), term(weight(q), p, -d)]
}

/// A probability as a factor, 0 if it is faint: [`exp`] ends at `e^-87`, and where the one probability ended there and
/// the other did not, their terms would not cancel and the sum might be negative.
#[inline(always)]
fn weight(p: f32) -> f32 {
    const FAINT: f32 = 1e-35;
    if p < FAINT { 0.0 } else { p }
}
