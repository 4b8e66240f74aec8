//! What a classifier learns from and is measured on.

use std::ops::Range;

use super::mlp::Normalize;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::Idx;
use crate::op::Activations;

/// Rows of features, each with a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    features: usize,
    values: Vec<f32>,
    labels: Vec<u32>,
}

impl Samples {
    /// `values` is row-major `[labels, features]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two do not fit, or hold nothing.
    pub fn new(features: usize, values: Vec<f32>, labels: Vec<u32>) -> Result<Self> {
        if values.is_empty() || features.checked_mul(labels.len()) != Some(values.len()) {
            let (expected, found) = (format!("{} labels times {features} values", labels.len()), values.len());
            return Err(Error::Shape { op: "samples", expected, found: found.to_string() });
        }
        Ok(Self { features, values, labels })
    }

    /// Images as a network takes them, `[count, ..]` bytes, with as many labels.
    ///
    /// ```
    /// use bitsmith::io::Idx;
    /// use bitsmith::nn::{Normalize, Samples};
    /// let idx = |bytes: &[u8]| Idx::parse("a file".as_ref(), bytes.to_vec());
    /// let images = idx(&[0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 128, 255, 4, 5, 6])?;
    /// let labels = idx(&[0, 0, 8, 1, 0, 0, 0, 2, 7, 1])?;
    /// let samples = Samples::from_idx(&images, &labels, Normalize::default())?;
    /// assert_eq!((samples.features(), samples.labels()), (3, &[7, 1][..]));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if the two do not fit, or hold nothing.
    pub fn from_idx(images: &Idx, labels: &Idx, normalize: Normalize) -> Result<Self> {
        match (images.shape(), labels.shape()) {
            ([count, extents @ ..], [labelled]) if count == labelled && !extents.is_empty() => {
                let classes = labels.bytes().iter().map(|label| u32::from(*label)).collect();
                Self::new(extents.iter().product(), normalize.apply(images.bytes()), classes)
            }
            (images, labels) => {
                let found = format!("{images:?} and {labels:?}");
                Err(Error::Shape { op: "samples", expected: "images and as many labels".into(), found })
            }
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none: there always are some.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Features of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The classes.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Some of the rows; those beyond the last are left out.
    ///
    /// # Errors
    /// [`Error::Shape`] if that leaves none.
    pub fn part(&self, rows: Range<usize>) -> Result<Self> {
        let end = rows.end.min(self.len());
        let rows = rows.start.min(end)..end;
        let values = self.values[rows.start * self.features..rows.end * self.features].to_vec();
        Self::new(self.features, values, self.labels[rows].to_vec())
    }

    /// Uploads rows by their indices, in this order, and gives their classes.
    pub(crate) fn gather(&self, device: &Device, rows: &[usize]) -> Result<(Activations, Vec<u32>)> {
        let row = |row: &usize| &self.values[row * self.features..][..self.features];
        let values: Vec<f32> = rows.iter().flat_map(row).copied().collect();
        let labels = rows.iter().map(|row| self.labels[*row]).collect();
        Ok((Activations::upload(device, rows.len(), self.features, &values)?, labels))
    }
}
