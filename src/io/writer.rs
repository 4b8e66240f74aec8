//! Writing a safetensors file in one pass.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::header::{LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY};
use super::stored::StoredDtype;
use crate::error::{Error, Result};

/// The data of a file begins at a multiple of this.
const ALIGNMENT: usize = 8;

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

/// A file whose tensors are known beforehand and whose data is given in their order, in pieces of any size.
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
    file: BufWriter<File>,
    /// Name and bytes of each tensor.
    tensors: Vec<(String, u64)>,
    current: usize,
    /// Bytes of the current tensor that are written.
    written: u64,
}

impl SafetensorsWriter {
    /// Creates the file, which must not exist, and writes its header.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Shape`] or [`Error::Config`] for a list of tensors that no file can hold.
    pub fn create(path: &Path, tensors: &[TensorSpec]) -> Result<Self> {
        let header = header(tensors)?;
        let sizes = tensors.iter().map(|t| Ok((t.name.clone(), t.bytes()?))).collect::<Result<_>>()?;
        let file = File::create_new(path).map_err(|e| Error::io(path, e))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&header).map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), file, tensors: sizes, current: 0, written: 0 })
    }

    /// Adds the next bytes of tensor `name`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Shape`] if another tensor is due or if this one has fewer bytes left.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.skip_full();
        let wrong = |expected: String| {
            Err(Error::Shape { op: "write", expected, found: format!("{} bytes of `{name}`", bytes.len()) })
        };
        let Some((due, size)) = self.tensors.get(self.current) else {
            return wrong("no more tensors".into());
        };
        // An empty tensor takes no bytes, so it may be given or left out.
        if bytes.is_empty() {
            return Ok(());
        }
        let left = size - self.written;
        if due != name || bytes.len() as u64 > left {
            return wrong(format!("at most {left} bytes of `{due}`"));
        }
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Moves on from tensors that are complete.
    fn skip_full(&mut self) {
        while self.tensors.get(self.current).is_some_and(|(_, size)| *size == self.written) {
            self.current += 1;
            self.written = 0;
        }
    }

    /// Whether every byte of every tensor is written.
    pub fn is_complete(&self) -> bool {
        self.tensors.iter().skip(self.current).map(|(_, size)| size).sum::<u64>() == self.written
    }

    /// Writes what is buffered and waits until the disk has it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Shape`] if a tensor is not complete.
    pub fn finish(mut self) -> Result<()> {
        self.skip_full();
        if let Some((due, size)) = self.tensors.get(self.current) {
            return Err(Error::Shape {
                op: "finish",
                expected: format!("{size} bytes of `{due}`"),
                found: format!("{} bytes", self.written),
            });
        }
        self.file.flush().map_err(|e| Error::io(&self.path, e))?;
        self.file.get_ref().sync_all().map_err(|e| Error::io(&self.path, e))
    }
}

/// Length field and JSON, padded with spaces to [`ALIGNMENT`].
fn header(tensors: &[TensorSpec]) -> Result<Vec<u8>> {
    let mut seen = HashSet::new();
    let mut members = Map::new();
    members.insert(METADATA_KEY.into(), json!({"format": "pt"}));
    let mut end = 0u64;
    for tensor in tensors {
        if tensor.name == METADATA_KEY || !seen.insert(&tensor.name) {
            return Err(Error::config("tensor name", format!("`{}` is reserved or given twice", tensor.name)));
        }
        let begin = end;
        end = begin.checked_add(tensor.bytes()?).ok_or_else(|| Error::Limit {
            what: "safetensors file".into(),
            wanted: u64::MAX,
            allowed: i64::MAX as u64,
        })?;
        let member = json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [begin, end]});
        members.insert(tensor.name.clone(), member);
    }
    let mut json = Value::Object(members).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(ALIGNMENT), b' ');
    let length = json.len() as u64;
    if length > MAX_HEADER_BYTES {
        return Err(Error::Limit { what: "safetensors header".into(), wanted: length, allowed: MAX_HEADER_BYTES });
    }
    let mut header = Vec::with_capacity(LENGTH_BYTES + json.len());
    header.extend(length.to_le_bytes());
    header.extend(json);
    Ok(header)
}
