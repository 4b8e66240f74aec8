//! Products whose results lie by rows of x while the work goes by rows of the weight.

use std::ops::Range;

use rayon::prelude::*;

use super::rows;

/// Where results go: `out[offset + b * stride + row]`.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Rows of the weight.
    pub rows: usize,
    pub offset: usize,
    pub stride: usize,
    /// What is added to the results, one a row of the weight.
    pub bias: Option<&'a [f32]>,
}

impl Target<'_> {
    /// Calls `visit(x_rows, first_row, results)`, with up to `pass` rows of x and `results` being `[rows, x_rows.len()]`
    /// for some rows of the weight, until `out` is complete. The passes are of equal size, within one. A row of the weight
    /// takes `work` steps for each row of x. A thread gets few tasks: memory answers fastest where streams are long.
    pub fn by_passes(
        self,
        batch: usize,
        pass: usize,
        work: usize,
        out: &mut [f32],
        visit: impl Fn(Range<usize>, usize, &mut [f32]) + Sync,
    ) {
        let passes = batch.div_ceil(pass);
        for i in 0..passes {
            let part = batch * i / passes..batch * (i + 1) / passes;
            let panel = rows::per_task(work * part.len()).max(self.rows.div_ceil(4 * rayon::current_num_threads()));
            let to = Self { offset: self.offset + part.start * self.stride, ..self };
            to.by_panels(part.len(), panel, out, |row, y| visit(part.clone(), row, y));
        }
    }

    /// Calls `visit(first_row, results)` for panels of this many rows of the weight, in parallel if there are several.
    pub fn by_panels(self, batch: usize, panel: usize, out: &mut [f32], visit: impl Fn(usize, &mut [f32]) + Sync) {
        if batch == 0 || self.rows == 0 {
            return;
        }
        let visit = |first, results: &mut [f32]| {
            visit(first, results);
            if let Some(bias) = self.bias {
                add_bias(&bias[first..], batch, results);
            }
        };
        if batch == 1 {
            return rows::each(&mut out[self.offset..][..self.rows], 1, panel, visit);
        }
        let mut results = vec![0.0; self.rows * batch];
        rows::each(&mut results, batch, panel, visit);
        self.turn(&results, batch, out);
    }

    /// Moves results, `[rows, batch]`, to their places. A few rows of x at a time, so that lines of both sides are used whole.
    fn turn(self, results: &[f32], batch: usize, out: &mut [f32]) {
        const FEW: usize = 8;
        let turn = |(i, out): (usize, &mut [f32])| {
            let few = i * FEW..((i + 1) * FEW).min(batch);
            for (row, results) in results.chunks_exact(batch).enumerate() {
                for (b, result) in results[few.clone()].iter().enumerate() {
                    out[b * self.stride + row] = *result;
                }
            }
        };
        let out = &mut out[self.offset..][..(batch - 1) * self.stride + self.rows];
        if results.len() <= rows::TASK {
            out.chunks_mut(FEW * self.stride).enumerate().for_each(turn);
        } else {
            out.par_chunks_mut(FEW * self.stride).enumerate().for_each(turn);
        }
    }
}

/// Adds the bias of each row to results, `[rows, batch]`.
fn add_bias(bias: &[f32], batch: usize, results: &mut [f32]) {
    if batch == 1 {
        return results.iter_mut().zip(bias).for_each(|(result, bias)| *result += bias);
    }
    for (results, bias) in results.chunks_exact_mut(batch).zip(bias) {
        results.iter_mut().for_each(|result| *result += bias);
    }
}
