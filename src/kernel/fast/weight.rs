//! A packed weight as products see it.

use super::LANES;
use super::simd::Words;
use super::stored::elements;
use crate::dispatch::{Role, Variant};
use crate::kernel::part::ZERO_MIDDLE;
use crate::kernel::product::GroupParams;

/// A packed weight and how its rows are laid out.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    pub p: &'a GroupParams,
    codes: &'a [u32],
    pub scales: &'a [u32],
    /// One a byte, or none.
    pub zeros: Option<&'a [u8]>,
}

impl<'a> Weight<'a> {
    pub fn new(p: &'a GroupParams, variant: &Variant, codes: &'a [u32], scales: &'a [u32], zeros: &'a [u32]) -> Self {
        let symmetric = variant.of(Role::Zero).is_some_and(|z| z.name == ZERO_MIDDLE.name);
        Self { p, codes, scales, zeros: (!symmetric).then(|| elements(zeros)) }
    }

    /// The words of a row.
    pub fn row(&self, row: usize) -> &'a [u32] {
        let stride = self.p.words_per_row as usize;
        &self.codes[row * stride..][..stride]
    }

    /// The words of a row.
    pub fn stride(&self) -> usize {
        self.p.words_per_row as usize
    }

    /// All words from a row on; none behind the last.
    pub fn from(&self, row: usize) -> &'a [u32] {
        self.codes.get(row * self.p.words_per_row as usize..).unwrap_or_default()
    }

    /// The groups of a row: the first and how many.
    pub fn groups(&self, row: usize) -> (usize, usize) {
        (row * self.p.groups_per_row as usize, self.p.groups_per_row.max(1) as usize)
    }
}

/// Which groups the lanes of each block belong to; the same for every row.
pub struct Groups {
    /// Group of the first lane.
    pub first: Vec<usize>,
    /// Groups of all lanes, from that one on: fewer than 16, as a group has a lane at least.
    pub index: Vec<Words>,
}

impl Groups {
    /// Of this many blocks; a group has so many lanes.
    pub fn new(blocks: usize, lanes: usize) -> Self {
        let first = |block: usize| block * LANES / lanes;
        #[allow(clippy::cast_possible_truncation, reason = "below 16")]
        let index = |block: usize| std::array::from_fn(|lane| ((block * LANES + lane) / lanes - first(block)) as u32);
        Self { first: (0..blocks).map(first).collect(), index: (0..blocks).map(index).collect() }
    }
}
