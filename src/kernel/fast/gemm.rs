//! The crate `gemm` behind a function that checks lengths.

/// Some rows of a row-major matrix, `stride` elements from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub stride: usize,
}

impl Matrix<'_> {
    fn holds(&self, depth: usize) -> bool {
        depth <= self.stride
            && self.rows > 0
            && (self.rows - 1).checked_mul(self.stride).and_then(|n| n.checked_add(depth)) <= Some(self.values.len())
    }
}

/// `to[j, i] = sum over k of w[j, k] * x[k, i]`, or that added to what `to`, `[w.rows, batch]`, holds. `x` is
/// `[depth, batch]`, that is by columns.
///
/// In this order the rows of x, fewer than those of the weight, are what `gemm` rearranges, and the weight is read as it
/// lies; the other way round it spends more time on copying the weight than on 100 products with it. One thread: callers
/// split by rows of the weight, so that no sum depends on the number of threads.
///
/// # Panics
/// If a matrix is shorter than it says: a mistake of the caller.
#[allow(unsafe_code, reason = "gemm takes pointers")]
pub fn product(x: &[f32], batch: usize, w: Matrix<'_>, to: &mut [f32], add: bool) {
    if batch == 0 || w.rows == 0 {
        return;
    }
    let depth = x.len() / batch;
    assert!(w.holds(depth), "rows of a product lie within their matrix");
    assert_eq!(to.len(), batch * w.rows, "a product has an element for each pair of rows");
    // SAFETY: element (i, k) of x, at k * batch + i, is below depth * batch <= x.len(); `holds` has checked that element
    // (k, j) of w, at j * stride + k, lies within its slice for all k < depth, j < rows; element (i, j) of `to`, at
    // j * batch + i, is below its length; `to` is borrowed exclusively, so it overlaps neither. Slices hold at most
    // isize::MAX bytes and neither stride exceeds its slice where it matters, so the casts do not wrap.
    unsafe {
        gemm::gemm(
            batch,
            w.rows,
            depth,
            to.as_mut_ptr(),
            batch as isize,
            1,
            add,
            x.as_ptr(),
            batch as isize,
            1,
            w.values.as_ptr(),
            w.stride as isize,
            1,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// A matrix whose element (i, k) is at `i * row + k * step`.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub step: usize,
}

impl Strided<'_> {
    /// The same without its first rows.
    pub fn from(self, first: usize) -> Self {
        Self { values: &self.values[first * self.row..], ..self }
    }

    fn holds(&self, rows: usize, depth: usize) -> bool {
        let last = |count: usize, stride: usize| count.checked_sub(1).and_then(|n| n.checked_mul(stride));
        let last = last(rows, self.row).zip(last(depth, self.step)).and_then(|(a, b)| a.checked_add(b));
        last.is_some_and(|last| last < self.values.len())
    }
}

/// `to[i, j] = sum over k of x[i, k] * w[j, k]`, or that added to what `to`, `[rows of x, columns]`, holds. One thread.
///
/// # Panics
/// If a matrix is shorter than it says: a mistake of the caller.
#[allow(unsafe_code, reason = "gemm takes pointers")]
pub fn strided(x: Strided<'_>, w: Strided<'_>, depth: usize, columns: usize, to: &mut [f32], add: bool) {
    if columns == 0 || to.is_empty() {
        return;
    }
    let rows = to.len() / columns;
    if depth == 0 {
        if !add {
            to.fill(0.0);
        }
        return;
    }
    assert_eq!(to.len(), rows * columns, "a product has whole rows");
    assert!(x.holds(rows, depth) && w.holds(columns, depth), "rows of a product lie within their matrix");
    // SAFETY: `holds` has checked that element (i, k) of x and (j, k) of w lie within their slices for all i < rows,
    // j < columns, k < depth; element (i, j) of `to`, at i * columns + j, is below its length; `to` is borrowed
    // exclusively, so it overlaps neither. Slices hold at most isize::MAX bytes, so the casts of strides that are used do
    // not wrap.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            to.as_mut_ptr(),
            1,
            columns as isize,
            add,
            x.values.as_ptr(),
            x.step as isize,
            x.row as isize,
            w.values.as_ptr(),
            w.row as isize,
            w.step as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_sums() {
        // Two rows of x by columns; three rows of w, the first two elements of each.
        let (x, w) = ([1.0, 3.0, 2.0, 4.0], [1.0, 0.0, 9.0, 0.0, 1.0, 9.0, 1.0, 1.0]);
        let w = Matrix { values: &w, rows: 3, stride: 3 };
        let mut to = [f32::NAN; 6];
        product(&x, 2, w, &mut to, false);
        assert_eq!(to, [1.0, 3.0, 2.0, 4.0, 3.0, 7.0]);
        product(&x[..2], 2, w, &mut to, true);
        assert_eq!(to, [2.0, 6.0, 2.0, 4.0, 4.0, 10.0]);
    }

    #[test]
    #[should_panic(expected = "lie within")]
    fn refuses_a_short_matrix() {
        let w = Matrix { values: &[1.0; 7], rows: 3, stride: 3 };
        product(&[0.0; 4], 2, w, &mut [0.0; 6], false);
    }

    #[test]
    fn takes_operands_by_rows_or_columns() {
        // x is [[1, 2, 3], [4, 5, 6]], w is [[1, 0, 2], [0, 1, 1]].
        let by_rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let by_columns = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        let w = Strided { values: &[1.0, 0.0, 0.0, 1.0, 2.0, 1.0], row: 1, step: 2 };
        for (values, row, step) in [(&by_rows, 3, 1), (&by_columns, 1, 2)] {
            let x = Strided { values, row, step };
            let mut to = [1.0; 4];
            strided(x, w, 3, 2, &mut to, false);
            assert_eq!(to, [7.0, 5.0, 16.0, 11.0]);
            strided(x.from(1), w, 3, 2, &mut to[2..], true);
            assert_eq!(to, [7.0, 5.0, 32.0, 22.0]);
        }
    }

    #[test]
    #[should_panic(expected = "lie within")]
    fn refuses_strides_beyond_the_end() {
        let x = Strided { values: &[1.0; 5], row: 3, step: 1 };
        strided(x, x, 3, 2, &mut [0.0; 4], false);
    }
}
