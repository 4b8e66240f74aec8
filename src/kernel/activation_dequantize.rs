//! `out = code * scale` of int8 activations: what [`activation_quantize`](super::activation_quantize) has made of them, in
//! f32. Blocks of a scale that is NaN become NaN.
//!
//! Bindings: codes and scales as there; out, f32, `[rows, cols]`.

pub use super::activation_quantize::Params;
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Variant, linear_grid};

/// The kernel.
#[derive(Debug)]
pub struct ActivationDequantize;

const WG: u32 = 256;

/// The one variant.
pub fn variant() -> Variant {
    Variant::new().constant("WG", WG)
}

impl Kernel for ActivationDequantize {
    type Params = Params;
    const NAME: &'static str = "activation_dequantize";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/activation_dequantize.wgsl");
    const PTX: Option<&'static str> = super::ptx!("activation_dequantize");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::activation_dequantize::run);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid((p.rows as usize * p.cols as usize).div_ceil(WG as usize))
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [codes, scales, mut out] = bindings.take();
        for i in 0..p.rows as usize * p.cols as usize {
            let (row, col) = (i / p.cols as usize, i % p.cols as usize);
            let (block, k) = (row * p.blocks() + col / p.block as usize, col % p.block as usize);
            let byte = codes.words()[block * p.block_words() + k / 4] >> (8 * (k % 4)) & 0xff;
            out.f32_mut()[i] = f32::from(byte as u8 as i8) * scales.f32()[block];
        }
    }
}
