//! GPTQ's layout, which auto-round shares. With `b` bits, `[out, in]` the shape of a layer and `G` groups in a row, its
//! tensors are
//!
//! | tensor | type | shape |
//! | --- | --- | --- |
//! | `qweight` | I32 | `[in*b/32, out]`, packed along `in` |
//! | `qzeros` | I32 | `[G, out*b/32]`, packed along `out` |
//! | `scales` | F16 | `[G, out]` |
//! | `g_idx` | I32 | `[in]`, the group of each input feature |
//!
//! With act-order (`desc_act`) groups are not of neighbours: `g_idx` is any sequence in which each group is there as often as
//! it is large. Such a layer is taken apart into codes whose groups are of neighbours and [`LayerInput::Ordered`].
//!
//! Version 1 of the format, which every reader takes, stores zero points less one. A zero point of 0 is then the largest code,
//! which readers do not agree on; so symmetric layers are written in version 1, and those with zero points in version 2, which
//! stores them as they are. One model has one version: it can hold only one of the two kinds.

mod config;
mod reader;

use serde_json::Value;

pub use self::reader::Reader;
use super::layer_tensors::{
    F16_ERROR, by_row, codes_of, conv1d_as_linear, other_input, rounded_to_f16, tensor_name, transposed,
    words_to_bytes, zeros_by_row,
};
use super::{Exporter, Fit, LayerSpec};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{StoredDtype, TensorSpec};
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Bits, Span};

/// The name of the format, in a configuration and on the command line.
pub const NAME: &str = "gptq";
/// The name of auto-round's.
pub const AUTO_ROUND: &str = "auto-round";

const CODES: &str = "qweight";
const ZEROS: &str = "qzeros";
const SCALES: &str = "scales";
const GROUP_INDEX: &str = "g_idx";

/// Rows and columns come in multiples of this in every reader.
const MULTIPLE: usize = 32;

/// The exporter.
///
/// ```
/// use bitsmith::Dtype;
/// use bitsmith::export::{Exporter, Fit, LayerSpec, gptq::Gptq};
/// let layer = LayerSpec { path: "q_proj".into(), scheme: "w4g32s".parse()?, rows: 64, cols: 96, input: Default::default() };
/// assert_eq!(Gptq::Gptq.fit(&layer), Fit::Exact);
/// let tensors = Gptq::Gptq.tensors(&layer, Dtype::F16)?;
/// assert_eq!((tensors[0].name.as_str(), &tensors[0].shape[..]), ("q_proj.qweight", &[12, 64][..]));
/// assert_eq!((tensors[2].name.as_str(), &tensors[2].shape[..]), ("q_proj.scales", &[3, 64][..]));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gptq {
    /// As GPTQModel and its forerunners describe it.
    Gptq,
    /// As auto-round describes it.
    AutoRound,
}

impl Exporter for Gptq {
    fn name(&self) -> &'static str {
        match self {
            Self::Gptq => NAME,
            Self::AutoRound => AUTO_ROUND,
        }
    }

    fn fused_by(&self) -> Option<&'static str> {
        Some("vLLM")
    }

    fn fit(&self, layer: &LayerSpec) -> Fit {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        let refused = match &layer.input {
            LayerInput::Ordered { then, .. } if *self == Self::Gptq => other_input(then),
            input => other_input(input),
        };
        if let Some(refused) = refused {
            return refused;
        }
        if *self == Self::AutoRound && !scheme.is_symmetric() {
            return Fit::Refused("it stores zero points less one, and none for a zero point of 0; use gptq".to_owned());
        }
        let odd = [("output", rows), ("input", cols)].into_iter().find(|(_, n)| *n == 0 || !n.is_multiple_of(MULTIPLE));
        if let Some((side, n)) = odd {
            let name = layer.path.rsplit('.').next().unwrap_or(&layer.path);
            return Fit::Refused(format!("{n} {side} features are no multiple of {MULTIPLE}; keep it: --skip {name}"));
        }
        match scheme.span() {
            Span::Group(size) if !cols.is_multiple_of(size.into()) => {
                Fit::OwnReader(format!("a last group of {} instead of {size} columns", cols % usize::from(size)))
            }
            _ => rounded_to_f16(scheme),
        }
    }

    /// Readers of GPTQ look for the weight that a Conv1D had; auto-round puts its own layer in the place.
    fn fit_conv1d(&self, layer: &LayerSpec) -> Fit {
        match self {
            Self::Gptq => conv1d_as_linear(self.fit(layer)),
            Self::AutoRound => self.fit(layer),
        }
    }

    fn tensors(&self, layer: &LayerSpec, _: Dtype) -> Result<Vec<TensorSpec>> {
        layer.refuse(self)?;
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        let (bits, groups) = (scheme.bits(), scheme.groups(rows, cols).per_row().max(1));
        let spec = |name, dtype, shape: [usize; 2]| TensorSpec::new(tensor_name(&layer.path, name), dtype, shape);
        Ok(vec![
            spec(CODES, StoredDtype::I32, [Packing::Columns.words(cols, 1, bits), rows]),
            spec(ZEROS, StoredDtype::I32, [groups, Packing::Rows.words(1, rows, bits)]),
            spec(SCALES, StoredDtype::F16, [groups, rows]),
            TensorSpec::new(tensor_name(&layer.path, GROUP_INDEX), StoredDtype::I32, [cols]),
        ])
    }

    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        weight.check()?;
        layer.check(weight)?;
        let names = self.tensors(layer, model_dtype)?.into_iter().map(|tensor| tensor.name);
        let &PackedTensor { scheme, rows, cols, .. } = weight;
        let (bits, groups) = (scheme.bits(), scheme.groups(rows, cols));
        let per_row = groups.per_row().max(1);
        let (mut codes, mut index) = (transposed(&codes_of(weight)?, rows, cols), vec![0; cols]);
        (0..cols).for_each(|col| index[col] = (col / groups.size()) as u32);
        if let Some(columns) = layer.input.columns() {
            codes = to_places(&codes, rows, columns);
            index = to_places(&index, 1, columns);
        }
        let mut zeros = transposed(&zeros_by_row(weight), rows, per_row);
        if scheme.is_symmetric() {
            zeros.iter_mut().for_each(|zero| *zero = less_one(*zero, bits));
        }
        let scales = transposed(&by_row(&weight.scales, scheme, rows), rows, per_row);
        Ok(names
            .zip([
                words_to_bytes(&Packing::Columns.pack(&codes, cols, rows, bits)?),
                words_to_bytes(&Packing::Rows.pack(&zeros, per_row, rows, bits)?),
                Dtype::F16.encode(&scales),
                words_to_bytes(&index),
            ])
            .collect())
    }

    fn scale_error(&self) -> f32 {
        F16_ERROR
    }

    fn config(&self, layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
        config::write(*self, layers, kept)
    }
}

/// Rows of `width` values each, of which row `i` goes to place `columns[i]`.
fn to_places<T: Copy>(rows: &[T], width: usize, columns: &[u32]) -> Vec<T> {
    let mut placed = rows.to_vec();
    for (row, column) in rows.chunks_exact(width).zip(columns) {
        placed[*column as usize * width..][..width].copy_from_slice(row);
    }
    placed
}

/// A zero point as version 1 stores it.
fn less_one(zero: u8, bits: Bits) -> u8 {
    zero.wrapping_sub(1) & bits.max_code()
}

/// A zero point that version 1 stores so.
fn plus_one(stored: u8, bits: Bits) -> u8 {
    stored.wrapping_add(1) & bits.max_code()
}

/// Refuses a model of both kinds.
fn version_2(layers: &[LayerSpec]) -> Result<bool> {
    let symmetric = layers.iter().find(|layer| layer.scheme.is_symmetric());
    let with_zeros = layers.iter().find(|layer| !layer.scheme.is_symmetric());
    match (symmetric, with_zeros) {
        (Some(a), Some(b)) => Err(Error::config(
            "plan",
            format!("{} is symmetric and {} is not; a {NAME} model is all of one kind", a.path, b.path),
        )),
        (_, with_zeros) => Ok(with_zeros.is_some()),
    }
}
