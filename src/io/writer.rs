//! Writing a file of tensors whose size is known before its content.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::checksum::{Digest, digest_of};
use super::layout::FileLayout;
use super::stored::StoredDtype;
use super::unsynced::Unsynced;
use crate::error::{Error, Result};

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name, unique in the checkpoint.
    pub name: String,
    /// Element type.
    pub dtype: StoredDtype,
    /// Extent of each axis.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor of this name, type and shape.
    pub fn new(name: impl Into<String>, dtype: impl Into<StoredDtype>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype: dtype.into(), shape: shape.into() }
    }

    /// Bytes of the data.
    ///
    /// # Errors
    /// [`Error::Shape`] if type and shape give no whole number of bytes.
    pub fn bytes(&self) -> Result<u64> {
        self.dtype.bytes(&self.shape).map(|n| n as u64).ok_or_else(|| Error::Shape {
            op: "stored tensor",
            expected: "a whole number of bytes".into(),
            found: format!("`{}`, {} of shape {:?}", self.name, self.dtype, self.shape),
        })
    }
}

/// A file whose tensors are known beforehand and written in any order, each in pieces of any size: a safetensors file, or
/// one of another [`FileLayout`].
///
/// ```
/// use bitsmith::io::{SafetensorsWriter, StoredDtype, TensorSpec};
/// let path = std::env::temp_dir().join(format!("bitsmith-doc-{}.safetensors", std::process::id()));
/// let mut writer = SafetensorsWriter::create(&path, &[TensorSpec::new("a", StoredDtype::U8, [3])])?;
/// writer.write("a", &[1, 2])?;
/// writer.write("a", &[3])?;
/// writer.finish()?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct SafetensorsWriter {
    path: PathBuf,
    /// None while it is closed.
    file: Option<File>,
    /// Where the next write goes unless it seeks another place.
    at: u64,
    /// Bytes of the whole file.
    end: u64,
    tensors: Vec<Written>,
    by_name: HashMap<String, usize>,
}

/// A place that no tensor has.
const UNKNOWN: u64 = u64::MAX;

/// A tensor and how much of it is written.
#[derive(Debug)]
struct Written {
    name: String,
    start: u64,
    bytes: u64,
    written: u64,
}

impl SafetensorsWriter {
    /// Creates the file, which must not exist, and writes its header.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Shape`] or [`Error::Config`] for a list of tensors that no file can hold.
    pub fn create(path: &Path, tensors: &[TensorSpec]) -> Result<Self> {
        Self::create_as(path, &FileLayout::safetensors("", tensors)?)
    }

    /// As [`Self::create`], with another layout; the name in it does not count.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_as(path: &Path, layout: &FileLayout) -> Result<Self> {
        Self::start(path, layout, OpenOptions::new().write(true).create_new(true))
    }

    /// Goes on with a file that an earlier writer of the same tensors left, or creates it. No tensor of it counts as
    /// written until [`Self::count`] says so.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn resume(path: &Path, tensors: &[TensorSpec]) -> Result<Self> {
        Self::resume_as(path, &FileLayout::safetensors("", tensors)?)
    }

    /// As [`Self::resume`], with another layout.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn resume_as(path: &Path, layout: &FileLayout) -> Result<Self> {
        let mut writer = Self::start(path, layout, OpenOptions::new().write(true).create(true).truncate(false))?;
        let end = writer.end;
        let file = writer.file()?;
        // A file that is too long was not made by such a writer.
        let cut = file.metadata().and_then(|now| if now.len() > end { file.set_len(end) } else { Ok(()) });
        cut.map_err(|e| Error::io(path, e))?;
        Ok(writer)
    }

    fn start(path: &Path, layout: &FileLayout, options: &OpenOptions) -> Result<Self> {
        let place = |place: &super::layout::Place| Written {
            name: place.name.clone(),
            start: place.start,
            bytes: place.bytes,
            written: 0,
        };
        let tensors: Vec<Written> = layout.tensors.iter().map(place).collect();
        let by_name = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect();
        let mut file = options.open(path).map_err(|e| Error::io(path, e))?;
        file.write_all(&layout.head).map_err(|e| Error::io(path, e))?;
        let (path, at, end) = (path.to_path_buf(), layout.head.len() as u64, layout.bytes);
        Ok(Self { path, file: Some(file), at, end, tensors, by_name })
    }

    fn file(&mut self) -> Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(&self.path).map_err(|e| Error::io(&self.path, e))?,
        };
        Ok(self.file.insert(file))
    }

    /// Adds the next bytes of tensor `name`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Shape`] if there is no such tensor or if it has fewer bytes left.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let wrong = |expected: String| {
            Err(Error::Shape { op: "write", expected, found: format!("{} bytes of `{name}`", bytes.len()) })
        };
        let Some(index) = self.by_name.get(name).copied() else {
            return wrong(format!("a tensor of {}", self.path.display()));
        };
        let Written { start, bytes: size, written, .. } = self.tensors[index];
        if bytes.len() as u64 > size - written {
            return wrong(format!("at most {} bytes of `{name}`", size - written));
        }
        let (from, at) = (start + written, self.at);
        let file = self.file()?;
        let sought = if from == at { Ok(from) } else { file.seek(SeekFrom::Start(from)) };
        let done = sought.and_then(|_| file.write_all(bytes));
        if let Err(error) = done {
            self.at = UNKNOWN;
            return Err(Error::io(&self.path, error));
        }
        self.at = from + bytes.len() as u64;
        self.tensors[index].written += bytes.len() as u64;
        Ok(())
    }

    /// Whether the file holds bytes of this checksum in the place of a tensor.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn holds(&self, name: &str, checksum: Digest) -> Result<bool> {
        let Some(place) = self.by_name.get(name).map(|index| &self.tensors[*index]) else { return Ok(false) };
        Ok(digest_of(&self.path, place.start..place.start + place.bytes)? == Some(checksum))
    }

    /// Where a tensor lies in the file.
    pub(super) fn place(&self, name: &str) -> Option<(&Path, Range<u64>)> {
        let place = &self.tensors[*self.by_name.get(name)?];
        Some((&self.path, place.start..place.start + place.bytes))
    }

    /// Counts a tensor as written, since the file [`holds`](Self::holds) it.
    pub fn count(&mut self, name: &str) {
        if let Some(index) = self.by_name.get(name) {
            self.tensors[*index].written = self.tensors[*index].bytes;
        }
    }

    /// Whether every byte of every tensor is written.
    pub fn is_complete(&self) -> bool {
        self.tensors.iter().all(|tensor| tensor.written == tensor.bytes)
    }

    /// The file, to wait for the disk; none while it is closed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unsynced(&self) -> Result<Option<Unsynced>> {
        self.file.as_ref().map(|file| Unsynced::new(&self.path, file)).transpose()
    }

    /// Waits until the disk has what is written; the file is closed until the next write.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn close(&mut self) -> Result<()> {
        self.at = UNKNOWN;
        self.file.take().map_or(Ok(()), |file| file.sync_data()).map_err(|e| Error::io(&self.path, e))
    }

    /// Waits until the disk has the whole file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Shape`] if a tensor is not complete.
    pub fn finish(mut self) -> Result<()> {
        if let Some(due) = self.tensors.iter().find(|tensor| tensor.written < tensor.bytes) {
            return Err(Error::Shape {
                op: "finish",
                expected: format!("{} bytes of `{}`", due.bytes, due.name),
                found: format!("{} bytes", due.written),
            });
        }
        let end = self.end;
        // What pads the file behind its last tensor is nobody's to write.
        if self.tensors.last().is_some_and(|last| last.start + last.bytes < end) {
            let file = self.file()?;
            let padded = file.set_len(end);
            padded.map_err(|e| Error::io(&self.path, e))?;
        }
        self.close()
    }
}
