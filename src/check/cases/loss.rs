//! Cases of losses, argmax and KL.

use super::Wanted;
use crate::check::case::{Binding, Case};
use crate::check::compare::Tolerance;
use crate::check::large::{LargeCase, Scale};
use crate::dispatch::{Kernel, Variant};
use crate::kernel::argmax::{self, Argmax};
use crate::kernel::cross_entropy::{self, CrossEntropy};
use crate::kernel::kl_loss::{self, KlLoss};
use crate::kernel::kl_rows::{self, KlRows};
use crate::kernel::softmax_loss::{self, NOT_SCORED, SoftmaxLoss};
use crate::random::Random;

/// `[rows, vocab]`.
const SIZES: [(u32, u32); 7] = [(1, 1), (3, 7), (65, 7), (1, 257), (65, 257), (3, 1000), (2, 256)];

/// The kinds of logits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Logits {
    /// As a model gives them.
    Usual,
    /// Far beyond what an exponential takes.
    Large,
    /// All the same.
    Equal,
    /// Few distinct values, zeros of either sign among them.
    Ties,
}

impl Logits {
    const ALL: [Self; 4] = [Self::Usual, Self::Large, Self::Equal, Self::Ties];

    fn make(self, random: &mut Random, n: u32) -> Vec<f32> {
        let mut value = || match self {
            Self::Usual => random.normal() * 3.0,
            Self::Large => random.normal() * 1e4,
            Self::Equal => 1.25,
            Self::Ties => [-2.0, -0.0, 0.0][random.below(3) as usize],
        };
        (0..n).map(|_| value()).collect()
    }
}

pub(super) fn cases(wanted: Wanted<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, vocab) in SIZES {
        for kind in Logits::ALL {
            let mut random = Random::new(rows * 53 + vocab);
            let logits = kind.make(&mut random, rows * vocab);
            let label = format!("{rows}x{vocab}.{kind:?}").to_lowercase();
            losses(wanted, &mut random, (rows, vocab), &logits, &label, &mut cases);
            largest((rows, vocab), &logits, &label, &mut cases);
            divergences(wanted, &mut random, (rows, vocab), &logits, &label, &mut cases);
        }
    }
    cases
}

fn losses(
    wanted: Wanted<'_>,
    random: &mut Random,
    (rows, vocab): (u32, u32),
    logits: &[f32],
    label: &str,
    cases: &mut Vec<Case>,
) {
    let targets: Vec<u32> = (0..rows).map(|r| if r % 5 == 2 { NOT_SCORED } else { random.below(vocab) }).collect();
    let case = |variant| loss_case(variant, (rows, vocab), logits, targets.clone(), label);
    cases.extend(wanted(SoftmaxLoss::SPEC).into_iter().map(case));
    for variant in wanted(CrossEntropy::SPEC) {
        let bindings = vec![
            Binding::In(bytemuck::cast_slice(logits).to_vec()),
            Binding::In(targets.clone()),
            Binding::Out((rows * vocab) as usize, probability(vocab)),
            Binding::Out(rows as usize, loss_tolerance(vocab)),
        ];
        let params = cross_entropy::Params { rows, vocab, factor: FACTOR };
        cases.push(Case::new::<CrossEntropy>(variant, label.to_owned(), &params, bindings));
    }
}

/// The weight of a row in a whole loss.
const FACTOR: f32 = 0.3;

/// Of a probability times [`FACTOR`]: an exponential of at most 1, whose error in units of its last place grows as it
/// falls and so is largest near 1; and the sum of `vocab` of them or its logarithm, which is at most about 10.
fn probability(vocab: u32) -> Tolerance {
    Tolerance::sum(vocab as usize, 1.0).max(Tolerance::ELEMENTWISE)
}

/// The logarithm of a sum of `vocab` exponentials, which is at most about 10, and one elementwise function.
fn loss_tolerance(vocab: u32) -> Tolerance {
    Tolerance::sum(vocab as usize, 1.0).max(Tolerance::ELEMENTWISE)
}

fn loss_case(variant: Variant, (rows, vocab): (u32, u32), logits: &[f32], targets: Vec<u32>, label: &str) -> Case {
    let bindings = vec![
        Binding::In(bytemuck::cast_slice(logits).to_vec()),
        Binding::In(targets),
        Binding::Out(rows as usize, loss_tolerance(vocab)),
    ];
    Case::new::<SoftmaxLoss>(variant, label.to_owned(), &softmax_loss::Params { rows, vocab }, bindings)
}

/// The loss of a window of text.
pub(super) fn large(scale: Scale) -> Vec<LargeCase> {
    let (rows, vocab) = scale.pick((512, 32_000), (32, 2_000));
    let size = format!("{rows}x{vocab}");
    let large = |variant: Variant| {
        let (made, label) = (variant.clone(), size.clone());
        let make = move || {
            let mut random = Random::new(rows);
            let logits = Logits::Usual.make(&mut random, rows * vocab);
            let targets = (0..rows).map(|_| random.below(vocab)).collect();
            loss_case(made.clone(), (rows, vocab), &logits, targets, &label)
        };
        LargeCase::new::<SoftmaxLoss>(variant, size.clone(), make)
    };
    SoftmaxLoss::variants().into_iter().map(large).collect()
}

fn largest((rows, cols): (u32, u32), values: &[f32], label: &str, cases: &mut Vec<Case>) {
    let bindings =
        vec![Binding::In(bytemuck::cast_slice(values).to_vec()), Binding::Out(rows as usize, Tolerance::EXACT)];
    let params = argmax::Params { rows, cols };
    cases.push(Case::new::<Argmax>(argmax::variant(), label.to_owned(), &params, bindings));
}

/// The model's logits lie this far from the reference's: nowhere, a little (KL of about 1e-6), and far.
const DISTANCES: [f32; 3] = [0.0, 1.5e-3, 2.0];

fn divergences(
    wanted: Wanted<'_>,
    random: &mut Random,
    (rows, vocab): (u32, u32),
    logits: &[f32],
    label: &str,
    cases: &mut Vec<Case>,
) {
    // Terms are positive, so their sum keeps the relative accuracy of one: an error of d of 1e-6 at most against
    // the 1e-3 of the nearer models. Identical rows leave the square of the normalizers' error.
    let tolerance = Tolerance { absolute: 1e-10, relative: 2e-4 };
    for distance in DISTANCES {
        let model: Vec<f32> = logits.iter().map(|x| x + distance * random.normal()).collect();
        for variant in wanted(KlRows::SPEC) {
            let bindings = vec![
                Binding::In(bytemuck::cast_slice(logits).to_vec()),
                Binding::In(bytemuck::cast_slice(&model).to_vec()),
                Binding::Out(rows as usize * 3, tolerance),
            ];
            let params = kl_rows::Params { rows, vocab };
            cases.push(Case::new::<KlRows>(variant, format!("{label}.off{distance}"), &params, bindings));
        }
        for variant in wanted(KlLoss::SPEC) {
            let bindings = vec![
                Binding::In(bytemuck::cast_slice(logits).to_vec()),
                Binding::In(bytemuck::cast_slice(&model).to_vec()),
                Binding::Out((rows * vocab) as usize, probability(vocab)),
                Binding::Out(rows as usize, tolerance),
            ];
            let params = kl_loss::Params { rows, vocab, factor: FACTOR };
            cases.push(Case::new::<KlLoss>(variant, format!("{label}.off{distance}"), &params, bindings));
        }
    }
}
