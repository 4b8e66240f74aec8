//! The kernels: for each the parameters, the variants and the plain CPU twin. No device is known here.

pub mod cast;
mod code;
pub mod embed;
mod fast;
pub mod group_dequantize;
pub mod group_error;
pub mod group_quantize;
pub mod group_range;
pub mod matmul;
pub mod matmul_group;
pub mod matvec;
pub mod matvec_group;
pub mod part;
pub mod product;

use crate::dispatch::{Kernel, KernelSpec};

/// Every kernel.
pub static ALL: &[&KernelSpec] = &[
    group_range::GroupRange::SPEC,
    group_quantize::GroupQuantize::SPEC,
    group_dequantize::GroupDequantize::SPEC,
    group_error::GroupError::SPEC,
    matvec::Matvec::SPEC,
    matmul::Matmul::SPEC,
    matvec_group::MatvecGroup::SPEC,
    matmul_group::MatmulGroup::SPEC,
    embed::Embed::SPEC,
    cast::Cast::SPEC,
];
