//! The matrix product of the `gemm` crate behind a safe function. The only unsafe code of the kernels: the crate takes
//! pointers.
#![allow(unsafe_code, reason = "gemm takes pointers; their extents are checked here")]

use gemm::Parallelism;

/// Rows of a weight that are unpacked before they are multiplied: enough for gemm to run at full speed, few enough that
/// the panel of a wide weight (14336 columns: 15 MB) costs little memory.
pub(super) const PANEL_ROWS: usize = 256;

/// A block of a product `y = x W^T` and where it goes.
#[derive(Debug)]
pub(super) struct Product<'a> {
    /// `[batch, cols]`.
    pub(super) x: &'a [f32],
    /// `[rows, cols]`.
    pub(super) w: &'a [f32],
    /// Rows of x.
    pub(super) batch: usize,
    /// Rows of w.
    pub(super) rows: usize,
    /// Columns of both.
    pub(super) cols: usize,
}

impl Product<'_> {
    /// Writes the product: element (b, row) to `out[b * stride + row]`. On all threads; how many there are changes no
    /// sum, since each runs over the columns in one piece.
    ///
    /// # Panics
    /// If a slice is shorter than the sizes say.
    pub(super) fn write(&self, out: &mut [f32], stride: usize) {
        let Self { x, w, batch, rows, cols } = *self;
        if batch == 0 || rows == 0 {
            return;
        }
        assert!(x.len() >= batch * cols && w.len() >= rows * cols, "x and w hold their rows");
        assert!(stride >= rows && out.len() >= (batch - 1) * stride + rows, "out holds the product");
        let step = |n: usize| isize::try_from(n).expect("a slice has no more elements than isize");
        // SAFETY: the asserts put every element that gemm reads (b * cols + k of x, row * cols + k of w) and writes
        // (b * stride + row of out) inside its slice, for b < batch, row < rows, k < cols; `out` is borrowed mutably.
        unsafe {
            gemm::gemm(
                rows,
                batch,
                cols,
                out.as_mut_ptr(),
                step(stride),
                1,
                false,
                w.as_ptr(),
                1,
                step(cols),
                x.as_ptr(),
                step(cols),
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                Parallelism::Rayon(0),
            );
        }
    }
}
