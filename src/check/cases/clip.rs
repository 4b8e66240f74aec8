//! Cases of what bounds the norm of gradients.

use super::Wanted;
use super::block::floats;
use super::group::u;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Variant};
use crate::kernel::clip_factor::{self, ClipFactor};
use crate::kernel::scale_by::{self, ScaleBy};
use crate::random::Random;

const COUNTS: [usize; 5] = [1, 255, 256, 257, 70_001];

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for count in COUNTS {
        for most in [0.5, 1e6] {
            cases.extend(wanted(ClipFactor::SPEC).into_iter().map(|v| factor_case(count, most, v)));
        }
        cases.extend(wanted(ScaleBy::SPEC).into_iter().map(|v| scale_case(count, v)));
    }
    cases
}

/// Sums are small integers, so that their sum is exact in any order; a root and a quotient are not.
fn factor_case(count: usize, most: f32, variant: Variant) -> Case {
    let mut random = Random::new(u(count));
    let sums = (0..count).map(|_| 1.0 + random.below(50) as f32).collect();
    let params = clip_factor::Params { count: u(count), most };
    let bindings = vec![floats(sums), Binding::Out(2, Tolerance::ELEMENTWISE)];
    Case::new::<ClipFactor>(variant, format!("{count}.most{most}"), &params, bindings)
}

fn scale_case(count: usize, variant: Variant) -> Case {
    let mut random = Random::new(u(count));
    let bindings = vec![floats(random.normals(count)), floats(vec![0.3, 7.0]), Binding::Out(count, Tolerance::EXACT)];
    Case::new::<ScaleBy>(variant, count.to_string(), &scale_by::Params { count: u(count) }, bindings)
}
