//! Makes neural networks small: quantizes weights and activations, measures what that cost, and saves checkpoints that
//! other programs load. Compute kernels run on any GPU through wgpu and on the CPU.
//!
//! A model folder, from the command line `bitsmith quantize` or in a few lines ([`quant::QuantizeRequest`]):
//!
//! ```
//! use bitsmith::eval::EvalRequest;
//! use bitsmith::quant::{QuantizeRequest, Rtn, RtnConfig, quantize_model};
//! use bitsmith::{Device, progress::Silent};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let out = folder.path().join("tiny-llama-w4");
//! let text = EvalRequest {
//!     text: "examples/tiny-llama/validation.txt".into(),
//!     documents: Some("<|endoftext|>".into()),
//!     max_documents: Some(20),
//!     window: Some(128),
//!     ..Default::default()
//! };
//! let request = QuantizeRequest::new("examples/tiny-llama", &out).quality(text);
//! let rtn = Rtn::new(RtnConfig::default())?;
//! let done = pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Silent))?;
//! let quality = done.evaluation.unwrap();
//! assert!(quality.perplexity < 1.05 * quality.reference_perplexity.unwrap());
//! # Ok::<(), bitsmith::Error>(())
//! ```
//!
//! Plain tensors: [`quant::quantize`], [`quant::quantize_activations`], [`quant::dequantize`]. A model's forward pass:
//! [`model::Model`]. Devices: [`check::open_device`] opens one that can be trusted.
//!
//! The rooms from the ground up, each using only those before it: [`scheme`] what integers mean; [`pack`] where bits lie;
//! [`dispatch`] the contract between kernels and devices; [`kernel`]; [`device`]; [`check`] whether a device computes
//! rightly; [`io`] files; [`hub`] models by name; [`op`] operations; [`export`] file formats of quantized layers;
//! [`model`]; [`calib`] what is learned from data; [`eval`]; [`nn`] layers that train with quantization
//! in the loop; [`quant`]; [`train`] language models from scratch; [`search`] which layer takes how few bits; [`mod@bench`] how
//! fast it is.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod activation;
pub mod bench;
pub mod calib;
pub mod check;
pub mod device;
pub mod dispatch;
mod dtype;
mod error;
pub mod eval;
pub mod export;
pub mod hub;
pub mod io;
pub mod kernel;
pub mod model;
pub mod nn;
pub mod op;
pub mod pack;
pub mod progress;
pub mod quant;
mod random;
pub mod report;
pub mod scheme;
pub mod search;
mod tensor;
pub mod train;

pub use activation::Activation;
pub use device::{Buffer, Device, DeviceRequest, Recorder};
pub use dtype::Dtype;
pub use error::{Error, Result};
pub use op::Quantization;
pub use pack::{PackedTensor, Packing};
pub use random::Random;
pub use scheme::{Bits, RangeRule, Rounding, Scheme, Span, TernaryRule, Zero};
pub use tensor::{QuantizedTensor, Tensor};
