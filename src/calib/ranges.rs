//! Ranges that were found, to keep and to use later.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Coding, Histogram, RangeMethod};
use crate::error::{Error, Result};
use crate::io::{read_limited, replace};
use crate::scheme::Scheme;

/// Far above what any model needs.
const MAX_BYTES: u64 = 64 << 20;

/// The range of values of each of some tensors, by name: weights, or what goes into layers.
///
/// ```
/// use bitsmith::calib::{Histogram, MinMax, Ranges};
/// use bitsmith::{Device, Tensor, quant};
/// let scheme: bitsmith::Scheme = "w8ts-f32".parse()?;
/// let ranges = Ranges::find(&MinMax, scheme, [("input", &Histogram::of(&[-1.0, 0.5])?)]);
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("ranges.json");
/// ranges.write(&path)?;
/// let ranges = Ranges::read(&path)?;
///
/// let x = Tensor::from_f32(vec![1, 2], &[0.25, 3.0])?;
/// let range = ranges.get("input").expect("it was found");
/// let q = pollster::block_on(quant::quantize_within(&Device::cpu(), &x, ranges.scheme(), range))?;
/// assert_eq!(q.codes(), [160, 255]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// The method that found them.
    method: String,
    /// What the values become.
    scheme: Scheme,
    ranges: BTreeMap<String, [f32; 2]>,
}

impl Ranges {
    /// Finds the range of each tensor.
    pub fn find<'a>(
        method: &dyn RangeMethod,
        scheme: Scheme,
        tensors: impl IntoIterator<Item = (&'a str, &'a Histogram)>,
    ) -> Self {
        let find = |(name, values): (&str, &Histogram)| (name.to_owned(), method.range(values, Coding::from(scheme)));
        Self { method: method.name().to_owned(), scheme, ranges: tensors.into_iter().map(find).collect() }
    }

    /// Name of the method that found them.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What the values become.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The smallest and the largest value of a tensor that its codes cover.
    pub fn get(&self, name: &str) -> Option<[f32; 2]> {
        self.ranges.get(name).copied()
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, [f32; 2])> {
        self.ranges.iter().map(|(name, range)| (name.as_str(), *range))
    }

    /// Writes them as JSON; an earlier file of that name is replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::format(path, e.to_string()))?;
        replace(path, (text + "\n").as_bytes())
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Format`] for a missing field or an end that cannot be one.
    pub fn read(path: &Path) -> Result<Self> {
        let found: Self =
            serde_json::from_slice(&read_limited(path, MAX_BYTES)?).map_err(|e| Error::format(path, e.to_string()))?;
        let bad = found.iter().find(|(_, [min, max])| !(min.is_finite() && max.is_finite() && min <= max));
        if let Some((name, range)) = bad {
            return Err(Error::format(path, format!("ranges.{name} is {range:?}, which is no range")));
        }
        Ok(found)
    }
}
