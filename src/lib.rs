//! Makes neural networks small.
#![deny(unsafe_code)]
mod activation;
pub mod check;
pub mod device;
pub mod dispatch;
mod dtype;
mod error;
pub mod eval;
pub mod export;
pub mod io;
pub mod kernel;
pub mod model;
pub mod op;
pub mod pack;
pub mod progress;
pub mod quant;
pub mod report;
pub mod scheme;
mod tensor;
pub use activation::Activation;
pub use device::{Buffer, Device, DeviceRequest, Recorder};
pub use dtype::Dtype;
pub use error::{Error, Result};
pub use pack::{PackedTensor, Packing};
pub use scheme::{Bits, RangeRule, Rounding, Scheme, Span, Zero};
pub use tensor::{QuantizedTensor, Tensor};
