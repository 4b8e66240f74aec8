//! Operations: check shapes, choose a variant, record.

mod activations;
mod attention;
mod attention_backward;
mod backward;
mod cache;
mod cast;
mod checks;
pub mod choose;
mod dequantize;
mod elementwise;
mod elementwise_backward;
mod embed;
mod fake_quant;
mod int8;
mod loss;
mod matmul;
mod matmul_backward;
mod norm;
mod norm_backward;
mod optimiser;
mod quantize;
mod rope;
mod schedule;
mod train;
mod weight;

pub use activations::{Activations, Half, Input};
pub use attention::{AttentionShape, KvCache, attention};
pub use backward::backward;
pub use cache::{RowCache, store_rows};
pub use cast::{half, widen};
pub use dequantize::dequantize;
pub use elementwise::{activate, activate_into, add, add_bias, add_into, gate, gate_into};
pub use embed::{embed, last_row};
pub use fake_quant::{FakeQuantized, TrainedGradients, TrainedWeight, fake_quant, fake_quant_backward};
pub use int8::{ActivationPrecision, Int8Activations, group_int8, int8, int8_block};
pub use loss::{argmax, kl, nll};
pub use matmul::{dense, dense_into, group, group_into};
pub use norm::{layer_norm, layer_norm_into, rms_norm, rms_norm_heads, rms_norm_into};
pub use optimiser::{AdamW, AdamWConfig, SignSgd};
pub use quantize::{Quantization, WeightError, quantize, quantize_trained};
pub use rope::{RopeTable, inverse_frequencies, rope, rope_into};
pub use schedule::{Decay, Schedule};
pub use train::{Best, BestState, Measure, SquaredError, squared_error};
pub use weight::{DenseWeight, GroupWeight};

use checks::size as param;
