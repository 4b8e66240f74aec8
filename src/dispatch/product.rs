//! What a kernel tells of itself where it is no more than a matrix product: a device that has a library for products may
//! have it compute what the kernel would.

use crate::dtype::Dtype;

/// A product of the first two bindings, into the third, f32:
///
/// `out[out_first + b * out_row + row] = sum over k of x(b, k) * w(row, k)`, or that added to what is there, where
/// `x(b, k)` is `x[x.first + b * x.row + k * x.step]`, and `w` likewise. Sums are in f32, and so are the terms of them.
///
/// ```
/// use bitsmith::dispatch::{Kernel, Variant};
/// use bitsmith::kernel::{matmul_strided::{self, MatmulStrided, Params}};
/// let params = Params { batch: 2, rows: 3, cols: 4, x_first: 0, x_row: 4, x_step: 1, w_row: 1, w_step: 3, accumulate: 0 };
/// let product = MatmulStrided::product(&params, &matmul_strided::variant(bitsmith::Dtype::F32)).unwrap();
/// assert_eq!((product.multiplications(), product.w.step), (24, 3));
/// // Operands of two types are no product of this kind.
/// assert!(MatmulStrided::product(&params, &matmul_strided::variant(bitsmith::Dtype::F16)).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// Rows of the result.
    pub batch: u32,
    /// Columns of the result.
    pub rows: u32,
    /// Terms of each sum.
    pub cols: u32,
    /// How x and w are stored: f32 or f16.
    pub dtype: Dtype,
    /// The first binding.
    pub x: Operand,
    /// The second.
    pub w: Operand,
    /// Where the result begins.
    pub out_first: u32,
    /// From one row of the result to the next.
    pub out_row: u32,
    /// Whether it is added to what is there.
    pub accumulate: bool,
}

/// Where the elements of an operand are, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// The first.
    pub first: u32,
    /// From one row to the next: a row or a column of the result takes one.
    pub row: u32,
    /// From one term to the next.
    pub step: u32,
}

impl Product {
    /// How many multiplications it takes.
    pub fn multiplications(&self) -> u64 {
        [self.batch, self.rows, self.cols].into_iter().fold(1, |product, n| u64::from(n).saturating_mul(product))
    }
}
