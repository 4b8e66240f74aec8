//! The cases of every kernel: each variant at sizes where bounds go wrong: 1, around the workgroup, primes, group tails.

mod block;
mod group;

use super::case::Case;

/// Every case there is.
pub fn all() -> Vec<Case> {
    [group::cases(), block::cases()].concat()
}
