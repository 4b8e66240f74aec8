//! A model of which one block at a time is on the device.

use std::path::{Path, PathBuf};

use super::decoder::{self, Block, Decoder, Past};
use super::linear::Linear;
use super::loader::Loader;
use super::{Cache, Model, check_ids};
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::io::ModelConfig;
use crate::op::{ActivationPrecision, Activations};

/// The ends of a model on a device, and its blocks on demand: what it takes to walk through a model of any size.
///
/// ```
/// use bitsmith::{Device, Recorder, model::StreamedModel};
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let mut cache = model.cache(1, 16)?;
/// let mut rec = Recorder::new(model.device());
/// let mut x = model.embed(&mut rec, &[1, 50, 60], &cache)?;
/// for index in 0..model.blocks() {
///     x = model.block(index)?.forward(&mut rec, x, &mut cache)?;
/// }
/// let logits = model.logits(&mut rec, x)?;
/// assert_eq!((logits.rows, logits.cols), (3, model.config().vocab_size));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct StreamedModel {
    pub(super) config: ModelConfig,
    pub(super) folder: PathBuf,
    pub(super) loader: Loader,
    pub(super) decoder: Box<dyn Decoder>,
}

impl StreamedModel {
    /// Reads embedding, last norm and head of a model folder onto a device.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        Self::open_with(folder, device, ActivationPrecision::Auto)
    }

    pub(super) fn open_with(folder: &Path, device: &Device, activations: ActivationPrecision) -> Result<Self> {
        let (config, value) = ModelConfig::read(folder)?;
        let loader = Loader::open(folder, device, activations, &value)?;
        let decoder = decoder::load(&loader, &config)?;
        Ok(Self { config, folder: folder.to_path_buf(), loader, decoder })
    }

    /// Loads all blocks.
    pub(super) fn load(self) -> Result<Model> {
        let blocks = self.load_blocks()?;
        Ok(self.with_blocks(blocks))
    }

    pub(super) fn load_blocks(&self) -> Result<Vec<Box<dyn Block>>> {
        (0..self.blocks()).map(|index| self.decoder.block(&self.loader, &self.config, index)).collect()
    }

    pub(super) fn with_blocks(self, blocks: Vec<Box<dyn Block>>) -> Model {
        let Self { config, folder, loader, decoder } = self;
        let (device, activations) = (loader.device().clone(), loader.activations());
        Model { config, folder, device, activations, decoder, blocks, front: None }
    }

    /// What config.json says.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the blocks are loaded.
    pub fn device(&self) -> &Device {
        self.loader.device()
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.config.num_hidden_layers
    }

    /// Module path of a block: what the names of its tensors begin with.
    pub fn block_path(&self, index: usize) -> String {
        self.decoder.path(index)
    }

    /// Reads a block onto the device.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn block(&self, index: usize) -> Result<LoadedBlock> {
        if index >= self.blocks() {
            let expected = format!("one of {} blocks", self.blocks());
            return Err(Error::Shape { op: "model", expected, found: index.to_string() });
        }
        Ok(LoadedBlock { block: self.decoder.block(&self.loader, &self.config, index)? })
    }

    /// Room for the keys and values of one block.
    ///
    /// # Errors
    /// As [`Model::cache`].
    pub fn cache(&self, sequences: usize, capacity: usize) -> Result<Cache> {
        super::cache::checked(self.device(), &self.config, 1, sequences, capacity)
    }

    /// The input of the first block, `[ids, hidden_size]`, for sequences of equal length that start at position 0, one
    /// after the other.
    ///
    /// # Errors
    /// As [`Model::hidden`].
    pub fn embed(&self, rec: &mut Recorder, ids: &[u32], cache: &Cache) -> Result<Activations> {
        check_ids(&self.config, ids)?;
        self.decoder.embed(rec, ids, cache.first_step(ids.len())?)
    }

    /// Logits `[rows, vocab_size]` from the output of the last block.
    ///
    /// # Errors
    /// Those of the device.
    pub fn logits(&self, rec: &mut Recorder, x: Activations) -> Result<Activations> {
        let hidden = self.decoder.finish(rec, x)?;
        self.decoder.head(rec, &hidden)
    }
}

/// A transformer block on a device.
#[derive(Debug)]
pub struct LoadedBlock {
    block: Box<dyn Block>,
}

impl LoadedBlock {
    /// From `[rows, hidden_size]` to the same shape, for whole sequences from position 0 on.
    ///
    /// # Errors
    /// [`Error::Shape`] if the rows do not divide into the cache's sequences or exceed it, and those of the device.
    pub fn forward(&self, rec: &mut Recorder, x: Activations, cache: &mut Cache) -> Result<Activations> {
        let step = cache.first_step(x.rows)?;
        let past = Past { cache: &cache.layers()[0], rope: cache.rope(), step };
        self.block.forward(rec, x, past)
    }

    /// Its linear layers in the order they are used; those of an inner list take the same input.
    pub fn linears(&self) -> Vec<Vec<&Linear>> {
        self.block.linears()
    }

    /// [`Self::linears`], to change their weights or to observe them.
    pub fn linears_mut(&mut self) -> Vec<Vec<&mut Linear>> {
        self.block.linears_mut()
    }

    /// The weights and biases of its norms, f32, under their names within the block. Those of norms that neither scale nor
    /// shift are all 1 and all 0.
    pub fn norms(&self) -> Vec<(String, &Buffer)> {
        self.block.norms()
    }

    /// Number of weights of its linear layers.
    pub fn parameters(&self) -> usize {
        self.linears().into_iter().flatten().map(|linear| linear.shape().iter().product::<usize>()).sum()
    }

    /// Bytes of the weights of its linear layers.
    pub fn bytes(&self) -> u64 {
        self.block.bytes()
    }
}
