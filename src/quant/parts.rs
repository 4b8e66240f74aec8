//! The tensors of one encoded layer, for a reader of the format.

use std::collections::HashMap;

use crate::dtype::Dtype;
use crate::error::Result;
use crate::export::{Stored, TensorSource};
use crate::io::TensorSpec;
use crate::pack::PackedTensor;

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

/// Whether two weights decode to the same values, but for so much of each scale. The type of the scales does not count, as
/// a format may store them in a wider one, nor that there are three levels.
pub(super) fn same(a: &PackedTensor, b: &PackedTensor, scale_error: f32) -> bool {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= scale_error * b.abs();
    let scheme = |weight: &PackedTensor| weight.scheme.carrier().with_scale_type(Dtype::F32);
    scheme(a) == scheme(b)
        && (a.rows, a.cols, &a.zeros, &a.kept) == (b.rows, b.cols, &b.zeros, &b.kept)
        && a.codes == b.codes
        && a.scales.len() == b.scales.len()
        && a.scales.iter().zip(&b.scales).all(near)
}
