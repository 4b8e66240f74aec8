//! Divergence of two models' predictions, row by row: `KL(p || q)` and `KL(q || p)` in nats, with p and q the softmax of
//! the reference's and the model's logits, and whether both find the same value largest.
//!
//! Bindings: reference logits `[rows, vocab]`; model logits likewise; per row `[KL(p || q), KL(q || p), 1 or 0]`.
//!
//! With `d = log p - log q`, `KL(p || q)` is the sum of `p (d + e^-d - 1)`: the added terms sum to zero, no term is
//! negative, and an error of the normalizers, which shifts every d alike, cancels to first order. So nearly equal rows
//! keep their relative accuracy: identical rows give about the square of f32's rounding, not its first power.

use bytemuck::{Pod, Zeroable};

use super::argmax::largest;
use super::part::{KL_TERM, LARGEST, Reduce};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct KlRows;

/// The shape of either logits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub rows: u32,
    /// Logits of a row.
    pub vocab: u32,
}

const WG: u32 = 256;

/// The variant that reduces this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).part(&LARGEST).part(&KL_TERM).constant("WG", WG)
}

/// `p (d + e^-d - 1)` for `d = log p - log q`: by its series where the terms would cancel.
#[inline(always)]
pub(super) fn term(p: f32, q: f32, d: f32) -> f32 {
    if d.abs() < 0.5 {
        let rest = 1.0 - d * (1.0 / 5.0) * (1.0 - d * (1.0 / 6.0) * (1.0 - d * (1.0 / 7.0) * (1.0 - d * (1.0 / 8.0))));
        p * (d * d) * 0.5 * (1.0 - d * (1.0 / 3.0) * (1.0 - d * (1.0 / 4.0) * rest))
    } else {
        p * (d - 1.0) + q
    }
}

/// The largest value, and the logarithm of the sum of exponentials beyond it.
pub(super) fn normalizer(row: &[f32]) -> (f32, f32) {
    let largest = row.iter().copied().fold(f32::MIN, f32::max);
    (largest, row.iter().map(|x| (x - largest).exp()).sum::<f32>().ln())
}

impl Kernel for KlRows {
    type Params = Params;
    const NAME: &'static str = "kl_rows";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/kl_rows.wgsl");
    const PTX: Option<&'static str> = super::ptx!("kl_rows");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::loss::kl_rows);

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [reference, model, mut out] = bindings.take();
        for row in 0..p.rows as usize {
            let at = row * p.vocab as usize..(row + 1) * p.vocab as usize;
            let (r, m) = (&reference.f32()[at.clone()], &model.f32()[at.clone()]);
            let ((r_largest, r_log), (m_largest, m_log)) = (normalizer(r), normalizer(m));
            let shift = (r_largest - m_largest) + (r_log - m_log);
            let (mut forward, mut reversed) = (0.0, 0.0);
            for (r, m) in r.iter().zip(m) {
                let (p, q) = (((r - r_largest) - r_log).exp(), ((m - m_largest) - m_log).exp());
                let d = (r - m) - shift;
                forward += term(p, q, d);
                reversed += term(q, p, -d);
            }
            let same = largest(&reference.words()[at.clone()]) == largest(&model.words()[at]);
            out.f32_mut()[row * 3..][..3].copy_from_slice(&[forward, reversed, f32::from(u8::from(same))]);
        }
    }
}
