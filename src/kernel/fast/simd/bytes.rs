//! Products of bytes, four of them summed in each lane: one instruction where a processor has it.

use bytemuck::{Pod, Zeroable};

#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{LANES, Portable, Simd, Words, both, each};

/// Sixteen words in memory, one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Line(pub Words);

/// Vectors of 64 bytes.
pub trait ByteDots: Simd {
    /// `sum` and, in each lane, the products of its four bytes: of `codes` without a sign, of `digits` with one. With
    /// `HIGH` the top bit of codes may be set.
    fn dot<const HIGH: bool>(self, sum: Self::W, codes: Self::W, digits: Self::W) -> Self::W;
    fn and(self, a: Self::W, b: Self::W) -> Self::W;
    fn add(self, a: Self::W, b: Self::W) -> Self::W;
    fn shift_left(self, a: Self::W, by: u32) -> Self::W;
    /// The low half of each product.
    fn multiply_words(self, a: Self::W, b: Self::W) -> Self::W;
    fn multiply(self, a: Self::F, b: Self::F) -> Self::F;
    /// The nearest number to each word as a signed integer.
    fn integer(self, a: Self::W) -> Self::F;
    /// Of `a` followed by `b` the words with even index, and those with odd.
    fn every_other(self, a: Self::W, b: Self::W) -> [Self::W; 2];
    /// Twelve words are 16 times eight codes of 3 bits. Of each eight the first four and the last four, one a byte; the
    /// other words are ignored.
    fn eights_of_3_bits(self, words: Self::W) -> [Self::W; 2];
    /// Sixteen words from `at` on, and from every `stride` further; they must be there.
    fn load_rows<const R: usize>(self, from: &[u32], stride: usize, at: usize) -> [Self::W; R];
    /// `from[index]` for each lane's index, which is below 16.
    fn permute(self, from: Self::W, index: Self::W) -> Self::W;
}

/// A computation with products of bytes; `run` and all it calls must be `#[inline(always)]`.
pub trait RunBytes {
    /// Its result.
    type Output;
    fn run<S: ByteDots>(self, simd: S) -> Self::Output;
}

/// Whether products of bytes are one instruction here.
pub fn has_byte_dots() -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86::Avx512::<true>::found().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Runs with the best instructions there are.
#[inline]
pub fn run_bytes<R: RunBytes>(task: R) -> R::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = x86::Avx512::<true>::found() {
            return simd.run(task);
        }
        if let Some(simd) = x86::Avx2::found() {
            return simd.run_bytes(task);
        }
    }
    task.run(Portable)
}

impl ByteDots for Portable {
    #[inline(always)]
    fn dot<const HIGH: bool>(self, sum: Words, codes: Words, digits: Words) -> Words {
        let products = both(&codes, &digits, |codes, digits| {
            let pairs = codes.to_le_bytes().into_iter().zip(digits.to_le_bytes());
            pairs.map(|(code, digit)| i32::from(code) * i32::from(digit.cast_signed())).sum::<i32>().cast_unsigned()
        });
        both(&sum, &products, u32::wrapping_add)
    }
    #[inline(always)]
    fn and(self, a: Words, b: Words) -> Words {
        both(&a, &b, |a, b| a & b)
    }
    #[inline(always)]
    fn add(self, a: Words, b: Words) -> Words {
        both(&a, &b, u32::wrapping_add)
    }
    #[inline(always)]
    fn shift_left(self, a: Words, by: u32) -> Words {
        each(&a, |a| a << by)
    }
    #[inline(always)]
    fn multiply_words(self, a: Words, b: Words) -> Words {
        both(&a, &b, u32::wrapping_mul)
    }
    #[inline(always)]
    fn multiply(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(&a, &b, |a, b| a * b)
    }
    #[inline(always)]
    fn integer(self, a: Words) -> [f32; LANES] {
        each(&a, |a| a.cast_signed() as f32)
    }
    #[inline(always)]
    fn every_other(self, a: Words, b: Words) -> [Words; 2] {
        let word = |i: usize| if i < LANES { a[i] } else { b[i - LANES] };
        [std::array::from_fn(|i| word(2 * i)), std::array::from_fn(|i| word(2 * i + 1))]
    }
    #[inline(always)]
    fn eights_of_3_bits(self, words: Words) -> [Words; 2] {
        let bytes: &[u8] = bytemuck::bytes_of(&words);
        let four = |bits: u32| bits & 7 | (bits & 0o70) << 5 | (bits & 0o700) << 10 | (bits & 0o7000) << 15;
        let eight = |i: usize| u32::from_le_bytes([bytes[3 * i], bytes[3 * i + 1], bytes[3 * i + 2], 0]);
        [std::array::from_fn(|i| four(eight(i))), std::array::from_fn(|i| four(eight(i) >> 12))]
    }
    #[inline(always)]
    fn load_rows<const R: usize>(self, from: &[u32], stride: usize, at: usize) -> [Words; R] {
        std::array::from_fn(|r| from[at + r * stride..].as_chunks().0[0])
    }
    #[inline(always)]
    fn permute(self, from: Words, index: Words) -> Words {
        self.pick(&from, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every method once.
    struct Everything;

    impl RunBytes for Everything {
        type Output = Vec<Words>;

        #[inline(always)]
        fn run<S: ByteDots>(self, simd: S) -> Vec<Words> {
            let [a, b]: [Words; 2] = [1, 7].map(|k| std::array::from_fn(|i| 0x9e37_79b1u32.wrapping_mul(i as u32 + k)));
            let [a, b] = [simd.words(&a), simd.words(&b)];
            let rows: Words = std::array::from_fn(|i| i as u32);
            let rows = rows.repeat(3);
            let [row, next] = simd.load_rows(&rows, 9, 23);
            let picked = simd.permute(a, simd.load_rows::<1>(&rows, 0, 0)[0]);
            let [even, odd] = simd.every_other(a, b);
            let [first, last] = simd.eights_of_3_bits(a);
            let words = [
                simd.dot::<true>(a, a, b),
                simd.dot::<false>(a, simd.and(a, simd.splat(0x7f7f_7f7f)), b),
                simd.and(a, b),
                simd.add(a, b),
                simd.shift_left(a, 8),
            ];
            let words = words
                .into_iter()
                .chain([simd.multiply_words(a, b), even, odd, first, last, row, next, picked])
                .map(|w| simd.number(w));
            let integer = simd.integer(a);
            let store = |value| {
                let mut lanes = [0.0; LANES];
                simd.store(value, &mut lanes);
                lanes.map(f32::to_bits)
            };
            words.chain([integer, simd.multiply(integer, integer)]).map(store).collect()
        }
    }

    #[test]
    fn instruction_sets_agree() {
        let expected = Everything.run(Portable);
        assert_eq!(run_bytes(Everything), expected);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = x86::Avx2::found() {
            assert_eq!(simd.run_bytes(Everything), expected);
        }
    }
}
