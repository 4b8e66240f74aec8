//! A quantized matrix in the layout that kernels read and files hold.

use std::ops::Range;

use super::Packing;
use crate::error::{Error, Result};
use crate::scheme::Scheme;
use crate::tensor::QuantizedTensor;

/// A quantized `[rows, cols]` matrix whose codes are packed by [`Packing::Rows`].
#[derive(Clone, Debug, PartialEq)]
pub struct PackedTensor {
    /// What the codes mean.
    pub scheme: Scheme,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// Packed codes, `[rows, ceil(cols*bits/32)]`.
    pub codes: Vec<u32>,
    /// One scale a group.
    pub scales: Vec<f32>,
    /// One zero point a group, if the scheme stores them.
    pub zeros: Option<Vec<u8>>,
    /// The weight before it was quantized, f16, row-major, where it is kept to meet outliers.
    pub kept: Option<Vec<u8>>,
}

impl PackedTensor {
    /// Packs a checked tensor.
    pub fn pack(tensor: &QuantizedTensor) -> Self {
        let (rows, cols, scheme) = (tensor.rows(), tensor.cols(), tensor.scheme());
        let codes = Packing::Rows.pack(tensor.codes(), rows, cols, scheme.bits());
        Self {
            scheme,
            rows,
            cols,
            codes: codes.expect("a QuantizedTensor has rows * cols codes"),
            scales: tensor.scales().to_vec(),
            zeros: tensor.zeros().map(<[u8]>::to_vec),
            kept: None,
        }
    }

    /// Unpacks, and checks the parts against each other.
    pub fn unpack(&self) -> Result<QuantizedTensor> {
        let codes = Packing::Rows.unpack(&self.codes, self.rows, self.cols, self.scheme.bits())?;
        QuantizedTensor::new(self.scheme, self.rows, self.cols, codes, self.scales.clone(), self.zeros.clone())
    }

    /// Some rows, as a tensor of their own.
    ///
    /// ```
    /// use bitsmith::{PackedTensor, QuantizedTensor};
    /// let tensor = QuantizedTensor::new("w4g16s".parse()?, 2, 1, vec![8, 9], vec![0.5, 2.0], None)?;
    /// let second = PackedTensor::pack(&tensor).rows_in(1..2)?;
    /// assert_eq!(second.unpack()?.dequantize(), [2.0]);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if the range ends beyond the last row, or the parts do not fit each other.
    pub fn rows_in(&self, range: Range<usize>) -> Result<Self> {
        self.check()?;
        if range.start > range.end || range.end > self.rows {
            let expected = format!("rows within 0..{}", self.rows);
            return Err(Error::Shape { op: "packed tensor", expected, found: format!("{range:?}") });
        }
        let words = Packing::Rows.words(1, self.cols, self.scheme.bits());
        // Without groups in a row, all rows share the one there is.
        let groups = match self.scheme.groups(self.rows, self.cols).per_row() {
            0 => 0..self.scales.len(),
            per_row => range.start * per_row..range.end * per_row,
        };
        Ok(Self {
            rows: range.len(),
            codes: self.codes[range.start * words..range.end * words].to_vec(),
            scales: self.scales[groups.clone()].to_vec(),
            zeros: self.zeros.as_ref().map(|zeros| zeros[groups].to_vec()),
            kept: self.kept.as_ref().map(|kept| kept[range.start * self.cols * 2..range.end * self.cols * 2].to_vec()),
            ..*self
        })
    }

    /// The rows of several tensors, one after the other, as one tensor.
    ///
    /// ```
    /// use bitsmith::{PackedTensor, QuantizedTensor};
    /// let tensor = QuantizedTensor::new("w4g16s".parse()?, 2, 1, vec![8, 9], vec![0.5, 2.0], None)?;
    /// let whole = PackedTensor::pack(&tensor);
    /// assert_eq!(PackedTensor::concat(&[whole.rows_in(0..1)?, whole.rows_in(1..2)?])?, whole);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] if schemes or columns differ, if there is no tensor, or where all rows share one scale.
    pub fn concat(parts: &[Self]) -> Result<Self> {
        let wrong = |found: String| Error::Shape {
            op: "packed tensor",
            expected: "tensors of one scheme and width, each row with groups of its own".into(),
            found,
        };
        let Some((first, rest)) = parts.split_first() else { return Err(wrong("none".into())) };
        let mut all = first.clone();
        for part in rest {
            if (part.scheme, part.cols) != (all.scheme, all.cols) || all.scheme.groups(1, all.cols).per_row() == 0 {
                let [a, b] = [first, part].map(|t| format!("{} of {} columns", t.scheme, t.cols));
                return Err(wrong(format!("{a} and {b}")));
            }
            all.rows += part.rows;
            all.codes.extend(&part.codes);
            all.scales.extend(&part.scales);
            all.zeros.iter_mut().zip(&part.zeros).for_each(|(zeros, more)| zeros.extend(more));
            all.kept.iter_mut().zip(&part.kept).for_each(|(kept, more)| kept.extend(more));
        }
        all.check()?;
        Ok(all)
    }

    /// Checks lengths without unpacking.
    pub fn check(&self) -> Result<()> {
        let groups = self.scheme.groups(self.rows, self.cols).count();
        let words = Packing::Rows.words(self.rows, self.cols, self.scheme.bits());
        let zeros = self.zeros.as_ref().map(Vec::len);
        if self.codes.len() != words
            || self.scales.len() != groups
            || zeros != (!self.scheme.is_symmetric()).then_some(groups)
        {
            return Err(Error::Shape {
                op: "packed tensor",
                expected: format!(
                    "{words} words and {groups} groups for {} of [{}, {}]",
                    self.scheme, self.rows, self.cols
                ),
                found: format!("{} words, {} scales, {zeros:?} zero points", self.codes.len(), self.scales.len()),
            });
        }
        let size = self.rows.saturating_mul(self.cols).saturating_mul(2);
        match &self.kept {
            Some(kept) if kept.len() != size => Err(Error::Shape {
                op: "packed tensor",
                expected: format!("{size} bytes of f16 for [{}, {}]", self.rows, self.cols),
                found: kept.len().to_string(),
            }),
            _ => Ok(()),
        }
    }
}
