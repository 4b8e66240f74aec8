//! A weight as it decodes after quantization with trained offsets:
//! `(code - zero) * scale` with `code = clamp(round(w / scale + offset) + zero, 0, 2^bits - 1)`. With offsets of 0 these
//! are the codes of [`group_quantize`](super::group_quantize), half to even, bit for bit.
//!
//! Bindings: weight `[rows, cols]`; offsets, f32, of that shape; scales, f32, and zero points, one word, of each group;
//! out, f32, `[rows, cols]`.

use bytemuck::{Pod, Zeroable};

use super::part::{self, EXACT, HALF};
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::nearest_shifted;

/// The kernel.
#[derive(Debug)]
pub struct FakeQuant;

/// A weight and its groups.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Output features.
    pub rows: u32,
    /// Input features.
    pub cols: u32,
    /// Columns of a group.
    pub group: u32,
    /// Groups of a row.
    pub groups_per_row: u32,
    /// Bits of a code.
    pub bits: u32,
}

const WG: u32 = 64;

/// The variant for a weight of this storage type.
pub fn variant(weight: Dtype) -> Variant {
    Variant::new().part(part::weight(weight)).part(&EXACT).part(&HALF).constant("WG", WG)
}

impl Kernel for FakeQuant {
    type Params = Params;
    const NAME: &'static str = "fake_quant";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/fake_quant.wgsl");
    const PTX: Option<&'static str> = super::ptx!("fake_quant");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::fake_quant::run);

    fn variants() -> Vec<Variant> {
        Dtype::ALL.map(variant).to_vec()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.rows as usize * p.cols as usize).div_ceil(WG as usize))
    }

    /// A thread takes eight columns.
    fn cuda(p: &Params, _: &Variant) -> Option<CudaLaunch> {
        let grid = linear_grid((p.rows as usize * p.cols.div_ceil(8) as usize).div_ceil(WG as usize));
        Some(CudaLaunch { entry: Self::NAME, grid, block: WG, shared: 0 })
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [w, offsets, scales, zeros, mut out] = bindings.take();
        let dtype = variant.dtype(Role::Weight);
        for i in 0..p.rows as usize * p.cols as usize {
            let (row, col) = (i / p.cols as usize, i % p.cols as usize);
            let g = row * p.groups_per_row as usize + col / p.group as usize;
            let (scale, zero) = (scales.f32()[g], zeros.words()[g] as i32);
            let steps = nearest_shifted(dtype.value(w.words(), i), scale, offsets.f32()[i]);
            let code = (steps + zero).clamp(0, (1 << p.bits) - 1);
            out.f32_mut()[i] = (code - zero) as f32 * scale;
        }
    }
}
