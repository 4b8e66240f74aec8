//! What the others are measured against: the product of crate `gemm`, and a plain pass over memory.

use std::hint::black_box;

use gemm::Parallelism;
use memmap2::MmapMut;
use rayon::prelude::*;

use crate::Outcome;
use crate::measure::Peer;

pub const GEMM: &str = "gemm f32";
const GEMM_TURNED: &str = "gemm f32 turned";
pub const SUM: &str = "plain sum";

/// Words that one thread takes at a time.
const CHUNK: usize = 1 << 16;

/// `x w^T` for `[batch, cols]` by copies of `[rows, cols]`: as it stands, and turned to `w x^T`, as gemm may take more time
/// to rearrange one side than the other.
pub fn gemm<'a>(x: &'a [f32], copies: &'a [Vec<f32>], batch: usize, cols: usize, threads: usize) -> [Peer<'a>; 2] {
    [(GEMM, false), (GEMM_TURNED, true)].map(|(name, turned)| {
        let mut turns = copies.iter().cycle();
        Peer::new(name, 4 * copies[0].len(), move |read| {
            let w = turns.next().ok_or("no copies")?;
            let mut y = product(x, w, [batch, w.len() / cols, cols], turned, threads);
            y.truncate(if read { w.len() / cols } else { 0 });
            Ok(y)
        })
    })
}

fn product(x: &[f32], w: &[f32], [batch, rows, cols]: [usize; 3], turned: bool, threads: usize) -> Vec<f32> {
    let mut y = vec![0.0f32; batch * rows];
    assert!(x.len() == batch * cols && w.len() == rows * cols);
    let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
    let (depth, stride) = (cols as isize, rows as isize);
    let (m, n, to, left, right) =
        if turned { (rows, batch, (stride, 1), w, x) } else { (batch, rows, (1, stride), x, w) };
    // SAFETY: both sides are rows of `cols` elements, as many as asserted, read as columns on the right; `y` is its own and
    // has an element for each pair of rows, those of `x` `rows` apart.
    unsafe {
        let y = y.as_mut_ptr();
        let (left, right, one) = (left.as_ptr(), right.as_ptr(), 1.0);
        gemm::gemm(
            m,
            n,
            cols,
            y,
            to.0,
            to.1,
            false,
            left,
            1,
            depth,
            right,
            depth,
            1,
            0.0,
            one,
            false,
            false,
            false,
            parallelism,
        );
    }
    y
}

/// Memory for [`sum`], in large pages where the system has them, as bitsmith's weights are.
pub fn words(bytes: usize) -> Outcome<MmapMut> {
    let mut words = MmapMut::map_anon(bytes)?;
    #[cfg(target_os = "linux")]
    words.advise(memmap2::Advice::HugePage)?;
    words.fill(1);
    Ok(words)
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
