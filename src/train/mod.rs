//! Training of language models and of classifiers of images, in float or with quantization in the loop, from scratch or from
//! a checkpoint.
//!
//! All parameters train: embeddings, norms, biases and linear layers, f32, by `AdamW` on the cross-entropy of the next token,
//! or of an image's class. With quantization in the loop, the linear layers of the blocks compute with weights, and on request
//! activations, as they come back from quantization, and gradients go straight through; embeddings, norms and head stay
//! float. The result is a model folder with the weights that trained, and on request a second one with packed weights.
//!
//! Both kinds are one training: a `Learner` gives batches, losses and gradients; a `Trainer` adds them up, clips them and
//! takes the step; a `Run` counts the steps, keeps states and makes the folder.
//!
//! ```
//! use bitsmith::train::{TrainConfig, TrainRequest, train_model};
//! use bitsmith::{Device, progress::Silent};
//! # let folder = tempfile::tempdir().unwrap();
//! # let out = folder.path().join("tuned");
//! let config = TrainConfig { steps: 2, batch_size: 2, seq_len: Some(32), weights: "ternary".parse()?, ..Default::default() };
//! let request = TrainRequest {
//!     documents: Some("<|endoftext|>".into()),
//!     ..TrainRequest::new("examples/tiny-llama", "examples/tiny-llama/calibration.txt", &out, config)
//! };
//! let done = pollster::block_on(train_model(&Device::cpu(), &request, &mut Silent))?;
//! assert_eq!(done.record.losses.len(), 2);
//! assert!(out.join("model.safetensors").exists());
//! # Ok::<(), bitsmith::Error>(())
//! ```

mod batches;
mod classifier;
mod config;
mod deploy;
mod finetune;
mod image_learner;
mod language_model;
mod learner;
mod parameter;
mod record;
mod request;
mod run;
mod saved;
mod text_learner;
mod trainer;

pub use classifier::{score_classifier, train_classifier};
pub use config::{Precisions, TrainConfig};
pub use finetune::{Finetune, FinetuneConfig, quantize_finetuned};
pub use language_model::{finetune, train_model};
pub use record::{ClassifierRecord, TrainRecord};
pub use request::{ClassifierRequest, TrainRequest, Trained, TrainedClassifier};
