//! The part files that complete shaders, each with the role it plays.

use crate::activation::Activation;
use crate::dispatch::{Needs, Part, Role, Variant};
use crate::dtype::Dtype;

macro_rules! part {
    ($(#[$doc:meta])* $ident:ident, $name:literal, $role:ident $(, id $id:literal)? $(, dtype $dtype:ident)? $(, needs { $($need:ident: $value:expr),+ })?) => {
        $(#[$doc])*
        pub static $ident: Part = Part {
            name: $name,
            wgsl: include_str!(concat!("../../shaders/part/", $name, ".wgsl")),
            role: Role::$role,
            id: part!(@id $($id)?),
            #[allow(clippy::needless_update, reason = "most parts need nothing")]
            needs: Needs { $($($need: $value,)+)? ..NOTHING },
            dtype: part!(@dtype $($dtype)?),
        };
    };
    (@id) => { 0 };
    (@id $id:literal) => { $id };
    (@dtype) => { None };
    (@dtype $dtype:ident) => { Some(Dtype::$dtype) };
}

const NOTHING: Needs = Needs { f16: false, subgroups: false, cooperative_matrix: None };

part!(/// Division and rounding that no device gets wrong.
    EXACT, "exact", Library);
part!(/// Bits of 16-bit floats.
    HALF, "half", Library);
part!(/// The index of the largest value.
    LARGEST, "largest", Library);
part!(/// A term of a divergence.
    KL_TERM, "kl_term", Library);
part!(/// Weights in f32.
    W_F32, "w_f32", Weight, id 1, dtype F32);
part!(/// Weights in f16.
    W_F16, "w_f16", Weight, id 2, dtype F16);
part!(/// Weights in bf16.
    W_BF16, "w_bf16", Weight, id 3, dtype Bf16);
part!(/// Activations in f32.
    X_F32, "x_f32", Activation, id 1, dtype F32);
part!(/// Activations in f16, converted bit by bit.
    X_F16, "x_f16", Activation, id 2, dtype F16);
part!(/// Activations in f16, converted by the device.
    X_F16_NATIVE, "x_f16_native", Activation, id 2, dtype F16, needs { f16: true });
part!(/// Scales in f32.
    SCALE_F32, "scale_f32", Scale, id 1, dtype F32);
part!(/// Scales in f16.
    SCALE_F16, "scale_f16", Scale, id 2, dtype F16);
part!(/// Scales in bf16.
    SCALE_BF16, "scale_bf16", Scale, id 3, dtype Bf16);
part!(/// Codes of 2, 4 or 8 bits.
    CODES_DENSE, "codes_dense", Codes, id 1);
part!(/// Codes of 3 bits.
    CODES_DENSE3, "codes_dense3", Codes, id 2);
part!(/// Codes of any width, four a word.
    QUADS, "quads", Codes, id 3);
part!(/// The middle code as zero point.
    ZERO_MIDDLE, "zero_middle", Zero, id 1);
part!(/// Zero points, one a byte.
    ZERO_BYTE, "zero_byte", Zero, id 2);
part!(/// SiLU.
    ACT_SILU, "act_silu", Function, id 1);
part!(/// GELU.
    ACT_GELU, "act_gelu", Function, id 2);
part!(/// GELU in its tanh form.
    ACT_GELU_TANH, "act_gelu_tanh", Function, id 3);
part!(/// ReLU.
    ACT_RELU, "act_relu", Function, id 4);
part!(/// Squared ReLU.
    ACT_RELU2, "act_relu2", Function, id 5);
part!(/// The sigmoid.
    ACT_SIGMOID, "act_sigmoid", Function, id 6);
part!(/// The derivative of SiLU.
    SLOPE_SILU, "slope_silu", Slope, id 1);
part!(/// The derivative of GELU.
    SLOPE_GELU, "slope_gelu", Slope, id 2);
part!(/// The derivative of GELU in its tanh form.
    SLOPE_GELU_TANH, "slope_gelu_tanh", Slope, id 3);
part!(/// The derivative of ReLU.
    SLOPE_RELU, "slope_relu", Slope, id 4);
part!(/// The derivative of squared ReLU.
    SLOPE_RELU2, "slope_relu2", Slope, id 5);
part!(/// The derivative of the sigmoid.
    SLOPE_SIGMOID, "slope_sigmoid", Slope, id 6);
part!(/// Reductions through workgroup memory.
    REDUCE_SHARED, "reduce_shared", Reduce);
part!(/// Reductions by subgroup operations.
    REDUCE_SUBGROUP, "reduce_subgroup", Reduce, needs { subgroups: true });

part!(/// A dense product by tiles, with its entry point.
    TILE_MATMUL, "tile_matmul", Library);
part!(/// A product by tiles of cooperative matrices, with its entry point.
    TILE_MATRIX, "tile_matrix", Library);
part!(/// Cooperative matrices of 16 rows and columns.
    MATRIX_16, "matrix_16", Matrix, needs { f16: true, subgroups: true, cooperative_matrix: Some(16) });
part!(/// Cooperative matrices of 8 rows and columns.
    MATRIX_8, "matrix_8", Matrix, needs { f16: true, subgroups: true, cooperative_matrix: Some(8) });

/// Rows and columns that cooperative matrices may have.
pub const MATRIX_SIDES: [u32; 2] = [16, 8];

/// Cooperative matrices of one of [`MATRIX_SIDES`].
pub fn matrix(side: u32) -> &'static Part {
    if side == 8 { &MATRIX_8 } else { &MATRIX_16 }
}

/// Weights of a storage type.
pub fn weight(dtype: Dtype) -> &'static Part {
    match dtype {
        Dtype::F32 => &W_F32,
        Dtype::F16 => &W_F16,
        Dtype::Bf16 => &W_BF16,
    }
}

/// Scales of a storage type.
pub fn scale(dtype: Dtype) -> &'static Part {
    match dtype {
        Dtype::F32 => &SCALE_F32,
        Dtype::F16 => &SCALE_F16,
        Dtype::Bf16 => &SCALE_BF16,
    }
}

/// Codes of a width.
pub fn codes(bits: u8) -> &'static Part {
    if bits == 3 { &CODES_DENSE3 } else { &CODES_DENSE }
}

/// Zero points, stored or not.
pub fn zero(symmetric: bool) -> &'static Part {
    if symmetric { &ZERO_MIDDLE } else { &ZERO_BYTE }
}

/// An activation function.
pub fn function(activation: Activation) -> &'static Part {
    match activation {
        Activation::Silu => &ACT_SILU,
        Activation::Gelu => &ACT_GELU,
        Activation::GeluTanh => &ACT_GELU_TANH,
        Activation::Relu => &ACT_RELU,
        Activation::ReluSquared => &ACT_RELU2,
        Activation::Sigmoid => &ACT_SIGMOID,
    }
}

/// The derivative of an activation function.
pub fn slope(activation: Activation) -> &'static Part {
    match activation {
        Activation::Silu => &SLOPE_SILU,
        Activation::Gelu => &SLOPE_GELU,
        Activation::GeluTanh => &SLOPE_GELU_TANH,
        Activation::Relu => &SLOPE_RELU,
        Activation::ReluSquared => &SLOPE_RELU2,
        Activation::Sigmoid => &SLOPE_SIGMOID,
    }
}

/// The activation function of a variant, which has it, its derivative or both.
///
/// # Panics
/// If the variant has no part of those roles; the contract test builds every variant.
pub fn activation(variant: &Variant) -> Activation {
    let is = |a: Activation| {
        let holds = |role, part: &Part| variant.of(role).is_some_and(|p| p.name == part.name);
        holds(Role::Function, function(a)) || holds(Role::Slope, slope(a))
    };
    match Activation::ALL.into_iter().find(|a| is(*a)) {
        Some(activation) => activation,
        None => panic!("variant {variant} has no activation function"),
    }
}

/// How a workgroup reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// Through workgroup memory; runs everywhere.
    Shared,
    /// By subgroup operations.
    Subgroup,
}

impl Reduce {
    /// Both ways.
    pub const ALL: [Self; 2] = [Self::Shared, Self::Subgroup];

    /// The part.
    pub fn part(self) -> &'static Part {
        match self {
            Self::Shared => &REDUCE_SHARED,
            Self::Subgroup => &REDUCE_SUBGROUP,
        }
    }
}

/// How activations are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputType {
    /// As f32.
    F32,
    /// As f16, converted bit by bit; runs everywhere.
    F16,
    /// As f16, converted by the device.
    F16Native,
}

impl InputType {
    /// The part.
    pub fn part(self) -> &'static Part {
        match self {
            Self::F32 => &X_F32,
            Self::F16 => &X_F16,
            Self::F16Native => &X_F16_NATIVE,
        }
    }
}
