//! How a file of tensors looks before any of them is written.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::header::{LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY};
use super::writer::TensorSpec;
use crate::error::{Error, Result};

/// The data of a safetensors file begins at a multiple of this.
const ALIGNMENT: usize = 8;

/// A file to write: what it begins with, and where each tensor will lie. A file without tensors is what it begins with.
///
/// ```
/// use bitsmith::io::{FileLayout, StoredDtype, TensorSpec};
/// let layout = FileLayout::safetensors("model.safetensors", &[TensorSpec::new("a", StoredDtype::U8, [3])])?;
/// assert_eq!(layout.tensors[0].start, layout.head.len() as u64);
/// assert_eq!(layout.bytes, layout.head.len() as u64 + 3);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLayout {
    /// Name in the folder.
    pub file: String,
    /// The first bytes.
    pub head: Vec<u8>,
    /// The tensors in order; what lies between them is zero.
    pub tensors: Vec<Place>,
    /// Bytes of the whole file.
    pub bytes: u64,
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name, unique in the checkpoint.
    pub name: String,
    /// Position of the first byte.
    pub start: u64,
    /// Bytes of the data.
    pub bytes: u64,
}

impl FileLayout {
    /// A file without tensors.
    pub fn whole(file: &str, content: impl Into<Vec<u8>>) -> Self {
        let head = content.into();
        Self { file: file.to_owned(), bytes: head.len() as u64, head, tensors: Vec::new() }
    }

    /// A safetensors file.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Config`] or [`Error::Limit`] for a list of tensors that no file can hold.
    pub fn safetensors(file: &str, tensors: &[TensorSpec]) -> Result<Self> {
        let head = header(tensors)?;
        Self::packed(file, head, tensors, 1)
    }

    /// A file in which the tensors follow the head in their order, each at a multiple of `alignment`, and so does the end
    /// of the file.
    ///
    /// # Errors
    /// As [`Self::safetensors`].
    pub fn packed(file: &str, head: Vec<u8>, tensors: &[TensorSpec], alignment: u64) -> Result<Self> {
        let too_large =
            || Error::Limit { what: "file of tensors".into(), wanted: u64::MAX, allowed: i64::MAX.cast_unsigned() };
        let aligned = |at: u64| at.checked_next_multiple_of(alignment).ok_or_else(too_large);
        let mut at = head.len() as u64;
        let mut places = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let (start, bytes) = (aligned(at)?, tensor.bytes()?);
            places.push(Place { name: tensor.name.clone(), start, bytes });
            at = start.checked_add(bytes).ok_or_else(too_large)?;
        }
        Ok(Self { file: file.to_owned(), head, tensors: places, bytes: aligned(at)? })
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
