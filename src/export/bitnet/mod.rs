//! Hugging Face's `bitnet`: ternary weights with one scale, for activations of 8 bits. With `[out, in]` the shape of a
//! layer, its tensors are
//!
//! | tensor | type | shape |
//! | --- | --- | --- |
//! | `weight` | U8 | `[out/4, in]`, laid out as [`blocked_rows`] |
//! | `weight_scale` | F32, F16 or BF16 | `[1]` |
//!
//! What `weight_scale` means depends on `linear_class`: for `bitlinear`, the default, it is the reciprocal of the scale,
//! for `autobitlinear` the scale. `autobitlinear` may also keep -1, 0 and 1 in floating point, or, with
//! `quantization_mode` `online`, a weight that is quantized whenever it is used.
//!
//! The inputs of a layer are rounded to int8, `absmax / 127` of each token being one step. Other readers take no absmax
//! below 1e-5; here steps are as fine as the token asks for. The two differ for tokens that are all but zero.

mod config;
mod reader;
mod unpacked;

use serde_json::{Value, json};

pub use self::reader::Reader;
pub use self::unpacked::Unpacked;
use super::layer_tensors::ordered;
use super::{Exporter, Fit, LayerSpec, Stored};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{StoredDtype, TensorSpec};
use crate::op::LayerInput;
use crate::pack::{PackedTensor, blocked_rows};
use crate::scheme::{Bits, Scheme, Span, Zero};
use crate::tensor::{QuantizedTensor, Tensor};

/// The name of the format, in a configuration and on the command line.
pub const NAME: &str = "bitnet";

const WEIGHT: &str = "weight";
const SCALE: &str = "weight_scale";

/// The exporter. It writes `bitlinear`, which every reader of the format takes.
///
/// ```
/// use bitsmith::Dtype;
/// use bitsmith::export::{Exporter, Fit, LayerSpec, bitnet::Bitnet};
/// let layer = |scheme: &str| Ok(LayerSpec {
///     path: "up_proj".into(), scheme: scheme.parse()?, rows: 8, cols: 64, input: Default::default(),
/// });
/// let ternary = layer("w1.58ts-f32")?;
/// assert_eq!(Bitnet.fit(&ternary), Fit::Exact);
/// assert_eq!(Bitnet.tensors(&ternary, Dtype::Bf16)?[0].shape, [2, 64]);
/// assert!(matches!(Bitnet.fit(&layer("w4g32s")?), Fit::Refused(_)));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Bitnet;

impl Exporter for Bitnet {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fit(&self, layer: &LayerSpec) -> Fit {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        let refused = |reason: &str| Fit::Refused(reason.to_owned());
        if rows == 0 || cols == 0 {
            return Fit::Refused(format!("a weight of shape [{rows}, {cols}] has no elements"));
        }
        if let Some(refused) = ordered(&layer.input) {
            return refused;
        }
        match scheme.span() {
            _ if !scheme.bits().is_ternary() => refused("the format holds ternary weights only; use --method ternary"),
            Span::Channel | Span::Group(_) => refused("the format holds one scale a tensor; use a scheme with one"),
            Span::Tensor if !rows.is_multiple_of(4) => {
                Fit::Refused(format!("{rows} output features are no multiple of 4; keep the layer as it is"))
            }
            Span::Tensor => Fit::Exact,
        }
    }

    fn tensors(&self, layer: &LayerSpec, _: Dtype) -> Result<Vec<TensorSpec>> {
        let &LayerSpec { rows, cols, .. } = layer;
        if let Fit::Refused(reason) = self.fit(layer) {
            return Err(Error::Unsupported {
                what: format!("{} as {} in {NAME}", layer.path, layer.scheme),
                remedy: reason,
            });
        }
        // A scale in 16 bits would be off by up to 0.4 %.
        Ok(vec![
            TensorSpec::new(tensor_name(&layer.path, WEIGHT), StoredDtype::U8, [rows / 4, cols]),
            TensorSpec::new(tensor_name(&layer.path, SCALE), Dtype::F32, [1]),
        ])
    }

    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        weight.check()?;
        layer.check(weight)?;
        let tensors = self.tensors(layer, model_dtype)?;
        let scale = weight.scales[0];
        let stored = reciprocal(scale);
        if !is_scale(scale) || !is_scale(stored) {
            return Err(Error::Unsupported {
                what: format!("{} in {NAME}: its scale is {scale}, and the format stores the reciprocal", layer.path),
                remedy: "keep the layer as it is".to_owned(),
            });
        }
        let codes = blocked_rows::pack(&weight.codes, weight.rows, weight.cols)?;
        Ok(tensors.into_iter().map(|tensor| tensor.name).zip([codes, stored.to_le_bytes().to_vec()]).collect())
    }

    fn config(&self, layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
        if layers.is_empty() {
            return Err(Error::config("plan", "no layer is quantized; plan at least one"));
        }
        let config = json!({
            "quant_method": NAME,
            "linear_class": "bitlinear",
            "quantization_mode": "offline",
            "modules_to_not_convert": kept,
        });
        let read = config::Config::read(&config, NAME.as_ref())?;
        match layers.iter().find(|layer| read.keeps(&layer.path)) {
            Some(LayerSpec { path, .. }) => Err(Error::config(
                "plan",
                format!("{path} is both quantized and kept, or ends like a layer that is kept"),
            )),
            None => Ok(config),
        }
    }

    fn input(&self, _: &LayerSpec) -> LayerInput {
        LayerInput::Tokens
    }

    fn scale_error(&self) -> f32 {
        f32::EPSILON
    }
}

/// Whether a number can be a scale: its codes tell the signs.
fn is_scale(scale: f32) -> bool {
    scale.is_normal() && scale > 0.0
}

/// The number whose reciprocal is nearest to `scale`: `scale` itself, where there is such a number.
fn reciprocal(scale: f32) -> f32 {
    let near = 1.0 / scale;
    let off = |x: &f32| (1.0 / x - scale).abs();
    let candidates = [near, near.next_down(), near.next_up()];
    candidates.into_iter().min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(near)
}

fn tensor_name(path: &str, suffix: &str) -> String {
    format!("{path}.{suffix}")
}

/// What a layer of this format is once it is read.
fn scheme() -> Scheme {
    Scheme::new(Bits::TERNARY, Span::Tensor, Zero::Symmetric).with_scale_type(Dtype::F32)
}

/// Names of modules with a matrix that is no linear layer of the format: embeddings and the output head.
fn is_end(path: &str) -> bool {
    let module = path.rsplit('.').next().unwrap_or_default();
    module.contains("embed") || matches!(module, "lm_head" | "wte" | "wpe")
}

/// A floating-point matrix of a file; none if it is something else.
fn matrix<'a>(stored: &Stored<'a>) -> Option<Tensor<'a>> {
    let dtype = StoredDtype::from_name(stored.dtype)?.dtype()?;
    let [rows, cols] = stored.shape[..] else { return None };
    (rows > 0 && cols > 0).then(|| Tensor::new(dtype, vec![rows, cols], stored.bytes).ok()).flatten()
}

/// The levels -1, 0 and 1 as a packed weight; none if `level` gives another number.
fn pack(tensor: &Tensor<'_>, scale: f32, level: impl Fn(f32) -> f32) -> Option<PackedTensor> {
    let code = |value: f32| match level(value) {
        -1.0 => Some(1),
        0.0 => Some(2),
        1.0 => Some(3),
        _ => None,
    };
    let codes = tensor.to_f32().into_iter().map(code).collect::<Option<Vec<u8>>>()?;
    let tensor = QuantizedTensor::new(scheme(), tensor.rows(), tensor.cols(), codes, vec![scale], None).ok()?;
    Some(PackedTensor::pack(&tensor))
}
