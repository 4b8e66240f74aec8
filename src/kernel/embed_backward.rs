//! The gradient of a table of which rows were taken: of each row of the table, the sum of the gradients of the places
//! where it went, in their order.
//!
//! Bindings: starts, one a row of the table and one behind: where the places of a row begin in the list; places, rows of
//! d_y; d_y `[tokens, cols]`, f32; d_table `[rows, cols]`, f32.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct EmbedBackward;

/// The shape of the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of the table.
    pub rows: u32,
    /// Features.
    pub cols: u32,
}

const WG: u32 = 64;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for EmbedBackward {
    type Params = Params;
    const NAME: &'static str = "embed_backward";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/embed_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("embed_backward");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::elementwise_backward::embed);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.rows as usize * p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [starts, places, d_y, mut d_table] = bindings.take();
        let cols = p.cols as usize;
        for row in 0..p.rows as usize {
            let places = &places.words()[starts.words()[row] as usize..starts.words()[row + 1] as usize];
            for col in 0..cols {
                let mut sum = 0.0;
                for place in places {
                    sum += d_y.f32()[*place as usize * cols + col];
                }
                d_table.f32_mut()[row * cols + col] = sum;
            }
        }
    }
}
