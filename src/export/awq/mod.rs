//! AWQ, its GEMM version: 4 bits with a zero point for each group. With `[out, in]` the shape of a layer and `G` groups in a
//! row, its tensors are
//!
//! | tensor | type | shape |
//! | --- | --- | --- |
//! | `qweight` | I32 | `[in, out/8]` |
//! | `qzeros` | I32 | `[G, out/8]` |
//! | `scales` | F16 | `[G, out]` |
//!
//! A word holds eight neighbours along `out`, in this order:
//!
//! ```text
//! bit      31..28 27..24 23..20 19..16 15..12 11..8  7..4  3..0
//! neighbour   7      5      3      1      6     4     2     0
//! ```
//!
//! Zero points are stored as they are; those of a symmetric layer are 8, and so come back as zero points.

mod reader;

use serde_json::{Value, json};

pub use self::reader::Reader;
use super::layer_tensors::{
    F16_ERROR, by_row, codes_of, other_input, rounded_to_f16, tensor_name, transposed, words_to_bytes, zeros_by_row,
};
use super::{Exporter, Fit, LayerSpec};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{StoredDtype, TensorSpec};
use crate::pack::PackedTensor;
use crate::scheme::Span;

/// The name of the format, in a configuration and on the command line.
pub const NAME: &str = "awq";

const CODES: &str = "qweight";
const ZEROS: &str = "qzeros";
const SCALES: &str = "scales";

/// Codes of a word.
const PER_WORD: usize = 8;
/// The neighbour that lies at each nibble, from the lowest.
const ORDER: [usize; PER_WORD] = [0, 2, 4, 6, 1, 3, 5, 7];

/// The exporter.
///
/// ```
/// use bitsmith::export::{Exporter, Fit, LayerSpec, awq::Awq};
/// let layer = |scheme: &str| Ok(LayerSpec {
///     path: "q_proj".into(), scheme: scheme.parse()?, rows: 64, cols: 96, input: Default::default(),
/// });
/// assert_eq!(Awq.fit(&layer("w4g32a")?), Fit::Exact);
/// assert!(matches!(Awq.fit(&layer("w8g32s")?), Fit::Refused(_)));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Awq;

impl Exporter for Awq {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fused_by(&self) -> Option<&'static str> {
        Some("vLLM")
    }

    fn fit(&self, layer: &LayerSpec) -> Fit {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        let name = layer.path.rsplit('.').next().unwrap_or(&layer.path);
        if let Some(refused) = other_input(&layer.input) {
            return refused;
        }
        if scheme.bits().get() != 4 {
            return Fit::Refused("the format holds 4 bits only; use --bits 4".to_owned());
        }
        if rows == 0 || !rows.is_multiple_of(PER_WORD) {
            return Fit::Refused(format!("{rows} output features are no multiple of 8; keep it: --skip {name}"));
        }
        match scheme.span() {
            Span::Group(size) if cols.is_multiple_of(size.into()) => rounded_to_f16(scheme),
            Span::Group(size) => Fit::Refused(format!(
                "{cols} input features are no multiple of the group's {size}; use another --group-size or --skip {name}"
            )),
            Span::Channel | Span::Tensor => {
                Fit::Refused("the format holds groups only; use --group-size 128".to_owned())
            }
        }
    }

    fn tensors(&self, layer: &LayerSpec, _: Dtype) -> Result<Vec<TensorSpec>> {
        layer.refuse(self)?;
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        let groups = scheme.groups(rows, cols).per_row();
        let spec = |name, dtype, shape: [usize; 2]| TensorSpec::new(tensor_name(&layer.path, name), dtype, shape);
        Ok(vec![
            spec(CODES, StoredDtype::I32, [cols, rows / PER_WORD]),
            spec(ZEROS, StoredDtype::I32, [groups, rows / PER_WORD]),
            spec(SCALES, StoredDtype::F16, [groups, rows]),
        ])
    }

    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        weight.check()?;
        layer.check(weight)?;
        let names = self.tensors(layer, model_dtype)?.into_iter().map(|tensor| tensor.name);
        let &PackedTensor { scheme, rows, cols, .. } = weight;
        let groups = scheme.groups(rows, cols).per_row();
        Ok(names
            .zip([
                words_to_bytes(&pack(&transposed(&codes_of(weight)?, rows, cols))),
                words_to_bytes(&pack(&transposed(&zeros_by_row(weight), rows, groups))),
                Dtype::F16.encode(&transposed(&by_row(&weight.scales, scheme, rows), rows, groups)),
            ])
            .collect())
    }

    fn scale_error(&self) -> f32 {
        F16_ERROR
    }

    fn config(&self, layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
        let Some(first) = layers.first() else {
            return Err(Error::config("plan", "no layer is quantized; plan at least one"));
        };
        if let Some(other) = layers.iter().find(|layer| layer.scheme.span() != first.scheme.span()) {
            let detail = format!("{} and {} differ in group size; {NAME} has one", first.path, other.path);
            return Err(Error::config("plan", detail));
        }
        // Readers keep what contains one of these.
        if let Some((layer, kept)) =
            layers.iter().find_map(|layer| Some((layer, kept.iter().find(|kept| layer.path.contains(*kept))?)))
        {
            return Err(Error::config(
                "plan",
                format!("{} is quantized, but {kept}, which is in it, is kept", layer.path),
            ));
        }
        let Span::Group(size) = first.scheme.span() else {
            return Err(Error::config("group_size", "the format holds groups only"));
        };
        Ok(json!({
            "quant_method": NAME,
            "bits": 4,
            "group_size": size,
            "zero_point": true,
            "version": "gemm",
            "modules_to_not_convert": kept,
        }))
    }
}

/// Eight codes a word.
fn pack(codes: &[u8]) -> Vec<u32> {
    let word = |codes: &[u8; PER_WORD]| {
        ORDER.iter().enumerate().fold(0, |word, (nibble, from)| word | u32::from(codes[*from]) << (4 * nibble))
    };
    codes.as_chunks().0.iter().map(word).collect()
}

/// The codes of words.
fn unpack(words: &[u32]) -> Vec<u8> {
    let mut codes = vec![0; words.len() * PER_WORD];
    for (word, codes) in words.iter().zip(codes.as_chunks_mut::<PER_WORD>().0) {
        for (nibble, to) in ORDER.iter().enumerate() {
            codes[*to] = (word >> (4 * nibble)).to_le_bytes()[0] & 15;
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_other_programs() {
        assert_eq!(pack(&[0, 1, 2, 3, 4, 5, 6, 7]), [0x7531_6420]);
        let codes = [
            0, 9, 3, 12, 5, 14, 8, 1, 10, 3, 12, 6, 15, 8, 2, 11, 4, 13, 7, 15, 9, 3, 11, 5, 14, 7, 1, 10, 3, 12, 6, 14,
        ];
        assert_eq!(pack(&codes), [0x1ec9_8530, 0xb863_2fca, 0x53fd_b974, 0xeca7_631e]);
        assert_eq!(unpack(&pack(&codes)), codes);
    }
}
