//! One storage type to another: f32 rounded half to even to f16 or bf16, two elements a word, or those widened to f32.
//!
//! Bindings: source, `count` elements; result, whole words, padded with zero.

use bytemuck::{Pod, Zeroable};

use super::part::{self, EXACT, HALF};
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;

/// The kernel.
#[derive(Debug)]
pub struct Cast;

/// A run of elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub count: u32,
}

const WG: u32 = 64;

/// The variant that narrows f32 to another type.
pub fn narrow(to: Dtype) -> Variant {
    variant(Dtype::F32, to)
}

/// The variant that widens another type to f32.
pub fn widen(from: Dtype) -> Variant {
    variant(from, Dtype::F32)
}

fn variant(from: Dtype, to: Dtype) -> Variant {
    let tag = Dtype::ALL.into_iter().zip(0..).find(|(d, _)| *d == to).map_or(0, |(_, tag)| tag);
    Variant::new().part(part::weight(from)).part(&HALF).part(&EXACT).constant("TO", tag).constant("WG", WG)
}

/// The type that a variant casts to.
pub(super) fn to(variant: &Variant) -> Dtype {
    Dtype::ALL[variant.get("TO") as usize]
}

impl Kernel for Cast {
    type Params = Params;
    const NAME: &'static str = "cast";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/cast.wgsl");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::cast::run);
    const PTX: Option<&'static str> = super::ptx!("cast");

    fn variants() -> Vec<Variant> {
        vec![narrow(Dtype::F16), narrow(Dtype::Bf16), widen(Dtype::F16), widen(Dtype::Bf16)]
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        let words = (p.count as usize * to(variant).bytes()).div_ceil(4);
        linear_grid(words.div_ceil(WG as usize))
    }

    /// A thread takes eight elements.
    fn cuda(p: &Params, _: &Variant) -> Option<CudaLaunch> {
        let grid = linear_grid((p.count as usize).div_ceil(8 * WG as usize));
        Some(CudaLaunch { entry: Self::NAME, grid, block: WG, shared: 0 })
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [source, mut out] = bindings.take();
        let (from, to) = (variant.dtype(Role::Weight), to(variant));
        let per_word = 4 / to.bytes();
        for (i, word) in out.words_mut()[..(p.count as usize).div_ceil(per_word)].iter_mut().enumerate() {
            let mut bytes = [0; 4];
            let elements = i * per_word..((i + 1) * per_word).min(p.count as usize);
            let values: Vec<f32> = elements.map(|e| from.value(source.words(), e)).collect();
            let encoded = to.encode(&values);
            bytes[..encoded.len()].copy_from_slice(&encoded);
            *word = u32::from_le_bytes(bytes);
        }
    }
}
