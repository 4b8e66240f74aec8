//! Makes neural networks small.
#![deny(unsafe_code)]
pub mod dispatch;
mod dtype;
mod error;
pub mod export;
pub mod pack;
pub mod scheme;
mod tensor;
pub use dtype::Dtype;
pub use error::{Error, Result};
pub use pack::{PackedTensor, Packing};
pub use scheme::{Bits, RangeRule, Rounding, Scheme, Span, Zero};
pub use tensor::{QuantizedTensor, Tensor};
