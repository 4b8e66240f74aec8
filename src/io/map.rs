//! A file as a slice of memory. The only file of this room with unsafe code.
#![allow(unsafe_code, reason = "mapping a file has no safe form; the reasons stand at each block")]

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A regular file, mapped read-only.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    map: Mmap,
}

impl Map {
    /// Maps the whole file at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !metadata.is_file() {
            return Err(Error::format(path, "is not a regular file"));
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: the mapping is private and never written through. Another process that changes the file while
        // it is mapped would change the bytes behind the slice; no check in this process can prevent that, so
        // the files of a model must stay as they are while it is in use, as with every reader that maps them.
        // All that is read from the slice are numbers of which every bit pattern is valid.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), map })
    }

    /// The file that is mapped.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Lets the kernel take back the memory of `range`; the next access reads the file again. A hint: where the
    /// system has nothing of the kind, nothing happens.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if range.start < range.end && range.end <= self.map.len() {
            // SAFETY: for a file mapping that was never written, Linux defines MADV_DONTNEED as dropping the
            // pages and filling them from the same file again, so slices that are still borrowed keep their
            // bytes. Neighbours that share a page with the range are treated the same way.
            let advised = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
            if let Err(error) = advised {
                tracing::debug!(path = %self.path.display(), %error, "the kernel kept the pages");
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }
}
