//! Vectors of 16 lanes for the loops that compilers do not find vectors in: products with many sums at once, of which
//! they make scalar code that is ten times slower.
//!
//! An instruction set is a value that exists only where the processor has it, so its methods are safe to call.

mod bytes;
pub mod int8;
#[cfg(target_arch = "x86_64")]
mod level;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_int8;

pub use bytes::{ByteDots, Line, RunBytes, has_byte_dots, run_bytes};
#[cfg(target_arch = "x86_64")]
use level::Level;

use bytemuck::{Pod, Zeroable};

use super::LANES;

/// Sixteen words in memory.
pub type Words = [u32; LANES];

/// Sixteen numbers in memory, one cache line: a vector that crosses two costs two accesses.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Lanes(pub [f32; LANES]);

/// Bits of `2^23`, whose significand counts units.
pub const MAGIC: u32 = 0x4b00_0000;

/// Sign and exponent of an f32.
const EXPONENT: u32 = 0xff80_0000;

/// An instruction set.
pub trait Simd: Copy + Send + Sync {
    /// Sixteen numbers.
    type F: Copy;
    /// Sixteen words.
    type W: Copy;
    /// Sums that a loop should keep at once: enough to keep the multipliers busy, few enough for the registers, of which
    /// there are twice as many where one holds all lanes.
    const SUMS: usize = if align_of::<Self::F>() == size_of::<Self::F>() { 8 } else { 4 };

    fn zero(self) -> Self::F;
    fn load(self, from: &[f32; LANES]) -> Self::F;
    fn load_f16(self, from: &[u16; LANES]) -> Self::F;
    fn load_bf16(self, from: &[u16; LANES]) -> Self::F;
    fn store(self, value: Self::F, to: &mut [f32; LANES]);
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    fn multiply_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn words(self, from: &Words) -> Self::W;
    /// Has the cache line of the element at this index brought to the second cache, if there is one; a hint.
    fn prefetch<T>(self, from: &[T], at: usize);
    fn splat(self, word: u32) -> Self::W;
    fn or(self, a: Self::W, b: Self::W) -> Self::W;
    fn shift_right(self, a: Self::W, by: u32) -> Self::W;
    /// Each lane by its own count, of 32 at most.
    fn shift_right_each(self, a: Self::W, by: Self::W) -> Self::W;
    fn shift_left_each(self, a: Self::W, by: Self::W) -> Self::W;
    /// `from[index]` for each lane's index, which is below 16.
    fn pick(self, from: &Words, index: Self::W) -> Self::W;
    /// The same bits as a number.
    fn number(self, a: Self::W) -> Self::F;
    /// `2^23 +` the bits of `a` under `mask`, as a number.
    fn counted(self, a: Self::W, mask: u32) -> Self::F;
    /// What [`Self::counted`] gave, less the bits outside `mask`: one instruction with a result of its own.
    fn counted_under(self, a: Self::F, mask: u32) -> Self::F;
}

/// Sums that leave the registers. Only this touches them by index outside the innermost loops: an array of vectors
/// that is also indexed by a variable is kept in memory, and every step of the loop writes it there.
#[inline(always)]
pub fn stored<S: Simd, const N: usize, const R: usize>(simd: S, sums: &[[S::F; N]; R]) -> [[[f32; LANES]; N]; R] {
    let mut lanes = [[[0.0; LANES]; N]; R];
    for r in 0..R {
        for n in 0..N {
            simd.store(sums[r][n], &mut lanes[r][n]);
        }
    }
    lanes
}

/// A number in all lanes.
#[inline(always)]
pub fn in_all<S: Simd>(simd: S, value: f32) -> S::F {
    simd.number(simd.splat(value.to_bits()))
}

/// The sum of the lanes, by halves.
#[inline(always)]
pub fn total(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// A computation for any instruction set; `run` and all it calls must be `#[inline(always)]`.
pub trait Run {
    /// Its result.
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs with the widest instruction set there is.
#[inline]
pub fn run<R: Run>(task: R) -> R::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = x86::Avx512::<false>::found() {
            return simd.run(task);
        }
        if let Some(simd) = x86::Avx2::found() {
            return simd.run(task);
        }
    }
    task.run(Portable)
}

/// Plain arrays.
#[derive(Clone, Copy)]
struct Portable;

#[inline(always)]
fn each<T: Copy, U: Copy + Default>(a: &[T; LANES], f: impl Fn(T) -> U) -> [U; LANES] {
    let mut out = [U::default(); LANES];
    out.iter_mut().zip(a).for_each(|(out, a)| *out = f(*a));
    out
}

#[inline(always)]
fn both<T: Copy + Default>(a: &[T; LANES], b: &[T; LANES], f: impl Fn(T, T) -> T) -> [T; LANES] {
    let mut out = *a;
    out.iter_mut().zip(b).for_each(|(out, b)| *out = f(*out, *b));
    out
}

impl Simd for Portable {
    type F = [f32; LANES];
    type W = Words;

    #[inline(always)]
    fn zero(self) -> [f32; LANES] {
        [0.0; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [f32; LANES] {
        *from
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> [f32; LANES] {
        each(from, super::stored::f16_value)
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; LANES]) -> [f32; LANES] {
        each(from, |bits| f32::from_bits(u32::from(bits) << 16))
    }
    #[inline(always)]
    fn store(self, value: [f32; LANES], to: &mut [f32; LANES]) {
        *to = value;
    }
    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(&a, &b, |a, b| a - b)
    }
    #[inline(always)]
    fn multiply_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        // Fused where that is one instruction; elsewhere it would be a call into a library.
        if cfg!(target_arch = "aarch64") {
            let mut out = c;
            (0..LANES).for_each(|lane| out[lane] = a[lane].mul_add(b[lane], c[lane]));
            return out;
        }
        both(&both(&a, &b, |a, b| a * b), &c, |product, c| product + c)
    }
    #[inline(always)]
    fn words(self, from: &Words) -> Words {
        *from
    }
    #[inline(always)]
    fn prefetch<T>(self, _: &[T], _: usize) {}
    #[inline(always)]
    fn splat(self, word: u32) -> Words {
        [word; LANES]
    }
    #[inline(always)]
    fn or(self, a: Words, b: Words) -> Words {
        both(&a, &b, |a, b| a | b)
    }
    #[inline(always)]
    fn shift_right(self, a: Words, by: u32) -> Words {
        each(&a, |a| a >> by)
    }
    #[inline(always)]
    fn shift_right_each(self, a: Words, by: Words) -> Words {
        both(&a, &by, |a, by| a.checked_shr(by).unwrap_or(0))
    }
    #[inline(always)]
    fn shift_left_each(self, a: Words, by: Words) -> Words {
        both(&a, &by, |a, by| a.checked_shl(by).unwrap_or(0))
    }
    #[inline(always)]
    fn pick(self, from: &Words, index: Words) -> Words {
        each(&index, |index| from[index as usize % LANES])
    }
    #[inline(always)]
    fn number(self, a: Words) -> [f32; LANES] {
        each(&a, f32::from_bits)
    }
    #[inline(always)]
    fn counted(self, a: Words, mask: u32) -> [f32; LANES] {
        each(&a, |a| f32::from_bits((a & mask) | MAGIC))
    }
    #[inline(always)]
    fn counted_under(self, a: [f32; LANES], mask: u32) -> [f32; LANES] {
        each(&a, |a| f32::from_bits(a.to_bits() & (mask | EXPONENT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every method once, on numbers whose products and sums are exact.
    struct Everything;

    impl Run for Everything {
        type Output = Vec<[u32; LANES]>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let numbers: [f32; LANES] = std::array::from_fn(|i| i as f32 * 1.25 - 7.0);
            let words: Words = std::array::from_fn(|i| 0x9e37_79b1u32.wrapping_mul(i as u32 + 1));
            let counts: Words = std::array::from_fn(|i| [0, 1, 2, 30, 31, 32][i % 6]);
            let indices: Words = std::array::from_fn(|i| (i as u32 * 7 + 3) % 16);
            // f16: zero, a subnormal, one, the largest, infinity; as bf16 the same bits are numbers too.
            let halves: [u16; LANES] = std::array::from_fn(|i| [0, 0x8001, 0x3c00, 0xfbff, 0x7c00][i % 5]);
            let (a, w) = (simd.load(&numbers), simd.words(&words));
            simd.prefetch(&words, 20);
            let results = [
                simd.zero(),
                simd.load_f16(&halves),
                simd.load_bf16(&halves),
                simd.sub(a, simd.counted(simd.splat(5), 7)),
                simd.multiply_add(a, a, simd.sub(simd.zero(), a)),
                simd.counted(w, 0xf0),
                simd.counted_under(simd.counted(w, 0xffff), 0xf0),
                simd.number(simd.or(w, simd.splat(0x0f0f))),
                simd.number(simd.shift_right(w, 20)),
                simd.number(simd.shift_right_each(w, simd.words(&counts))),
                simd.number(simd.shift_left_each(w, simd.words(&counts))),
                simd.number(simd.pick(&words, simd.words(&indices))),
            ];
            let store = |value| {
                let mut lanes = [0.0; LANES];
                simd.store(value, &mut lanes);
                lanes.map(f32::to_bits)
            };
            results.into_iter().map(store).collect()
        }
    }

    #[test]
    fn instruction_sets_agree() {
        let expected = Everything.run(Portable);
        assert_eq!(expected[4][0], 56.0f32.to_bits());
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(simd) = x86::Avx512::<false>::found() {
                assert_eq!(simd.run(Everything), expected);
            }
            if let Some(simd) = x86::Avx2::found() {
                assert_eq!(simd.run(Everything), expected);
            }
        }
    }

    #[test]
    fn totals() {
        assert_eq!(total(&std::array::from_fn(|i| i as f32)), 120.0);
    }
}
