//! Activations as int8, symmetric, each block of neighbouring features with a scale of its own.
//!
//! The scale of a block is `absmax / 127`, correctly rounded, and 0 where that is below 2^-100 (then all codes are 0, and
//! no device meets a subnormal number). A code is `x / scale` rounded half to even, in -127..=127. A block that holds a
//! NaN or an infinity has the scale NaN and codes of 0, so that whatever is multiplied with it becomes NaN. Codes, scales
//! and sums are equal bit for bit on every device.
//!
//! Bindings: x, f32, `[rows, cols]`; codes, four a word, lowest byte first, [`Params::block_words`] words a block, its
//! last word filled up with zeros; scales, f32, one a block; sums of the codes, i32, one a block.

use bytemuck::{Pod, Zeroable};

use super::part::EXACT;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Variant, linear_grid};
use crate::scheme::{Rounding, divide_exact, nearest_integer};

/// The kernel.
#[derive(Debug)]
pub struct ActivationQuantize;

/// The shape of activations and their blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Tokens.
    pub rows: u32,
    /// Features.
    pub cols: u32,
    /// Features of a block; the last block of a row may have fewer.
    pub block: u32,
}

impl Params {
    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        self.cols.div_ceil(self.block) as usize
    }

    /// Words of a block's codes.
    pub fn block_words(&self) -> usize {
        self.block.div_ceil(4) as usize
    }
}

/// The largest code.
pub(super) const LARGEST: u32 = 127;
/// Scales below this, 2^-100, are 0.
pub(crate) const SMALLEST_SCALE: f32 = f32::from_bits(27 << 23);
/// The scale of a block that is not finite; these bits on every device.
pub(super) const NOT_FINITE: u32 = 0x7fc0_0000;

/// The scale of a block from the bits of its largest magnitude, which order as the numbers do; none for a NaN or an
/// infinity.
pub(super) fn scale_of(largest: u32) -> Option<f32> {
    let scale = (largest < f32::INFINITY.to_bits()).then(|| divide_exact(f32::from_bits(largest), LARGEST));
    scale.map(|s| if s < SMALLEST_SCALE { 0.0 } else { s })
}

const WG: u32 = 64;

/// The one variant.
pub fn variant() -> Variant {
    Variant::new().part(&EXACT).constant("WG", WG)
}

impl Kernel for ActivationQuantize {
    type Params = Params;
    const NAME: &'static str = "activation_quantize";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/activation_quantize.wgsl");
    const PTX: Option<&'static str> = super::ptx!("activation_quantize");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::activation_quantize::run);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize * p.blocks())
    }

    /// Long blocks take more threads: few of them come at once.
    fn cuda(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        let block = if p.block > 2048 { 512 } else { WG };
        Some(CudaLaunch { entry: Self::NAME, grid: Self::grid(p, variant), block, shared: 0 })
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, mut codes, mut scales, mut sums] = bindings.take();
        for row in 0..p.rows as usize {
            for block in 0..p.blocks() {
                let i = row * p.blocks() + block;
                let cols = block * p.block as usize..((block + 1) * p.block as usize).min(p.cols as usize);
                let values = &x.f32()[row * p.cols as usize..][cols];
                let largest = values.iter().map(|v| v.abs().to_bits()).max().unwrap_or_default();
                let scale = scale_of(largest);
                let words = &mut codes.words_mut()[i * p.block_words()..][..p.block_words()];
                words.fill(0);
                let mut sum = 0;
                for (k, value) in values.iter().enumerate() {
                    let code = match scale {
                        Some(scale) if scale > 0.0 => nearest_integer(*value, scale, Rounding::HalfEven, 0.0),
                        _ => 0,
                    };
                    let code = code.clamp(-(LARGEST as i32), LARGEST as i32);
                    words[k / 4] |= (code as u32 & 0xff) << (8 * (k % 4));
                    sum += code;
                }
                scales.words_mut()[i] = scale.map_or(NOT_FINITE, f32::to_bits);
                sums.words_mut()[i] = sum as u32;
            }
        }
    }
}
