//! Copies values where the state of [`best_loss`](super::best_loss) says that their loss is better, and does nothing
//! elsewhere.
//!
//! Bindings: state; values; kept values; one word an element.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct KeepBest;

/// How much to copy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub count: u32,
}

const WG: u32 = 256;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for KeepBest {
    type Params = Params;
    const NAME: &'static str = "keep_best";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/keep_best.wgsl");
    const PTX: Option<&'static str> = super::ptx!("keep_best");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.count as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [state, values, mut kept] = bindings.take();
        if state.words()[1] != 0 {
            kept.words_mut()[..p.count as usize].copy_from_slice(&values.words()[..p.count as usize]);
        }
    }
}
