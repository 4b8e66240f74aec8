//! The kernels: for each the parameters, the variants and the plain CPU twin. No device is known here.

pub mod argmax;
pub mod attention;
mod code;
mod fast;
pub mod group_dequantize;
pub mod group_error;
pub mod group_quantize;
pub mod group_range;
pub mod kl_rows;
pub mod part;
pub mod softmax_loss;

use crate::dispatch::{Kernel, KernelSpec};

/// Every kernel.
pub static ALL: &[&KernelSpec] = &[
    group_range::GroupRange::SPEC,
    group_quantize::GroupQuantize::SPEC,
    group_dequantize::GroupDequantize::SPEC,
    group_error::GroupError::SPEC,
    attention::Attention::SPEC,
    softmax_loss::SoftmaxLoss::SPEC,
    argmax::Argmax::SPEC,
    kl_rows::KlRows::SPEC,
];
