//! A column of strings in a parquet file, a row group at a time, a page at a time.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::{Compression, LogicalType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::file::serialized_reader::SerializedPageReader;
use bytes::Bytes;

use super::footer;
use crate::error::{Error, Result};

/// Rows that are read at once.
const BATCH: usize = 64;
/// The footer tells of every column in every row group.
const MAX_FOOTER_BYTES: u64 = 8 << 20;
/// Pages have a megabyte, or one text if that is longer.
const MAX_PAGE_BYTES: u64 = 256 << 20;
/// No header of a page has its size further in.
const PAGE_HEADER_START: u64 = 32;
/// The length of the footer and what marks the end of a file.
const TAIL: u64 = 8;
/// Columns that an error names.
const NAMED: usize = 8;

/// The texts of a file, row by row.
pub(super) struct ParquetRows {
    path: PathBuf,
    field: String,
    input: Arc<Input>,
    metadata: ParquetMetaData,
    /// Index of the column.
    column: usize,
    /// The row group to be opened next, and what is left of the one before.
    next_group: usize,
    group: Option<Group>,
    batch: std::vec::IntoIter<Option<ByteArray>>,
    /// Rows that were given out.
    row: u64,
}

/// A row group that is being read.
struct Group {
    reader: ColumnReaderImpl<ByteArrayType>,
    /// Rows still to come.
    rows: usize,
}

impl ParquetRows {
    /// The column `field` of a file.
    pub(super) fn open(path: &Path, field: &str) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        if !file.metadata().map_err(|e| Error::io(path, e))?.is_file() {
            return Err(Error::format(path, "is not a regular file"));
        }
        Self::new(path, Input::File(file), field)
    }

    /// As [`Self::open`], of the content of a file; `path` serves the messages only.
    pub(super) fn parse(path: &Path, bytes: Vec<u8>, field: &str) -> Result<Self> {
        Self::new(path, Input::Bytes(bytes.into()), field)
    }

    fn new(path: &Path, input: Input, field: &str) -> Result<Self> {
        let footer = read_footer(path, &input)?;
        let metadata = guarded(path, || ParquetMetaDataReader::decode_metadata(&footer))?;
        let column = find(path, &metadata, field)?;
        Ok(Self {
            path: path.to_path_buf(),
            field: field.to_owned(),
            input: Arc::new(input),
            metadata,
            column,
            next_group: 0,
            group: None,
            batch: Vec::new().into_iter(),
            row: 0,
        })
    }

    /// The text of the next row; none at the end. A row without one is empty.
    pub(super) fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(value) = self.batch.next() {
                self.row += 1;
                return self.text(value).map(Some);
            }
            match &mut self.group {
                Some(group) if group.rows > 0 => {
                    let (max_level, rows) =
                        (self.metadata.file_metadata().schema_descr().column(self.column).max_def_level(), group.rows);
                    let batch = guarded(&self.path, || group.read(max_level));
                    let batch = batch.map_err(|e| self.after(&e))?;
                    if batch.is_empty() {
                        let detail = format!("row group {} ends {rows} rows early", self.next_group - 1);
                        return Err(Error::format(&self.path, detail));
                    }
                    self.batch = batch.into_iter();
                }
                _ if self.next_group < self.metadata.num_row_groups() => self.group = Some(self.open_group()?),
                _ => return Ok(None),
            }
        }
    }

    fn text(&self, value: Option<ByteArray>) -> Result<String> {
        let Some(value) = value else { return Ok(String::new()) };
        value.as_utf8().map(str::to_owned).map_err(|_| {
            Error::format(&self.path, format!("row {}: column `{}` is not UTF-8 text", self.row, self.field))
        })
    }

    /// Names the last row that was good.
    fn after(&self, error: &Error) -> Error {
        let Error::Format { detail, .. } = error else { return Error::format(&self.path, error.to_string()) };
        Error::format(&self.path, format!("column `{}` after row {}: {detail}", self.field, self.row))
    }

    fn open_group(&mut self) -> Result<Group> {
        let (number, group) = (self.next_group, self.metadata.row_group(self.next_group));
        self.next_group += 1;
        let wrong = |what: &str| Error::format(&self.path, format!("row group {number}: {what}"));
        let rows = usize::try_from(group.num_rows()).map_err(|_| wrong("it has a negative number of rows"))?;
        let chunk = group.column(self.column);
        if !matches!(chunk.compression(), Compression::UNCOMPRESSED | Compression::SNAPPY) {
            let codec = format!("{:?}", chunk.compression()).to_lowercase();
            let codec = codec.split('(').next().unwrap_or_default();
            return Err(Error::Unsupported {
                what: format!("{}: a column compressed with {codec}", self.path.display()),
                remedy: "write the file again with snappy or without compression".to_owned(),
            });
        }
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let end = start.checked_add(chunk.compressed_size()).and_then(|end| u64::try_from(end).ok());
        if start < 0 || chunk.compressed_size() < 0 || end.is_none_or(|end| end > self.input.len()) {
            return Err(wrong(&format!("column `{}` does not lie within the file", self.field)));
        }
        let reader = guarded(&self.path, || {
            let pages = SerializedPageReader::new(self.input.clone(), chunk, rows, None)?;
            Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(pages)))
        });
        match reader.map_err(|e| self.after(&e))? {
            ColumnReader::ByteArrayColumnReader(reader) => Ok(Group { reader, rows }),
            _ => Err(wrong(&format!("column `{}` holds no strings", self.field))),
        }
    }
}

impl Group {
    /// The next rows, of which `None` has no value.
    fn read(&mut self, max_level: i16) -> std::result::Result<Vec<Option<ByteArray>>, ParquetError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (rows, ..) = self.reader.read_records(BATCH.min(self.rows), Some(&mut levels), None, &mut values)?;
        self.rows -= rows;
        if max_level == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| if level == max_level { values.next() } else { None }).collect())
    }
}

/// The footer, its length and its schema checked.
fn read_footer(path: &Path, input: &Input) -> Result<Bytes> {
    let wrong = |what: &str| Error::format(path, format!("is no parquet file: {what}"));
    let length = input.len();
    let Some(end) = length.checked_sub(TAIL) else { return Err(wrong("it is too short")) };
    let cut = |_: ParquetError| wrong("it is cut off");
    let tail = input.get_bytes(end, 8).map_err(cut)?;
    if &tail[4..] != b"PAR1" {
        return Err(wrong("it does not end in PAR1; it may be cut off, or encrypted"));
    }
    let footer_bytes: u64 = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]).into();
    if footer_bytes > MAX_FOOTER_BYTES {
        return Err(Error::Limit {
            what: format!("footer of {}", path.display()),
            wanted: footer_bytes,
            allowed: MAX_FOOTER_BYTES,
        });
    }
    let start = end.checked_sub(footer_bytes).ok_or_else(|| wrong("its footer is longer than the file"))?;
    let bytes = input.get_bytes(start, usize::try_from(footer_bytes).unwrap_or(0)).map_err(cut)?;
    footer::check(&bytes).map_err(wrong)?;
    Ok(bytes)
}

/// The index of the column of this name, which holds strings, one a row.
fn find(path: &Path, metadata: &ParquetMetaData, field: &str) -> Result<usize> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let Some(column) = columns.iter().position(|column| column.path().string() == field) else {
        let mut names = columns.iter().take(NAMED).map(|column| column.path().string()).collect::<Vec<_>>().join(", ");
        if columns.len() > NAMED {
            names += ", …";
        }
        return Err(Error::format(path, format!("there is no column `{field}`; its columns: {names}")));
    };
    let found = &columns[column];
    let of_text = found.physical_type() == Type::BYTE_ARRAY
        && matches!(found.logical_type_ref(), None | Some(LogicalType::String | LogicalType::Json | LogicalType::Enum));
    if !of_text || found.max_rep_level() > 0 {
        return Err(Error::format(path, format!("column `{field}` holds no strings, one a row")));
    }
    Ok(column)
}

/// Runs a function of the parquet crate. It has asserts that a damaged file can reach; a panic becomes an error like
/// any other: what it was at work on is not used again.
fn guarded<T>(path: &Path, call: impl FnOnce() -> std::result::Result<T, ParquetError>) -> Result<T> {
    let told = |what: &dyn Display| Error::format(path, format!("parquet: {what}"));
    match std::panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| told(&error)),
        Err(_) => Err(told(&"its parts do not fit together")),
    }
}

/// The bytes of a file, of which no page is larger than one may be.
enum Input {
    File(File),
    Bytes(Bytes),
}

impl Length for Input {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => Length::len(file),
            Self::Bytes(bytes) => Length::len(bytes),
        }
    }
}

impl Input {
    fn read(&self, start: u64) -> std::result::Result<Box<dyn std::io::Read>, ParquetError> {
        Ok(match self {
            Self::File(file) => Box::new(file.get_read(start)?),
            Self::Bytes(bytes) => Box::new(bytes.get_read(start)?),
        })
    }
}

impl ChunkReader for Input {
    type T = Box<dyn std::io::Read>;

    /// The footer is read by other means, so that a header of a page begins here.
    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        let mut header = Vec::new();
        self.read(start)?.take(PAGE_HEADER_START).read_to_end(&mut header)?;
        match footer::unpacked_size(&header) {
            Some(size) if size <= MAX_PAGE_BYTES => self.read(start),
            Some(size) => Err(ParquetError::General(format!("a page of {size} bytes; {MAX_PAGE_BYTES} are the most"))),
            None => Err(ParquetError::General("damaged header of a page".to_owned())),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(ParquetError::EOF(format!("bytes from {start} lie outside of the file")));
        }
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Bytes(bytes) => bytes.get_bytes(start, length),
        }
    }
}

impl std::fmt::Debug for ParquetRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetRows").field("path", &self.path).field("row", &self.row).finish_non_exhaustive()
    }
}
