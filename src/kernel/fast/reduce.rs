//! Sums and maxima of a row, lane by lane, so that they become vector code; the order depends on the length alone.

use super::LANES;

/// The sum of `term` over a row.
#[inline(always)]
pub(super) fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (whole, tail) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for values in whole {
        for lane in 0..LANES {
            lanes[lane] += term(values[lane]);
        }
    }
    lanes.iter_mut().zip(tail).for_each(|(sum, value)| *sum += term(*value));
    lanes.iter().sum()
}

/// The sum of `term` over two rows side by side.
#[inline(always)]
pub(super) fn sum_of_two(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let ((whole_a, tail_a), (whole_b, tail_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    lanes.iter_mut().zip(tail_a).zip(tail_b).for_each(|((sum, a), b)| *sum += term(*a, *b));
    lanes.iter().sum()
}

/// The largest value of a row; NaN does not count.
#[inline(always)]
pub(super) fn largest(row: &[f32]) -> f32 {
    let (whole, tail) = row.as_chunks::<LANES>();
    let mut lanes = [f32::MIN; LANES];
    for values in whole {
        for lane in 0..LANES {
            lanes[lane] = if values[lane] > lanes[lane] { values[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(tail).fold(f32::MIN, |a, b| if *b > a { *b } else { a })
}
