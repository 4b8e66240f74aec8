//! Work split over threads by rows of the output.

use rayon::prelude::*;

/// Elements that are worth a task of their own: some ten microseconds of work and more, against about one for a task.
pub const TASK: usize = 1 << 17;

/// Rows of this many elements that make up one task, a multiple of the rows that inner loops take together.
pub fn per_task(elements: usize) -> usize {
    (TASK / elements.max(1)).max(1).next_multiple_of(4)
}

/// Calls `visit(first_row, rows)` on runs of `panel` rows of `out`, each row `width` long, in parallel if there are
/// several. A single thread does it itself: waking another takes longer than many a product.
pub fn each<T: Send>(out: &mut [T], width: usize, panel: usize, visit: impl Fn(usize, &mut [T]) + Sync) {
    if width == 0 || out.len() <= panel * width {
        return visit(0, out);
    }
    if rayon::current_num_threads() == 1 {
        return out.chunks_mut(panel * width).enumerate().for_each(|(i, chunk)| visit(i * panel, chunk));
    }
    out.par_chunks_mut(panel * width).enumerate().for_each(|(i, chunk)| visit(i * panel, chunk));
}
