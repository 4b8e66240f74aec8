//! A model that trains: all of its parameters in f32 on the device, and where they lie in a checkpoint.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::drawn::Drawn;
use super::loader::Loader;
use super::streamed::StreamedModel;
use super::{Model, decoder};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::{ModelConfig, read_limited};
use crate::op::Activations;

/// A larger configuration is refused unread.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Where the values of a model come from that is to train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitialValues {
    /// A model folder, or a safetensors file.
    Stored(PathBuf),
    /// They are drawn.
    Drawn {
        /// What they depend on beside their names.
        seed: u32,
    },
}

/// How a parameter lies in its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As a vector.
    Vector,
    /// As the matrix that it is.
    Matrix,
    /// As a Conv1D: the matrix transposed.
    Transposed,
}

/// A parameter of a model. A cheap handle: it is the model's own memory.
#[derive(Clone, Debug)]
pub struct ModelParameter {
    /// Name in the checkpoint. Parameters of one name, which follow each other, are rows of one tensor.
    pub name: String,
    /// The values, f32; a vector is one row.
    pub values: Activations,
    /// How they lie in the checkpoint.
    pub layout: Layout,
}

/// What a loader that trains has loaded so far.
pub(super) type Loaded = RefCell<Vec<ModelParameter>>;

impl Model {
    /// A model whose parameters are all f32 on the device, each once, and can be watched: embeddings, norms, biases, and the
    /// weights of linear layers as float [`latent`](super::Linear::latent) ones. `config` is the file of its configuration;
    /// the tokenizer is looked for beside it.
    ///
    /// ```
    /// use bitsmith::{Device, model::{InitialValues, Model}};
    /// let config = "examples/tiny-llama/config.json".as_ref();
    /// let (model, parameters) = Model::trainable(config, InitialValues::Drawn { seed: 1 }, &Device::cpu())?;
    /// assert_eq!(parameters.iter().map(|p| p.values.rows * p.values.cols).sum::<usize>(), 853_120);
    /// assert!(model.linears().all(|linear| linear.latent().is_some()));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::open`], and [`Error::Unsupported`] for a model that is quantized.
    pub fn trainable(config: &Path, values: InitialValues, device: &Device) -> Result<(Self, Vec<ModelParameter>)> {
        let text = read_limited(config, MAX_CONFIG_BYTES)?;
        let (own, value) = ModelConfig::parse(config, &String::from_utf8_lossy(&text))?;
        if value.get("quantization_config").is_some_and(|q| !q.is_null()) {
            let what = format!("{}: training a model that is quantized", config.display());
            return Err(Error::Unsupported { what, remedy: "give the original model".into() });
        }
        let folder = config.parent().unwrap_or(Path::new(""));
        let loader = match values {
            InitialValues::Stored(weights) => Loader::trainable(folder, device, &weights)?,
            InitialValues::Drawn { seed } => {
                let drawn = Drawn::new(device, config, &value, own.num_hidden_layers, seed)?;
                Loader::drawn(folder, device, drawn)
            }
        };
        let decoder = decoder::load(&loader, &own)?;
        let streamed = StreamedModel { config: own, folder: folder.to_path_buf(), loader, decoder };
        let blocks = streamed.load_blocks()?;
        let parameters = streamed.loader.loaded();
        Ok((streamed.with_blocks(blocks), parameters))
    }
}
