//! Cases of what trains rounding: bounds, decoded weights and their gradients, losses, steps.

use super::Wanted;
use super::block::floats;
use super::group::{u, weight};
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::dispatch::{Kernel, Role, Variant};
use crate::kernel::adamw_step::{self, AdamWStep};
use crate::kernel::best_loss::{self, BestLoss};
use crate::kernel::fake_quant::{self as quant, FakeQuant};
use crate::kernel::fake_quant_backward::FakeQuantBackward;
use crate::kernel::fake_range::{self as range, FakeRange};
use crate::kernel::fake_range_backward::FakeRangeBackward;
use crate::kernel::free_range::FreeRange;
use crate::kernel::free_range_backward::FreeRangeBackward;
use crate::kernel::group_bounds::{self as bounds, GroupBounds};
use crate::kernel::keep_best::{self, KeepBest};
use crate::kernel::sign_step::{self, SignStep};
use crate::kernel::squared_error::{self, SquaredError};
use crate::random::Random;

/// `[rows, cols]` and group: single elements, one group, tails, primes, more than one workgroup, whole rows.
const SIZES: [(usize, usize, usize); 6] =
    [(1, 1, 16), (1, 16, 16), (3, 33, 16), (5, 172, 32), (67, 129, 64), (9, 1000, 1000)];
const COUNTS: [usize; 5] = [1, 255, 256, 257, 70_001];
const MATRICES: [(usize, usize); 5] = [(1, 1), (3, 65), (257, 7), (64, 64), (2, 1000)];
/// A quotient of a weight by a scale, next to which the codes of a group are.
const STEPS: f32 = 16.0;

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        cases.extend(wanted(GroupBounds::SPEC).into_iter().map(|v| bounds_case(size, v)));
        for bits in [2, 3, 4, 8] {
            cases.extend(wanted(FakeQuant::SPEC).into_iter().map(|v| quant_case(size, v, bits)));
        }
        for bits in [2, 4] {
            cases.extend(wanted(FakeQuantBackward::SPEC).into_iter().map(|v| quant_backward(size, v, bits)));
        }
    }
    for groups in [1, 63, 64, 65, 1000] {
        for (bits, symmetric, scale_type) in [(4, 1, 1), (2, 1, 0), (2, 0, 1), (3, 0, 2), (8, 0, 0)] {
            let params = range::Params { groups: u(groups), bits, symmetric, scale_type };
            cases.extend(wanted(FakeRange::SPEC).into_iter().map(|v| range_case(params, v)));
            cases.extend(wanted(FakeRangeBackward::SPEC).into_iter().map(|v| range_backward(params, v)));
            cases.extend(wanted(FreeRange::SPEC).into_iter().map(|v| free_case(params, v)));
            cases.extend(wanted(FreeRangeBackward::SPEC).into_iter().map(|v| free_backward(params, v)));
        }
    }
    for count in COUNTS {
        for momentum in [0.0, 0.5] {
            cases.extend(wanted(SignStep::SPEC).into_iter().map(|v| sign_case(count, momentum, v)));
        }
        cases.extend(wanted(AdamWStep::SPEC).into_iter().map(|v| adamw_case(count, v)));
        for better in [0, 1] {
            cases.extend(wanted(KeepBest::SPEC).into_iter().map(|v| keep_case(count, better, v)));
        }
    }
    for (rows, cols) in MATRICES {
        cases.extend(wanted(SquaredError::SPEC).into_iter().map(|v| error_case(rows, cols, v)));
    }
    for (count, best) in [(1, 1e30), (255, 1e30), (1000, 1e30), (1000, 1e-3), (300, f32::NAN)] {
        cases.extend(wanted(BestLoss::SPEC).into_iter().map(|v| best_case(count, best, v)));
    }
    cases
}

fn label((rows, cols, group): (usize, usize, usize), more: impl std::fmt::Display) -> String {
    format!("{rows}x{cols}g{group}{more}")
}

fn bounds_case(size: (usize, usize, usize), variant: Variant) -> Case {
    let (rows, cols, group) = size;
    let per_row = cols.div_ceil(group);
    let mut random = Random::new(u(rows * 37 + cols));
    let mut w = weight(&mut random, variant.dtype(Role::Weight), rows, cols);
    if rows > 8 {
        // The first elements of the matrix are not finite.
        w[0] = 0x7fc0_7f80;
    }
    let params = bounds::Params { rows: u(rows), cols: u(cols), group: u(group), groups_per_row: u(per_row) };
    let out = Binding::Out(rows * per_row * 2, Tolerance::EXACT);
    Case::new::<GroupBounds>(variant, label(size, ""), &params, vec![Binding::In(w), out])
}

/// Bounds and factors of groups: some on one side of 0, some all 0, some near nothing, some not finite.
fn ranges(random: &mut Random, groups: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut bounds, mut factors) = (Vec::new(), Vec::new());
    for group in 0..groups {
        let mut ends = [random.normal(), random.normal()];
        ends.sort_by(f32::total_cmp);
        bounds.extend(match group % 7 {
            1 => [0.0, 0.0],
            2 => [-ends[1].abs(), ends[1].abs()],
            3 => ends.map(|end| end * 1e-7),
            4 if group > 100 => [f32::NAN; 2],
            _ => ends,
        });
        factors.extend(if group % 3 == 0 { [1.0; 2] } else { [random.uniform(), random.uniform()] });
    }
    (bounds, factors)
}

fn range_label(p: &range::Params) -> String {
    format!("{}.b{}.sym{}.s{}", p.groups, p.bits, p.symmetric, p.scale_type)
}

fn range_case(params: range::Params, variant: Variant) -> Case {
    let groups = params.groups as usize;
    let (bounds, factors) = ranges(&mut Random::new(params.groups + params.bits), groups);
    let out = || Binding::Out(groups, Tolerance::EXACT);
    let bindings = vec![floats(bounds), floats(factors), out(), out()];
    Case::new::<FakeRange>(variant, range_label(&params), &params, bindings)
}

/// Scales of both signs, some near nothing; zero points between codes, at the middle of two and beyond both ends.
fn free_case(params: range::Params, variant: Variant) -> Case {
    let groups = params.groups as usize;
    let mut random = Random::new(params.groups + 5 * params.bits);
    let start = (0..groups).map(|g| random.normal() * if g % 7 == 3 { 1e-8 } else { 0.1 }).collect();
    let zero = |random: &mut Random, g: usize| if g % 5 == 2 { g as f32 * 0.5 } else { random.normal() * 3.0 };
    let ranges = (0..groups).flat_map(|g| [random.uniform() * 2.0, zero(&mut random, g)]).collect();
    let out = || Binding::Out(groups, Tolerance::EXACT);
    let bindings = vec![floats(start), floats(ranges), out(), out()];
    Case::new::<FreeRange>(variant, range_label(&params), &params, bindings)
}

fn free_backward(params: range::Params, variant: Variant) -> Case {
    let groups = params.groups as usize;
    let mut random = Random::new(params.groups + 7 * params.bits);
    let start = random.normals(groups);
    let scales = (0..groups).map(|g| if g % 5 == 4 { 2f32.powi(-110) } else { start[g] }).collect();
    let bindings = vec![
        floats(start),
        floats(scales),
        floats(random.normals(2 * groups)),
        Binding::Out(2 * groups, Tolerance::EXACT),
    ];
    Case::new::<FreeRangeBackward>(variant, range_label(&params), &params, bindings)
}

/// Scales near 1 and some at the smallest, which stop the gradient.
fn range_backward(params: range::Params, variant: Variant) -> Case {
    let groups = params.groups as usize;
    let mut random = Random::new(params.groups + 3 * params.bits);
    let (mut bounds, factors) = ranges(&mut random, groups);
    bounds.iter_mut().filter(|bound| bound.is_nan()).for_each(|bound| *bound = 0.5);
    let scale = |group: usize| if group % 5 == 4 { 2f32.powi(-110) } else { 0.5 };
    let scales = (0..groups).map(|group| scale(group) * if group % 2 == 0 { 1.0 } else { -1.0 }).collect();
    // What divides by the smallest scale is far from 1 and is compared in proportion to its size.
    let sums = (0..2 * groups).map(|i| if scale(i / 2) < 0.1 { 0.0 } else { random.normal() }).collect();
    // Three products and a difference of numbers of up to 4 * 4 * 4.
    let out = Binding::Out(
        2 * groups,
        Tolerance { absolute: 64.0 * Tolerance::ELEMENTWISE.absolute, ..Tolerance::ELEMENTWISE },
    );
    let bindings = vec![floats(bounds), floats(factors), floats(scales), floats(sums), out];
    Case::new::<FakeRangeBackward>(variant, range_label(&params), &params, bindings)
}

/// A weight, offsets, scales and zero points. Scales are powers of two among others, so that values lie at thresholds, with
/// offsets of 0 and others.
fn quantities(size: (usize, usize, usize), variant: &Variant, bits: u32) -> (quant::Params, Vec<Binding>, Random) {
    let (rows, cols, group) = size;
    let per_row = cols.div_ceil(group);
    let mut random = Random::new(u(rows * 41 + cols) + bits);
    let dtype = variant.dtype(Role::Weight);
    let mut values = random.normals(rows * cols);
    values.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0).for_each(|(_, v)| *v = (*v * 16.0).round() / 16.0);
    let w = crate::random::words(&dtype.encode(&values));
    let offset = |random: &mut Random| match random.below(4) {
        0 => 0.0,
        1 => 0.25,
        _ => random.uniform() - 0.5,
    };
    let offsets = (0..rows * cols).map(|_| offset(&mut random)).collect();
    let scale = |g: usize, random: &mut Random| if g.is_multiple_of(2) { 0.125 } else { 0.3 + 0.1 * random.normal() };
    let scales =
        (0..rows * per_row).map(|g| scale(g, &mut random) * if g.is_multiple_of(3) { 1.0 } else { -1.0 }).collect();
    let zeros = (0..rows * per_row).map(|_| random.below(1 << bits)).collect();
    let params = quant::Params { rows: u(rows), cols: u(cols), group: u(group), groups_per_row: u(per_row), bits };
    (params, vec![Binding::In(w), floats(offsets), floats(scales), Binding::In(zeros)], random)
}

fn quant_case(size: (usize, usize, usize), variant: Variant, bits: u32) -> Case {
    let (params, mut bindings, _) = quantities(size, &variant, bits);
    bindings.push(Binding::Out(size.0 * size.1, Tolerance::EXACT));
    Case::new::<FakeQuant>(variant, label(size, format_args!(".b{bits}")), &params, bindings)
}

fn quant_backward(size: (usize, usize, usize), variant: Variant, bits: u32) -> Case {
    let (rows, cols, group) = size;
    let (params, mut bindings, mut random) = quantities(size, &variant, bits);
    bindings.push(floats(random.normals(rows * cols)));
    bindings.push(Binding::Out(rows * cols, Tolerance::EXACT));
    let sums = Tolerance::sum(group.min(cols), STEPS).max(Tolerance::ELEMENTWISE);
    bindings.push(Binding::Out(rows * cols.div_ceil(group) * 2, sums));
    Case::new::<FakeQuantBackward>(variant, label(size, format_args!(".b{bits}")), &params, bindings)
}

fn sign_case(count: usize, momentum: f32, variant: Variant) -> Case {
    let mut random = Random::new(u(count));
    // Quarters, so that the trace is exact and its sign the same everywhere; zeros among them.
    let mut quarters = || (0..count).map(|_| (4.0 * random.normal()).round() / 4.0).collect::<Vec<_>>();
    let (gradient, trace) = (quarters(), quarters());
    let exact = |values: Vec<f32>| Binding::InOut(bytemuck::cast_vec(values), Tolerance::EXACT);
    let trace = if momentum == 0.0 { vec![0.0] } else { trace };
    let bindings = vec![floats(gradient), exact(random.normals(count)), exact(trace)];
    let params = sign_step::Params { count: u(count), rate: 0.0625, momentum, low: -1.0, high: 1.5 };
    Case::new::<SignStep>(variant, format!("{count}.m{momentum}"), &params, bindings)
}

/// The second step of a training: a gradient, and the moments that one of another size left.
fn adamw_case(count: usize, variant: Variant) -> Case {
    let mut random = Random::new(u(count + 2));
    let mut gradient = random.normals(count);
    // Where there never was a gradient, nothing but the decay moves a parameter.
    let mut first = random.normals(count);
    gradient.iter_mut().chain(&mut first).skip(1).step_by(count.max(2)).for_each(|d| *d = 0.0);
    let second = first.iter().map(|m| 0.5 * m * m).collect();
    // Products of normal numbers, up to about 20, and their sum.
    let moment = Tolerance::sum(2, 20.0);
    // A moment over a root is at most 4 here, and each is near by a few roundings; the step's length is a quarter.
    let parameter = Tolerance::ELEMENTWISE.max(Tolerance::sum(4, 4.0));
    let changed = |values: Vec<f32>, tolerance| Binding::InOut(bytemuck::cast_vec(values), tolerance);
    let bindings = vec![
        floats(gradient),
        changed(random.normals(count), parameter),
        changed(first, moment),
        changed(second, moment),
    ];
    let params = adamw_step::Params {
        count: u(count),
        keep: 0.99,
        rate: 0.25,
        root: 1.25,
        enter1: 0.1,
        beta2: 0.75,
        enter2: 0.25,
        eps: 1e-6,
        low: -1.5,
        high: 2.0,
    };
    Case::new::<AdamWStep>(variant, count.to_string(), &params, bindings)
}

fn keep_case(count: usize, better: u32, variant: Variant) -> Case {
    let mut random = Random::new(u(count));
    let kept = Binding::InOut(bytemuck::cast_vec(random.normals(count)), Tolerance::EXACT);
    let bindings = vec![Binding::In(vec![0, better, 0, 0]), floats(random.normals(count)), kept];
    Case::new::<KeepBest>(variant, format!("{count}.better{better}"), &keep_best::Params { count: u(count) }, bindings)
}

fn error_case(rows: usize, cols: usize, variant: Variant) -> Case {
    let mut random = Random::new(u(rows * 43 + cols));
    let [y, target] = [0, 1].map(|_| floats(random.normals(rows * cols)));
    let params = squared_error::Params { rows: u(rows), cols: u(cols), factor: 0.3 };
    // A squared difference of two normal numbers: up to about 30.
    let sums = Tolerance::sum(cols, 30.0).max(Tolerance::ELEMENTWISE);
    let bindings = vec![y, target, Binding::Out(rows * cols, Tolerance::EXACT), Binding::Out(rows, sums)];
    Case::new::<SquaredError>(variant, format!("{rows}x{cols}"), &params, bindings)
}

/// Sums of small integers times a power of two: exact in any order.
fn best_case(count: usize, best: f32, variant: Variant) -> Case {
    let mut random = Random::new(u(count));
    let sums = (0..count).map(|_| random.below(100) as f32).collect();
    let state = Binding::InOut(vec![best.to_bits(), 7, 3, 0], Tolerance::EXACT);
    let params = best_loss::Params { count: u(count), factor: 0.125, iteration: 11 };
    Case::new::<BestLoss>(variant, format!("{count}.from{best}"), &params, vec![floats(sums), state])
}
