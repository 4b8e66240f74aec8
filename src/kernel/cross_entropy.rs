//! Cross-entropy of each row of logits against a target, and its gradient: `loss = log(sum(exp(row))) - row[target]`,
//! `d_row = factor * (softmax(row) - [1 at the target])`.
//!
//! Bindings: logits `[rows, vocab]`; targets, u32, one a row, [`NOT_SCORED`] for a loss and a gradient of 0; d_logits;
//! losses, one a row.

use bytemuck::{Pod, Zeroable};

use super::part::Reduce;
pub use super::softmax_loss::NOT_SCORED;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct CrossEntropy;

/// The shape of the logits, and what the gradient is multiplied by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub rows: u32,
    /// Logits of a row.
    pub vocab: u32,
    /// The weight of a row in the whole loss.
    pub factor: f32,
}

const WG: u32 = 256;

/// The variant that reduces this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", WG)
}

impl Kernel for CrossEntropy {
    type Params = Params;
    const NAME: &'static str = "cross_entropy";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/cross_entropy.wgsl");
    const PTX: Option<&'static str> = super::ptx!("cross_entropy");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::loss::cross_entropy);

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [logits, targets, mut d_logits, mut losses] = bindings.take();
        for (row, target) in targets.words().iter().take(p.rows as usize).enumerate() {
            let at = row * p.vocab as usize..(row + 1) * p.vocab as usize;
            let (logits, d_logits) = (&logits.f32()[at.clone()], &mut d_logits.f32_mut()[at]);
            if *target == NOT_SCORED {
                d_logits.fill(0.0);
                losses.f32_mut()[row] = 0.0;
                continue;
            }
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = logits.iter().map(|x| (x - largest).exp()).sum();
            for (i, (x, d)) in logits.iter().zip(d_logits).enumerate() {
                let hit = if i == *target as usize { 1.0 } else { 0.0 };
                *d = p.factor * ((x - largest).exp() / sum - hit);
            }
            losses.f32_mut()[row] = (largest - logits[*target as usize]) + sum.ln();
        }
    }
}
