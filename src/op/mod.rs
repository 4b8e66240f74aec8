//! Operations: check shapes, choose a variant, record.

mod activations;
mod attention;
pub mod choose;
mod loss;

pub use activations::Activations;
pub use attention::{AttentionShape, KvCache, attention};
pub use loss::{argmax, kl, nll};
