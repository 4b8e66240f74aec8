//! Scale and zero point of each group of a weight by a search over a grid: those with the least
//! `E sum h d^2 + 2 (sum h w d)^2`, where w are the values of the group, d what quantization takes from them, h the
//! importance of the columns and `E = sum h w^2`.
//!
//! Divided by E that is the squared error with its part along w counted three times. Errors across w are noise, which
//! averages out over the columns of a layer; one along w makes the layer's output weaker, and each layer adds to it. The
//! least squared error alone, at few bits, is reached by shrinking: on small models it loses to the plain rule.
//!
//! Bindings: weight `[rows, cols]`; importance `[cols]`, f32, from 2^-20 to 1; scales, f32, one a group, already rounded to
//! their storage type; zero points, one word a group. A group with a value that is not finite gets a NaN scale.
//!
//! The candidates are the scale of [`RangeRule::FullRange`](crate::scheme::RangeRule) times a factor, each with either sign
//! or, where zero points are stored, with the zero point of that rule and its neighbours. A scale that its type cannot hold is
//! no candidate. Of equal errors the first wins. One invocation sums one candidate's error over the group in the order of the
//! columns; every product is rounded before it is added ([`Params::mask`]), so all devices choose alike, bit for bit.

use bytemuck::{Pod, Zeroable};

pub use super::group_range::Lanes;
use super::part::{self, EXACT, HALF};
use crate::dispatch::{Access, Bindings, CpuRun, Kernel, Role, Variant, linear_grid};
use crate::dtype::Dtype;
use crate::scheme::{Bits, RangeRule, Rounding, Scheme, Span, Zero, divide_exact, nearest_integer};

/// The kernel.
#[derive(Debug)]
pub struct GroupSearch;

/// A weight, its groups and the grid.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Output features.
    pub rows: u32,
    /// Input features.
    pub cols: u32,
    /// Columns of a group.
    pub group: u32,
    /// Groups of a row.
    pub groups_per_row: u32,
    /// Bits of a code.
    pub bits: u32,
    /// 1 if no zero points are stored.
    pub symmetric: u32,
    /// 0 f32, 1 f16, 2 bf16.
    pub scale_type: u32,
    /// The smallest factor, in units of 2^-9.
    pub first: u32,
    /// From one factor to the next, in the same units.
    pub step: u32,
    /// Number of factors.
    pub count: u32,
    /// Always 0. Shaders put products through an exclusive or with it, so that no compiler joins a product and a sum into
    /// one operation that rounds once.
    pub mask: u32,
}

/// Changes of the zero point that are tried.
const SHIFTS: [i32; 5] = [0, -1, 1, -2, 2];
/// Differences below this, in units of the power of two below the largest magnitude, count as 0: their squares would come
/// near the numbers that GPUs may flush to 0.
pub(super) const LEAST: f32 = 1.0 / (1u64 << 40) as f32;
/// Sums along the values below this count as 0, for the same reason.
pub(super) const LEAST_ALONG: f32 = 1.0 / (1u64 << 50) as f32;

impl Params {
    /// The weight `[rows, cols]` under a scheme, with the grid that suits its bits.
    ///
    /// Few codes are best spent on the bulk of a group, or spread beyond its extreme on one side; of many, none is worth
    /// giving up but a fraction.
    pub fn new(rows: u32, cols: u32, group: u32, groups_per_row: u32, scheme: Scheme) -> Self {
        let (first, step, last) = match scheme.bits().get() {
            2 => (160, 8, 720),
            3 => (240, 8, 640),
            4 => (320, 6, 578),
            _ => (472, 1, 520),
        };
        Self {
            rows,
            cols,
            group,
            groups_per_row,
            bits: scheme.bits().get().into(),
            symmetric: scheme.is_symmetric().into(),
            scale_type: scheme.scale_type() as u32,
            first,
            step,
            count: (last - first) / step + 1,
            mask: 0,
        }
    }

    /// Candidates that share a factor.
    pub(super) fn ways(&self) -> usize {
        if self.symmetric == 1 { 2 } else { SHIFTS.len() }
    }

    /// Number of candidates.
    pub(super) fn candidates(&self) -> usize {
        self.count as usize * self.ways()
    }
}

/// What all candidates of a group have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    scheme: Scheme,
    /// Scale of the rule, before it is rounded.
    base: f32,
    zero: i32,
    /// What the largest magnitude times it is from 1 to 2.
    pub unit: f32,
}

impl Group {
    /// Of finite values within `low..=high`.
    pub fn new(p: &Params, low: f32, high: f32) -> Self {
        let bits = Bits::ALL.into_iter().find(|b| u32::from(b.get()) == p.bits).expect("params are made from a Scheme");
        let zero = if p.symmetric == 1 { Zero::Symmetric } else { Zero::Stored };
        let scheme = Scheme::new(bits, Span::Tensor, zero).with_scale_type(Dtype::ALL[p.scale_type as usize]);
        let (low, high) = (low.min(0.0), high.max(0.0));
        let largest = if -low > high { -low } else { high };
        let unit = f32::from_bits(254u32.saturating_sub((largest.to_bits() >> 23).clamp(27, 227)) << 23);
        let middle = i32::from(bits.middle());
        if scheme.is_symmetric() {
            let base = largest / f32::from(bits.middle());
            return Self { scheme, base: if -low > high { base } else { -base }, zero: middle, unit };
        }
        let most = bits.max_code();
        let base = 2.0 * divide_exact(high * 0.5 - low * 0.5, most.into());
        let stored = RangeRule::stored(base, scheme.scale_type());
        let zero = nearest_integer(-low, stored, Rounding::HalfEven, 0.0).clamp(0, most.into());
        Self { scheme, base, zero, unit }
    }

    /// Scale and zero point of a candidate.
    #[inline(always)]
    pub fn candidate(&self, p: &Params, index: usize) -> (f32, i32) {
        let (factor, way) = (index / p.ways(), index % p.ways());
        let scale = self.base * ((p.first as usize + factor * p.step as usize) as f32 * (1.0 / 512.0));
        if self.scheme.is_symmetric() {
            return (RangeRule::stored(if way == 0 { scale } else { -scale }, self.scheme.scale_type()), self.zero);
        }
        let zero = (self.zero + SHIFTS[way]).clamp(0, self.scheme.bits().max_code().into());
        (RangeRule::stored(scale, self.scheme.scale_type()), zero)
    }
}

const WG: u32 = 64;

/// The variant for a weight of this storage type.
pub fn variant(weight: Dtype, lanes: Lanes) -> Variant {
    let lanes = lanes.of(WG);
    Variant::new().part(part::weight(weight)).part(&EXACT).part(&HALF).constant("WG", WG).constant("LANES", lanes)
}

impl Kernel for GroupSearch {
    type Params = Params;
    const NAME: &'static str = "group_search";
    const ACCESS: &'static [Access] = &[Access::Read, Access::Read, Access::Write, Access::Write];
    const WGSL: &'static str = include_str!("../../shaders/group_search.wgsl");
    const PTX: Option<&'static str> = super::ptx!("group_search");
    const FAST: Option<CpuRun<Params>> = Some(super::fast::group_search::run);

    fn variants() -> Vec<Variant> {
        Dtype::ALL.into_iter().flat_map(|d| Lanes::ALL.map(|l| variant(d, l))).collect()
    }

    fn grid(p: &Params, variant: &Variant) -> [u32; 3] {
        let groups = p.rows as usize * p.groups_per_row as usize;
        linear_grid(groups.div_ceil((WG / variant.get("LANES")) as usize))
    }

    fn run(p: &Params, variant: &Variant, bindings: Bindings<'_>) {
        let [w, importance, mut scales, mut zeros] = bindings.take();
        let dtype = variant.dtype(Role::Weight);
        let (cols, per_row) = (p.cols as usize, p.groups_per_row as usize);
        for g in 0..p.rows as usize * per_row {
            let (row, first) = (g / per_row, g % per_row * p.group as usize);
            let range = first..(first + p.group as usize).min(cols);
            let values: Vec<f32> = range.clone().map(|col| dtype.value(w.words(), row * cols + col)).collect();
            let (scale, zero) = best(p, &values, &importance.f32()[range]);
            scales.f32_mut()[g] = scale;
            zeros.words_mut()[g] = zero;
        }
    }
}

/// The search, written as loops over the formula.
fn best(p: &Params, values: &[f32], importance: &[f32]) -> (f32, u32) {
    if values.iter().any(|value| !value.is_finite()) {
        return (f32::NAN, 1 << (p.bits - 1));
    }
    let low = values.iter().copied().fold(0.0, f32::min);
    let high = values.iter().copied().fold(0.0, f32::max);
    let group = Group::new(p, low, high);
    let energy: f32 = values.iter().zip(importance).map(|(w, h)| h * (w * group.unit) * (w * group.unit)).sum();
    let (mut chosen, mut least) = (0, f32::MAX);
    for index in 0..p.candidates() {
        let (scale, zero) = group.candidate(p, index);
        if !scale.is_finite() {
            continue;
        }
        let (mut error, mut along) = (0.0f32, 0.0f32);
        for (value, importance) in values.iter().zip(importance) {
            let steps = nearest_integer(*value, scale, Rounding::HalfEven, 0.0);
            let steps = steps.clamp(-zero, (1 << p.bits) - 1 - zero);
            let difference = value * group.unit - scale * group.unit * steps as f32;
            let difference = if difference.abs() < LEAST { 0.0 } else { difference };
            error += importance * difference * difference;
            along += importance * difference * (value * group.unit);
        }
        let along = if along.abs() < LEAST_ALONG { 0.0 } else { along };
        let error = error * energy + 2.0 * along * along;
        if error < least {
            (chosen, least) = (index, error);
        }
    }
    let (scale, zero) = group.candidate(p, chosen);
    (scale, zero as u32)
}

/// Scale and zero point of a group of values by [`GroupSearch`]'s search, on this thread; `importance` as the kernel's.
///
/// # Panics
/// If there are fewer importances than values.
pub fn search(p: &Params, values: &[f32], importance: &[f32]) -> (f32, u8) {
    let (scale, zero) = super::fast::group_search::best(p, values, &importance[..values.len()]);
    (scale, zero.to_le_bytes()[0])
}
