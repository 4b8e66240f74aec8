//! A weight to three levels.

use std::ops::Range;

use rayon::prelude::*;

use super::quantize::{Scales, check_shape, in_parts};
use super::{Quantization, WeightError};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::pack::PackedTensor;
use crate::scheme::{RangeRule, Scheme, Span, TernaryLevels, TernaryRule};
use crate::tensor::Tensor;

/// Quantizes a `[rows, cols]` weight to the trits -1, 0, 1, kept as the codes 1, 2, 3. Scales and thresholds are found here,
/// from the weight in memory; the device compares, packs and measures the error. `name` is for errors.
///
/// ```
/// use bitsmith::{Device, Tensor, TernaryRule, op};
/// let weight = Tensor::from_f32(vec![1, 4], &[0.5, -0.1, -0.7, 0.3])?;
/// let (device, scheme) = (Device::cpu(), "w1.58ts".parse()?);
/// let done = op::quantize_ternary(&device, &weight, scheme, TernaryRule::AbsMean, "weight");
/// let (packed, error) = pollster::block_on(done)?;
/// assert_eq!(packed.unpack()?.codes(), [3, 2, 1, 3]);
/// assert_eq!(packed.scales, [0.39990234]);
/// assert!(error.mse() < 0.04);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotFinite`] for a NaN or an infinity, [`Error::Config`] for a scheme of other than three levels or a scale that
/// its type cannot hold, [`Error::Shape`] for an empty tensor, and those of the device.
pub async fn quantize_ternary(
    device: &Device,
    tensor: &Tensor<'_>,
    scheme: Scheme,
    rule: TernaryRule,
    name: &str,
) -> Result<(PackedTensor, WeightError)> {
    if !scheme.bits().is_ternary() {
        let detail = format!("{name} is to become {scheme}, but three levels are written as in w1.58ts");
        return Err(Error::config("scheme", detail));
    }
    check_shape(tensor, name)?;
    let levels = Levels::new(rule, tensor, scheme);
    let quantization = Quantization { range: RangeRule::Restricted, ..scheme.into() };
    in_parts(device, tensor, &quantization, Scales::Ternary(levels), name).await
}

/// Where the levels of a tensor's groups come from.
#[derive(Clone, Copy)]
pub(super) struct Levels {
    rule: TernaryRule,
    /// Those of the tensor, where it is one group.
    whole: Option<TernaryLevels>,
}

/// Values that are worth a task.
const TASK: usize = 1 << 16;

impl Levels {
    fn new(rule: TernaryRule, tensor: &Tensor<'_>, scheme: Scheme) -> Self {
        let rows = (TASK / tensor.cols()).max(1);
        let whole = || {
            let piece = |i: usize| tensor.rows_in(i * rows..(i + 1) * rows).to_f32();
            rule.levels_of_pieces(tensor.rows().div_ceil(rows), piece, scheme.scale_type())
        };
        Self { rule, whole: (scheme.span() == Span::Tensor).then(whole) }
    }

    /// The levels of the groups of some rows.
    pub(super) fn of_rows(self, tensor: &Tensor<'_>, rows: Range<usize>, scheme: Scheme) -> Vec<TernaryLevels> {
        if let Some(whole) = self.whole {
            return vec![whole];
        }
        let (cols, group) = (tensor.cols(), scheme.groups(rows.len(), tensor.cols()).size());
        let step = (TASK / cols).max(1);
        let tasks: Vec<_> = rows.clone().step_by(step).map(|first| first..rows.end.min(first + step)).collect();
        let levels = |rows: Range<usize>| {
            let values = tensor.rows_in(rows).to_f32();
            let groups = values.chunks(cols).flat_map(|row| row.chunks(group));
            groups.map(|group| self.rule.levels(group, scheme.scale_type())).collect::<Vec<_>>()
        };
        tasks.into_par_iter().flat_map_iter(levels).collect()
    }
}
