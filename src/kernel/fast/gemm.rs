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
}
