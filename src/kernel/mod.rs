//! The kernels: for each the parameters, the variants and the plain CPU twin. No device is known here.

pub mod activate;
pub mod add;
pub mod add_bias;
mod code;
pub mod gate;
pub mod group_dequantize;
pub mod group_error;
pub mod group_quantize;
pub mod group_range;
pub mod layer_norm;
pub mod part;
pub mod rms_norm;
pub mod rope;
pub mod store_rows;

use crate::dispatch::{Kernel, KernelSpec};

/// Every kernel.
pub static ALL: &[&KernelSpec] = &[
    group_range::GroupRange::SPEC,
    group_quantize::GroupQuantize::SPEC,
    group_dequantize::GroupDequantize::SPEC,
    group_error::GroupError::SPEC,
    rms_norm::RmsNorm::SPEC,
    layer_norm::LayerNorm::SPEC,
    rope::Rope::SPEC,
    store_rows::StoreRows::SPEC,
    activate::Activate::SPEC,
    gate::Gate::SPEC,
    add::Add::SPEC,
    add_bias::AddBias::SPEC,
];
