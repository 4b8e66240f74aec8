//! Fast CPU implementations of the kernels that are hot there: the same contract as the twins, checked against them
//! by the conformance suite.
//!
//! Habits that run through all of them:
//!
//! * Threads take whole rows of the output ([`rows`]), and no sum crosses a row, so the thread count changes no bit.
//! * Inner loops work on short fixed arrays, [`LANES`] values at a time, which compilers turn into vector code. The
//!   macro `vectorized` compiles such a function for several instruction sets and picks one at run time; what it calls
//!   is `#[inline(always)]`, else it would be compiled for the base set.
//! * Products keep many sums at once, in which compilers find no vectors; these are written with the vectors of
//!   [`simd`], once for all instruction sets.
//! * Packed codes are spread to one code a byte, eight at a time in one 64-bit integer ([`stream`]), except where they
//!   are multiplied: see [`group_fixed`], for processors that multiply bytes, and [`matvec_group`].

/// Compiles functions for the vector instruction sets worth having, and picks one at run time.
macro_rules! vectorized {
    ($($function:item)*) => {$(
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+fma+f16c+bmi1+bmi2+lzcnt+popcnt",
            "x86_64+avx2+fma+f16c+bmi1+bmi2+lzcnt+popcnt",
            "x86_64+sse4.2+popcnt",
        ))]
        $function
    )*};
}

mod columns;
mod digit_sums;
mod exp;
mod fixed;
mod group_fixed;
mod quads;
mod reduce;
mod rows;
mod simd;
mod stored;
mod stream;
mod tile_int8;
mod weight;

pub mod activation_dequantize;
pub mod activation_quantize;
pub mod attention;
pub mod attention_backward;
pub mod cast;
pub mod column_stats;
pub mod dropout;
pub mod elementwise;
pub mod elementwise_backward;
pub mod embed;
pub mod fake_quant;
pub mod gemm;
pub mod group_absmean;
pub mod group_dequantize;
pub mod group_error;
pub mod group_quantize;
pub mod group_range;
pub mod group_search;
pub mod histogram_count;
pub mod loss;
pub mod matmul;
pub mod matmul_group;
pub mod matmul_strided;
pub mod matvec;
pub mod matvec_group;
pub mod norm;
pub mod norm_backward;
pub mod product_int8;
pub mod rope;
pub mod second_moment;
pub mod token_quantize;
pub mod train;
pub mod windows;

/// Values that one step of an inner loop handles: one AVX-512 register, two of AVX2, four of NEON.
const LANES: usize = 16;
