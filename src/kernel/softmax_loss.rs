//! Negative log-likelihood of one target in each row of logits: `log(sum(exp(row))) - row[target]`, nats.
//!
//! Bindings: logits `[rows, vocab]`; targets, u32, one a row, [`NOT_SCORED`] for a loss of 0; losses, one a row.

use bytemuck::{Pod, Zeroable};

use super::part::Reduce;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct SoftmaxLoss;

/// The shape of the logits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub rows: u32,
    /// Logits of a row.
    pub vocab: u32,
}

/// The target of a row whose loss is 0.
pub const NOT_SCORED: u32 = u32::MAX;

const WG: u32 = 256;

/// The variant that reduces this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", WG)
}

impl Kernel for SoftmaxLoss {
    type Params = Params;
    const NAME: &'static str = "softmax_loss";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/softmax_loss.wgsl");
    const PTX: Option<&'static str> = super::ptx!("softmax_loss");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::loss::softmax_loss);

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [logits, targets, mut losses] = bindings.take();
        for (row, target) in targets.words().iter().take(p.rows as usize).enumerate() {
            let logits = &logits.f32()[row * p.vocab as usize..][..p.vocab as usize];
            losses.f32_mut()[row] = if *target == NOT_SCORED {
                0.0
            } else {
                let largest = logits.iter().copied().fold(f32::MIN, f32::max);
                let sum: f32 = logits.iter().map(|x| (x - largest).exp()).sum();
                // The large terms first: their difference is exact or nearly so, their sum with the logarithm is not.
                (largest - logits[*target as usize]) + sum.ln()
            };
        }
    }
}
