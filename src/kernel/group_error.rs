//! What quantization did to each row of a weight: the sums from which MSE, SQNR and cosine follow.
//!
//! Bindings: weight `[rows, cols]`; packed codes; scales, f32, one a group; zero points, one word a group; per row
//! the four sums of `w*w`, `(w-v)^2`, `w*v`, `v*v`, where v is the dequantized weight.

use bytemuck::{Pod, Zeroable};

use super::code::code_at;
use super::part::{self, HALF, Reduce};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::Bits;

/// The kernel.
#[derive(Debug)]
pub struct GroupError;

/// A weight and its codes.
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
}

const WG: u32 = 64;

/// The variant for a weight of this storage type.
pub fn variant(weight: Dtype, bits: Bits, reduce: Reduce) -> Variant {
    Variant::new()
        .part(part::weight(weight))
        .part(part::codes(bits.get()))
        .part(&HALF)
        .part(reduce.part())
        .constant("BITS", u32::from(bits.get()))
        .constant("WG", WG)
}

impl Kernel for GroupError {
    type Params = Params;
    const NAME: &'static str = "group_error";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/group_error.wgsl");
    const PTX: Option<&'static str> = super::ptx!("group_error");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::group_error::run);

    fn variants() -> Vec<Variant> {
        let each = |bits| Dtype::ALL.into_iter().flat_map(move |d| Reduce::ALL.map(|r| variant(d, bits, r)));
        Bits::ALL.into_iter().flat_map(each).collect()
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [w, codes, scales, zeros, mut out] = bindings.take();
        let dtype = variant.dtype(Role::Weight);
        for row in 0..p.rows as usize {
            let mut sums = [0.0f32; 4];
            for col in 0..p.cols as usize {
                let group = row * p.groups_per_row as usize + col / p.group as usize;
                let x = dtype.value(w.words(), row * p.cols as usize + col);
                let code = code_at(codes.words(), row * p.words_per_row as usize, col, p.bits) as f32;
                let v = (code - zeros.words()[group] as f32) * scales.f32()[group];
                for (sum, term) in sums.iter_mut().zip([x * x, (x - v) * (x - v), x * v, v * v]) {
                    *sum += term;
                }
            }
            out.f32_mut()[row * 4..][..4].copy_from_slice(&sums);
        }
    }
}
