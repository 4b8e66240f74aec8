//! One JSON object per line.

use std::fmt;
use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result};

/// A longer line is no row of a dataset of texts.
const MAX_LINE_BYTES: u64 = 256 << 20;
/// Fields that an error names.
const NAMED: usize = 8;
/// What some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The texts of a file, line by line.
pub(super) struct JsonLines {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    field: String,
    /// Lines that were read.
    line: usize,
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

impl JsonLines {
    /// Of a stream; `path` serves the messages only.
    pub(super) fn new(path: &Path, input: impl BufRead + Send + 'static, field: &str) -> Self {
        Self { path: path.to_path_buf(), input: Box::new(input), field: field.to_owned(), line: 0 }
    }

    /// The text of the next row; none at the end. A row whose text is `null` is empty.
    pub(super) fn next(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut self.input).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line);
            if read.map_err(|e| Error::io(&self.path, e))? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if line.len() as u64 > MAX_LINE_BYTES {
                return Err(self.error(format!("is longer than {MAX_LINE_BYTES} bytes; one object per line is read")));
            }
            let mut row = line.trim_ascii();
            if self.line == 1 {
                row = row.strip_prefix(BYTE_ORDER_MARK).unwrap_or(row);
            }
            if !row.is_empty() {
                return self.row(row).map(Some);
            }
        }
    }

    fn row(&self, row: &[u8]) -> Result<String> {
        if row.starts_with(b"[") {
            return Err(self.error("begins a list; write one object per line, as `jq -c '.[]'` does".to_owned()));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(row);
        let found = Row(&self.field).deserialize(&mut deserializer);
        let found = found.and_then(|found| deserializer.end().map(|()| found));
        found.map_err(|error| self.error(format!("is no row of a dataset: {error}")))
    }

    fn error(&self, detail: String) -> Error {
        Error::format(&self.path, format!("line {} {detail}", self.line))
    }
}

/// Takes a string out of an object and looks at nothing else.
struct Row<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<String, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<String, A::Error> {
        let (mut text, mut others) = (None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if key != self.0 {
                map.next_value::<IgnoredAny>()?;
                if others.len() < NAMED {
                    others.push(key);
                }
            } else if text.is_some() {
                return Err(A::Error::custom(format!("`{key}` occurs twice")));
            } else {
                let value: Option<String> =
                    map.next_value().map_err(|e| A::Error::custom(format!("field `{key}` is no text: {e}")))?;
                text = Some(value.unwrap_or_default());
            }
        }
        text.ok_or_else(|| {
            let there = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
            A::Error::custom(format!("it has no field `{}`; its fields: {there}", self.0))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(content: &str) -> Result<Vec<String>> {
        let mut rows = JsonLines::new("rows.jsonl".as_ref(), Cursor::new(content.to_owned()), "text");
        std::iter::from_fn(|| rows.next().transpose()).collect()
    }

    #[test]
    fn rows_are_objects_with_a_text() {
        let content = "\u{feff}{\"id\": 1, \"text\": \"a\\nb\", \"meta\": {\"text\": 2}}\r\n\n  {\"text\": null}\n{\"text\": \"\u{e9}\"}";
        assert_eq!(read(content).expect("four rows"), ["a\nb", "", "\u{e9}"]);
        assert_eq!(read("").expect("no rows"), [""; 0]);
    }

    #[test]
    fn damage_is_named_by_its_line_and_field() {
        for (content, words) in [
            ("{\"text\": \"a\"}\n{\"text\": 5}", &["rows.jsonl", "line 2", "`text` is no text"][..]),
            ("{\"body\": \"a\", \"id\": 1}", &["line 1", "no field `text`", "body, id"]),
            ("{}", &["no field `text`", "none"]),
            ("[\n", &["line 1", "begins a list", "jq"]),
            ("{\"text\": \"a\"", &["line 1", "EOF"]),
            ("{\"text\": \"a\"} {}", &["line 1", "trailing"]),
            ("\"a\"", &["line 1", "a JSON object"]),
            ("{\"text\": \"a\", \"text\": \"b\"}", &["`text` occurs twice"]),
            ("{\"text\": \"\\ud800\"}", &["line 1"]),
        ] {
            let error = read(content).expect_err(content).to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        let bytes: &[u8] = b"{\"text\": \"\xff\"}";
        assert!(JsonLines::new("x".as_ref(), bytes, "text").next().is_err());
    }
}
