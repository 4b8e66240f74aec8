//! The header of a safetensors file: eight bytes of length, then JSON, then the data.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::json::Members;
use super::stored::StoredDtype;
use crate::error::{Error, Result};

/// Bytes of the length field before the JSON.
pub const LENGTH_BYTES: usize = 8;
/// The largest header that readers of the format accept.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The key that holds free text about the file, not a tensor.
pub const METADATA_KEY: &str = "__metadata__";

/// Where a tensor lies in its file and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in the checkpoint.
    pub name: String,
    /// Element type.
    pub dtype: StoredDtype,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Position of the data, counted from the start of the file.
    pub range: Range<usize>,
}

impl TensorInfo {
    /// Bytes of the data.
    pub fn bytes(&self) -> usize {
        self.range.len()
    }

    /// As [`super::Checkpoint::plain`] gives it.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self { dtype: self.dtype.plain(), ..self.clone() }
    }
}

/// A checked header: the data of its tensors fills the rest of the file with no gap and no overlap.
#[derive(Clone, Debug)]
pub struct Header {
    /// The tensors, by position in the file.
    pub tensors: Vec<TensorInfo>,
}

/// A tensor as the header describes it.
#[derive(Deserialize)]
struct Stored {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Header {
    /// Reads and checks the header of a file of `file_len` bytes. `bytes` is the file, or as much of its
    /// beginning as holds the header; `path` serves the messages only.
    ///
    /// # Errors
    /// [`Error::Format`] that names the tensor: a length beyond the file or over 100 MB, text that is not the JSON
    /// of the format, a name that occurs twice, an unknown element type, a size that does not follow from type
    /// and shape, positions out of order, overlapping, with gaps or outside the file.
    pub fn parse(path: &Path, bytes: &[u8], file_len: u64) -> Result<Self> {
        let fail = |detail: String| Err(Error::format(path, detail));
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return fail(format!("{} bytes are too few for a safetensors file", bytes.len()));
        };
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER_BYTES {
            return fail(format!("header of {length} bytes; {MAX_HEADER_BYTES} are allowed: not a safetensors file?"));
        }
        let available = file_len.saturating_sub(LENGTH_BYTES as u64);
        let json = usize::try_from(length).ok().filter(|_| length <= available).and_then(|n| rest.get(..n));
        let Some(json) = json else {
            return fail(format!("header of {length} bytes in a file of {file_len}: the file is cut off"));
        };
        let members: Members<Members<Value>> =
            serde_json::from_slice(json).map_err(|e| Error::format(path, format!("header: {e}")))?;

        let data_start = LENGTH_BYTES as u64 + length;
        let mut tensors = Vec::with_capacity(members.0.len());
        for (name, fields) in members.0 {
            if name == METADATA_KEY {
                match fields.0.into_iter().find(|(_, value)| !value.is_string()) {
                    Some((key, _)) => return fail(format!("`{METADATA_KEY}`: `{key}` is not a string")),
                    None => continue,
                }
            }
            let stored = serde_json::from_value(Value::Object(fields.0.into_iter().collect()));
            let info = stored
                .map_err(|e| e.to_string())
                .and_then(|stored| check(&name, stored, data_start, file_len))
                .map_err(|detail| Error::format(path, format!("tensor `{name}`: {detail}")))?;
            tensors.push(info);
        }
        tensors.sort_by(|a, b| (a.range.start, a.range.end, &a.name).cmp(&(b.range.start, b.range.end, &b.name)));
        let mut end = usize::try_from(data_start).unwrap_or(usize::MAX);
        for tensor in &tensors {
            let (name, start) = (&tensor.name, tensor.range.start);
            if start < end {
                return fail(format!("tensor `{name}`: its data overlaps the tensor before it by {}", end - start));
            }
            if start > end {
                return fail(format!("tensor `{name}`: {} bytes before its data belong to no tensor", start - end));
            }
            end = tensor.range.end;
        }
        if end as u64 != file_len {
            return fail(format!("{} bytes after the last tensor belong to no tensor", file_len - end as u64));
        }
        Ok(Self { tensors })
    }
}

/// One tensor of the header, or what is wrong with it.
fn check(name: &str, stored: Stored, data_start: u64, file_len: u64) -> std::result::Result<TensorInfo, String> {
    let Stored { dtype, shape, data_offsets: [begin, end] } = stored;
    let single = |dtype: &StoredDtype| dtype.block().is_none();
    let Some(dtype) = StoredDtype::from_name(&dtype).filter(single) else {
        let known: Vec<_> = StoredDtype::all().filter(single).map(StoredDtype::name).collect();
        return Err(format!("`dtype` {dtype:?} is unknown; known are {}", known.join(", ")));
    };
    let extents: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    let Some((shape, bytes)) = extents.and_then(|s| dtype.bytes(&s).map(|n| (s, n))) else {
        return Err(format!("{dtype} of `shape` {shape:?} is no possible size"));
    };
    if begin > end {
        return Err(format!("`data_offsets` [{begin}, {end}] run backwards"));
    }
    if end > file_len - data_start {
        let data = file_len - data_start;
        return Err(format!("`data_offsets` [{begin}, {end}] reach beyond the {data} bytes of data in the file"));
    }
    if end - begin != bytes as u64 {
        return Err(format!("{dtype} of `shape` {shape:?} takes {bytes} bytes, `data_offsets` span {}", end - begin));
    }
    let at = |offset: u64| usize::try_from(data_start + offset).map_err(|_| "the file is too large to map".to_string());
    Ok(TensorInfo { name: name.to_string(), dtype, shape, range: at(begin)?..at(end)? })
}
