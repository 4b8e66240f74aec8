//! The loss of an iteration, `factor * sum of sums`, and whether it is the best so far.
//!
//! Bindings: sums, f32; state, four words: the best loss (f32), 1 if this loss is better than all before it or else 0,
//! the iteration of the best one, this loss (f32). A loss of NaN is never better.

use bytemuck::{Pod, Zeroable};

use super::part::Reduce;
use crate::dispatch::{Access, Bindings, Kernel, Variant};

/// The kernel.
#[derive(Debug)]
pub struct BestLoss;

/// The sums and which iteration they belong to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of sums.
    pub count: u32,
    /// What their sum is multiplied by.
    pub factor: f32,
    /// The iteration.
    pub iteration: u32,
}

const WG: u32 = 256;

/// The variant that reduces this way.
pub fn variant(reduce: Reduce) -> Variant {
    Variant::new().part(reduce.part()).constant("WG", WG)
}

impl Kernel for BestLoss {
    type Params = Params;
    const NAME: &'static str = "best_loss";
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/best_loss.wgsl");
    const PTX: Option<&'static str> = super::ptx!("best_loss");

    fn variants() -> Vec<Variant> {
        Reduce::ALL.map(variant).to_vec()
    }

    fn grid(_: &Params, _: &Variant) -> [u32; 3] {
        [1, 1, 1]
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [sums, mut state] = bindings.take();
        let loss = p.factor * sums.f32()[..p.count as usize].iter().sum::<f32>();
        let state = state.words_mut();
        let better = loss < f32::from_bits(state[0]);
        if better {
            (state[0], state[2]) = (loss.to_bits(), p.iteration);
        }
        (state[1], state[3]) = (u32::from(better), loss.to_bits());
    }
}
