//! Tensors on the host: plain ones, often borrowed from a mapped file, and quantized ones.

mod quantized;

use std::borrow::Cow;
use std::ops::Range;

pub use quantized::QuantizedTensor;

use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// A row-major floating-point tensor; its bytes are little-endian and may be borrowed from a mapped file.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl<'a> Tensor<'a> {
    /// A tensor over `data`, which must hold exactly the elements of `shape`.
    pub fn new(dtype: Dtype, shape: Vec<usize>, data: impl Into<Cow<'a, [u8]>>) -> Result<Self> {
        let data = data.into();
        let bytes = shape.iter().try_fold(dtype.bytes(), |n, d| n.checked_mul(*d));
        if bytes != Some(data.len()) {
            return Err(Error::Shape {
                op: "tensor",
                expected: format!("{dtype} of shape {shape:?}"),
                found: format!("{} bytes", data.len()),
            });
        }
        Ok(Self { dtype, shape, data })
    }

    /// An f32 tensor of the given values.
    ///
    /// ```
    /// let t = bitsmith::Tensor::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])?;
    /// assert_eq!((t.rows(), t.cols()), (2, 2));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Tensor<'static>> {
        Tensor::new(Dtype::F32, shape, Dtype::F32.encode(values))
    }

    /// Storage type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Extent of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.bytes()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Rows of the tensor seen as a matrix: the first axis.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Columns of the tensor seen as a matrix: all further axes.
    pub fn cols(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The values as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.dtype.decode(&self.data)
    }

    /// Row, column and value of the first element that is a NaN or an infinity. One row is decoded at a time.
    pub(crate) fn first_not_finite(&self) -> Option<(usize, usize, f32)> {
        (0..self.rows()).find_map(|row| {
            let values = self.rows_in(row..row + 1).to_f32();
            values.iter().position(|v| !v.is_finite()).map(|col| (row, col, values[col]))
        })
    }

    /// The tensor seen as a matrix, its axes exchanged.
    ///
    /// ```
    /// let t = bitsmith::Tensor::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?.transposed();
    /// assert_eq!((t.shape(), t.to_f32()), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    #[must_use]
    pub fn transposed(&self) -> Tensor<'static> {
        let (rows, cols, size) = (self.rows(), self.cols(), self.dtype.bytes());
        let mut data = Vec::with_capacity(self.data.len());
        for col in 0..cols {
            for row in 0..rows {
                data.extend_from_slice(&self.data[(row * cols + col) * size..][..size]);
            }
        }
        Tensor { dtype: self.dtype, shape: vec![cols, rows], data: data.into() }
    }

    /// Some rows of the tensor seen as a matrix; those beyond the last are left out.
    ///
    /// ```
    /// let t = bitsmith::Tensor::from_f32(vec![3, 1], &[1.0, 2.0, 3.0])?;
    /// assert_eq!(t.rows_in(1..3).to_f32(), [2.0, 3.0]);
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    #[must_use]
    pub fn rows_in(&self, range: Range<usize>) -> Tensor<'_> {
        let row = self.cols() * self.dtype.bytes();
        let end = range.end.min(self.rows());
        let start = range.start.min(end);
        Tensor {
            dtype: self.dtype,
            shape: vec![end - start, self.cols()],
            data: Cow::Borrowed(&self.data[start * row..end * row]),
        }
    }
}
