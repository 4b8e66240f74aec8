//! The cases of every kernel: each variant at sizes where bounds go wrong: 1, around the workgroup, primes, group tails.

mod attention;
mod block;
mod group;
mod loss;
mod matmul;
mod storage;

use super::case::Case;

/// Every case there is.
pub fn all() -> Vec<Case> {
    [group::cases(), matmul::cases(), storage::cases(), block::cases(), attention::cases(), loss::cases()].concat()
}
