//! Dot products of bytes by AVX-512 VNNI and by AVX2.
#![allow(
    unsafe_code,
    clippy::cast_possible_wrap,
    reason = "vector instructions; each type exists only where the processor has them; words are signed in intrinsics"
)]

use std::arch::x86_64::*;

use super::int8::{Bytes, Group, Run};
use super::{ByteDots, LANES, Level, Portable, RunBytes, Simd, Words, x86};

/// AVX-512 with VNNI: one register.
#[derive(Clone, Copy)]
pub struct Avx512Vnni(());

/// AVX2 with FMA: two registers.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx512Vnni {
    #[inline]
    pub fn found() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let has = has && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni");
        (has && Avx2::found().is_some() && Level::allows(Level::Bytes)).then_some(Self(()))
    }

    #[inline]
    pub fn run<R: Run>(self, task: R) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
        fn with<R: Run>(simd: Avx512Vnni, task: R) {
            task.run(simd);
        }
        // SAFETY: `self` exists, so `found` saw these features.
        unsafe { with(self, task) }
    }
}

impl Avx2 {
    #[inline]
    pub fn found() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        (has && Level::allows(Level::Avx2)).then_some(Self(()))
    }

    #[inline]
    pub fn run<R: Run>(self, task: R) {
        #[target_feature(enable = "avx2,fma")]
        fn with<R: Run>(simd: Avx2, task: R) {
            task.run(simd);
        }
        // SAFETY: `self` exists, so `found` saw these features.
        unsafe { with(self, task) }
    }
}

// SAFETY of every block below: the type exists only where its instructions do (see `found`), and loads and stores
// go through references to 16 words and need no alignment.
impl Bytes for Avx512Vnni {
    type W = __m512i;
    const MANY: bool = true;

    #[inline(always)]
    fn words(self, from: &Words) -> __m512i {
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn splat(self, word: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(word as i32) }
    }
    #[inline(always)]
    fn store(self, value: __m512i, to: &mut Words) {
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) }
    }
    #[inline(always)]
    fn prefetch(self, from: &[u32], ahead: usize) {
        prefetch(from, ahead);
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn and(self, a: __m512i, mask: u32) -> __m512i {
        unsafe { _mm512_and_si512(a, _mm512_set1_epi32(mask as i32)) }
    }
    #[inline(always)]
    fn shift_right(self, a: __m512i, by: u32) -> __m512i {
        unsafe { _mm512_srl_epi32(a, _mm_cvtsi32_si128(by as i32)) }
    }
    #[inline(always)]
    fn shift_left(self, a: __m512i, by: u32) -> __m512i {
        unsafe { _mm512_sll_epi32(a, _mm_cvtsi32_si128(by as i32)) }
    }
    #[inline(always)]
    fn dot<const HIGH: bool>(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, a, b) }
    }
    #[inline(always)]
    fn transpose(self, v: &mut [__m512i; LANES]) {
        unsafe {
            // Words within quarters of a register, then quarters within the register.
            for i in [0, 4, 8, 12] {
                let (a, b) = (_mm512_unpacklo_epi32(v[i], v[i + 1]), _mm512_unpackhi_epi32(v[i], v[i + 1]));
                let (c, d) = (_mm512_unpacklo_epi32(v[i + 2], v[i + 3]), _mm512_unpackhi_epi32(v[i + 2], v[i + 3]));
                (v[i], v[i + 1]) = (_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c));
                (v[i + 2], v[i + 3]) = (_mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d));
            }
            for i in 0..4 {
                let (a, b) = (v[i], v[i + 4]);
                let (c, d) = (v[i + 8], v[i + 12]);
                let even = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d));
                let odd = (_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d));
                v[i] = _mm512_shuffle_i32x4::<0x88>(even.0, even.1);
                v[i + 4] = _mm512_shuffle_i32x4::<0x88>(odd.0, odd.1);
                v[i + 8] = _mm512_shuffle_i32x4::<0xdd>(even.0, even.1);
                v[i + 12] = _mm512_shuffle_i32x4::<0xdd>(odd.0, odd.1);
            }
        }
    }
    #[inline(always)]
    fn add_scaled(self, to: &mut Words, sum: __m512i, group: &Group, x_sum: i32, x_scale: f32) {
        unsafe {
            let zeros = _mm512_mullo_epi32(self.words(&group.zeros), _mm512_set1_epi32(x_sum));
            let dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, zeros));
            let scale = _mm512_mul_ps(_mm512_castsi512_ps(self.words(&group.scales)), _mm512_set1_ps(x_scale));
            let old = _mm512_castsi512_ps(self.words(to));
            self.store(_mm512_castps_si512(_mm512_fmadd_ps(dot, scale, old)), to);
        }
    }
}

impl Bytes for Avx2 {
    type W = [__m256i; 2];
    const MANY: bool = false;

    #[inline(always)]
    fn words(self, from: &Words) -> [__m256i; 2] {
        unsafe { [_mm256_loadu_si256(from.as_ptr().cast()), _mm256_loadu_si256(from[8..].as_ptr().cast())] }
    }
    #[inline(always)]
    fn splat(self, word: u32) -> [__m256i; 2] {
        unsafe { [_mm256_set1_epi32(word as i32); 2] }
    }
    #[inline(always)]
    fn store(self, value: [__m256i; 2], to: &mut Words) {
        unsafe {
            _mm256_storeu_si256(to.as_mut_ptr().cast(), value[0]);
            _mm256_storeu_si256(to[8..].as_mut_ptr().cast(), value[1]);
        }
    }
    #[inline(always)]
    fn prefetch(self, from: &[u32], ahead: usize) {
        prefetch(from, ahead);
    }
    #[inline(always)]
    fn or(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }
    #[inline(always)]
    fn and(self, a: [__m256i; 2], mask: u32) -> [__m256i; 2] {
        unsafe {
            let mask = _mm256_set1_epi32(mask as i32);
            [_mm256_and_si256(a[0], mask), _mm256_and_si256(a[1], mask)]
        }
    }
    #[inline(always)]
    fn shift_right(self, a: [__m256i; 2], by: u32) -> [__m256i; 2] {
        unsafe {
            let by = _mm_cvtsi32_si128(by as i32);
            [_mm256_srl_epi32(a[0], by), _mm256_srl_epi32(a[1], by)]
        }
    }
    #[inline(always)]
    fn shift_left(self, a: [__m256i; 2], by: u32) -> [__m256i; 2] {
        unsafe {
            let by = _mm_cvtsi32_si128(by as i32);
            [_mm256_sll_epi32(a[0], by), _mm256_sll_epi32(a[1], by)]
        }
    }
    #[inline(always)]
    fn dot<const HIGH: bool>(self, sum: [__m256i; 2], a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [dot_by_pairs::<HIGH>(sum[0], a[0], b[0]), dot_by_pairs::<HIGH>(sum[1], a[1], b[1])] }
    }
    #[inline(always)]
    fn transpose(self, v: &mut [[__m256i; 2]; LANES]) {
        let from = *v;
        for (rows, words) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let block: [__m256i; 8] = std::array::from_fn(|i| from[8 * rows + i][words]);
            for (i, vector) in eight_by_eight(self, block).into_iter().enumerate() {
                v[8 * words + i][rows] = vector;
            }
        }
    }
    #[inline(always)]
    fn add_scaled(self, to: &mut Words, sum: [__m256i; 2], group: &Group, x_sum: i32, x_scale: f32) {
        let (zeros, scales, old) = (self.words(&group.zeros), self.words(&group.scales), self.words(to));
        unsafe {
            let (x_sum, x_scale) = (_mm256_set1_epi32(x_sum), _mm256_set1_ps(x_scale));
            let half = |i: usize| {
                let dot = _mm256_sub_epi32(sum[i], _mm256_mullo_epi32(zeros[i], x_sum));
                let scale = _mm256_mul_ps(_mm256_castsi256_ps(scales[i]), x_scale);
                let new = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, _mm256_castsi256_ps(old[i]));
                _mm256_castps_si256(new)
            };
            self.store([half(0), half(1)], to);
        }
    }
}

#[inline(always)]
fn prefetch(from: &[u32], ahead: usize) {
    // SAFETY: a prefetch of any address is allowed; it reads nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(ahead).cast()) }
}

#[inline(always)]
fn eight_by_eight(_: Avx2, v: [__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: the first argument exists only where AVX2 does.
    unsafe {
        let (mut out, mut fours) = (v, v);
        for i in [0, 4] {
            let (a, b) = (_mm256_unpacklo_epi32(v[i], v[i + 1]), _mm256_unpackhi_epi32(v[i], v[i + 1]));
            let (c, d) = (_mm256_unpacklo_epi32(v[i + 2], v[i + 3]), _mm256_unpackhi_epi32(v[i + 2], v[i + 3]));
            (fours[i], fours[i + 1]) = (_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c));
            (fours[i + 2], fours[i + 3]) = (_mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d));
        }
        for i in 0..4 {
            out[i] = _mm256_permute2x128_si256::<0x20>(fours[i], fours[i + 4]);
            out[i + 4] = _mm256_permute2x128_si256::<0x31>(fours[i], fours[i + 4]);
        }
        out
    }
}

/// `sum` and in each lane the products of four bytes, by instructions that sum two of them to 16 bits.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn dot_by_pairs<const HIGH: bool>(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    unsafe {
        let ones = _mm256_set1_epi16(1);
        // Sums of two products must fit 16 bits: 2 * 127 * 128 does, 2 * 255 * 128 does not, so the lowest bit of large
        // codes goes alone and the others count twice.
        if HIGH {
            let low = _mm256_maddubs_epi16(_mm256_and_si256(a, _mm256_set1_epi8(1)), b);
            let high = _mm256_and_si256(_mm256_srli_epi16::<1>(a), _mm256_set1_epi8(0x7f));
            let high = _mm256_madd_epi16(_mm256_maddubs_epi16(high, b), _mm256_set1_epi16(2));
            return _mm256_add_epi32(_mm256_add_epi32(sum, high), _mm256_madd_epi16(low, ones));
        }
        _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones))
    }
}

impl x86::Avx2 {
    #[inline]
    pub fn run_bytes<R: RunBytes>(self, task: R) -> R::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with<R: RunBytes>(simd: x86::Avx2, task: R) -> R::Output {
            task.run(simd)
        }
        // SAFETY: `self` exists, so `found` saw these features.
        unsafe { with(self, task) }
    }
}

impl ByteDots for x86::Avx2 {
    #[inline(always)]
    fn dot<const HIGH: bool>(self, sum: [__m256i; 2], codes: [__m256i; 2], digits: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            let low = dot_by_pairs::<HIGH>(sum[0], codes[0], digits[0]);
            [low, dot_by_pairs::<HIGH>(sum[1], codes[1], digits[1])]
        }
    }
    #[inline(always)]
    fn and(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_and_si256(a[0], b[0]), _mm256_and_si256(a[1], b[1])] }
    }
    #[inline(always)]
    fn add(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    fn shift_left(self, a: [__m256i; 2], by: u32) -> [__m256i; 2] {
        unsafe {
            let by = _mm_cvtsi32_si128(by as i32);
            [_mm256_sll_epi32(a[0], by), _mm256_sll_epi32(a[1], by)]
        }
    }
    #[inline(always)]
    fn multiply_words(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_mullo_epi32(a[0], b[0]), _mm256_mullo_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    fn multiply(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn integer(self, a: [__m256i; 2]) -> [__m256; 2] {
        unsafe { [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])] }
    }
    #[inline(always)]
    fn every_other(self, a: [__m256i; 2], b: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        unsafe {
            let halves = [a, b].map(|v| [_mm256_castsi256_ps(v[0]), _mm256_castsi256_ps(v[1])]);
            let even = halves.map(|[low, high]| _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(low, high)));
            let odd = halves.map(|[low, high]| _mm256_castps_si256(_mm256_shuffle_ps::<0xdd>(low, high)));
            [even, odd].map(|v| v.map(|v| _mm256_permute4x64_epi64::<0xd8>(v)))
        }
    }
    #[inline(always)]
    fn eights_of_3_bits(self, words: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        let mut lanes = [0.0; LANES];
        self.store(self.number(words), &mut lanes);
        let [first, last] = Portable.eights_of_3_bits(lanes.map(f32::to_bits));
        [Simd::words(self, &first), Simd::words(self, &last)]
    }
    #[inline(always)]
    fn load_rows<const R: usize>(self, from: &[u32], stride: usize, at: usize) -> [[__m256i; 2]; R] {
        let mut rows = [self.splat(0); R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = Simd::words(self, &from[at + r * stride..].as_chunks().0[0]);
        }
        rows
    }
    #[inline(always)]
    fn permute(self, [low, high]: [__m256i; 2], index: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            let half = |index| {
                let low = _mm256_permutevar8x32_epi32(low, index);
                let high = _mm256_permutevar8x32_epi32(high, index);
                _mm256_blendv_epi8(low, high, _mm256_cmpgt_epi32(index, _mm256_set1_epi32(7)))
            };
            [half(index[0]), half(index[1])]
        }
    }
}
