//! AVX-512 and AVX2. The only vector instructions written out, and the only unsafe code beside the call of `gemm`.
#![allow(
    unsafe_code,
    clippy::cast_possible_wrap,
    reason = "vector instructions; each type exists only where the processor has them; words are signed in intrinsics"
)]

use std::arch::x86_64::*;

use super::{EXPONENT, LANES, MAGIC, Run, Simd, Words};

/// AVX-512: one register.
#[derive(Clone, Copy)]
pub struct Avx512(());

/// AVX2 with FMA and F16C: two registers.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx512 {
    #[inline]
    pub fn found() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        (has && is_x86_feature_detected!("avx512vl") && Avx2::found().is_some()).then_some(Self(()))
    }

    #[inline]
    pub fn run<R: Run>(self, task: R) -> R::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        fn with<R: Run>(simd: Avx512, task: R) -> R::Output {
            task.run(simd)
        }
        // SAFETY: `self` exists, so `found` saw these features.
        unsafe { with(self, task) }
    }
}

impl Avx2 {
    #[inline]
    pub fn found() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        (has && is_x86_feature_detected!("f16c")).then_some(Self(()))
    }

    #[inline]
    pub fn run<R: Run>(self, task: R) -> R::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with<R: Run>(simd: Avx2, task: R) -> R::Output {
            task.run(simd)
        }
        // SAFETY: `self` exists, so `found` saw these features.
        unsafe { with(self, task) }
    }
}

// SAFETY of every block below: the type exists only where its instructions do (see `found`), and loads and stores
// go through references to 16 elements and need no alignment.
impl Simd for Avx512 {
    type F = __m512;
    type W = __m512i;

    #[inline(always)]
    fn zero(self) -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; LANES]) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    fn store(self, value: __m512, to: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn words(self, from: &Words) -> __m512i {
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn splat(self, word: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(word as i32) }
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn shift_right(self, a: __m512i, by: u32) -> __m512i {
        unsafe { _mm512_srl_epi32(a, _mm_cvtsi32_si128(by as i32)) }
    }
    #[inline(always)]
    fn shift_right_each(self, a: __m512i, by: __m512i) -> __m512i {
        unsafe { _mm512_srlv_epi32(a, by) }
    }
    #[inline(always)]
    fn shift_left_each(self, a: __m512i, by: __m512i) -> __m512i {
        unsafe { _mm512_sllv_epi32(a, by) }
    }
    #[inline(always)]
    fn pick(self, from: &Words, index: __m512i) -> __m512i {
        unsafe { _mm512_permutexvar_epi32(index, self.words(from)) }
    }
    #[inline(always)]
    fn number(self, a: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(a) }
    }
    #[inline(always)]
    fn counted(self, a: __m512i, mask: u32) -> __m512 {
        // One instruction: (a & mask) | MAGIC.
        const AND_OR: i32 = 0b1110_1010;
        unsafe {
            let (mask, magic) = (_mm512_set1_epi32(mask as i32), _mm512_set1_epi32(MAGIC as i32));
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<AND_OR>(a, mask, magic))
        }
    }
    #[inline(always)]
    fn counted_under(self, a: __m512, mask: u32) -> __m512 {
        unsafe {
            let mask = _mm512_set1_epi32((mask | EXPONENT) as i32);
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), mask))
        }
    }
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type W = [__m256i; 2];

    #[inline(always)]
    fn zero(self) -> [__m256; 2] {
        unsafe { [_mm256_setzero_ps(); 2] }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [__m256; 2] {
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from[8..].as_ptr())] }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> [__m256; 2] {
        unsafe {
            let half = |at: &[u16]| _mm256_cvtph_ps(_mm_loadu_si128(at.as_ptr().cast()));
            [half(&from[..8]), half(&from[8..])]
        }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; LANES]) -> [__m256; 2] {
        unsafe {
            let half = |at: &[u16]| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.as_ptr().cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            };
            [half(&from[..8]), half(&from[8..])]
        }
    }
    #[inline(always)]
    fn store(self, value: [__m256; 2], to: &mut [f32; LANES]) {
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), value[0]);
            _mm256_storeu_ps(to[8..].as_mut_ptr(), value[1]);
        }
    }
    #[inline(always)]
    fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn multiply_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    fn words(self, from: &Words) -> [__m256i; 2] {
        unsafe { [_mm256_loadu_si256(from.as_ptr().cast()), _mm256_loadu_si256(from[8..].as_ptr().cast())] }
    }
    #[inline(always)]
    fn splat(self, word: u32) -> [__m256i; 2] {
        unsafe { [_mm256_set1_epi32(word as i32); 2] }
    }
    #[inline(always)]
    fn or(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }
    #[inline(always)]
    fn shift_right(self, a: [__m256i; 2], by: u32) -> [__m256i; 2] {
        unsafe {
            let by = _mm_cvtsi32_si128(by as i32);
            [_mm256_srl_epi32(a[0], by), _mm256_srl_epi32(a[1], by)]
        }
    }
    #[inline(always)]
    fn shift_right_each(self, a: [__m256i; 2], by: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_srlv_epi32(a[0], by[0]), _mm256_srlv_epi32(a[1], by[1])] }
    }
    #[inline(always)]
    fn shift_left_each(self, a: [__m256i; 2], by: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_sllv_epi32(a[0], by[0]), _mm256_sllv_epi32(a[1], by[1])] }
    }
    #[inline(always)]
    fn pick(self, from: &Words, index: [__m256i; 2]) -> [__m256i; 2] {
        let [low, high] = self.words(from);
        unsafe {
            let half = |index| {
                let low = _mm256_permutevar8x32_epi32(low, index);
                let high = _mm256_permutevar8x32_epi32(high, index);
                _mm256_blendv_epi8(low, high, _mm256_cmpgt_epi32(index, _mm256_set1_epi32(7)))
            };
            [half(index[0]), half(index[1])]
        }
    }
    #[inline(always)]
    fn number(self, a: [__m256i; 2]) -> [__m256; 2] {
        unsafe { [_mm256_castsi256_ps(a[0]), _mm256_castsi256_ps(a[1])] }
    }
    #[inline(always)]
    fn counted(self, a: [__m256i; 2], mask: u32) -> [__m256; 2] {
        unsafe {
            let (mask, magic) = (_mm256_set1_epi32(mask as i32), _mm256_set1_epi32(MAGIC as i32));
            let half = |a| _mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(a, mask), magic));
            [half(a[0]), half(a[1])]
        }
    }
    #[inline(always)]
    fn counted_under(self, a: [__m256; 2], mask: u32) -> [__m256; 2] {
        unsafe {
            let mask = _mm256_castsi256_ps(_mm256_set1_epi32((mask | EXPONENT) as i32));
            [_mm256_and_ps(a[0], mask), _mm256_and_ps(a[1], mask)]
        }
    }
}
