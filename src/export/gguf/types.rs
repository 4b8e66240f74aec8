//! Which type holds the codes of a layer.

use std::collections::BTreeMap;

use super::super::layer_tensors::{F16_ERROR, rounded_to_f16};
use super::super::{Fit, LayerSpec, ReadBack};
use crate::error::Result;
use crate::io::StoredDtype;
use crate::pack::{BlockType, PackedTensor};
use crate::scheme::{Bits, Scheme, Span, Zero};
use crate::tensor::QuantizedTensor;

/// How far weights may be after 2 bits were given scales of 4 bits, relative to all of them. Scales of one size cost 2 %;
/// more is a block in which a few scales are far above the others.
const REQUANTISED: f32 = 0.25;

/// What becomes of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) dtype: StoredDtype,
    pub(super) fit: Fit,
    pub(super) read_back: ReadBack,
}

/// Whether every block of a layer lies within a row and a group.
fn holds(layer: &LayerSpec, weights: usize) -> bool {
    let in_groups = match layer.scheme.span() {
        Span::Tensor | Span::Channel => true,
        Span::Group(size) => usize::from(size).is_multiple_of(weights) || usize::from(size) >= layer.cols,
    };
    layer.cols.is_multiple_of(weights) && in_groups
}

impl Choice {
    /// `ternary` is the type of layers of three levels.
    pub(super) fn of(layer: &LayerSpec, ternary: StoredDtype) -> Self {
        let scheme = layer.scheme;
        let (bits, symmetric) = (scheme.bits(), scheme.is_symmetric());
        let [narrow, wide] = [BlockType::Q4_0.weights(), BlockType::Q2_K.weights()].map(|n| holds(layer, n));
        let codes = |dtype, fit| Self { dtype, fit, read_back: ReadBack::Codes };
        match bits.get() {
            _ if bits.is_ternary() && wide => codes(ternary, rounded_to_f16(scheme)),
            2 if !bits.is_ternary() && layer.cols.is_multiple_of(wide_weights()) && holds_sub_blocks(layer) => Self {
                dtype: StoredDtype::Q2_K,
                fit: Fit::Rounded(
                    "2 bits become Q2_K, whose scales and minima have 4 bits: each is off by up to a thirtieth of the \
                     largest among 256 weights"
                        .to_owned(),
                ),
                read_back: ReadBack::Values(REQUANTISED),
            },
            8 if narrow && symmetric => codes(StoredDtype::Q8_0, rounded_to_f16(scheme)),
            2..=4 if narrow && symmetric => codes(StoredDtype::Q4_0, rounded_to_f16(scheme)),
            2..=4 if narrow => {
                let why = "zero points become minima of Q4_1, rounded to f16";
                let fit = match rounded_to_f16(scheme) {
                    Fit::Rounded(scales) => Fit::Rounded(format!("{why}; {scales}")),
                    _ => Fit::Rounded(why.to_owned()),
                };
                codes(StoredDtype::Q4_1, fit)
            }
            _ => Self {
                dtype: StoredDtype::F16,
                fit: Fit::Rounded(format!("weights become F16, since {}", why_no_block(layer))),
                read_back: ReadBack::Values(F16_ERROR),
            },
        }
    }

    /// A weight in the codes that this type holds, where these are wider than its own.
    pub(super) fn widened(&self, weight: PackedTensor) -> Result<PackedTensor> {
        let scheme = weight.scheme;
        if !matches!(self.dtype, StoredDtype::Q4_0 | StoredDtype::Q4_1) || scheme.bits().get() == 4 {
            return Ok(weight);
        }
        let four = Bits::new(4)?;
        let more = if scheme.is_symmetric() { four.middle() - scheme.bits().middle() } else { 0 };
        let narrow = weight.unpack()?;
        let zero = if scheme.is_symmetric() { Zero::Symmetric } else { Zero::Stored };
        let codes = narrow.codes().iter().map(|code| code + more).collect();
        let scheme = Scheme::new(four, scheme.span(), zero).with_scale_type(scheme.scale_type());
        let (scales, zeros) = (narrow.scales().to_vec(), narrow.zeros().map(<[u8]>::to_vec));
        Ok(PackedTensor::pack(&QuantizedTensor::new(scheme, weight.rows, weight.cols, codes, scales, zeros)?))
    }
}

const fn wide_weights() -> usize {
    BlockType::Q2_K.weights()
}

/// Whether the sub-blocks of 2 bits each lie within a group.
fn holds_sub_blocks(layer: &LayerSpec) -> bool {
    holds(layer, crate::pack::SuperBlock::SUB_BLOCK)
}

/// Why a layer has no type of blocks.
fn why_no_block(layer: &LayerSpec) -> String {
    let weights = BlockType::Q4_0.weights();
    if !layer.cols.is_multiple_of(weights) {
        format!("{} input features are no multiple of {weights}", layer.cols)
    } else if !holds(layer, weights) {
        format!("groups are no multiples of {weights}")
    } else {
        "8 bits have no type with zero points".to_owned()
    }
}

/// How many layers have each type, and what is wider than it was.
pub(super) fn notes(layers: &[LayerSpec], ternary: StoredDtype) -> Vec<String> {
    let (mut types, mut wider) = (BTreeMap::<&str, usize>::new(), BTreeMap::<String, usize>::new());
    for layer in layers {
        let dtype = Choice::of(layer, ternary).dtype;
        *types.entry(dtype.name()).or_default() += 1;
        let widened = matches!(dtype, StoredDtype::Q4_0 | StoredDtype::Q4_1) && layer.scheme.bits().get() < 4;
        if widened {
            *wider.entry(format!("{} bits", layer.scheme.bits())).or_default() += 1;
        }
    }
    let list = |counts: BTreeMap<&str, usize>| {
        counts.into_iter().map(|(name, count)| format!("{count} as {name}")).collect::<Vec<_>>().join(", ")
    };
    let mut notes = vec![format!("note: layers by type: {}", list(types))];
    notes.extend(wider.into_iter().map(|(bits, count)| {
        format!(
            "note: {count} layer(s) of {bits} take 4.5 or 5 bits a weight: the narrowest type that holds their codes"
        )
    }));
    notes
}
