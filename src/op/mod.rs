//! Operations: check shapes, choose a variant, record.

mod activations;
pub mod cast;
pub mod choose;
pub mod dequantize;
pub mod embed;
pub mod matmul;
mod weight;

pub use activations::{Activations, Half, Input};
pub use cast::{half, widen};
pub use dequantize::dequantize;
pub use embed::embed;
pub use weight::{DenseWeight, GroupWeight};

use crate::error::{Error, Result};

/// A size as a kernel's 32-bit parameter.
fn param(op: &'static str, n: usize) -> Result<u32> {
    let expected = || "sizes and offsets below 2^32".to_owned();
    u32::try_from(n).map_err(|_| Error::Shape { op, expected: expected(), found: n.to_string() })
}
