//! Cases of statistics and histograms.

use super::Wanted;
use super::block::floats;
use super::group::u;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Variant};
use crate::kernel::column_stats::{self, ColumnStats};
use crate::kernel::histogram_count::{self, HistogramCount};
use crate::kernel::histogram_range::{self, HistogramRange};
use crate::kernel::histogram_widen::{self, HistogramWiden};
use crate::random::Random;

/// `[rows, cols]`: single elements, around a workgroup of 64, primes.
const MATRICES: [(usize, usize); 6] = [(1, 1), (3, 65), (257, 7), (64, 64), (2, 1009), (100, 63)];
const COUNTS: [usize; 5] = [1, 255, 2047, 2049, 200_003];
const BINS: u32 = 1024;
/// The range `-2 .. 2`.
const TWO: u32 = 127;

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, cols) in MATRICES {
        for before in [0, 1, 1000] {
            cases.extend(wanted(ColumnStats::SPEC).into_iter().map(|v| columns(rows, cols, before, v)));
        }
    }
    for (cols, largest) in [(1, 0.0), (1, 1.0), (257, 3e38), (300, 1e-30), (1009, 100.0)] {
        for before in [0, TWO] {
            cases.extend(wanted(HistogramRange::SPEC).into_iter().map(|v| range(cols, largest, before, v)));
        }
    }
    for grown in [0, 1, 5, 10, 200] {
        cases.extend(wanted(HistogramWiden::SPEC).into_iter().map(|v| widen(grown, v)));
    }
    for count in COUNTS {
        cases.extend(wanted(HistogramCount::SPEC).into_iter().map(|v| counts(count, v)));
    }
    cases
}

/// Columns far from 0 among others.
fn columns(rows: usize, cols: usize, before: u32, variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 79 + cols) + before);
    let x = (0..rows * cols).map(|i| random.normal() + (i % cols % 4) as f32).collect();
    let mut state = random.normals(2 * cols);
    state.extend(random.normals(cols));
    state.extend((0..cols).map(|_| before as f32 * random.uniform()));
    // A mean of at most about 8, to which each row adds a share of what a device divides with an error; m2 is a sum of
    // squares up to 64, of the rows before too.
    let all = rows + before as usize;
    let tolerance = Tolerance::sum(all.max(16), 64.0).max(Tolerance::ELEMENTWISE);
    let bindings = vec![floats(x), Binding::InOut(bytemuck::cast_vec(state), tolerance)];
    let params = column_stats::Params { rows: u(rows), cols: u(cols), before };
    Case::new::<ColumnStats>(variant, format!("{rows}x{cols}.after{before}"), &params, bindings)
}

fn range(cols: usize, largest: f32, before: u32, variant: Variant) -> Case {
    let mut random = Random::new(u(cols));
    let mut ends: Vec<f32> = (0..2 * cols).map(|_| largest * (2.0 * random.uniform() - 1.0)).collect();
    ends[cols / 2] = -largest;
    let bindings = vec![floats(ends), Binding::InOut(vec![7, before], Tolerance::EXACT)];
    let params = histogram_range::Params { cols: u(cols) };
    Case::new::<HistogramRange>(variant, format!("{cols}.to{largest:e}.from{before}"), &params, bindings)
}

fn widen(grown: u32, variant: Variant) -> Case {
    let mut random = Random::new(grown);
    let counts = (0..BINS).map(|_| random.below(1000)).collect();
    let out = Binding::Out(BINS as usize, Tolerance::EXACT);
    let bindings = vec![Binding::In(vec![40, 40 + grown]), Binding::In(counts), out];
    let params = histogram_widen::Params { bins: BINS };
    Case::new::<HistogramWiden>(variant, format!("{BINS}.by{grown}"), &params, bindings)
}

/// Values on edges, at the ends, and NaN among others.
fn counts(count: usize, variant: Variant) -> Case {
    let mut random = Random::new(u(count));
    let mut value = |i: usize| match i % 7 {
        0 => (random.normal() * 64.0).round() / 64.0,
        1 => [-2.0, 2.0, f32::NAN, -0.0, 1e30][random.below(5) as usize],
        _ => 0.7 * random.normal(),
    };
    let x = (0..count).map(&mut value).collect();
    let before = (0..BINS).map(|i| i % 3).collect();
    let bindings = vec![floats(x), Binding::In(vec![0, TWO]), Binding::InOut(before, Tolerance::EXACT)];
    let params = histogram_count::Params { count: u(count), bins: BINS };
    Case::new::<HistogramCount>(variant, count.to_string(), &params, bindings)
}
