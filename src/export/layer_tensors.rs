//! The tensors of one layer in a file, checked for type, shape and length as they are taken.

use std::fmt::Display;
use std::path::Path;

use super::{Fit, Stored, TensorSource, file_of};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::StoredDtype;
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Scheme, Span};

/// Types of a tensor of numbers.
pub(super) const FLOATS: [StoredDtype; 3] = [StoredDtype::F16, StoredDtype::Bf16, StoredDtype::F32];

/// A layer of a model in `folder`.
#[derive(Clone, Copy)]
pub(super) struct LayerTensors<'l, 'a> {
    pub(super) folder: &'l Path,
    pub(super) path: &'l str,
    pub(super) source: &'a dyn TensorSource,
}

impl<'a> LayerTensors<'_, 'a> {
    /// An error that names the file, the layer and what `detail` begins with: a tensor.
    pub(super) fn wrong(&self, detail: impl Display) -> Error {
        Error::format(file_of(self.source, self.path).unwrap_or(self.folder), format!("{}.{detail}", self.path))
    }

    /// A tensor, if there is one, of one of these types.
    pub(super) fn find(&self, name: &str, types: &[StoredDtype]) -> Result<Option<Stored<'a>>> {
        let Some(stored) = self.source.find(&tensor_name(self.path, name))? else { return Ok(None) };
        let dtype = StoredDtype::from_name(stored.dtype).filter(|dtype| types.contains(dtype));
        let Some(dtype) = dtype else {
            let names: Vec<_> = types.iter().map(|dtype| dtype.name()).collect();
            return Err(self.wrong(format!("{name} is {}; it must be {}", stored.dtype, names.join(" or "))));
        };
        if dtype.bytes(&stored.shape) != Some(stored.bytes.len()) {
            let found = format!("{} bytes, which is no {dtype} of shape {:?}", stored.bytes.len(), stored.shape);
            return Err(self.wrong(format!("{name} has {found}")));
        }
        Ok(Some(stored))
    }

    /// A tensor that must be there.
    pub(super) fn get(&self, name: &str, types: &[StoredDtype]) -> Result<Stored<'a>> {
        self.find(name, types)?.ok_or_else(|| self.wrong(format!("{name} is missing")))
    }

    /// A matrix that must be there.
    pub(super) fn matrix(&self, name: &str, types: &[StoredDtype]) -> Result<(Stored<'a>, [usize; 2])> {
        let stored = self.get(name, types)?;
        match stored.shape[..] {
            [rows, cols] if rows > 0 && cols > 0 => Ok((stored, [rows, cols])),
            _ => Err(self.wrong(format!("{name} has shape {:?}; it must have two axes", stored.shape))),
        }
    }

    /// A tensor that must be there in this shape; `why` says what it follows from.
    pub(super) fn shaped(&self, name: &str, types: &[StoredDtype], shape: &[usize], why: &str) -> Result<Stored<'a>> {
        let stored = self.get(name, types)?;
        if stored.shape == shape {
            return Ok(stored);
        }
        Err(self.wrong(format!("{name} has shape {:?}; {why} make it {shape:?}", stored.shape)))
    }

    /// The numbers of a tensor, which must be finite.
    pub(super) fn numbers(&self, name: &str, stored: &Stored<'_>) -> Result<Vec<f32>> {
        let dtype = StoredDtype::from_name(stored.dtype).and_then(StoredDtype::dtype);
        let values = dtype.ok_or_else(|| self.wrong(format!("{name} holds no numbers")))?.decode(stored.bytes);
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => Err(self.wrong(format!("{name} {at} is {}", values[at]))),
        }
    }
}

/// How a format whose readers compute with activations as they are takes another input; none where it is as it is.
pub(super) fn other_input(input: &LayerInput) -> Option<Fit> {
    if input.is_exact() {
        return None;
    }
    ordered(input)
        .or_else(|| Some(Fit::Refused("readers compute with exact activations; use --activations none".to_owned())))
}

/// How a format without a place for the order of columns takes an input whose features are in another.
pub(super) fn ordered(input: &LayerInput) -> Option<Fit> {
    let reason = "its columns are in another order (desc_act), which only gptq can say; use --format gptq";
    input.columns().map(|_| Fit::Refused(reason.to_owned()))
}

/// The fit of a layer for readers that look for a Conv1D and find the linear layer that it is.
pub(super) fn conv1d_as_linear(fit: Fit) -> Fit {
    const REASON: &str = "a Conv1D layer, written as the linear layer that it is (transformers loads it as auto-round)";
    match fit {
        Fit::Exact => Fit::OwnReader(REASON.to_owned()),
        Fit::OwnReader(reason) | Fit::Rounded(reason) => Fit::OwnReader(format!("{reason}; {REASON}")),
        refused @ Fit::Refused(_) => refused,
    }
}

/// What rounding a number to f16 changes of it at most, if f16 has such numbers.
pub(super) const F16_ERROR: f32 = 1.0 / 2048.0;

/// How a format takes a scheme that stores scales in f16.
pub(super) fn rounded_to_f16(scheme: Scheme) -> Fit {
    match scheme.scale_type() {
        Dtype::F16 => Fit::Exact,
        other => Fit::Rounded(format!("scales of {other} are rounded to f16")),
    }
}

/// The type of stored scales.
pub(super) fn scale_type(stored: &Stored<'_>) -> Dtype {
    StoredDtype::from_name(stored.dtype).and_then(StoredDtype::dtype).unwrap_or(Dtype::F32)
}

pub(super) fn tensor_name(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

pub(super) fn words_to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn bytes_to_words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// `[cols, rows]` from `[rows, cols]`.
pub(super) fn transposed<T: Copy>(from: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..cols).flat_map(|col| (0..rows).map(move |row| from[row * cols + col])).collect()
}

/// One value for each group of each row, `[rows, groups]`, of values that may be shared by all rows.
pub(super) fn by_row<T: Copy>(values: &[T], scheme: Scheme, rows: usize) -> Vec<T> {
    match scheme.span() {
        Span::Tensor => vec![values[0]; rows],
        Span::Channel | Span::Group(_) => values.to_vec(),
    }
}

/// The zero points of each group of each row, `[rows, groups]`, the middle code where none are stored.
pub(super) fn zeros_by_row(weight: &PackedTensor) -> Vec<u8> {
    let scales = by_row(&weight.scales, weight.scheme, weight.rows).len();
    let zeros = weight.zeros.as_ref().map(|zeros| by_row(zeros, weight.scheme, weight.rows));
    zeros.unwrap_or_else(|| vec![weight.scheme.bits().middle(); scales])
}

/// Row-major codes `[rows, cols]`.
pub(super) fn codes_of(weight: &PackedTensor) -> Result<Vec<u8>> {
    Packing::Rows.unpack(&weight.codes, weight.rows, weight.cols, weight.scheme.bits())
}
