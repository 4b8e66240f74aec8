//! What the others are measured against: the product of crate `gemm`, and a plain pass over memory.

use std::hint::black_box;

use gemm::Parallelism;
use rayon::prelude::*;

use crate::measure::Peer;

pub const GEMM: &str = "gemm f32";
pub const SUM: &str = "plain sum";

/// Words that one thread takes at a time.
const CHUNK: usize = 1 << 16;

/// `x w^T` for `[batch, cols]` by copies of `[rows, cols]`.
pub fn gemm<'a>(x: &'a [f32], copies: &'a [Vec<f32>], batch: usize, cols: usize, threads: usize) -> Peer<'a> {
    let mut turns = copies.iter().cycle();
    Peer::new(GEMM, 4 * copies[0].len(), move |read| {
        let w = turns.next().ok_or("no copies")?;
        let rows = w.len() / cols;
        let mut y = vec![0.0f32; batch * rows];
        assert!(x.len() == batch * cols && w.len() == rows * cols && cols < isize::MAX as usize);
        let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
        // SAFETY: the three matrices are as long as their strides and sizes say, as asserted, and `y` is its own.
        unsafe {
            gemm::gemm(
                batch,
                rows,
                cols,
                y.as_mut_ptr(),
                1,
                rows as isize,
                false,
                x.as_ptr(),
                1,
                cols as isize,
                w.as_ptr(),
                cols as isize,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
        y.truncate(if read { rows } else { 0 });
        Ok(y)
    })
}

/// The sum of as many bytes as a weight has, over `words`.
pub fn sum(words: &[u32], bytes: usize) -> Peer<'_> {
    let mut turns = words.chunks_exact(bytes.div_ceil(4).min(words.len())).cycle();
    Peer::new(SUM, bytes, move |_| {
        let words = turns.next().ok_or("no words")?;
        let add = |words: &[u32]| words.iter().fold(0u32, |sum, word| sum.wrapping_add(*word));
        if rayon::current_num_threads() == 1 {
            black_box(add(words));
        } else {
            black_box(words.par_chunks(CHUNK).map(add).sum::<u32>());
        }
        Ok(Vec::new())
    })
}
