//! Learned rounding: block by block, the offsets added before rounding and the range of every group are trained so that
//! the quantized block gives what the original block gave. AutoRound's method.

mod block;
mod config;
mod run;
mod sampler;

pub use config::{Inputs, LearnedConfig};
pub use run::{LearnedBlock, LearnedLayer, LearnedRun};
