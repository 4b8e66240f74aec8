//! Tensors read back from a checkpoint that is not complete yet.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Error as SystemError, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use super::checksum::{Checksum, Digest};
use crate::error::{Error, Result};

/// The places of all tensors of a [`super::CheckpointWriter`], for a reader beside it. Files are read, not mapped: the
/// writer goes on with them.
///
/// ```
/// use bitsmith::io::{CheckpointWriter, Checksum, ShardPlan, StoredDtype, TensorSpec};
/// # let folder = tempfile::tempdir().unwrap();
/// let plan = ShardPlan::new(vec![TensorSpec::new("a", StoredDtype::U8, [3])], 100)?;
/// let mut writer = CheckpointWriter::create(folder.path(), plan)?;
/// writer.write("a", &[1, 2, 3])?;
/// let written = writer.written();
/// assert_eq!(written.read("a", Checksum::of(&[1, 2, 3]))?, [1, 2, 3]);
/// assert!(written.read("a", Checksum::of(&[1, 2, 4])).is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Written {
    places: HashMap<String, (PathBuf, Range<u64>)>,
}

impl Written {
    pub(super) fn new(places: HashMap<String, (PathBuf, Range<u64>)>) -> Self {
        Self { places }
    }

    /// The bytes of a tensor that was written with this checksum.
    ///
    /// # Errors
    /// [`Error::Io`] if its file cannot be read or holds something else; [`Error::Shape`] if there is no such tensor.
    pub fn read(&self, name: &str, checksum: Digest) -> Result<Vec<u8>> {
        let Some((path, part)) = self.places.get(name) else {
            let (expected, found) = ("a tensor of the checkpoint".into(), format!("`{name}`"));
            return Err(Error::Shape { op: "read", expected, found });
        };
        let fail = |e| Error::io(path, e);
        let mut file = File::open(path).map_err(fail)?;
        file.seek(SeekFrom::Start(part.start)).map_err(fail)?;
        let mut bytes = Vec::new();
        file.take(part.end - part.start).read_to_end(&mut bytes).map_err(fail)?;
        if Checksum::of(&bytes) == checksum {
            return Ok(bytes);
        }
        let detail = format!("{name} is not as it was saved; check the disk, then repeat the command with --resume");
        Err(fail(SystemError::new(ErrorKind::InvalidData, detail)))
    }
}
