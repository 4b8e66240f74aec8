//! Zeroed words of main memory.

use std::ops::{Deref, DerefMut};

/// Words from the heap, or many of them in pages of their own.
#[derive(Debug)]
pub enum CpuWords {
    Heap(Box<[u32]>),
    #[cfg(target_os = "linux")]
    Pages(memmap2::MmapMut),
}

impl CpuWords {
    /// So many zeros, and where among them the first of these is to lie; nothing where the system has no such memory.
    pub fn zeroed(words: usize) -> Option<(Self, usize)> {
        #[cfg(target_os = "linux")]
        if let Some(pages) = large_pages(words) {
            return Some(pages);
        }
        // Aligned by hand: the system gives zeros for nothing only at the alignment it likes.
        let heap: Box<[u32]> = bytemuck::try_zeroed_slice_box(words.checked_add(LINE / 4)?).ok()?;
        let first = heap.as_ptr().align_offset(LINE).min(LINE / 4);
        Some((Self::Heap(heap), first))
    }
}

/// Bytes of a cache line: vectors do not cross two.
const LINE: usize = 64;

/// Bytes of a large page.
#[cfg(target_os = "linux")]
const PAGE: usize = 2 << 20;

/// Words in large pages, if there are enough for some: a weight that is read from one end to the other comes a fifth
/// faster where the processor need not look up every 4 KB. The system gives them to those who ask, and zeros only what is
/// touched.
#[cfg(target_os = "linux")]
fn large_pages(words: usize) -> Option<(CpuWords, usize)> {
    let bytes = words.checked_mul(4).filter(|bytes| *bytes >= 4 * PAGE)?;
    let pages = memmap2::MmapMut::map_anon(bytes.checked_add(PAGE)?).ok()?;
    // A system without them has small ones.
    let _ = pages.advise(memmap2::Advice::HugePage);
    let first = pages.as_ptr().align_offset(PAGE).min(PAGE) / 4;
    Some((CpuWords::Pages(pages), first))
}

impl Deref for CpuWords {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::Heap(words) => words,
            #[cfg(target_os = "linux")]
            Self::Pages(pages) => bytemuck::cast_slice(pages),
        }
    }
}

impl DerefMut for CpuWords {
    fn deref_mut(&mut self) -> &mut [u32] {
        match self {
            Self::Heap(words) => words,
            #[cfg(target_os = "linux")]
            Self::Pages(pages) => bytemuck::cast_slice_mut(pages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_begin_a_line() {
        for words in [1, 1000, (8 << 20) / 4 + 3] {
            let (mut memory, first) = CpuWords::zeroed(words).expect("a few megabytes");
            let words = &mut memory[first..][..words];
            assert!(words.as_ptr().align_offset(LINE) == 0 && words.iter().all(|word| *word == 0));
            words.fill(1);
        }
    }
}
