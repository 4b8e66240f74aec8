//! Cases of the search for scales, and of what weights it.

use super::Wanted;
use super::block::floats;
use super::group::{u, weight};
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Role, Variant};
use crate::dtype::Dtype;
use crate::kernel::group_search::{self as search, GroupSearch};
use crate::kernel::second_moment::{self, SecondMoment};
use crate::random::Random;
use crate::scheme::{Bits, Scheme, Span, Zero};

/// `[rows, cols]` and group: single elements, one group, tails, primes, more than one workgroup, whole rows.
const SIZES: [(usize, usize, usize); 6] =
    [(1, 1, 16), (1, 16, 16), (3, 33, 16), (5, 172, 32), (23, 129, 64), (3, 1000, 1000)];
const MATRICES: [(usize, usize); 5] = [(1, 1), (3, 65), (257, 7), (64, 257), (2, 1000)];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        for (bits, zero, scale_type) in [
            (2, Zero::Symmetric, Dtype::F16),
            (4, Zero::Symmetric, Dtype::F32),
            (2, Zero::Stored, Dtype::Bf16),
            (3, Zero::Stored, Dtype::F32),
            (8, Zero::Stored, Dtype::F16),
        ] {
            let Ok(bits) = Bits::new(bits) else { continue };
            let scheme = Scheme::new(bits, Span::Channel, zero).with_scale_type(scale_type);
            cases.extend(wanted(GroupSearch::SPEC).into_iter().map(|v| search_case(size, v, scheme)));
        }
    }
    for (rows, cols) in MATRICES {
        for accumulate in [0, 1] {
            cases.extend(wanted(SecondMoment::SPEC).into_iter().map(|v| moment_case((rows, cols), accumulate, v)));
        }
    }
    cases
}

fn search_case((rows, cols, group): (usize, usize, usize), variant: Variant, scheme: Scheme) -> Case {
    let per_row = cols.div_ceil(group);
    let mut random = Random::new(u(rows * 47 + cols));
    let mut w = weight(&mut random, variant.dtype(Role::Weight), rows, cols);
    if rows > 8 {
        // The first elements of the matrix are not finite.
        w[0] = 0x7fc0_7f80;
    }
    // From the least to the most there can be.
    let importance = (0..cols).map(|col| if col % 5 == 1 { 1.0 / (1 << 20) as f32 } else { random.uniform() });
    let importance = importance.map(|h| h.max(1.0 / (1 << 20) as f32)).collect();
    let params = search::Params::new(u(rows), u(cols), u(group), u(per_row), scheme);
    let out = || Binding::Out(rows * per_row, Tolerance::EXACT);
    let bindings = vec![Binding::In(w), floats(importance), out(), out()];
    Case::new::<GroupSearch>(variant, format!("{rows}x{cols}g{group}.{scheme}"), &params, bindings)
}

fn moment_case((rows, cols): (usize, usize), accumulate: u32, variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 53 + cols));
    let x = random.normals(rows * cols);
    let before = (0..cols).map(|_| random.uniform().to_bits()).collect();
    let params = second_moment::Params { rows: u(rows), cols: u(cols), accumulate };
    let sums = Binding::InOut(before, Tolerance::sum(rows + 1, 1.0));
    let label = format!("{rows}x{cols}.add{accumulate}");
    Case::new::<SecondMoment>(variant, label, &params, vec![floats(x), sums])
}
