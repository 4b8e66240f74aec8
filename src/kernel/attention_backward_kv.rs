//! The gradient of [`attention`](super::attention) for its keys and values: with `p` the weight that a query gives the
//! key and `g = d_y * v`, summed over the queries that see it, `d_k = scale * sum p (g - delta) q` and
//! `d_v = sum p d_y`.
//!
//! Bindings: queries `[sequences * tokens, heads * head_dim]`; keys and values `[sequences, capacity, kv_heads *
//! head_dim]`; d_y like the queries; stats of [`attention_backward_q`](super::attention_backward_q); d_k and d_v like
//! the keys, 0 where no query looks. Who sees what is said in [`attention`](super::attention).

pub use super::attention::Params;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct AttentionBackwardKv;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", 64)
}

impl Params {
    /// Queries of a sequence, by number, that see the key at `position`.
    pub(super) fn observers(&self, position: usize) -> std::ops::Range<usize> {
        let (past, tokens) = (self.past as usize, self.tokens as usize);
        let end = match self.window as usize {
            0 => past + tokens,
            window => (position + window).min(past + tokens),
        };
        position.max(past) - past..end.max(past) - past
    }
}

impl Kernel for AttentionBackwardKv {
    type Params = Params;
    const NAME: &'static str = "attention_backward_kv";
    const ACCESS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/attention_backward_kv.wgsl");
    const PTX: Option<&'static str> = super::ptx!("attention_backward_kv");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::attention_backward::keys_and_values);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.sequences as usize * p.capacity as usize * p.kv_heads as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [q, k, v, d_y, stats, mut d_k, mut d_v] = bindings.take();
        let (heads, kv_heads, dim) = (p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
        let (capacity, tokens, shared) = (p.capacity as usize, p.tokens as usize, heads / kv_heads);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for slot in 0..p.sequences as usize * capacity {
            for kv_head in 0..kv_heads {
                let at = (slot * kv_heads + kv_head) * dim;
                let (mut key, mut value) = (vec![0.0f32; dim], vec![0.0f32; dim]);
                for token in p.observers(slot % capacity) {
                    for head in kv_head * shared..(kv_head + 1) * shared {
                        let row = (slot / capacity * tokens + token) * heads + head;
                        let (query, d_y) = (&q.f32()[row * dim..][..dim], &d_y.f32()[row * dim..][..dim]);
                        let [log_sum, delta] = [stats.f32()[2 * row], stats.f32()[2 * row + 1]];
                        let weight = (dot(query, &k.f32()[at..at + dim]) * p.scale - log_sum).exp();
                        let slope = weight * (dot(d_y, &v.f32()[at..at + dim]) - delta) * p.scale;
                        for d in 0..dim {
                            key[d] += slope * query[d];
                            value[d] += weight * d_y[d];
                        }
                    }
                }
                d_k.f32_mut()[at..at + dim].copy_from_slice(&key);
                d_v.f32_mut()[at..at + dim].copy_from_slice(&value);
            }
        }
    }
}
