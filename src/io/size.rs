//! Sizes as people type them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A number of bytes, typed as `5GB`, `500MB` or `2GiB`.
///
/// ```
/// use bitsmith::io::ByteSize;
/// assert_eq!("2GB".parse::<ByteSize>()?, ByteSize(2_000_000_000));
/// assert_eq!(ByteSize(2 << 30).to_string(), "2GiB");
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Units, longest name first.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_lowercase();
        let unit = UNITS.iter().find_map(|(name, size)| Some((lower.strip_suffix(&name.to_lowercase())?, *size)));
        let (number, unit) = unit.unwrap_or((&lower, 1));
        let number = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        number
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| Error::config("size", format!("`{text}` is no size; write for example 5GB, 500MB or 2GiB")))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().filter(|(_, size)| self.0.is_multiple_of(*size)).max_by_key(|(_, size)| *size);
        let (name, size) = exact.copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes) in
            [("5GB", 5_000_000_000), ("2 gib", 2 << 30), ("500mb", 500_000_000), ("17", 17), ("17B", 17)]
        {
            assert_eq!(text.parse::<ByteSize>().expect(text), ByteSize(bytes));
        }
        for text in ["", "GB", "0", "-1MB", "1.5GB", "5 apples", "99999999999GB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(5_000_000_000).to_string(), "5GB");
    }
}
