//! Fast [`cast`](crate::kernel::cast): rounding by integers, so that the loops become vector code.

use super::rows;
use super::stored::{Bf16, F16, Stored, decode, elements};
use crate::dispatch::{Bindings, Role, Variant};
use crate::dtype::Dtype;
use crate::kernel::cast::{Params, to};

/// [`Kernel::run`](crate::dispatch::Kernel::run) of cast.
pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [source, mut out] = bindings.take();
    let (from, to, count) = (variant.dtype(Role::Weight), to(variant), p.count as usize);
    let words = &mut out.words_mut()[..(count * to.bytes()).div_ceil(4)];
    if to == Dtype::F32 {
        let out = bytemuck::must_cast_slice_mut(words);
        return match from {
            Dtype::F32 => widened::<f32>(source.words(), out),
            Dtype::F16 => widened::<F16>(source.words(), out),
            Dtype::Bf16 => widened::<Bf16>(source.words(), out),
        };
    }
    let (out, rest) = bytemuck::must_cast_slice_mut::<u32, u16>(words).split_at_mut(count);
    rest.fill(0);
    rows::each(out, 1, rows::TASK, |first, out| {
        for_type(to)(&source.f32()[first..], out);
    });
}

fn widened<T: Stored>(from: &[u32], out: &mut [f32]) {
    rows::each(out, 1, rows::TASK, |first, out| decode(&elements::<T>(from)[first..], out));
}

/// What narrows numbers to a type of 16 bits.
fn for_type(to: Dtype) -> fn(&[f32], &mut [u16]) {
    if to == Dtype::F16 { to_f16 } else { to_bf16 }
}

vectorized! {
    fn to_f16(from: &[f32], to: &mut [u16]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = f16_bits(*from));
    }

    fn to_bf16(from: &[f32], to: &mut [u16]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = bf16_bits(*from));
    }
}

/// Bits of infinity in f32.
const INFINITY: u32 = 0x7f80_0000;

/// The nearest f16, half to even. A NaN keeps its highest bits and becomes quiet.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the high half is shifted down or empty")]
fn f16_bits(value: f32) -> u16 {
    /// The smallest normal f16, and what rounds to infinity in any case.
    const NORMAL: u32 = 113 << 23;
    const TOO_LARGE: u32 = 143 << 23;
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let halfway = 0xfff + (magnitude >> 13 & 1);
    // A carry goes on into the exponent, up to infinity. The bias of f32 exponents is larger by 112.
    let normal = (magnitude.wrapping_add(halfway)).wrapping_sub(112 << 23) >> 13;
    // The last bit of a number between a half and one is worth as much as that of a subnormal f16.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
    let finite = if magnitude < NORMAL { subnormal } else { normal };
    let number = if magnitude < TOO_LARGE { finite } else { 0x7c00 };
    let rounded = if magnitude > INFINITY { nan } else { number };
    (rounded | (bits >> 16 & 0x8000)) as u16
}

/// The nearest bf16, half to even. A NaN keeps its highest bits and becomes quiet.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "shifted to the low half")]
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let nan = bits >> 16 | 0x40;
    (if bits & 0x7fff_ffff > INFINITY { nan } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rounding() {
        // All high halves, with low halves at and beside every middle between two results.
        let low = [0u32, 1, 0x0fff, 0x1000, 0x1001, 0x1fff, 0x2fff, 0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0xffff];
        for bits in (0..=0xffffu32).flat_map(|high| low.map(|low| high << 16 | low)) {
            let value = f32::from_bits(bits);
            assert_eq!(f16_bits(value), half::f16::from_f32(value).to_bits(), "{bits:08x}");
            assert_eq!(bf16_bits(value), half::bf16::from_f32(value).to_bits(), "{bits:08x}");
        }
    }
}
