//! The header of a GGUF file: settings, then the names, shapes and places of all tensors.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};

use super::MAGIC;
use crate::error::{Error, Result};
use crate::io::StoredDtype;

/// Values in all lists together; the largest vocabularies have some hundred thousand tokens.
const MAX_VALUES: u64 = 1 << 22;
/// Bytes of the shortest setting: length of a name, type, value.
const LEAST_SETTING: u64 = 8 + 4 + 1;
/// Bytes of the shortest description of a tensor: length of a name, number of axes, type, place.
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;
/// Axes of a tensor.
const MAX_AXES: u32 = 4;
/// The setting with the multiple that tensors begin at.
pub const ALIGNMENT_KEY: &str = "general.alignment";
/// That multiple where no setting tells.
pub const ALIGNMENT: u64 = 32;

/// The element types that are read, by their number in the file.
pub const TYPES: [(u32, StoredDtype); 9] = [
    (0, StoredDtype::F32),
    (1, StoredDtype::F16),
    (2, StoredDtype::Q4_0),
    (3, StoredDtype::Q4_1),
    (8, StoredDtype::Q8_0),
    (10, StoredDtype::Q2_K),
    (30, StoredDtype::Bf16),
    (34, StoredDtype::TQ1_0),
    (35, StoredDtype::TQ2_0),
];
/// The names of other types, for messages.
const OTHERS: [(u32, &str); 13] = [
    (6, "Q5_0"),
    (7, "Q5_1"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (20, "IQ4_NL"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (26, "I32"),
    (28, "F64"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

/// A tensor as the header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Name, unique in the file.
    pub name: String,
    /// Element type.
    pub dtype: StoredDtype,
    /// Extent of each axis, the one whose elements are neighbours last.
    pub shape: Vec<usize>,
    /// Position of the data, counted from the start of the file.
    pub range: Range<usize>,
}

/// A checked header: the data of its tensors lies within the file and does not overlap.
///
/// ```
/// use bitsmith::io::GgufHeader;
/// let mut file = b"GGUF\x03\0\0\0".to_vec();
/// file.extend([0; 16]);
/// assert!(GgufHeader::parse("model.gguf".as_ref(), &file)?.tensors.is_empty());
/// assert!(GgufHeader::parse("model.gguf".as_ref(), &file[..20]).is_err());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GgufHeader {
    /// Settings by name.
    pub settings: Map<String, Value>,
    /// The tensors, by position in the file.
    pub tensors: Vec<GgufTensor>,
}

impl GgufHeader {
    /// Reads and checks the header of a file; `path` serves the messages only.
    ///
    /// # Errors
    /// [`Error::Format`] that names the setting or the tensor: a file that is cut off, a number of settings, tensors or list
    /// entries that no file of this size holds, a name that occurs twice, an unusable shape or alignment, a place that is
    /// not aligned, outside the file or in another tensor. [`Error::Unsupported`] for another version and for element
    /// types that are not read.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut file = Bytes { path, all: bytes, at: 0, values: 0 };
        if file.take(MAGIC.len(), "magic")? != MAGIC {
            return Err(file.wrong("does not begin as a GGUF file does"));
        }
        let version = file.u32("version")?;
        if !matches!(version, 2 | 3) {
            let what = match version.swap_bytes() {
                2 | 3 => format!("{}: a GGUF file of big-endian numbers", path.display()),
                _ => format!("{}: version {version} of GGUF", path.display()),
            };
            let remedy = "little-endian files of versions 2 and 3 are read; convert it".to_owned();
            return Err(Error::Unsupported { what, remedy });
        }
        let tensors = file.count("number of tensors", LEAST_TENSOR)?;
        let settings = file.count("number of settings", LEAST_SETTING)?;
        let settings = file.settings(settings)?;
        let alignment = match settings.get(ALIGNMENT_KEY) {
            None => ALIGNMENT,
            Some(value) => value
                .as_u64()
                .filter(|n| n.is_power_of_two() && *n <= 1 << 20)
                .ok_or_else(|| file.wrong(&format!("`{ALIGNMENT_KEY}` is {value}; it must be a power of two")))?,
        };
        let described: Vec<Described> = (0..tensors).map(|_| file.tensor()).collect::<Result<_>>()?;
        let data = (file.at as u64).next_multiple_of(alignment);
        let mut seen = HashSet::new();
        let mut tensors = Vec::with_capacity(described.len());
        for tensor in described {
            if !seen.insert(tensor.name.clone()) {
                return Err(file.wrong(&format!("tensor `{}` occurs twice", tensor.name)));
            }
            let Described { name, dtype, shape, offset } = tensor;
            let wrong = |detail: String| file.wrong(&format!("tensor `{name}`: {detail}"));
            let Some(size) = dtype.bytes(&shape) else {
                let unit = dtype
                    .block()
                    .map_or(String::new(), |block| format!("; rows must be multiples of {}", block.weights()));
                return Err(wrong(format!("{dtype} of shape {shape:?} is no possible size{unit}")));
            };
            if !offset.is_multiple_of(alignment) {
                return Err(wrong(format!("its data begins at {offset}, which is no multiple of {alignment}")));
            }
            let end = data.checked_add(offset).and_then(|start| start.checked_add(size as u64));
            let place = end.filter(|end| *end <= bytes.len() as u64).and_then(|end| usize::try_from(end).ok());
            let Some(end) = place else {
                return Err(wrong(format!(
                    "{size} bytes from {offset} on reach beyond the file of {}: it is cut off",
                    bytes.len()
                )));
            };
            tensors.push(GgufTensor { name, dtype, shape, range: end - size..end });
        }
        tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
        for pair in tensors.windows(2) {
            if pair[1].range.start < pair[0].range.end {
                let (a, b) = (&pair[0].name, &pair[1].name);
                return Err(file.wrong(&format!("tensor `{b}`: its data overlaps that of `{a}`")));
            }
        }
        Ok(Self { settings, tensors })
    }

    /// A setting that is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.settings.get(key).and_then(Value::as_str)
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

struct Described {
    name: String,
    dtype: StoredDtype,
    shape: Vec<usize>,
    offset: u64,
}

/// What is left to read.
struct Bytes<'a> {
    path: &'a Path,
    all: &'a [u8],
    at: usize,
    /// List entries so far.
    values: u64,
}

impl<'a> Bytes<'a> {
    fn wrong(&self, detail: &str) -> Error {
        Error::format(self.path, detail)
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(length).and_then(|end| self.all.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            let left = self.all.len() - self.at;
            self.wrong(&format!("{what}: {length} bytes wanted, {left} left: the file is cut off"))
        })?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of things that take at least so many bytes each.
    fn count(&mut self, what: &str, least: u64) -> Result<u64> {
        let count = self.u64(what)?;
        let left = (self.all.len() - self.at) as u64;
        if count > left / least {
            return Err(self.wrong(&format!("{what}: {count}, which {left} bytes cannot hold")));
        }
        Ok(count)
    }

    fn text(&mut self, what: &str) -> Result<&'a str> {
        let length = self.count(what, 1)?;
        let length = usize::try_from(length).map_err(|_| self.wrong(&format!("{what} is too long")))?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes)
            .map_err(|e| self.wrong(&format!("{what} is no UTF-8 text at byte {}", e.valid_up_to())))
    }

    fn settings(&mut self, count: u64) -> Result<Map<String, Value>> {
        let mut settings = Map::new();
        for index in 0..count {
            let key = self.text(&format!("name of setting {index}"))?;
            let kind = self.u32(key)?;
            let value = self.value(key, kind)?;
            if settings.insert(key.to_owned(), value).is_some() {
                return Err(self.wrong(&format!("setting `{key}` occurs twice")));
            }
        }
        Ok(settings)
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array(key)?).into(),
            1 => i8::from_le_bytes(self.array(key)?).into(),
            2 => u16::from_le_bytes(self.array(key)?).into(),
            3 => i16::from_le_bytes(self.array(key)?).into(),
            4 => self.u32(key)?.into(),
            5 => i32::from_le_bytes(self.array(key)?).into(),
            6 => f64::from(f32::from_le_bytes(self.array(key)?)).into(),
            7 => match self.array::<1>(key)? {
                [flag @ (0 | 1)] => (flag == 1).into(),
                [other] => return Err(self.wrong(&format!("`{key}` is {other}; a truth value is 0 or 1"))),
            },
            8 => self.text(&format!("`{key}`"))?.into(),
            9 => self.list(key)?,
            10 => self.u64(key)?.into(),
            11 => i64::from_le_bytes(self.array(key)?).into(),
            12 => f64::from_le_bytes(self.array(key)?).into(),
            other => return Err(self.wrong(&format!("`{key}` has the unknown type {other}"))),
        })
    }

    fn list(&mut self, key: &str) -> Result<Value> {
        let kind = self.u32(key)?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => return Err(self.wrong(&format!("`{key}` is a list of type {other}, which no list has"))),
        };
        let count = self.count(&format!("length of `{key}`"), least)?;
        self.values += count;
        if self.values > MAX_VALUES {
            return Err(self.wrong(&format!("`{key}`: more than {MAX_VALUES} list entries in all")));
        }
        (0..count).map(|_| self.value(key, kind)).collect::<Result<Vec<_>>>().map(Value::Array)
    }

    fn tensor(&mut self) -> Result<Described> {
        let name = self.text("name of a tensor")?;
        let axes = self.u32(name)?;
        if !(1..=MAX_AXES).contains(&axes) {
            return Err(self.wrong(&format!("tensor `{name}` has {axes} axes; 1 to {MAX_AXES} are possible")));
        }
        let mut shape = Vec::new();
        for _ in 0..axes {
            let extent = self.u64(name)?;
            let Some(extent) =
                usize::try_from(extent).ok().filter(|n| (1..=i64::MAX.unsigned_abs()).contains(&(*n as u64)))
            else {
                return Err(self.wrong(&format!("tensor `{name}` has an axis of {extent}")));
            };
            shape.push(extent);
        }
        shape.reverse();
        let kind = self.u32(name)?;
        let offset = self.u64(name)?;
        let Some((_, dtype)) = TYPES.iter().find(|(number, _)| *number == kind) else {
            let known = TYPES.map(|(_, dtype)| dtype.name()).join(", ");
            let other = OTHERS.iter().find(|(number, _)| *number == kind);
            let found = other.map_or_else(|| format!("of the unknown type {kind}"), |(_, name)| (*name).to_owned());
            return Err(Error::Unsupported {
                what: format!("{}: tensor `{name}`, which is {found},", self.path.display()),
                remedy: format!("tensors of these types are read: {known}"),
            });
        };
        Ok(Described { name: name.to_owned(), dtype: *dtype, shape, offset })
    }
}
