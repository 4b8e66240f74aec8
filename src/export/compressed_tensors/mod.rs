//! compressed-tensors. With `b` bits, `[out, in]` the shape of a layer and `G` groups in a row, the tensors of a layer
//! whose inputs stay as they are, `pack-quantized`, are
//!
//! | tensor | type | shape |
//! | --- | --- | --- |
//! | `weight_packed` | I32 | `[out, ceil(in*b/32)]` |
//! | `weight_scale` | F16, BF16 or F32 | `[out, G]` group, `[out, 1]` channel, `[1]` tensor |
//! | `weight_shape` | I64 | `[2]` = `(out, in)` |
//! | `weight_zero_point` | I32 | `[ceil(out*b/32), G]`, asymmetric group and channel |
//! | `weight_zero_point` | I8 | `[1]`, asymmetric tensor: not packed, signed |
//!
//! The format counts codes from `-2^(b-1)` and stores them plus `2^(b-1)`: the stored bits are our codes.
//!
//! A layer of 8 bits with int8 inputs, `int-quantized`, has `S` = `[out, 1]` channel, `[1]` tensor, and
//!
//! | tensor | type | shape |
//! | --- | --- | --- |
//! | `weight` | I8 | `[out, in]` |
//! | `weight_scale` | F16, BF16 or F32 | `S` |
//! | `weight_zero_point` | I8 | `S`, asymmetric |
//! | `input_scale` | F32 | `[1]`, static inputs |
//! | `input_zero_point` | I8 | `[1]`, static asymmetric inputs |
//! | `weight_fp16` | F16 | `[out, in]`, weights that are kept to meet outliers; only bitsmith knows it |
//!
//! Codes and zero points are counted from -128: ours less 128.
//!
//! Inputs whose outliers are kept apart are written as int8 by token, with the threshold at the top of the configuration,
//! where other readers pass over it, under the name that bitsandbytes has for it: `llm_int8_threshold`.

mod config;
mod inputs;
mod reader;
mod write;

use serde_json::Value;

use self::inputs::Inputs;
pub use self::reader::Reader;
use super::layer_tensors::ordered;
use super::{Exporter, Fit, LayerSpec};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{StoredDtype, TensorSpec};
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Groups, Scheme, Span};

/// The name of the format, in a configuration and on the command line.
pub const NAME: &str = "compressed-tensors";

const PACKED: &str = "weight_packed";
const SCALE: &str = "weight_scale";
const SHAPE: &str = "weight_shape";
const ZERO_POINT: &str = "weight_zero_point";
const KEPT: &str = "weight_fp16";
const GROUP_INDEX: &str = "weight_g_idx";
const WEIGHT: &str = "weight";
const INPUT_SCALE: &str = "input_scale";
const INPUT_ZERO_POINT: &str = "input_zero_point";

/// Top-level format of a file whose groups differ in format.
const MIXED: &str = "mixed-precision";
/// The target that means every linear layer.
const LINEAR: &str = "Linear";
/// The field of the threshold from which on inputs are outliers.
const THRESHOLD: &str = "llm_int8_threshold";
/// Why [`LayerInput::Blocks`] has no place in a file.
const NO_BLOCKS: &str = "the format has no inputs with a scale for each block";

/// How the tensors of a layer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Packed,
    Int,
}

impl Form {
    /// That of a layer as it is written.
    fn of(layer: &LayerSpec) -> Self {
        let packed = layer.input == LayerInput::Exact || Self::fits_both(layer.scheme, Inputs::of(&layer.input));
        if packed { Self::Packed } else { Self::Int }
    }

    /// Whether [`Self::Packed`] has room for codes of a scheme beside rounded inputs: fewer than 8 bits, and the scale of a
    /// token is found when it comes.
    fn fits_both(scheme: Scheme, inputs: Option<Inputs>) -> bool {
        let tokens = inputs == Some(Inputs::Tokens { symmetric: true });
        tokens && scheme.is_symmetric() && scheme.bits().get() < 8 && !matches!(scheme.span(), Span::Group(_))
    }

    /// Whether [`Self::Int`] has room for codes of a scheme.
    fn fits_int(scheme: Scheme) -> bool {
        scheme.bits().get() == 8 && !matches!(scheme.span(), Span::Group(_))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Packed => "pack-quantized",
            Self::Int => "int-quantized",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Packed, Self::Int].into_iter().find(|form| form.name() == name)
    }
}

/// The exporter.
///
/// ```
/// use bitsmith::Dtype;
/// use bitsmith::export::{Exporter, Fit, LayerSpec, compressed_tensors::CompressedTensors};
/// let layer = LayerSpec { path: "lm_head".into(), scheme: "w4g32s".parse()?, rows: 8, cols: 64, input: Default::default() };
/// assert_eq!(CompressedTensors.fit(&layer), Fit::Exact);
/// let tensors = CompressedTensors.tensors(&layer, Dtype::F16)?;
/// assert_eq!((tensors[0].name.as_str(), &tensors[0].shape[..]), ("lm_head.weight_packed", &[8, 8][..]));
/// assert_eq!((tensors[1].dtype.name(), &tensors[1].shape[..]), ("F16", &[8, 2][..]));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CompressedTensors;

impl Exporter for CompressedTensors {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fused_by(&self) -> Option<&'static str> {
        Some("vLLM")
    }

    fn fit(&self, layer: &LayerSpec) -> Fit {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        if rows == 0 || cols == 0 {
            return Fit::Refused(format!("a weight of shape [{rows}, {cols}] has no elements"));
        }
        if let Some(refused) = ordered(&layer.input) {
            return refused;
        }
        if Inputs::of(&layer.input).is_none() {
            return Fit::Refused(NO_BLOCKS.to_owned());
        }
        if Form::of(layer) == Form::Int {
            return match (Form::fits_int(scheme), &layer.input) {
                (false, _) => Fit::Refused(
                    "int8 inputs go with weights per channel or tensor, those of fewer than 8 bits with symmetric codes and \
                     tokens"
                        .to_owned(),
                ),
                (true, LayerInput::Outliers { .. }) => {
                    Fit::OwnReader("others round outliers of the inputs with the rest".to_owned())
                }
                (true, _) => Fit::Exact,
            };
        }
        let mut reasons = Vec::new();
        if layer.input != LayerInput::Exact {
            reasons.push("int8 inputs beside packed codes".to_owned());
        }
        if scheme.bits().get() == 3 {
            reasons.push("3-bit codes, which packages disagree on how to lay out".to_owned());
        }
        if !scheme.is_symmetric() {
            reasons.push("packed zero points, which transformers does not load".to_owned());
        }
        if let Span::Group(size) = scheme.span()
            && !cols.is_multiple_of(size.into())
        {
            reasons.push(format!("a last group of {} instead of {size} columns", cols % usize::from(size)));
        }
        if reasons.is_empty() { Fit::Exact } else { Fit::OwnReader(reasons.join("; ")) }
    }

    fn tensors(&self, layer: &LayerSpec, model_dtype: Dtype) -> Result<Vec<TensorSpec>> {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        if let Fit::Refused(reason) = self.fit(layer) {
            return Err(Error::Unsupported {
                what: format!("{} in {NAME}: {reason}", layer.path),
                remedy: "keep the layer as it is".to_owned(),
            });
        }
        let bits = scheme.bits();
        let groups = scheme.groups(rows, cols);
        let spec = |suffix, dtype, shape: Vec<usize>| TensorSpec::new(tensor_name(&layer.path, suffix), dtype, shape);
        let scale = spec(SCALE, stored_scales(scheme, model_dtype).into(), scale_shape(scheme.span(), rows, groups));
        if Form::of(layer) == Form::Int {
            let mut tensors = vec![spec(WEIGHT, StoredDtype::I8, vec![rows, cols]), scale];
            if !scheme.is_symmetric() {
                tensors.push(spec(ZERO_POINT, StoredDtype::I8, scale_shape(scheme.span(), rows, groups)));
            }
            if let LayerInput::Outliers { kept: true, .. } = layer.input {
                tensors.push(spec(KEPT, StoredDtype::F16, vec![rows, cols]));
            }
            if let LayerInput::Static { zero, .. } = layer.input {
                tensors.push(spec(INPUT_SCALE, StoredDtype::F32, vec![1]));
                if zero != 0 {
                    tensors.push(spec(INPUT_ZERO_POINT, StoredDtype::I8, vec![1]));
                }
            }
            return Ok(tensors);
        }
        let mut tensors = vec![
            spec(PACKED, StoredDtype::I32, vec![rows, Packing::Rows.words(1, cols, bits)]),
            scale,
            spec(SHAPE, StoredDtype::I64, vec![2]),
        ];
        if !scheme.is_symmetric() {
            tensors.push(match scheme.span() {
                Span::Tensor => spec(ZERO_POINT, StoredDtype::I8, vec![1]),
                _ => spec(ZERO_POINT, StoredDtype::I32, vec![Packing::Columns.words(rows, 1, bits), groups.per_row()]),
            });
        }
        Ok(tensors)
    }

    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        weight.check()?;
        layer.check(weight)?;
        let names = self.tensors(layer, model_dtype)?.into_iter().map(|tensor| tensor.name);
        if Form::of(layer) == Form::Int {
            return Ok(names.zip(encode_int(layer, weight, model_dtype)?).collect());
        }
        let shape = [weight.rows as i64, weight.cols as i64];
        let mut parts = vec![
            words_to_bytes(&weight.codes),
            stored_scales(weight.scheme, model_dtype).encode(&weight.scales),
            shape.iter().flat_map(|extent| extent.to_le_bytes()).collect(),
        ];
        if let Some(zeros) = &weight.zeros {
            parts.push(encode_zeros(weight.scheme, weight.rows, weight.cols, zeros)?);
        }
        Ok(names.zip(parts).collect())
    }

    fn config(&self, layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
        write::config(layers, kept)
    }
}

/// The tensors of a layer in the order of [`Exporter::tensors`].
fn encode_int(layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<Vec<u8>>> {
    let codes = Packing::Rows.unpack(&weight.codes, weight.rows, weight.cols, weight.scheme.bits())?;
    let mut parts = vec![signed(&codes), stored_scales(weight.scheme, model_dtype).encode(&weight.scales)];
    parts.extend(weight.zeros.as_deref().map(signed));
    parts.extend(weight.kept.clone());
    if let LayerInput::Static { scale, zero } = layer.input {
        parts.push(scale.to_le_bytes().to_vec());
        if zero != 0 {
            parts.push(zero.to_le_bytes().to_vec());
        }
    }
    Ok(parts)
}

/// 8-bit codes counted from -128, modulo 256: the bits of an I8, and back.
fn signed(codes: &[u8]) -> Vec<u8> {
    codes.iter().map(|code| code.wrapping_add(128)).collect()
}

fn encode_zeros(scheme: Scheme, rows: usize, cols: usize, zeros: &[u8]) -> Result<Vec<u8>> {
    let groups = scheme.groups(rows, cols);
    match scheme.span() {
        // Counted from -2^(b-1), modulo 256: the bits of an I8.
        Span::Tensor => Ok(zeros.iter().map(|zero| zero.wrapping_sub(scheme.bits().middle())).collect()),
        _ => Ok(words_to_bytes(&Packing::Columns.pack(zeros, rows, groups.per_row(), scheme.bits())?)),
    }
}

fn tensor_name(path: &str, suffix: &str) -> String {
    format!("{path}.{suffix}")
}

fn scale_shape(span: Span, rows: usize, groups: Groups) -> Vec<usize> {
    match span {
        Span::Tensor => vec![1],
        Span::Channel | Span::Group(_) => vec![rows, groups.per_row()],
    }
}

/// The type that scales are written in: that of an f32 model, which loses nothing, else their own. The package may
/// compute weights in the type of their scales, which in 16 bits rounds every weight once more.
fn stored_scales(scheme: Scheme, model_dtype: Dtype) -> Dtype {
    if model_dtype == Dtype::F32 { Dtype::F32 } else { scheme.scale_type() }
}

fn words_to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn bytes_to_words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}
