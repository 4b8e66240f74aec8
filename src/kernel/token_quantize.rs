//! Activations as int8 with a zero point, each token with a scale of its own: `x = (code - zero) * scale`.
//!
//! Scale and zero point are those of the parameters, or are found of the values of each token: with `max` the largest
//! value, or 0 if that is larger, and `min` likewise below, the scale is `(max - min) / 255`, correctly rounded, and the
//! zero point `min(round(-min / scale), 255) - 128`. A scale below 2^-100 is 0, then codes and zero point are 0. A code is
//! `round(x / scale) + zero`, half to even, in -128..=127. A token that holds a NaN or an infinity has the scale NaN and
//! codes and zero point 0, so that whatever is multiplied with it becomes NaN. All of it is equal bit for bit on every
//! device.
//!
//! Bindings: x, f32, `[rows, cols]`; codes, four a word, lowest byte first, each row filled up to whole words with zeros;
//! scales, f32, sums of the codes, i32, and zero points, i32, one a row.

use bytemuck::{Pod, Zeroable};

use super::activation_quantize::{NOT_FINITE, SMALLEST_SCALE};
use super::part::EXACT;
use crate::dispatch::{Access, Bindings, CpuRun, CudaLaunch, Kernel, Variant, linear_grid};
use crate::scheme::{Rounding, divide_exact, nearest_integer};

/// The kernel.
#[derive(Debug)]
pub struct TokenQuantize;

/// The shape of activations, and what is known of their codes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Tokens.
    pub rows: u32,
    /// Features.
    pub cols: u32,
    /// The scale of all tokens, or 0 if each has its own.
    pub scale: f32,
    /// The zero point of all tokens, where the scale is given.
    pub zero: i32,
}

impl Params {
    /// Words of a token's codes.
    pub fn words(&self) -> usize {
        self.cols.div_ceil(4) as usize
    }

    /// The bits of the scale of a token and its zero point.
    pub(super) fn coding(&self, values: &[f32]) -> (u32, i32) {
        let mut most = [0u32; 2];
        for bits in values.iter().map(|value| value.to_bits()) {
            let most = &mut most[(bits >> 31) as usize];
            *most = (*most).max(bits & 0x7fff_ffff);
        }
        let [above, below] = most.map(f32::from_bits);
        if !above.is_finite() || !below.is_finite() {
            return (NOT_FINITE, 0);
        }
        if self.scale != 0.0 {
            return (self.scale.to_bits(), self.zero);
        }
        // Halved first: the sum may be no f32.
        let scale = 2.0 * divide_exact(above * 0.5 + below * 0.5, 255);
        if scale < SMALLEST_SCALE {
            return (0, 0);
        }
        (scale.to_bits(), nearest_integer(below, scale, Rounding::HalfEven, 0.0).min(255) - 128)
    }
}

/// The code of a value; `scale` is above 0.
#[inline(always)]
pub(super) fn code_of(value: f32, scale: f32, zero: i32) -> i32 {
    (nearest_integer(value, scale, Rounding::HalfEven, 0.0) + zero).clamp(-128, 127)
}

const WG: u32 = 64;

/// The one variant.
pub fn variant() -> Variant {
    Variant::new().part(&EXACT).constant("WG", WG)
}

impl Kernel for TokenQuantize {
    type Params = Params;
    const NAME: &'static str = "token_quantize";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Write, Access::Write, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/token_quantize.wgsl");
    const PTX: Option<&'static str> = super::ptx!("token_quantize");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::token_quantize::run);

    fn variants() -> Vec<Variant> {
        vec![variant()]
    }

    fn grid(p: &Params, _: &Variant) -> [u32; 3] {
        linear_grid(p.rows as usize)
    }

    /// Long rows take more threads: few of them come at once.
    fn cuda(p: &Params, variant: &Variant) -> Option<CudaLaunch> {
        let block = if p.cols > 2048 { 512 } else { WG };
        Some(CudaLaunch { entry: Self::NAME, grid: Self::grid(p, variant), block, shared: 0 })
    }

    fn run(p: &Params, _: &Variant, bindings: Bindings<'_>) {
        let [x, mut codes, mut scales, mut sums, mut zeros] = bindings.take();
        for row in 0..p.rows as usize {
            let values = &x.f32()[row * p.cols as usize..][..p.cols as usize];
            let (scale, zero) = p.coding(values);
            let words = &mut codes.words_mut()[row * p.words()..][..p.words()];
            words.fill(0);
            let mut sum = 0;
            for (k, value) in values.iter().enumerate() {
                let scale = f32::from_bits(scale);
                let code = if scale > 0.0 { code_of(*value, scale, zero) } else { 0 };
                words[k / 4] |= (code as u32 & 0xff) << (8 * (k % 4));
                sum += code;
            }
            scales.words_mut()[row] = scale;
            sums.words_mut()[row] = sum as u32;
            zeros.words_mut()[row] = zero as u32;
        }
    }
}
