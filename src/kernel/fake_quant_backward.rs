//! Gradients of [`fake_quant`](super::fake_quant), straight through its rounding. With
//! `q = round(w / scale + offset) + zero`, `inside` 1 where q is a code and 0 elsewhere, and `code = clamp(q)`:
//!
//! * `d_offset = d_out * scale * inside`
//! * of each group the sums of `d_out * ((code - zero) - inside * w / scale)` and of `d_out * scale * (inside - 1)`: the
//!   gradients of its scale and of its zero point, as far as they do not depend on each other.
//!
//! Bindings: weight `[rows, cols]`; offsets; scales and zero points of each group; `d_out`, f32, `[rows, cols]`;
//! `d_offsets`, f32, of that shape; sums, f32, `[groups, 2]`.

pub use super::fake_quant::Params;
pub use super::group_range::Lanes;
use super::part::{self, EXACT, HALF};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::nearest_shifted;

/// The kernel.
#[derive(Debug)]
pub struct FakeQuantBackward;

const WG: u32 = 64;

/// The variant for a weight of this storage type.
pub fn variant(weight: Dtype, lanes: Lanes) -> Variant {
    let lanes = lanes.of(WG);
    Variant::new().part(part::weight(weight)).part(&EXACT).part(&HALF).constant("WG", WG).constant("LANES", lanes)
}

impl Kernel for FakeQuantBackward {
    type Params = Params;
    const NAME: &'static str = "fake_quant_backward";
    const ACCESS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/fake_quant_backward.wgsl");
    const PTX: Option<&'static str> = super::ptx!("fake_quant_backward");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::fake_quant::backward);

    fn variants() -> Vec<Variant> {
        Dtype::ALL.into_iter().flat_map(|d| Lanes::ALL.map(|l| variant(d, l))).collect()
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        let groups = p.rows as usize * p.groups_per_row as usize;
        linear_grid(groups.div_ceil((WG / variant.get("LANES")) as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [w, offsets, scales, zeros, d_out, mut d_offsets, mut sums] = bindings.take();
        let (dtype, per_row, most) = (variant.dtype(Role::Weight), p.groups_per_row as usize, (1 << p.bits) - 1);
        for g in 0..p.rows as usize * per_row {
            let (row, first) = (g / per_row, g % per_row * p.group as usize);
            let (scale, zero) = (scales.f32()[g], zeros.words()[g] as i32);
            let mut sum = [0.0; 2];
            for col in first..(first + p.group as usize).min(p.cols as usize) {
                let i = row * p.cols as usize + col;
                let (value, d) = (dtype.value(w.words(), i), d_out.f32()[i]);
                let q = nearest_shifted(value, scale, offsets.f32()[i]) + zero;
                let steps = (q.clamp(0, most) - zero) as f32;
                let inside = (0..=most).contains(&q);
                d_offsets.f32_mut()[i] = if inside { d * scale } else { 0.0 };
                sum[0] += if inside { d * (steps - value / scale) } else { d * steps };
                sum[1] -= if inside { 0.0 } else { d * scale };
            }
            sums.f32_mut()[2 * g..][..2].copy_from_slice(&sum);
        }
    }
}
