//! Layers that train with quantization in the loop, networks of them, and their training.
//!
//! A layer keeps its weight in f32. Whatever is computed with it sees the weight, and the activations that meet it, as they
//! come back from quantization; gradients go straight through. A network deployed has packed weights only: it can no longer
//! be trained.
//!
//! ```
//! use bitsmith::nn::{AutoBitConfig, AutoBitModel, Recipe, Samples, accuracy, fit};
//! use bitsmith::{Device, Random, progress::Silent};
//!
//! let config: AutoBitConfig = serde_json::from_str(
//!     r#"{"model_type": "mlp", "layers": [2, 32, 2], "activation": "relu",
//!         "linear": {"weights": "ternary", "activations": "int8", "granularity": "tensor"}}"#,
//! ).unwrap();
//! let device = Device::cpu();
//! let mut model = AutoBitModel::from_config(&device, &config, 1)?;
//! // Points within a circle, and outside.
//! let points = Random::new(2).normals(800);
//! let labels = points.chunks(2).map(|p| u32::from(p[0] * p[0] + p[1] * p[1] > 1.4)).collect();
//! let samples = Samples::new(2, points, labels)?;
//! let recipe = Recipe { epochs: 30, batch: 32, rate: 0.02, ..Recipe::default() };
//! pollster::block_on(fit(&model, &samples, &recipe, &mut Silent))?;
//! let deployed = pollster::block_on(model.deploy())?;
//! let right = pollster::block_on(accuracy(&device, &samples, |rec, x| deployed.forward(rec, x)))?;
//! assert!(right > 0.9, "{right}");
//! # Ok::<(), bitsmith::Error>(())
//! ```

mod auto;
mod batch_norm;
mod cnn;
mod cnn_config;
mod cnn_layer;
mod config;
mod conv;
mod deployed;
mod deployed_model;
mod fit;
mod linear;
mod mlp;
mod optimiser;
mod parameter;
mod pass;
mod samples;
mod saved;
mod selected;
mod source;
mod swap;

pub use auto::{AutoBitConfig, AutoBitModel};
pub use cnn::{BitCnn, DeployedCnn};
pub use cnn_config::{BitCnnConfig, CnnLayer};
pub use config::{BitLinearConfig, InputPrecision, WeightPrecision};
pub use conv::{BitConv2d, ConvShape, DeployedConv2d};
pub use deployed::{DeployedLinear, DeployedMlp};
pub use deployed_model::DeployedModel;
pub use fit::{Recipe, accuracy, fit};
pub use linear::BitLinear;
pub use mlp::{BitMlp, BitMlpConfig, Normalize};
pub use optimiser::Optimiser;
pub use parameter::Parameter;
pub use pass::Pass;
pub use samples::Samples;
pub use selected::{SelectedKernel, selected_kernel};
pub use swap::swap_linears;
