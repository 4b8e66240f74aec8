//! Copies rows into a cache: row `token` of a sequence goes to slot `first + token` of that sequence.
//!
//! Bindings: x `[sequences * tokens, cols]`; cache `[sequences, capacity, cols]`, of which only those slots are
//! written; one word an element.

use bytemuck::{Pod, Zeroable};

use crate::dispatch::{Access, Bindings, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct StoreRows;

/// The rows and where they go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Sequences.
    pub sequences: u32,
    /// Tokens of each sequence.
    pub tokens: u32,
    /// Elements of a row.
    pub cols: u32,
    /// Slots of a sequence in the cache.
    pub capacity: u32,
    /// Slot of each sequence's first token.
    pub first: u32,
}

const WG: u32 = 64;

/// The variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for StoreRows {
    type Params = Params;
    const NAME: &'static str = "store_rows";
    const ACCESS: &'static [Access] = &[Access::Read, Access::ReadWrite];
    const WGSL: &'static str = include_str!("../../shaders/store_rows.wgsl");
    const PTX: Option<&'static str> = super::ptx!("store_rows");

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        let words = [p.sequences, p.tokens, p.cols].iter().map(|n| *n as usize).product::<usize>();
        linear_grid(words.div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, mut cache] = bindings.take();
        let block = p.tokens as usize * p.cols as usize;
        for sequence in 0..p.sequences as usize {
            let slot = sequence * p.capacity as usize + p.first as usize;
            let to = &mut cache.words_mut()[slot * p.cols as usize..][..block];
            to.copy_from_slice(&x.words()[sequence * block..][..block]);
        }
    }
}
