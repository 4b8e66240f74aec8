//! What the matrix products share: how many rows of a weight are unpacked at once, and activations as f32.

use std::borrow::Cow;

use crate::dtype::Dtype;

/// Rows of a weight that are unpacked before they are multiplied: enough for gemm to run at full speed, few enough that
/// the panel of a wide weight (14336 columns: 15 MB) costs little memory.
pub(super) const PANEL_ROWS: usize = 256;

/// The first `count` elements as f32, without a copy if they are.
pub(super) fn widened(dtype: Dtype, words: &[u32], count: usize) -> Cow<'_, [f32]> {
    match dtype {
        Dtype::F32 => Cow::Borrowed(&bytemuck::must_cast_slice(words)[..count]),
        Dtype::F16 | Dtype::Bf16 => Cow::Owned((0..count).map(|i| dtype.value(words, i)).collect()),
    }
}
