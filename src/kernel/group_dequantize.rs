//! Weights from packed codes: `(code - zero) * scale`.
//!
//! Bindings: codes, [`Packing::Rows`](crate::pack::Packing::Rows); scales in their storage type; zero points, one a byte
//! (the scales again where the scheme stores none); weight, f32.

use bytemuck::{Pod, Zeroable};

use super::code::{code_at, zero_at};
use super::part::{self, HALF, ZERO_MIDDLE};
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::Bits;

/// The kernel.
#[derive(Debug)]
pub struct GroupDequantize;

/// A packed weight.
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
    /// First element written.
    pub out_offset: u32,
}

const WG: u32 = 64;

/// The variant for a packed weight.
pub fn variant(bits: Bits, symmetric: bool, scale: Dtype) -> Variant {
    Variant::new()
        .part(part::codes(bits.get()))
        .part(part::zero(symmetric))
        .part(part::scale(scale))
        .part(&HALF)
        .constant("BITS", u32::from(bits.get()))
        .constant("WG", WG)
}

impl Kernel for GroupDequantize {
    type Params = Params;
    const NAME: &'static str = "group_dequantize";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/group_dequantize.wgsl");
    const PTX: Option<&'static str> = super::ptx!("group_dequantize");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::group_dequantize::run);

    fn variants() -> Vec<Variant> {
        let each = |bits| Dtype::ALL.into_iter().flat_map(move |d| [true, false].map(|s| variant(bits, s, d)));
        Bits::ALL.into_iter().flat_map(each).collect()
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
        let [codes, scales, zeros, mut out] = bindings.take();
        let (bits, scale_type) = (variant.get("BITS"), variant.dtype(Role::Scale));
        let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
        let cols = p.cols as usize;
        for i in 0..p.rows as usize * cols {
            let (row, col) = (i / cols, i % cols);
            let group = row * p.groups_per_row as usize + col / p.group as usize;
            let code = code_at(codes.words(), row * p.words_per_row as usize, col, bits) as f32;
            let zero = zero_at(zeros.words(), group, symmetric, bits);
            out.f32_mut()[p.out_offset as usize + i] = (code - zero) * scale_type.value(scales.words(), group);
        }
    }
}
