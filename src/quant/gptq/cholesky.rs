//! The triangular factor that GPTQ goes by, in f64: blocked by rows so that a large matrix is read few times, in parallel.

use rayon::prelude::*;

/// Rows that are worked on together.
const PANEL: usize = 32;

/// The upper triangular U, row-major in f32, of which `U' U` is the inverse of a symmetric positive definite matrix; nothing
/// if it is not positive definite. Of `matrix`, `[n, n]`, the lower triangle is read.
///
/// With R the upper triangular matrix of `matrix = R R'`, U is the inverse of R: the inverse of the matrix itself is never
/// formed. R is found as the Cholesky factor of the matrix with rows and columns in reverse.
pub fn inverse_factor(matrix: &[f64], n: usize) -> Option<Vec<f32>> {
    let mut reversed = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            // Element (n-1-i, n-1-j) lies above the diagonal; its mirror image does not.
            reversed[i * n + j] = matrix[(n - 1 - j) * n + (n - 1 - i)];
        }
    }
    factor(&mut reversed, n)?;
    let columns = inverse_columns(&reversed, n);
    let mut upper = vec![0.0; n * n];
    upper.par_chunks_mut(n.max(1)).enumerate().for_each(|(a, row)| {
        for (b, value) in row.iter_mut().enumerate().skip(a) {
            #[allow(clippy::cast_possible_truncation, reason = "weights are f32")]
            let rounded = columns[(n - 1 - b) * n + (n - 1 - a)] as f32;
            *value = rounded;
        }
    });
    upper.iter().all(|value| value.is_finite()).then_some(upper)
}

/// The lower triangular L of `matrix = L L'`, in place of the lower triangle.
fn factor(matrix: &mut [f64], n: usize) -> Option<()> {
    for start in (0..n).step_by(PANEL) {
        let end = n.min(start + PANEL);
        let (above, below) = matrix.split_at_mut(end * n);
        for i in start..end {
            let (before, row) = above.split_at_mut(i * n);
            let row = &mut row[..n];
            for j in start..i {
                let other = &before[j * n..][..n];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            let pivot = row[i] - dot(&row[..i], &row[..i]);
            if !(pivot > 0.0 && pivot.is_finite()) {
                return None;
            }
            row[i] = pivot.sqrt();
        }
        // What the finished columns give to the rows of the next panels.
        let finished = &above[start * n..];
        below.par_chunks_mut(n).for_each(|row| {
            for (j, other) in (start..end).zip(finished.chunks_exact(n)) {
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
        });
    }
    Some(())
}

/// The inverse of a lower triangular matrix, by columns: element (i, j) at `j * n + i`.
fn inverse_columns(lower: &[f64], n: usize) -> Vec<f64> {
    let mut columns = vec![0.0; n * n];
    columns.par_chunks_mut((PANEL * n).max(1)).enumerate().for_each(|(panel, columns)| {
        let first = panel * PANEL;
        for i in first..n {
            let row = &lower[i * n..][..n];
            for (j, column) in (first..=i).zip(columns.chunks_exact_mut(n)) {
                let one = if i == j { 1.0 } else { 0.0 };
                column[i] = (one - dot(&row[j..i], &column[j..i])) / row[i];
            }
        }
    });
    columns
}

/// A sum of products, over eight partial sums in a fixed order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// U' U A is the identity, to what f32 holds of a matrix of condition about 100.
    const NEAR: f64 = 1e-4;

    #[test]
    fn inverts_at_every_size() {
        for n in [1, 2, 31, 32, 33, 70] {
            let mut random = Random::new(5);
            let x: Vec<f64> = (0..4 * n * n).map(|_| f64::from(random.normal())).collect();
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..4 * n).map(|k| x[k * n + i] * x[k * n + j]).sum();
                    a[i * n + j] = sum / n as f64;
                }
            }
            let u = inverse_factor(&a, n).expect("it is positive definite");
            for i in 0..n {
                for j in 0..n {
                    assert!(j >= i || u[i * n + j] == 0.0);
                    let inverse = |i: usize, k: usize| -> f64 {
                        (0..n).map(|m| f64::from(u[m * n + i]) * f64::from(u[m * n + k])).sum()
                    };
                    let product: f64 = (0..n).map(|k| inverse(i, k) * a[k * n + j]).sum();
                    let expected = if i == j { 1.0 } else { 0.0 };
                    assert!((product - expected).abs() < NEAR, "{n}: {i}, {j}: {product}");
                }
            }
        }
    }

    #[test]
    fn refuses_what_is_not_positive_definite() {
        assert!(inverse_factor(&[1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(inverse_factor(&[0.0], 1).is_none());
        assert!(inverse_factor(&[f64::NAN], 1).is_none());
        assert!(inverse_factor(&[f64::INFINITY], 1).is_none());
    }
}
