//! Rotary position embedding in the rotate-half convention: within a head, elements i and i + head_dim/2 turn by
//! the angle of pair i at the token's position.
//!
//! Bindings: x `[sequences * tokens, heads * head_dim]`; table `[positions, head_dim / 2, 2]`, cosine and sine; out
//! `[sequences, out_capacity, heads * head_dim]`, of which slots `out_first..out_first + tokens` are written; all f32.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct Rope;

/// The heads, their positions, and where the result goes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Sequences.
    pub sequences: u32,
    /// Tokens of each sequence.
    pub tokens: u32,
    /// Heads of a token.
    pub heads: u32,
    /// Elements of a head, an even number.
    pub head_dim: u32,
    /// Position of each sequence's first token: a row of the table.
    pub first_position: u32,
    /// Slots of a sequence in the result.
    pub out_capacity: u32,
    /// Slot of each sequence's first token.
    pub out_first: u32,
    /// 1, or -1 to turn by the opposite angles.
    pub direction: f32,
}

const WG: u32 = 64;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for Rope {
    type Params = Params;
    const NAME: &'static str = "rope";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/rope.wgsl");
    const PTX: Option<&'static str> = super::ptx!("rope");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::rope::run);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        let pairs = [p.sequences, p.tokens, p.heads, p.head_dim / 2].iter().map(|n| *n as usize).product::<usize>();
        linear_grid(pairs.div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, table, mut out] = bindings.take();
        let (tokens, heads, head_dim) = (p.tokens as usize, p.heads as usize, p.head_dim as usize);
        let half = head_dim / 2;
        for row in 0..p.sequences as usize * tokens {
            let (sequence, token) = (row / tokens, row % tokens);
            let slot = sequence * p.out_capacity as usize + p.out_first as usize + token;
            for head in 0..heads {
                let from = &x.f32()[(row * heads + head) * head_dim..][..head_dim];
                let to = &mut out.f32_mut()[(slot * heads + head) * head_dim..][..head_dim];
                for i in 0..half {
                    let angle = ((p.first_position as usize + token) * half + i) * 2;
                    let (cos, sin) = (table.f32()[angle], table.f32()[angle + 1] * p.direction);
                    to[i] = from[i] * cos - from[i + half] * sin;
                    to[i + half] = from[i + half] * cos + from[i] * sin;
                }
            }
        }
    }
}
