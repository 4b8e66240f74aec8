//! A quantized matrix before packing: one byte per code, easy to check and to convert.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::scheme::{Groups, Scheme};

/// The codes, scales and zero points of a `[rows, cols]` matrix. No memory layout: that is
/// [`crate::pack::Packing`].
///
/// ```
/// use bitsmith::QuantizedTensor;
/// let q = QuantizedTensor::new("w4g16s-f32".parse()?, 1, 3, vec![8, 9, 0], vec![0.5], None)?;
/// assert_eq!(q.dequantize(), [0.0, 0.5, -4.0]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTensor {
    scheme: Scheme,
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Option<Vec<u8>>,
}

impl QuantizedTensor {
    /// Checks the parts against each other: lengths, code and zero-point range, finite scales that their
    /// storage type can hold, zero points present exactly when the scheme stores them.
    pub fn new(
        scheme: Scheme,
        rows: usize,
        cols: usize,
        codes: Vec<u8>,
        scales: Vec<f32>,
        zeros: Option<Vec<u8>>,
    ) -> Result<Self> {
        let shape = |expected: String, found: String| Err(Error::Shape { op: "quantized tensor", expected, found });
        let groups = scheme.groups(rows, cols).count();
        if codes.len() != rows * cols {
            return shape(format!("{rows} x {cols} codes"), codes.len().to_string());
        }
        if scales.len() != groups {
            return shape(format!("{groups} scales"), scales.len().to_string());
        }
        if zeros.as_ref().map(Vec::len) != (!scheme.is_symmetric()).then_some(groups) {
            return shape(
                format!("zero points as {scheme} has them, {groups} groups"),
                format!("{:?}", zeros.map(|z| z.len())),
            );
        }
        let (min, max) = (scheme.bits().min_code(), scheme.bits().max_code());
        if let Some(code) = codes.iter().chain(zeros.iter().flatten()).find(|c| !(min..=max).contains(*c)) {
            return shape(format!("codes and zero points from {min} to {max}"), code.to_string());
        }
        if let Some(scale) = scales.iter().find(|s| !s.is_finite() || scheme.scale_type().round(**s) != **s) {
            return shape(format!("finite {} scales", scheme.scale_type()), scale.to_string());
        }
        Ok(Self { scheme, rows, cols, codes, scales, zeros })
    }

    /// What the codes mean.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The groups that share a scale.
    pub fn groups(&self) -> Groups {
        self.scheme.groups(self.rows, self.cols)
    }

    /// Codes, row-major, one a byte.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// -1, 0 and 1, row-major, if there are three levels.
    ///
    /// ```
    /// use bitsmith::QuantizedTensor;
    /// let q = QuantizedTensor::new("w1.58ts".parse()?, 1, 3, vec![3, 1, 2], vec![0.5], None)?;
    /// assert_eq!((q.trits(), q.dequantize()), (Some(vec![1, -1, 0]), vec![0.5, -0.5, 0.0]));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    pub fn trits(&self) -> Option<Vec<i8>> {
        let bits = self.scheme.bits();
        let trit = |code: &u8| code.cast_signed() - bits.middle().cast_signed();
        bits.is_ternary().then(|| self.codes.iter().map(trit).collect())
    }

    /// One scale a group.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// One zero point a group, if the scheme stores them.
    pub fn zeros(&self) -> Option<&[u8]> {
        self.zeros.as_deref()
    }

    /// `(code - zero_point) * scale` in f32, row-major: the reference for every format and kernel.
    pub fn dequantize(&self) -> Vec<f32> {
        let (groups, middle) = (self.groups(), self.scheme.bits().middle());
        let mut out = vec![0.0; self.codes.len()];
        if out.is_empty() {
            return out;
        }
        out.par_chunks_mut(self.cols).enumerate().for_each(|(row, out)| {
            for (col, value) in out.iter_mut().enumerate() {
                let group = groups.index(row, col);
                let zero = self.zeros.as_ref().map_or(middle, |z| z[group]);
                let steps = i16::from(self.codes[row * self.cols + col]) - i16::from(zero);
                *value = f32::from(steps) * self.scales[group];
            }
        });
        out
    }

    /// Bits a weight takes, scales and zero points counted.
    pub fn bits_per_weight(&self) -> f64 {
        self.scheme.bytes(self.rows, self.cols) as f64 * 8.0 / (self.rows * self.cols) as f64
    }
}
