//! What JSON files need beyond `serde_json`.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::file::read_limited;
use crate::error::{Error, Result};

/// Settings files are small; this is far above any that exists.
const MAX_SETTINGS_BYTES: u64 = 16 << 20;

/// The JSON object in the settings file `path`.
pub fn read_object(path: &Path) -> Result<Value> {
    parse_object(path, &read_limited(path, MAX_SETTINGS_BYTES)?)
}

/// The JSON object in `bytes`; `path` serves the messages only.
pub fn parse_object(path: &Path, bytes: &[u8]) -> Result<Value> {
    match serde_json::from_slice(bytes) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err(Error::format(path, "is no JSON object")),
        Err(error) => Err(Error::format(path, format!("is not JSON: {error}"))),
    }
}

/// The members of a JSON object in file order; a key that occurs twice is an error, not a silent choice.
#[derive(Debug)]
pub struct Members<V>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Collect<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Collect<V> {
            type Value = Members<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let (mut members, mut seen) = (Vec::new(), HashSet::new());
                while let Some(key) = map.next_key::<String>()? {
                    let value = map.next_value().map_err(|e| A::Error::custom(format!("`{key}`: {e}")))?;
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("`{key}` occurs twice")));
                    }
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect(PhantomData))
    }
}
