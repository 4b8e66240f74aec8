//! Fast [`histogram_count`](crate::kernel::histogram_count).

use rayon::prelude::*;

use super::rows;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::histogram_count::{Params, bin, bins_to_one};

/// [`Kernel::run`](crate::dispatch::Kernel::run) of histogram_count.
pub fn histogram_count(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, range, mut counts] = bindings.take();
    let (bins, scale) = (p.bins, bins_to_one(p.bins, range.words()[1]));
    let count = |x: &[f32], counts: &mut [u32]| {
        x.iter().filter(|x| !x.is_nan()).for_each(|x| counts[bin(*x, scale, bins)] += 1);
    };
    let (x, counts) = (&x.f32()[..p.count as usize], &mut counts.words_mut()[..bins as usize]);
    if x.len() <= rows::TASK {
        return count(x, counts);
    }
    // A few tasks, each with counts of its own.
    let each = x.len().div_ceil(rayon::current_num_threads()).max(rows::TASK);
    let parts: Vec<Vec<u32>> = x
        .par_chunks(each)
        .map(|x| {
            let mut counts = vec![0; bins as usize];
            count(x, &mut counts);
            counts
        })
        .collect();
    parts.iter().for_each(|part| counts.iter_mut().zip(part).for_each(|(sum, n)| *sum += n));
}
