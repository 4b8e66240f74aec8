//! Fast [`ActivationDequantize`](crate::kernel::activation_dequantize).

use super::rows;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::activation_dequantize::Params;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of activation_dequantize.
pub fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    let [codes, scales, mut out] = bindings.take();
    let (rows, cols, blocks, stride) = (p.rows as usize, p.cols as usize, p.blocks(), 4 * p.block_words());
    let codes: &[i8] = bytemuck::must_cast_slice(codes.words());
    let scales = scales.f32();
    rows::each(&mut out.f32_mut()[..rows * cols], cols, rows::per_task(cols), |first, out| {
        for (row, out) in (first..).zip(out.chunks_exact_mut(cols)) {
            for (block, out) in (row * blocks..).zip(out.chunks_mut(p.block as usize)) {
                scaled(&codes[block * stride..][..out.len()], scales[block], out);
            }
        }
    });
}

vectorized! {
    fn scaled(codes: &[i8], scale: f32, out: &mut [f32]) {
        out.iter_mut().zip(codes).for_each(|(out, code)| *out = f32::from(*code) * scale);
    }
}
