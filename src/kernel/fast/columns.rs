//! Products whose results lie by rows of x while the work goes by rows of the weight.

use super::rows;
use super::simd::Lanes;

/// Where results go: `out[offset + b * stride + row]`.
#[derive(Clone, Copy)]
pub struct Target {
    /// Rows of the weight.
    pub rows: usize,
    /// Vectors of a row of x, as prepared.
    pub x: usize,
    /// Steps of work for a row of the weight and a row of x.
    pub work: usize,
    pub offset: usize,
    pub stride: usize,
}

/// Most rows of x that one pass over the weight serves: more sums would not fit the registers.
const PASS: usize = 8;

impl Target {
    /// Calls `visit(x, batch, first_row, results)`, with up to [`PASS`] rows of `x` and `results` being `[rows, batch]` for
    /// some rows of the weight, until `out` is complete. The passes are of equal size, within one.
    pub fn by_passes(self, x: &[Lanes], out: &mut [f32], visit: impl Fn(&[Lanes], usize, usize, &mut [f32]) + Sync) {
        let batch = x.len() / self.x;
        let passes = batch.div_ceil(PASS);
        for pass in 0..passes {
            let part = batch * pass / passes..batch * (pass + 1) / passes;
            let x = &x[part.start * self.x..part.end * self.x];
            let first = self.offset + part.start * self.stride;
            self.fill(part.len(), &mut out[first..], |row, y| visit(x, part.len(), row, y));
        }
    }

    fn fill(self, batch: usize, out: &mut [f32], visit: impl Fn(usize, &mut [f32]) + Sync) {
        let work = self.work * batch;
        if batch == 1 {
            return rows::each(&mut out[..self.rows], 1, work, visit);
        }
        let mut results = vec![0.0; self.rows * batch];
        rows::each(&mut results, batch, work, visit);
        for (row, results) in results.chunks_exact(batch).enumerate() {
            for (b, result) in results.iter().enumerate() {
                out[b * self.stride + row] = *result;
            }
        }
    }
}
