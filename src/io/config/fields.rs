//! Checked access to the fields of a settings file: every error names the file, the field, the value and the remedy.

use std::path::Path;

use serde_json::Value;

use crate::activation::Activation;
use crate::error::{Error, Result};

/// No size of a model comes near this; it keeps products of sizes inside 64 bits.
pub const MAX_SIZE: u64 = (1 << 31) - 1;

/// Characters of a value that a message repeats.
const MAX_SHOWN: usize = 100;

/// A JSON object and where it stands. A field that is `null` counts as absent, as it does for the programs that
/// write these files.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    path: &'a Path,
    /// What stands before the field name in messages: empty, or `rope_scaling.`.
    prefix: &'a str,
    object: &'a Value,
}

impl<'a> Fields<'a> {
    /// The fields of the whole file.
    pub fn new(path: &'a Path, object: &'a Value) -> Self {
        Self { path, prefix: "", object }
    }

    /// The fields of the object in `field`, if it is there. `prefix` is the field name with a dot.
    pub fn object(&self, field: &str, prefix: &'a str) -> Result<Option<Self>> {
        match self.get(field) {
            None => Ok(None),
            Some(object @ Value::Object(_)) => Ok(Some(Self { prefix, object, ..*self })),
            Some(other) => Err(self.bad(field, other, "must be an object or null")),
        }
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.object.as_object().is_none_or(serde_json::Map::is_empty)
    }

    /// The value of a field that is there and not null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|v| !v.is_null())
    }

    /// Whether the field is there and null.
    pub fn is_null(&self, field: &str) -> bool {
        self.object.get(field).is_some_and(Value::is_null)
    }

    /// The error that `value` of `field` is unusable; `remedy` begins with "must".
    pub fn bad(&self, field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
        let mut value = value.to_string();
        if let Some((end, _)) = value.char_indices().nth(MAX_SHOWN) {
            value.truncate(end);
            value.push('…');
        }
        Error::format(self.path, format!("`{}{field}` is {value}; it {remedy}", self.prefix))
    }

    fn or_missing<T>(&self, field: &str, value: Option<T>) -> Result<T> {
        value
            .ok_or_else(|| Error::format(self.path, format!("`{}{field}` is missing; the model needs it", self.prefix)))
    }

    /// A size from 1 to [`MAX_SIZE`], if it is there.
    pub fn optional_size(&self, field: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_u64().filter(|n| (1..=MAX_SIZE).contains(n)).and_then(|n| usize::try_from(n).ok()) {
            Some(size) => Ok(Some(size)),
            None => Err(self.bad(field, value, &format!("must be a whole number from 1 to {MAX_SIZE}"))),
        }
    }

    /// A size from 1 to [`MAX_SIZE`].
    pub fn size(&self, field: &str) -> Result<usize> {
        let size = self.optional_size(field)?;
        self.or_missing(field, size)
    }

    /// A finite positive number, if it is there.
    pub fn optional_positive(&self, field: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_f64().filter(|x| *x > 0.0 && x.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.bad(field, value, "must be a positive finite number")),
        }
    }

    /// A finite positive number.
    pub fn positive(&self, field: &str) -> Result<f64> {
        let number = self.optional_positive(field)?;
        self.or_missing(field, number)
    }

    /// `true` or `false`, if it is there.
    pub fn optional_bool(&self, field: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.bad(field, value, "must be true or false"))
    }

    /// A string, if it is there.
    pub fn optional_string(&self, field: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.bad(field, value, "must be a string"))
    }

    /// A string.
    pub fn string(&self, field: &str) -> Result<&'a str> {
        let string = self.optional_string(field)?;
        self.or_missing(field, string)
    }

    /// An activation function by its name, or by the name that stands for an absent field.
    pub fn activation(&self, field: &str, default: &str) -> Result<Activation> {
        let name = self.optional_string(field)?.unwrap_or(default);
        name.parse().map_err(|error: Error| self.bad(field, name, &format!("cannot be run ({error})")))
    }

    /// Token ids below `vocab_size`: a number, a list of numbers, or none.
    pub fn token_ids(&self, field: &str, vocab_size: usize) -> Result<Vec<u32>> {
        let values = match self.get(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let id = |v: &Value| v.as_u64().filter(|id| *id < vocab_size as u64).and_then(|id| u32::try_from(id).ok());
        values
            .iter()
            .map(|v| id(v).ok_or_else(|| self.bad(field, v, &format!("must be a token id below {vocab_size}"))))
            .collect()
    }
}
