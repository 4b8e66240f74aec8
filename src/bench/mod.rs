//! How fast it is: the kernels of a device, each against the device's copy bandwidth and the dense products of its
//! shape; and models, from loading to tokens a second.
//!
//! Kernels are timed on the large cases of [`crate::check`], which are checked before they are timed. Ratios and shares
//! come from one run and carry over to the next; times do not.

mod copy;
mod decode;
mod host;
mod kernels;
mod model;
mod results;
mod timing;

pub use copy::Copy;
pub use decode::{KernelShare, Speed};
pub use kernels::{bench_kernels, kernel_cases};
pub use model::{Comparison, Lengths, ModelBench, Perplexity, Ratios, bench_model};
pub use results::{DeviceBench, KernelBench, Outcome, Pipelines, Row, Timed};
