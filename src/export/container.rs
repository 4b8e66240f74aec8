//! What a format makes of a whole model: its files, and what becomes of the tensors that are kept.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use crate::error::Result;
use crate::export::{Importer, TensorSource};
use crate::io::{CONFIG_FILE, FileLayout, ShardPlan, TensorInfo, TensorSpec};

/// A model that is to be written whole.
#[derive(Clone, Copy, Debug)]
pub struct WholeModel<'a> {
    /// Where the original lies.
    pub folder: &'a Path,
    /// What it is called.
    pub name: &'a str,
    /// The config.json to be written, in which the format has described its layers.
    pub config: &'a Value,
    /// Largest weight file in bytes, where there may be several.
    pub shard_size: u64,
}

/// The layers of a folder, and who reads them.
pub type Opened = (Box<dyn Importer>, Box<dyn TensorSource>);

/// The files of one model. All of them are known before any work is done; then the tensors are written one after the other.
///
/// Tensors have the names of the model's family in Hugging Face's files throughout; a format that has other names says so in
/// its files.
pub trait Container {
    /// What becomes of a tensor that is not quantized; none if it is left out.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] for one that the format has no place for.
    fn kept(&self, tensor: &TensorInfo) -> Result<Option<TensorSpec>>;

    /// The bytes of such a tensor, from those of the original, which has this type and shape.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for bytes that are not those of the tensor.
    fn convert<'a>(&self, tensor: &TensorInfo, bytes: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>>;

    /// The files that hold these tensors, in this order, and those that hold none.
    ///
    /// # Errors
    /// For a list of tensors that no file can hold.
    fn files(&self, tensors: &[TensorSpec]) -> Result<Vec<FileLayout>>;

    /// The layers that were written into a folder, and who reads them, where that is no model of this crate's.
    ///
    /// # Errors
    /// Those of reading.
    fn opened(&self, folder: &Path) -> Result<Option<Opened>> {
        let _ = folder;
        Ok(None)
    }

    /// The name under which a reader of this crate finds a tensor.
    fn read_name(&self, tensor: &str) -> String {
        tensor.to_owned()
    }

    /// What a user should know of the files, one a line.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether tokenizer, licence and the like stand beside these files.
    fn companions(&self) -> bool;
}

/// A folder as Hugging Face has them: safetensors files, with config.json and what else is in the original's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    config: Value,
    shard_size: u64,
}

impl Folder {
    /// The folder of a model.
    pub fn new(model: &WholeModel<'_>) -> Self {
        Self { config: model.config.clone(), shard_size: model.shard_size }
    }
}

impl Container for Folder {
    fn kept(&self, tensor: &TensorInfo) -> Result<Option<TensorSpec>> {
        Ok(Some(TensorSpec::new(tensor.name.clone(), tensor.dtype, tensor.shape.clone())))
    }

    fn convert<'a>(&self, _: &TensorInfo, bytes: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>> {
        Ok(bytes)
    }

    fn files(&self, tensors: &[TensorSpec]) -> Result<Vec<FileLayout>> {
        let mut files = ShardPlan::new(tensors.to_vec(), self.shard_size)?.files()?;
        files.push(FileLayout::whole(CONFIG_FILE, format!("{:#}\n", self.config)));
        Ok(files)
    }

    fn companions(&self) -> bool {
        true
    }
}
