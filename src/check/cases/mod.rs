//! The cases of every kernel: each variant at sizes where bounds go wrong: 1, around the workgroup, primes, group tails.

mod attention;
mod block;
mod group;
mod loss;
mod matmul;
mod storage;

use super::case::Case;
use super::large::{LargeCase, Scale};

/// Every case there is.
pub fn all() -> Vec<Case> {
    [group::cases(), matmul::cases(), storage::cases(), block::cases(), attention::cases(), loss::cases()].concat()
}

/// Cases of realistic shape, to be timed.
pub fn large(scale: Scale) -> Vec<LargeCase> {
    [matmul::large, group::large, storage::large, attention::large, loss::large, block::large]
        .iter()
        .flat_map(|area| area(scale))
        .collect()
}
