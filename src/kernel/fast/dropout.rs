//! Fast [`dropout`](crate::kernel::dropout).

use super::rows;
use crate::dispatch::{Bindings, Variant};
use crate::kernel::dropout::{Params, kept};

/// [`Kernel::run`](crate::dispatch::Kernel::run) of dropout.
pub fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
    /// Steps of work that a draw costs beside those of a product.
    const DRAW: usize = 4;
    let [x, mut out] = bindings.take();
    rows::each(&mut out.f32_mut()[..p.count as usize], 1, rows::per_task(DRAW), |first, out| {
        #[allow(clippy::cast_possible_truncation, reason = "an index below `count`")]
        drop_some(p, first as u32, &x.f32()[first..], out);
    });
}

vectorized! {
    fn drop_some(p: &Params, first: u32, x: &[f32], out: &mut [f32]) {
        (first..).zip(out.iter_mut().zip(x)).for_each(|(i, (out, x))| *out = kept(p, i, *x));
    }
}
