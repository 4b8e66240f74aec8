//! The weight files of a model, read instead of mapped: a file that is cut off or vanishes while a long piece of work
//! reads it is an error then. Behind a mapping it would end the program.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::checksum::{Checksum, Digest};
use crate::error::{Error, Result};

/// What a weight file is known by. Reading it whole to compare would take as long as the work itself, so a change is
/// told by size, time of modification and header; a change of data that keeps all three goes unnoticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// File name.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Nanoseconds since 1970; none where the system does not tell.
    pub modified: Option<u64>,
    /// Checksum of its header.
    pub header: Digest,
}

/// The weight files of a [`Checkpoint`], as they were when this was made.
#[derive(Debug)]
pub struct Source {
    files: Vec<(PathBuf, SourceFile)>,
    /// Where each tensor lies.
    tensors: HashMap<String, (usize, Range<usize>)>,
    open: Option<(usize, File)>,
}

impl Source {
    /// Notes the state of all files.
    ///
    /// # Errors
    /// [`Error::Io`] if one cannot be looked at.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let mut files = Vec::new();
        for (path, header) in checkpoint.headers() {
            let (bytes, modified) = state(&std::fs::metadata(path).map_err(|e| Error::io(path, e))?);
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((path.to_path_buf(), SourceFile { name, bytes, modified, header: Checksum::of(header) }));
        }
        let tensors = checkpoint.places().map(|(file, info)| (info.name.clone(), (file, info.range.clone()))).collect();
        Ok(Self { files, tensors, open: None })
    }

    /// The same files, for another reader.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { files: self.files.clone(), tensors: self.tensors.clone(), open: None }
    }

    /// What the files are known by, in their order.
    pub fn files(&self) -> Vec<SourceFile> {
        self.files.iter().map(|(_, file)| file.clone()).collect()
    }

    /// Fails unless every file is still there and as it was.
    ///
    /// # Errors
    /// [`Error::Io`] that names the file.
    pub fn check(&self) -> Result<()> {
        for (path, file) in &self.files {
            unchanged(path, file, &std::fs::metadata(path).map_err(|e| Error::io(path, e))?)?;
        }
        Ok(())
    }

    /// Reads a tensor into `bytes`, in place of what is there: memory that is used again costs no page faults.
    ///
    /// # Errors
    /// [`Error::Io`] if its file vanished, was changed or cannot be read.
    pub fn read(&mut self, name: &str, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.clear();
        let (part, left) = self.seek(name)?;
        bytes.reserve_exact(left);
        part.fill(left, bytes).map(|_| ())
    }

    /// The bytes of a tensor in pieces of at most `size`.
    ///
    /// # Errors
    /// As [`Self::read`], and those of `take`.
    pub fn pieces(&mut self, name: &str, size: usize, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (mut part, mut left) = self.seek(name)?;
        let mut piece = Vec::with_capacity(left.min(size));
        while left > 0 {
            piece.clear();
            part = part.fill(left.min(size), &mut piece)?;
            left -= piece.len();
            take(&piece)?;
        }
        Ok(())
    }

    /// The file of a tensor, at its first byte, and the length of the tensor.
    fn seek(&mut self, name: &str) -> Result<(Part<'_>, usize)> {
        let Some((index, range)) = self.tensors.get(name).cloned() else {
            return Err(Error::format(name, "there is no such tensor"));
        };
        let (path, known) = &self.files[index];
        let fail = |e| Error::io(path, e);
        let (_, file) = match self.open.take_if(|(open, _)| *open == index) {
            Some(open) => self.open.insert(open),
            None => self.open.insert((index, File::open(path).map_err(fail)?)),
        };
        file.seek(SeekFrom::Start(range.start as u64)).map_err(fail)?;
        Ok((Part { path, known, file }, range.len()))
    }
}

/// An open file and how it was.
struct Part<'a> {
    path: &'a Path,
    known: &'a SourceFile,
    file: &'a File,
}

impl Part<'_> {
    /// Appends the next `length` bytes.
    fn fill(self, length: usize, bytes: &mut Vec<u8>) -> Result<Self> {
        let fail = |e| Error::io(self.path, e);
        let mut file = self.file;
        let read = file.by_ref().take(length as u64).read_to_end(bytes).map_err(fail)?;
        unchanged(self.path, self.known, &file.metadata().map_err(fail)?)?;
        if read < length { Err(fail(std::io::ErrorKind::UnexpectedEof.into())) } else { Ok(self) }
    }
}

fn state(metadata: &Metadata) -> (u64, Option<u64>) {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (metadata.len(), since.and_then(|since| u64::try_from(since.as_nanos()).ok()))
}

fn unchanged(path: &Path, known: &SourceFile, metadata: &Metadata) -> Result<()> {
    if state(metadata) == (known.bytes, known.modified) {
        return Ok(());
    }
    Err(Error::io(path, std::io::Error::other("the file was changed while it was in use; restore it or start again")))
}
