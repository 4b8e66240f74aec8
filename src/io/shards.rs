//! Splitting a checkpoint over files of bounded size.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::checkpoint::SINGLE_FILE;
use super::index::INDEX_FILE;
use super::writer::{SafetensorsWriter, TensorSpec};
use crate::error::{Error, Result};

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its name: `model.safetensors`, or `model-00001-of-00003.safetensors`.
    pub file: String,
    /// Its tensors, in order.
    pub tensors: Vec<TensorSpec>,
}

/// Which tensor goes to which file.
///
/// ```
/// use bitsmith::io::{ShardPlan, StoredDtype, TensorSpec};
/// let tensors = ["a", "b"].map(|name| TensorSpec::new(name, StoredDtype::U8, [6]));
/// let plan = ShardPlan::new(tensors.to_vec(), 10)?;
/// assert_eq!(plan.shards()[1].file, "model-00002-of-00002.safetensors");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    shards: Vec<Shard>,
    total_size: u64,
}

impl ShardPlan {
    /// Fills files with the tensors in the order given, each with at most `shard_size` bytes of data, except that a
    /// larger tensor gets a file of its own.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0; [`Error::Shape`] for a tensor of no possible size.
    pub fn new(tensors: Vec<TensorSpec>, shard_size: u64) -> Result<Self> {
        if shard_size == 0 {
            return Err(Error::config("shard size", "0 bytes; it must be at least 1"));
        }
        let mut parts: Vec<Vec<TensorSpec>> = vec![Vec::new()];
        let (mut filled, mut total_size) = (0u64, 0u64);
        for tensor in tensors {
            let bytes = tensor.bytes()?;
            if filled > 0 && filled.saturating_add(bytes) > shard_size {
                parts.push(Vec::new());
                filled = 0;
            }
            filled = filled.saturating_add(bytes);
            total_size = total_size.saturating_add(bytes);
            if let Some(part) = parts.last_mut() {
                part.push(tensor);
            }
        }
        let count = parts.len();
        let file = |number: usize| match count {
            1 => SINGLE_FILE.to_string(),
            _ => format!("model-{number:05}-of-{count:05}.safetensors"),
        };
        let shards = parts.into_iter().zip(1..).map(|(tensors, number)| Shard { file: file(number), tensors });
        Ok(Self { shards: shards.collect(), total_size })
    }

    /// The files, in order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Bytes of all tensors.
    pub fn total_size(&self) -> u64 {
        self.total_size
    }

    /// The index that a split checkpoint needs; `None` for a single file.
    pub fn index(&self) -> Option<Value> {
        if self.shards.len() == 1 {
            return None;
        }
        let mut weight_map = Map::new();
        for shard in &self.shards {
            for tensor in &shard.tensors {
                weight_map.insert(tensor.name.clone(), Value::String(shard.file.clone()));
            }
        }
        Some(json!({"metadata": {"total_size": self.total_size}, "weight_map": weight_map}))
    }
}

/// Writes the files of a [`ShardPlan`] one after the other; tensors are given in the order of the plan.
#[derive(Debug)]
pub struct CheckpointWriter {
    folder: PathBuf,
    plan: ShardPlan,
    /// The file being written and its position in the plan.
    open: Option<(usize, SafetensorsWriter)>,
}

impl CheckpointWriter {
    /// Starts the checkpoint in `folder`, which must exist and hold none of its files yet.
    ///
    /// # Errors
    /// Those of [`SafetensorsWriter::create`]; [`Error::Config`] if a name is in two shards.
    pub fn create(folder: &Path, plan: ShardPlan) -> Result<Self> {
        let mut seen = std::collections::HashSet::new();
        for tensor in plan.shards.iter().flat_map(|s| &s.tensors) {
            if !seen.insert(&tensor.name) {
                return Err(Error::config("tensor name", format!("`{}` is given twice", tensor.name)));
            }
        }
        let mut writer = Self { folder: folder.to_path_buf(), plan, open: None };
        writer.open_shard(0)?;
        Ok(writer)
    }

    fn open_shard(&mut self, number: usize) -> Result<()> {
        if let Some(shard) = self.plan.shards.get(number) {
            let writer = SafetensorsWriter::create(&self.folder.join(&shard.file), &shard.tensors)?;
            self.open = Some((number, writer));
        }
        Ok(())
    }

    /// Adds the next bytes of tensor `name`.
    ///
    /// # Errors
    /// Those of [`SafetensorsWriter::write`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if let Some((number, writer)) = self.open.take_if(|(_, writer)| writer.is_complete() && !bytes.is_empty()) {
            writer.finish()?;
            self.open_shard(number + 1)?;
        }
        match &mut self.open {
            Some((_, writer)) => writer.write(name, bytes),
            None => Err(Error::Shape {
                op: "write",
                expected: "no more tensors".into(),
                found: format!("{} bytes of `{name}`", bytes.len()),
            }),
        }
    }

    /// Closes the last file and writes the index where one is needed.
    ///
    /// # Errors
    /// Those of [`SafetensorsWriter::finish`], also if whole shards are left.
    pub fn finish(mut self) -> Result<()> {
        while let Some((number, writer)) = self.open.take() {
            writer.finish()?;
            self.open_shard(number + 1)?;
        }
        if let Some(index) = self.plan.index() {
            let path = self.folder.join(INDEX_FILE);
            std::fs::write(&path, format!("{index:#}\n")).map_err(|e| Error::io(&path, e))?;
        }
        Ok(())
    }
}
