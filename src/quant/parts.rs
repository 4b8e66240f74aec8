//! The tensors of one encoded layer, for a reader of the format.

use std::collections::HashMap;

use crate::error::Result;
use crate::export::{Stored, TensorSource};
use crate::io::TensorSpec;
use crate::pack::PackedTensor;
use crate::scheme::Groups;

/// Tensors by name, in memory.
pub(super) struct Parts<'a>(HashMap<String, (TensorSpec, &'a [u8])>);

impl<'a> Parts<'a> {
    /// `encoded` holds name and bytes of each tensor, in the order of `specs`.
    pub(super) fn new(specs: Vec<TensorSpec>, encoded: &'a [(String, Vec<u8>)]) -> Self {
        Self(specs.into_iter().zip(encoded).map(|(spec, (name, data))| (name.clone(), (spec, &data[..]))).collect())
    }
}

impl TensorSource for Parts<'_> {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.keys().map(String::as_str))
    }

    fn find(&self, name: &str) -> Result<Option<Stored<'_>>> {
        Ok(self.0.get(name).map(|(spec, bytes)| Stored { dtype: spec.dtype.name(), shape: spec.shape.clone(), bytes }))
    }
}

/// Half of what the smallest numbers of f16 are apart.
const F16_HALF_STEP: f32 = 1.0 / (1 << 25) as f32;

/// Whether two weights have the same codes, and each group of each row the same zero point and, but for so much of it, the
/// same scale. How a format says so does not count: in a wider type of scales, with a scale repeated, with the middle
/// code as a zero point, or without a word for three levels.
pub(super) fn same(a: &PackedTensor, b: &PackedTensor, scale_error: f32) -> bool {
    if (a.scheme.carrier().bits(), a.rows, a.cols) != (b.scheme.carrier().bits(), b.rows, b.cols)
        || a.codes != b.codes
        || a.kept != b.kept
    {
        return false;
    }
    let groups = [a, b].map(|weight| weight.scheme.groups(weight.rows, weight.cols));
    let finest = groups.map(Groups::size).into_iter().min().unwrap_or(1).max(1);
    let zero = |weight: &PackedTensor, at: usize| {
        weight.zeros.as_ref().map_or(weight.scheme.bits().middle(), |zeros| zeros[at])
    };
    (0..a.rows).all(|row| {
        (0..a.cols).step_by(finest).all(|col| {
            let [i, j] = groups.map(|groups| groups.index(row, col));
            // The smallest numbers of f16 lie evenly.
            let even = if scale_error > 0.0 { F16_HALF_STEP } else { 0.0 };
            (a.scales[i] - b.scales[j]).abs() <= scale_error * b.scales[j].abs() + even && zero(a, i) == zero(b, j)
        })
    })
}
