//! The kernels: for each the parameters, the variants and the plain CPU twin. No device is known here.

/// The PTX of a kernel, in builds that have a use for it.
macro_rules! ptx {
    ($name:literal) => {
        if cfg!(feature = "cuda") { Some(include_str!(concat!("../../cuda/ptx/", $name, ".ptx"))) } else { None }
    };
}
use ptx;

pub mod activate;
pub mod activate_backward;
pub mod activation_dequantize;
pub mod activation_quantize;
pub mod adamw_step;
pub mod add;
pub mod add_bias;
pub mod argmax;
pub mod attention;
pub mod attention_backward_kv;
pub mod attention_backward_q;
pub mod best_loss;
pub mod cast;
pub mod clip_factor;
mod code;
pub mod col2im;
pub mod column_stats;
pub mod column_sum;
pub mod cross_entropy;
pub mod dropout;
pub mod embed;
pub mod embed_backward;
pub mod fake_quant;
pub mod fake_quant_backward;
pub mod fake_range;
pub mod fake_range_backward;
mod fast;
pub mod free_range;
pub mod free_range_backward;
pub mod gate;
pub mod gate_backward;
pub mod gather_columns;
pub mod group_absmean;
pub mod group_bounds;
pub mod group_dequantize;
pub mod group_error;
pub mod group_quantize;
pub mod group_range;
pub mod group_search;
pub mod histogram_count;
pub mod histogram_range;
pub mod histogram_widen;
mod hopper;
pub mod im2col;
pub mod keep_best;
pub mod kl_loss;
pub mod kl_rows;
pub mod layer_norm;
pub mod layer_norm_backward;
pub mod matmul;
pub mod matmul_group;
pub mod matmul_group_int8;
pub mod matmul_strided;
pub mod matvec;
pub mod matvec_group;
pub mod matvec_group_int8;
pub mod norm_weight_backward;
pub mod outlier_columns;
pub mod outlier_kept;
pub mod outlier_product;
pub mod outlier_split;
pub mod part;
pub mod pool2d;
pub mod pool2d_backward;
pub mod product;
pub mod product_int8;
pub mod rms_norm;
pub mod rms_norm_backward;
pub mod rope;
pub mod scale_by;
pub mod scale_shift;
pub mod second_moment;
pub mod sign_step;
pub mod softmax_loss;
pub mod squared_error;
pub mod store_rows;
mod tensor_core;
pub mod token_quantize;
pub mod weight_noise;
pub mod zero_point_correct;

pub(crate) use fast::gemm;

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
    matmul_strided::MatmulStrided::SPEC,
    activation_quantize::ActivationQuantize::SPEC,
    token_quantize::TokenQuantize::SPEC,
    activation_dequantize::ActivationDequantize::SPEC,
    matvec_group_int8::MatvecGroupInt8::SPEC,
    matmul_group_int8::MatmulGroupInt8::SPEC,
    zero_point_correct::ZeroPointCorrect::SPEC,
    outlier_columns::OutlierColumns::SPEC,
    outlier_split::OutlierSplit::SPEC,
    outlier_product::OutlierProduct::SPEC,
    outlier_kept::OutlierKept::SPEC,
    embed::Embed::SPEC,
    cast::Cast::SPEC,
    rms_norm::RmsNorm::SPEC,
    layer_norm::LayerNorm::SPEC,
    rope::Rope::SPEC,
    store_rows::StoreRows::SPEC,
    attention::Attention::SPEC,
    activate::Activate::SPEC,
    gate::Gate::SPEC,
    add::Add::SPEC,
    add_bias::AddBias::SPEC,
    scale_shift::ScaleShift::SPEC,
    gather_columns::GatherColumns::SPEC,
    im2col::Im2col::SPEC,
    col2im::Col2im::SPEC,
    pool2d::Pool2d::SPEC,
    pool2d_backward::Pool2dBackward::SPEC,
    softmax_loss::SoftmaxLoss::SPEC,
    argmax::Argmax::SPEC,
    kl_rows::KlRows::SPEC,
    activate_backward::ActivateBackward::SPEC,
    gate_backward::GateBackward::SPEC,
    rms_norm_backward::RmsNormBackward::SPEC,
    layer_norm_backward::LayerNormBackward::SPEC,
    norm_weight_backward::NormWeightBackward::SPEC,
    column_sum::ColumnSum::SPEC,
    attention_backward_q::AttentionBackwardQ::SPEC,
    attention_backward_kv::AttentionBackwardKv::SPEC,
    group_bounds::GroupBounds::SPEC,
    fake_range::FakeRange::SPEC,
    fake_range_backward::FakeRangeBackward::SPEC,
    free_range::FreeRange::SPEC,
    free_range_backward::FreeRangeBackward::SPEC,
    fake_quant::FakeQuant::SPEC,
    fake_quant_backward::FakeQuantBackward::SPEC,
    group_absmean::GroupAbsmean::SPEC,
    dropout::Dropout::SPEC,
    weight_noise::WeightNoise::SPEC,
    embed_backward::EmbedBackward::SPEC,
    cross_entropy::CrossEntropy::SPEC,
    kl_loss::KlLoss::SPEC,
    squared_error::SquaredError::SPEC,
    best_loss::BestLoss::SPEC,
    keep_best::KeepBest::SPEC,
    sign_step::SignStep::SPEC,
    adamw_step::AdamWStep::SPEC,
    clip_factor::ClipFactor::SPEC,
    scale_by::ScaleBy::SPEC,
    column_stats::ColumnStats::SPEC,
    histogram_range::HistogramRange::SPEC,
    histogram_widen::HistogramWiden::SPEC,
    histogram_count::HistogramCount::SPEC,
    second_moment::SecondMoment::SPEC,
    group_search::GroupSearch::SPEC,
];
