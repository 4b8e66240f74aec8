//! Fast [`embed`](crate::kernel::embed).

use super::rows;
use super::stored::{Stored, by_dtype, decode, elements};
use crate::dispatch::{Bindings, Role, Variant};
use crate::kernel::embed::Params;

/// [`Kernel::run`](crate::dispatch::Kernel::run) of embed.
pub fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
    let [ids, table, mut out] = bindings.take();
    let ids = &ids.words()[..p.tokens as usize];
    let out = &mut out.f32_mut()[..ids.len() * p.cols as usize];
    by_dtype!(variant.dtype(Role::Weight), rows_of(p, ids, table.words(), out));
}

fn rows_of<T: Stored>(p: &Params, ids: &[u32], table: &[u32], out: &mut [f32]) {
    let (table, cols) = (elements::<T>(table), p.cols as usize);
    rows::each(out, cols, rows::per_task(cols), |first, out| {
        for (id, out) in ids[first..].iter().zip(out.chunks_exact_mut(cols)) {
            if let Some(row) = id.checked_sub(p.first_row).filter(|row| *row < p.rows) {
                decode(&table[row as usize * cols..][..cols], out);
            }
        }
    });
}
