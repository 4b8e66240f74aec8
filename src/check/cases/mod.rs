//! The cases of every kernel: each variant at sizes where bounds go wrong: 1, around the workgroup, primes, group tails.

mod attention;
mod group;
mod loss;

use super::case::Case;

/// Every case there is.
pub fn all() -> Vec<Case> {
    [group::cases(), attention::cases(), loss::cases()].concat()
}
