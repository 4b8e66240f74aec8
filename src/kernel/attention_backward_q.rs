//! The gradient of [`attention`](super::attention) for its queries. With `p` the weights of a query's keys and
//! `g_j = d_y * v_j` what each weight's gradient is, `delta = sum p_j g_j` and `d_q = scale * sum p_j (g_j - delta) k_j`.
//!
//! Bindings: queries `[sequences * tokens, heads * head_dim]`; keys and values `[sequences, capacity, kv_heads *
//! head_dim]`; d_y and d_q like the queries; stats `[sequences * tokens, heads, 2]`: the logarithm of the sum of the
//! exponential scores, and delta, which the gradient of keys and values takes. Who sees what is said in
//! [`attention`](super::attention).

pub use super::attention::{Params, variant};
use super::part::Reduce;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct AttentionBackwardQ;

impl Kernel for AttentionBackwardQ {
    type Params = Params;
    const NAME: &'static str = "attention_backward_q";
    const ACCESS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/attention_backward_q.wgsl");
    const PTX: Option<&'static str> = super::ptx!("attention_backward_q");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::attention_backward::queries);

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.sequences as usize * p.tokens as usize * p.heads as usize)
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [q, k, v, d_y, mut d_q, mut stats] = bindings.take();
        let (heads, dim) = (p.heads as usize, p.head_dim as usize);
        let width = p.kv_heads as usize * dim;
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for row in 0..p.sequences as usize * p.tokens as usize {
            let (sequence, token) = (row / p.tokens as usize, row % p.tokens as usize);
            let visible = p.visible(p.past as usize + token);
            for head in 0..heads {
                let at = (row * heads + head) * dim;
                let (query, d_y) = (&q.f32()[at..at + dim], &d_y.f32()[at..at + dim]);
                let start = sequence * p.capacity as usize * width + head / (heads / p.kv_heads as usize) * dim;
                let key = |position: usize| &k.f32()[start + position * width..][..dim];
                let value = |position: usize| &v.f32()[start + position * width..][..dim];
                let scores: Vec<f32> = visible.clone().map(|position| dot(query, key(position)) * p.scale).collect();
                let largest = scores.iter().copied().fold(f32::MIN, f32::max);
                let log_sum = largest + scores.iter().map(|s| (s - largest).exp()).sum::<f32>().ln();
                let weights: Vec<f32> = scores.iter().map(|s| (s - log_sum).exp()).collect();
                let slopes: Vec<f32> = visible.clone().map(|position| dot(d_y, value(position))).collect();
                let delta = dot(&weights, &slopes);
                for d in 0..dim {
                    let term = |(i, position): (usize, usize)| weights[i] * (slopes[i] - delta) * key(position)[d];
                    d_q.f32_mut()[at + d] = p.scale * visible.clone().enumerate().map(term).sum::<f32>();
                }
                stats.f32_mut()[2 * (row * heads + head)..][..2].copy_from_slice(&[log_sum, delta]);
            }
        }
    }
}
