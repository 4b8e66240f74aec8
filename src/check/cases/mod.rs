//! The cases of every kernel: each variant at sizes where bounds go wrong: 1, around the workgroup, primes, group tails.

mod attention;
mod backward;
mod block;
mod clip;
mod group;
mod int8;
mod latent;
mod loss;
mod matmul;
mod outliers;
mod search;
mod stats;
mod storage;
mod token;
mod train;
mod windows;

use super::case::Case;
use super::large::{LargeCase, Scale};
use crate::dispatch::{KernelSpec, Variant};

/// Tells which variants of a kernel are wanted.
type Wanted<'a> = &'a dyn Fn(&KernelSpec) -> Vec<Variant>;

/// Every case there is.
pub fn all() -> Vec<Case> {
    of(&|kernel| (kernel.variants)())
}

/// The cases of the wanted variants: their data is made, so that fewer variants take less time.
pub(super) fn of(wanted: Wanted<'_>) -> Vec<Case> {
    let areas = [
        group::cases,
        matmul::cases,
        int8::cases,
        token::cases,
        outliers::cases,
        storage::cases,
        block::cases,
        attention::cases,
        loss::cases,
        backward::cases,
        clip::cases,
        train::cases,
        latent::cases,
        stats::cases,
        search::cases,
        windows::cases,
    ];
    areas.into_iter().flat_map(|cases| cases(wanted)).collect()
}

/// Cases of realistic shape, to be timed.
pub fn large(scale: Scale) -> Vec<LargeCase> {
    [
        matmul::large,
        int8::large,
        token::large,
        group::large,
        storage::large,
        attention::large,
        loss::large,
        block::large,
    ]
    .iter()
    .flat_map(|area| area(scale))
    .collect()
}
