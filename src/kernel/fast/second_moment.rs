//! Fast [`SecondMoment`](crate::kernel::second_moment).

use super::rows;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::second_moment::Params;

pub fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, mut out] = bindings.take();
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    // Whole lines of memory, so that tasks do not share any.
    let panel = rows::per_task(rows).next_multiple_of(64);
    rows::each(&mut out.f32_mut()[..cols], 1, panel, |first, out| {
        let mut sums = vec![0.0; out.len()];
        x.f32()[..rows * cols].chunks_exact(cols).for_each(|x| add(&x[first..], &mut sums));
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = if p.accumulate == 1 { *out + sum } else { sum });
    });
}

vectorized! {
    fn add(x: &[f32], sums: &mut [f32]) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * x);
    }
}
