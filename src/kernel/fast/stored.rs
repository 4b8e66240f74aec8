//! Elements of weights and activations in their storage types, decoded by plain arithmetic so that loops over
//! them become vector code (a conversion by instruction is hidden behind a run-time check of its own).

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};

use super::LANES;
use super::simd::Simd;
use crate::dtype::Dtype;

/// One stored element.
pub trait Stored: Pod + Send + Sync {
    /// Its value.
    fn value(self) -> f32;

    /// The values of a vector of them.
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F;
}

impl Stored for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F {
        simd.load(from)
    }
}

/// The bits of an f16.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct F16(u16);

impl Stored for F16 {
    #[inline(always)]
    fn value(self) -> f32 {
        f16_value(self.0)
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F {
        simd.load_f16(bytemuck::must_cast_ref(from))
    }
}

/// The value of an f16.
#[inline(always)]
pub fn f16_value(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let exponent = magnitude & (0x1f << 23);
    // The bias of f32 exponents is larger by 112; infinities and NaN go up once more.
    let shifted = magnitude + (112 << 23) + if exponent == 0x1f << 23 { 112 << 23 } else { 0 };
    // A subnormal has no leading one: give it the exponent of the smallest normal, whose leading one is then
    // subtracted. Arithmetic never meets an f32 subnormal, which some processors handle slowly.
    let subnormal = f32::from_bits(shifted + (1 << 23)) - f32::from_bits(113 << 23);
    let value = if exponent == 0 { subnormal.to_bits() } else { shifted };
    f32::from_bits(value | ((bits & 0x8000) << 16))
}

/// The bits of a bf16.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Bf16(u16);

impl Stored for Bf16 {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F {
        simd.load_bf16(bytemuck::must_cast_ref(from))
    }
}

/// Calls a function that is generic over the stored type with the type of a [`Dtype`].
macro_rules! by_dtype {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            $crate::dtype::Dtype::F32 => $function::<f32>($($argument),*),
            $crate::dtype::Dtype::F16 => $function::<$crate::kernel::fast::stored::F16>($($argument),*),
            $crate::dtype::Dtype::Bf16 => $function::<$crate::kernel::fast::stored::Bf16>($($argument),*),
        }
    };
}
pub(super) use by_dtype;

/// The elements that words hold.
pub fn elements<T: Pod>(words: &[u32]) -> &[T] {
    bytemuck::cast_slice(words)
}

/// All scales of a weight; few beside its codes.
pub fn scales(dtype: Dtype, words: &[u32], count: usize) -> Cow<'_, [f32]> {
    decoded(dtype, words, count)
}

vectorized! {
    /// The values of elements.
    pub fn decode<T: Stored>(from: &[T], to: &mut [f32]) {
        from.iter().zip(to).for_each(|(from, to)| *to = from.value());
    }
}

/// The first `count` elements as f32, without a copy if they are.
pub fn decoded(dtype: Dtype, words: &[u32], count: usize) -> Cow<'_, [f32]> {
    fn all<T: Stored>(words: &[u32], count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        decode(elements::<T>(words), &mut values);
        values
    }
    match dtype {
        Dtype::F32 => Cow::Borrowed(&bytemuck::must_cast_slice(words)[..count]),
        Dtype::F16 | Dtype::Bf16 => Cow::Owned(by_dtype!(dtype, all(words, count))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_16_bit_value() {
        for bits in 0..=u16::MAX {
            let (f16, bf16) = (half::f16::from_bits(bits).to_f32(), half::bf16::from_bits(bits).to_f32());
            assert!(F16(bits).value().to_bits() == f16.to_bits() || f16.is_nan() && F16(bits).value().is_nan());
            assert!(Bf16(bits).value().to_bits() == bf16.to_bits() || bf16.is_nan() && Bf16(bits).value().is_nan());
        }
    }
}
