//! AVX-512 and AVX2.
#![allow(
    unsafe_code,
    clippy::cast_possible_wrap,
    reason = "vector instructions; each type exists only where the processor has them; words are signed in intrinsics"
)]

use std::arch::x86_64::*;

use super::{ByteDots, EXPONENT, LANES, Level, MAGIC, Run, RunBytes, Simd, Words};

/// AVX-512: one register. `BYTES`: with VNNI and VBMI.
#[derive(Clone, Copy)]
pub struct Avx512<const BYTES: bool>(());

/// AVX2 with FMA and F16C: two registers.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx512<false> {
    #[inline]
    pub fn found() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let has = has && is_x86_feature_detected!("avx512vl") && Avx2::found().is_some();
        (has && Level::allows(Level::Avx512)).then_some(Self(()))
    }

    #[inline]
    pub fn run<R: Run>(self, task: R) -> R::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        fn with<R: Run>(simd: Avx512<false>, task: R) -> R::Output {
            task.run(simd)
        }
        // SAFETY: `self` exists, so `found` saw these features.
        unsafe { with(self, task) }
    }
}

impl Avx512<true> {
    #[inline]
    pub fn found() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vbmi");
        (has && Avx512::<false>::found().is_some() && Level::allows(Level::Bytes)).then_some(Self(()))
    }

    #[inline]
    pub fn run<R: RunBytes>(self, task: R) -> R::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
        fn with<R: RunBytes>(simd: Avx512<true>, task: R) -> R::Output {
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
        (has && is_x86_feature_detected!("f16c") && Level::allows(Level::Avx2)).then_some(Self(()))
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

#[inline(always)]
fn fetch<T>(from: &[T], at: usize) {
    // SAFETY: a hint that reads nothing and faults at no address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(from.as_ptr().wrapping_add(at).cast()) }
}

// SAFETY of every block below: the type exists only where its instructions do (see `found`), and loads and stores
// go through references to 16 elements and need no alignment.
impl<const BYTES: bool> Simd for Avx512<BYTES> {
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
    fn prefetch<T>(self, from: &[T], at: usize) {
        fetch(from, at);
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

/// For each word the first of the three bytes that go to it, and the two after it; the fourth is of no matter.
const THREES: [u8; 64] = {
    let (mut all, mut i) = ([0; 64], 0);
    while i < 64 {
        #[allow(clippy::cast_possible_truncation, reason = "below 64")]
        let from = (i / 4 * 3 + i % 4) as u8;
        all[i] = from;
        i += 1;
    }
    all
};

/// Where four codes of 3 bits begin in each of two words, and where the four after them.
const STARTS: [u64; 2] = [0x2926_2320_0906_0300, 0x3532_2f2c_1512_0f0c];

// SAFETY as above.
impl ByteDots for Avx512<true> {
    #[inline(always)]
    fn dot<const HIGH: bool>(self, sum: __m512i, codes: __m512i, digits: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, codes, digits) }
    }
    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn shift_left(self, a: __m512i, by: u32) -> __m512i {
        unsafe { _mm512_sll_epi32(a, _mm_cvtsi32_si128(by as i32)) }
    }
    #[inline(always)]
    fn multiply_words(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_mullo_epi32(a, b) }
    }
    #[inline(always)]
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn integer(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn every_other(self, a: __m512i, b: __m512i) -> [__m512i; 2] {
        unsafe {
            let even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
            let odd = _mm512_or_si512(even, self.splat(1));
            [_mm512_permutex2var_epi32(a, even, b), _mm512_permutex2var_epi32(a, odd, b)]
        }
    }
    #[inline(always)]
    fn eights_of_3_bits(self, words: __m512i) -> [__m512i; 2] {
        unsafe {
            let threes = _mm512_permutexvar_epi8(_mm512_loadu_si512(THREES.as_ptr().cast()), words);
            STARTS.map(|starts| {
                let codes = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(starts as i64), threes);
                _mm512_and_si512(codes, self.splat(0x0707_0707))
            })
        }
    }
    #[inline(always)]
    fn load_rows<const R: usize>(self, from: &[u32], stride: usize, at: usize) -> [__m512i; R] {
        // Each offset below is at most this one.
        let last = stride.checked_mul(R.saturating_sub(1)).and_then(|last| last.checked_add(at));
        assert!(
            last.is_some_and(|last| last <= from.len() && from.len() - last >= LANES),
            "rows end before their last words"
        );
        let from = from.as_ptr();
        std::array::from_fn(|r| unsafe { _mm512_loadu_si512(from.add(at + r * stride).cast()) })
    }
    #[inline(always)]
    fn permute(self, from: __m512i, index: __m512i) -> __m512i {
        unsafe { _mm512_permutexvar_epi32(index, from) }
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
    fn prefetch<T>(self, from: &[T], at: usize) {
        fetch(from, at);
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
        self.permute(self.words(from), index)
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
