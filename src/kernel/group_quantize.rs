//! Codes of a weight under given scales and zero points.
//!
//! Bindings: weight `[rows, cols]`; scales, f32, one a group; zero points, one word a group; codes,
//! [`Packing::Rows`](crate::pack::Packing::Rows).

use bytemuck::{Pod, Zeroable};

use super::part::{self, EXACT, HALF};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::{Rounding, nearest_integer, uniform};

/// The kernel.
#[derive(Debug)]
pub struct GroupQuantize;

/// A weight and how its values become codes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Output features.
    pub rows: u32,
    /// Input features.
    pub cols: u32,
    /// Columns of a group.
    pub group: u32,
    /// Groups of a row, 0 if one group spans the tensor.
    pub groups_per_row: u32,
    /// Words of a packed row.
    pub words_per_row: u32,
    /// Bits of a code.
    pub bits: u32,
    /// Smallest code that is used.
    pub min_code: u32,
    /// [`Rounding::tag`].
    pub rounding: u32,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// Index of the first element within the whole tensor, for stochastic rounding of a part.
    pub first_element: u32,
}

const WG: u32 = 64;

/// The variant for a weight of this storage type.
pub fn variant(weight: Dtype) -> Variant {
    Variant::new().part(part::weight(weight)).part(&EXACT).part(&HALF).constant("WG", WG)
}

impl Kernel for GroupQuantize {
    type Params = Params;
    const NAME: &'static str = "group_quantize";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/group_quantize.wgsl");
    const PTX: Option<&'static str> = super::ptx!("group_quantize");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::group_quantize::run);

    fn variants() -> Vec<Variant> {
        Dtype::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.rows as usize * p.cols.div_ceil(32) as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [w, scales, zeros, mut codes] = bindings.take();
        let (dtype, rounding) = (variant.dtype(Role::Weight), Rounding::from_tag(p.rounding));
        let (cols, stride) = (p.cols as usize, p.words_per_row as usize);
        for row in 0..p.rows as usize {
            let codes = &mut codes.words_mut()[row * stride..(row + 1) * stride];
            codes.fill(0);
            for col in 0..cols {
                let group = row * p.groups_per_row as usize + col / p.group as usize;
                let element = row * cols + col;
                #[allow(clippy::cast_possible_truncation, reason = "element indices of one binding fit u32")]
                let chance = uniform(p.seed, p.first_element.wrapping_add(element as u32));
                let steps = nearest_integer(dtype.value(w.words(), element), scales.f32()[group], rounding, chance);
                let code = (steps + zeros.words()[group] as i32).clamp(p.min_code as i32, (1 << p.bits) - 1) as u32;
                let bit = col * p.bits as usize;
                codes[bit / 32] |= code << (bit % 32);
                if bit % 32 + p.bits as usize > 32 {
                    codes[bit / 32 + 1] |= code >> (32 - bit % 32);
                }
            }
        }
    }
}
