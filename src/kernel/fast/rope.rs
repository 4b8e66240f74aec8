//! Fast [`rope`](crate::kernel::rope): the angles of a token are laid out once for all its heads.

use super::rows;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::rope::Params;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of rope.
pub fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [x, table, mut out] = bindings.take();
    let (tokens, head_dim) = (p.tokens as usize, p.head_dim as usize);
    let (width, half) = (p.heads as usize * head_dim, head_dim / 2);
    let table = table.f32().as_chunks::<2>().0;
    for sequence in 0..p.sequences as usize {
        let slot = sequence * p.out_capacity as usize + p.out_first as usize;
        let out = &mut out.f32_mut()[slot * width..][..tokens * width];
        rows::each(out, width, rows::per_task(width), |first, out| {
            let (mut cos, mut sin) = (vec![0.0; half], vec![0.0; half]);
            for (token, out) in (first..).zip(out.chunks_exact_mut(width)) {
                let angles = &table[(p.first_position as usize + token) * half..][..half];
                for (i, angle) in angles.iter().enumerate() {
                    (cos[i], sin[i]) = (angle[0], angle[1] * p.direction);
                }
                turn(&x.f32()[(sequence * tokens + token) * width..][..width], &cos, &sin, out);
            }
        });
    }
}

vectorized! {
    /// Turns every head of a row.
    fn turn(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
        let half = cos.len();
        for (x, out) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
            let ((x, y), (out_x, out_y)) = (x.split_at(half), out.split_at_mut(half));
            let (y, out_x, out_y, sin) = (&y[..half], &mut out_x[..half], &mut out_y[..half], &sin[..half]);
            for i in 0..half {
                out_x[i] = x[i] * cos[i] - y[i] * sin[i];
                out_y[i] = y[i] * cos[i] + x[i] * sin[i];
            }
        }
    }
}
