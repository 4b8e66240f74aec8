//! The weights of a model folder, mapped from one file or many.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use super::gguf::{self, GGUF_FILE, GgufHeader, Place, gguf_of};
use super::header::{Header, TensorInfo};
use super::index::{INDEX_FILE, Index, SINGLE_FILE};
use super::map::Map;
use super::stored::StoredDtype;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A stored tensor of any element type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawTensor<'a> {
    /// Element type.
    pub dtype: StoredDtype,
    /// Extent of each axis.
    pub shape: &'a [usize],
    /// Little-endian elements, row-major; no alignment is promised.
    pub bytes: &'a [u8],
}

/// All tensors of a model. Opening reads the headers only; a tensor is read from disk when it is looked at.
///
/// ```no_run
/// use bitsmith::io::Checkpoint;
/// let checkpoint = Checkpoint::open("path/to/model".as_ref())?;
/// for name in checkpoint.names() {
///     let tensor = checkpoint.tensor(name)?;
///     println!("{name} {:?}", tensor.shape());
///     checkpoint.release(name);
/// }
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    files: Vec<Map>,
    /// File and description of each tensor, by file name and then by position.
    tensors: Vec<(usize, TensorInfo)>,
    by_name: HashMap<String, usize>,
    /// Where tensors lie otherwise than in safetensors files, in the order of `tensors`; nothing for those.
    places: Vec<Place>,
}

impl Checkpoint {
    /// Opens a model folder (`model.safetensors`, or `model.safetensors.index.json` and its shards, or `model.gguf`), one
    /// safetensors or GGUF file, or an index file. The tensors of a GGUF file have the names of the model's family.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::Format`] if one is malformed or if index and shards do not
    /// list the same tensors.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(file) = gguf_of(path) {
            return Self::open_gguf(&file);
        }
        if path.is_dir() {
            let (single, index) = (path.join(SINGLE_FILE), path.join(INDEX_FILE));
            if single.exists() {
                return Self::open_single(&single);
            }
            if index.exists() {
                return Self::open_sharded(path, &index);
            }
            let detail = format!(
                "no weights here: neither {SINGLE_FILE} nor {INDEX_FILE} nor {GGUF_FILE}; weights in other formats must be \
                 converted to safetensors"
            );
            return Err(Error::format(path, detail));
        }
        match path.parent() {
            Some(folder) if path.extension().is_some_and(|e| e == "json") => Self::open_sharded(folder, path),
            _ => Self::open_single(path),
        }
    }

    fn empty() -> Self {
        Self { files: Vec::new(), tensors: Vec::new(), by_name: HashMap::new(), places: Vec::new() }
    }

    fn open_single(path: &Path) -> Result<Self> {
        let mut checkpoint = Self::empty();
        checkpoint.add(path)?;
        Ok(checkpoint)
    }

    fn open_gguf(path: &Path) -> Result<Self> {
        let mut checkpoint = Self::empty();
        let map = Map::open(path)?;
        let header = GgufHeader::parse(path, map.bytes())?;
        for (info, place) in gguf::tensors(path, &header) {
            if checkpoint.by_name.insert(info.name.clone(), checkpoint.tensors.len()).is_some() {
                return Err(Error::format(path, format!("tensor `{}` is there under two names", info.name)));
            }
            checkpoint.tensors.push((0, info));
            checkpoint.places.push(place);
        }
        checkpoint.files.push(map);
        Ok(checkpoint)
    }

    fn open_sharded(folder: &Path, index_path: &Path) -> Result<Self> {
        let index = Index::read(index_path)?;
        let mut checkpoint = Self::empty();
        for file in index.files() {
            let path = folder.join(file);
            if !path.exists() {
                return Err(Error::format(index_path, format!("shard {file} is missing from the folder")));
            }
            checkpoint.add(&path)?;
        }
        let listed: HashMap<&str, &str> = index.weight_map.iter().map(|(t, f)| (t.as_str(), f.as_str())).collect();
        for (tensor, file) in &index.weight_map {
            if checkpoint.path_of(tensor) != Some(&folder.join(file)) {
                return Err(Error::format(index_path, format!("tensor `{tensor}` is not in its shard {file}")));
            }
        }
        for name in checkpoint.names() {
            if !listed.contains_key(name) {
                let shard = checkpoint.path_of(name).unwrap_or(folder);
                let detail = format!("tensor `{name}` is not in the index {}", index_path.display());
                return Err(Error::format(shard, detail));
            }
        }
        Ok(checkpoint)
    }

    /// Maps one more file and lists its tensors.
    fn add(&mut self, path: &Path) -> Result<()> {
        let map = Map::open(path)?;
        let header = Header::parse(path, map.bytes(), map.bytes().len() as u64)?;
        for info in header.tensors {
            if let Some(other) = self.path_of(&info.name) {
                return Err(Error::format(path, format!("tensor `{}` is also in {}", info.name, other.display())));
            }
            self.by_name.insert(info.name.clone(), self.tensors.len());
            self.tensors.push((self.files.len(), info));
        }
        self.files.push(map);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<(&Map, &TensorInfo)> {
        let (file, info) = &self.tensors[*self.by_name.get(name)?];
        Some((self.files.get(*file)?, info))
    }

    /// The names of all tensors, in the order of files and of positions in them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(_, info)| info.name.as_str())
    }

    /// The descriptions of all tensors, in the order of [`Self::names`].
    pub fn infos(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter().map(|(_, info)| info)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The description of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|index| &self.tensors[*index].1)
    }

    /// The file that holds a tensor.
    pub fn path_of(&self, name: &str) -> Option<&Path> {
        let index = self.by_name.get(name)?;
        self.files.get(self.tensors[*index].0).map(Map::path)
    }

    /// The files, in the order of their names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(Map::path)
    }

    /// Each file and its bytes before the data.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        let starts =
            |file: usize| self.tensors.iter().filter(move |(f, _)| *f == file).map(|(_, info)| info.range.start);
        self.files.iter().enumerate().map(move |(file, map)| {
            let end = starts(file).min().unwrap_or(map.bytes().len());
            (map.path(), &map.bytes()[..end])
        })
    }

    /// The number of its file and the description of each tensor.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, &TensorInfo)> {
        self.tensors.iter().map(|(file, info)| (*file, info))
    }

    /// Bytes of all tensors.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.iter().map(|(_, info)| info.bytes() as u64).sum()
    }

    /// A tensor of any element type, as the file holds it.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no tensor of this name.
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>> {
        let Some((map, info)) = self.find(name) else {
            return Err(self.missing(name));
        };
        // The header was checked against the length of this very map.
        let bytes = &map.bytes()[info.range.clone()];
        let place = self.place(name);
        Ok(RawTensor { dtype: info.dtype, shape: place.map_or(&info.shape, |place| &place.shape), bytes })
    }

    fn place(&self, name: &str) -> Option<&Place> {
        self.places.get(*self.by_name.get(name)?)
    }

    /// A floating-point tensor, borrowed from the file; blocks of a GGUF file are decoded.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no tensor of this name, or if its elements are not f32, f16 or bf16.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        let raw = self.raw(name)?;
        let Some(dtype) = raw.dtype.plain().dtype() else {
            let path = self.path_of(name).unwrap_or(Path::new(""));
            let detail = format!("tensor `{name}` holds {}; F32, F16 or BF16 is needed here", raw.dtype);
            return Err(Error::format(path, detail));
        };
        let shape = self.info(name).map_or(raw.shape, |info| &info.shape);
        Tensor::new(dtype, shape.to_vec(), self.plain(name)?)
    }

    /// The bytes of a tensor as a safetensors file would hold them.
    ///
    /// # Errors
    /// As [`Self::raw`].
    pub fn plain(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let raw = self.raw(name)?;
        match self.place(name).zip(self.info(name)) {
            Some((place, info)) => place.plain(info, raw.bytes),
            None => Ok(raw.bytes.into()),
        }
    }

    /// Lets the system take back the memory that holds this tensor; looking at it again reads the file again.
    /// Called after each tensor, it keeps the resident part of a large model near one tensor (on Linux; elsewhere
    /// the system decides by itself).
    pub fn release(&self, name: &str) {
        if let Some((map, info)) = self.find(name) {
            map.release(info.range.clone());
        }
    }

    fn missing(&self, name: &str) -> Error {
        let path = match self.files.as_slice() {
            [single] => single.path(),
            files => files.first().and_then(|f| f.path().parent()).unwrap_or(Path::new("")),
        };
        Error::format(path, format!("there is no tensor `{name}`"))
    }
}
