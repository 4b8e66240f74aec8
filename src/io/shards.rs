//! Splitting a checkpoint over files of bounded size.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use super::checksum::Digest;
use super::index::{INDEX_FILE, SINGLE_FILE};
use super::layout::FileLayout;
use super::unsynced::Unsynced;
use super::writer::{SafetensorsWriter, TensorSpec};
use super::written::Written;
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

    /// The files of the plan, the index last where there is one.
    ///
    /// # Errors
    /// Those of [`FileLayout::safetensors`].
    pub fn files(&self) -> Result<Vec<FileLayout>> {
        let shards = self.shards.iter().map(|shard| FileLayout::safetensors(&shard.file, &shard.tensors));
        let index = self.index().map(|index| Ok(FileLayout::whole(INDEX_FILE, format!("{index:#}\n"))));
        shards.chain(index).collect()
    }
}

/// Writes the files of a [`ShardPlan`], or of a list of [`FileLayout`]s; tensors may come in any order.
#[derive(Debug)]
pub struct CheckpointWriter {
    /// The files with tensors. Only one is open.
    files: Vec<(String, SafetensorsWriter)>,
    /// Files without tensors, written at the end.
    texts: Vec<(PathBuf, Vec<u8>)>,
    /// Number of the file of each tensor.
    by_name: HashMap<String, usize>,
    current: usize,
}

impl CheckpointWriter {
    /// Starts the checkpoint in `folder`, which must exist and hold none of its files yet.
    ///
    /// # Errors
    /// Those of [`SafetensorsWriter::create`]; [`Error::Config`] if a name is in two shards.
    pub fn create(folder: &Path, plan: ShardPlan) -> Result<Self> {
        Self::create_files(folder, plan.files()?)
    }

    /// As [`Self::create`], for files of any layout; those without tensors are written last.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_files(folder: &Path, files: Vec<FileLayout>) -> Result<Self> {
        Self::start(folder, files, SafetensorsWriter::create_as)
    }

    /// Goes on with what an earlier writer of the same plan left in `folder`. No tensor counts as written until
    /// [`Self::count`] says so.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn resume(folder: &Path, plan: ShardPlan) -> Result<Self> {
        Self::start(folder, plan.files()?, SafetensorsWriter::resume_as)
    }

    fn start(
        folder: &Path,
        layouts: Vec<FileLayout>,
        open: impl Fn(&Path, &FileLayout) -> Result<SafetensorsWriter>,
    ) -> Result<Self> {
        let stays = |file: &str| Path::new(file).components().eq([Component::Normal(file.as_ref())]);
        if let Some(layout) = layouts.iter().find(|layout| !stays(&layout.file)) {
            return Err(Error::config("file name", format!("`{}` would not lie in the folder", layout.file)));
        }
        let (texts, layouts): (Vec<_>, Vec<_>) = layouts.into_iter().partition(|layout| layout.tensors.is_empty());
        let mut by_name = HashMap::new();
        for (number, layout) in layouts.iter().enumerate() {
            for tensor in &layout.tensors {
                if by_name.insert(tensor.name.clone(), number).is_some() {
                    return Err(Error::config("tensor name", format!("`{}` is given twice", tensor.name)));
                }
            }
        }
        let several = layouts.len() > 1;
        let mut files = Vec::with_capacity(layouts.len());
        for layout in layouts {
            let mut writer = open(&folder.join(&layout.file), &layout)?;
            // A thousand small files must not need a thousand handles.
            if several {
                writer.close()?;
            }
            files.push((layout.file, writer));
        }
        let texts = texts.into_iter().map(|layout| (folder.join(layout.file), layout.head)).collect();
        Ok(Self { files, texts, by_name, current: 0 })
    }

    fn shard_of(&self, name: &str) -> Result<usize> {
        self.by_name.get(name).copied().ok_or_else(|| Error::Shape {
            op: "write",
            expected: "a tensor of the plan".into(),
            found: format!("`{name}`"),
        })
    }

    /// Adds the next bytes of tensor `name`.
    ///
    /// # Errors
    /// Those of [`SafetensorsWriter::write`] and [`SafetensorsWriter::close`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let shard = self.shard_of(name)?;
        if shard != self.current {
            self.files[self.current].1.close()?;
            self.current = shard;
        }
        self.files[shard].1.write(name, bytes)
    }

    /// As [`SafetensorsWriter::holds`].
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Shape`] if there is no such tensor.
    pub fn holds(&self, name: &str, checksum: Digest) -> Result<bool> {
        self.files[self.shard_of(name)?].1.holds(name, checksum)
    }

    /// As [`SafetensorsWriter::count`].
    pub fn count(&mut self, name: &str) {
        if let Some(shard) = self.by_name.get(name) {
            self.files[*shard].1.count(name);
        }
    }

    /// The file of a tensor.
    pub fn file_of(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(|shard| self.files[*shard].0.as_str())
    }

    /// What is needed to read tensors back while others are written.
    pub fn written(&self) -> Written {
        let place = |(name, shard): (&String, &usize)| {
            let (path, part) = self.files[*shard].1.place(name)?;
            Some((name.clone(), (path.to_path_buf(), part)))
        };
        Written::new(self.by_name.iter().filter_map(place).collect())
    }

    /// The file that the disk may not have yet, if there is one: a file that is left for another is waited for.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unsynced(&self) -> Result<Option<Unsynced>> {
        self.files.get(self.current).map_or(Ok(None), |(_, writer)| writer.unsynced())
    }

    /// Closes the files and writes those without tensors.
    ///
    /// # Errors
    /// Those of [`SafetensorsWriter::finish`].
    pub fn finish(self) -> Result<()> {
        for (_, writer) in self.files {
            writer.finish()?;
        }
        for (path, content) in self.texts {
            std::fs::write(&path, content).map_err(|e| Error::io(&path, e))?;
        }
        Ok(())
    }
}
