//! Divergence of each row of a model's predictions from a reference's, and its gradient: `loss = KL(p || q)` in nats,
//! `d_model = factor * (q - p)`, with p and q the softmax of the reference's and the model's logits.
//!
//! Bindings: reference logits `[rows, vocab]`; model logits likewise; d_model; losses, one a row. The divergence is the sum
//! of the terms of [`kl_rows`](super::kl_rows).

use bytemuck::{Pod, Zeroable};

use super::kl_rows::{normalizer, term};
use super::part::{KL_TERM, Reduce};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct KlLoss;

/// The shape of either logits, and what the gradient is multiplied by.
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
    Variant::new().part(reduce.part()).part(&KL_TERM).constant("WG", WG)
}

impl Kernel for KlLoss {
    type Params = Params;
    const NAME: &'static str = "kl_loss";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/kl_loss.wgsl");
    const PTX: Option<&'static str> = super::ptx!("kl_loss");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::loss::kl_loss);

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [reference, model, mut d_model, mut losses] = bindings.take();
        let factor = p.factor;
        for row in 0..p.rows as usize {
            let at = row * p.vocab as usize..(row + 1) * p.vocab as usize;
            let (r, m) = (&reference.f32()[at.clone()], &model.f32()[at.clone()]);
            let ((r_largest, r_log), (m_largest, m_log)) = (normalizer(r), normalizer(m));
            let shift = (r_largest - m_largest) + (r_log - m_log);
            let mut sum = 0.0;
            for ((r, m), d_m) in r.iter().zip(m).zip(&mut d_model.f32_mut()[at]) {
                let (p, q) = (((r - r_largest) - r_log).exp(), ((m - m_largest) - m_log).exp());
                *d_m = factor * (q - p);
                sum += term(p, q, (r - m) - shift);
            }
            losses.f32_mut()[row] = sum;
        }
    }
}
