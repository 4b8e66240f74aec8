//! MLX's affine quantization: `weight = scale * code + bias`. With `b` bits, `[out, in]` the shape of a layer and groups of
//! `g`, its tensors are
//!
//! | tensor | type | shape |
//! | --- | --- | --- |
//! | `weight` | U32 | `[out, in*b/32]`, LSB first |
//! | `scales` | F16, BF16 or F32 | `[out, in/g]` |
//! | `biases` | the same | `[out, in/g]` |
//!
//! A bias is the zero point times the scale, negated, rounded to its type: exact for symmetric layers, whose zero points are powers
//! of two, and in f32. Other zero points in 16 bits cost half a unit in the last place of the bias.

mod config;
mod reader;

use serde_json::Value;

pub use self::reader::Reader;
use super::layer_tensors::{by_row, other_input, tensor_name, words_to_bytes, zeros_by_row};
use super::{Exporter, Fit, LayerSpec};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::io::{StoredDtype, TensorSpec};
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Scheme, Span};

/// The name of the format on the command line.
pub const NAME: &str = "mlx";

const CODES: &str = "weight";
const SCALES: &str = "scales";
const BIASES: &str = "biases";

/// The group sizes that there are.
const GROUPS: [u16; 3] = [128, 64, 32];

/// The exporter.
///
/// ```
/// use bitsmith::Dtype;
/// use bitsmith::export::{Exporter, Fit, LayerSpec, mlx::Mlx};
/// let layer = |scheme: &str| Ok(LayerSpec {
///     path: "q_proj".into(), scheme: scheme.parse()?, rows: 64, cols: 96, input: Default::default(),
/// });
/// assert_eq!(Mlx.fit(&layer("w4g32s")?), Fit::Exact);
/// assert!(matches!(Mlx.fit(&layer("w4g32a")?), Fit::Rounded(_)));
/// assert!(matches!(Mlx.fit(&layer("w4g64s")?), Fit::Refused(_)));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Mlx;

impl Exporter for Mlx {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fit(&self, layer: &LayerSpec) -> Fit {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        let name = layer.path.rsplit('.').next().unwrap_or(&layer.path);
        if rows == 0 || cols == 0 {
            return Fit::Refused(format!("a weight of shape [{rows}, {cols}] has no elements"));
        }
        if let Some(refused) = other_input(&layer.input) {
            return refused;
        }
        let Some(size) = group_size(scheme, cols) else {
            return Fit::Refused(format!(
                "the format has groups of 32, 64 and 128, which must divide the {cols} input features; use another \
                 --group-size or --skip {name}"
            ));
        };
        if !(usize::from(size) * usize::from(scheme.bits().get())).is_multiple_of(32) {
            return Fit::Refused("a group must fill whole words".to_owned());
        }
        match scheme.is_symmetric() {
            true => Fit::Exact,
            false => {
                Fit::Rounded("zero points become biases, rounded to the model's type (f32: not at all)".to_owned())
            }
        }
    }

    fn tensors(&self, layer: &LayerSpec, model_dtype: Dtype) -> Result<Vec<TensorSpec>> {
        layer.refuse(self)?;
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        let groups = cols / usize::from(group_size(scheme, cols).unwrap_or(1));
        let scales = stored_scales(scheme, model_dtype);
        let spec = |name, dtype, cols| TensorSpec::new(tensor_name(&layer.path, name), dtype, [rows, cols]);
        Ok(vec![
            spec(CODES, StoredDtype::U32, Packing::Rows.words(1, cols, scheme.bits())),
            spec(SCALES, scales, groups),
            spec(BIASES, scales, groups),
        ])
    }

    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        weight.check()?;
        layer.check(weight)?;
        let specs = self.tensors(layer, model_dtype)?;
        let &PackedTensor { scheme, rows, .. } = weight;
        // A scale for a whole row is repeated.
        let repeat = specs[1].shape[1] / (by_row(&weight.scales, scheme, rows).len() / rows);
        let scales: Vec<f32> =
            by_row(&weight.scales, scheme, rows).iter().flat_map(|scale| vec![*scale; repeat]).collect();
        let zeros = zeros_by_row(weight).into_iter().flat_map(|zero| vec![zero; repeat]);
        let biases: Vec<f32> = scales.iter().zip(zeros).map(|(scale, zero)| -f32::from(zero) * scale).collect();
        let dtype = stored_scales(scheme, model_dtype).dtype().unwrap_or(Dtype::F32);
        let parts = [words_to_bytes(&weight.codes), dtype.encode(&scales), dtype.encode(&biases)];
        Ok(specs.into_iter().map(|spec| spec.name).zip(parts).collect())
    }

    fn config(&self, layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
        config::write(layers, kept)
    }

    fn describe(&self, config: &mut Value, quantization: Value) {
        config["quantization"] = quantization.clone();
        config["quantization_config"] = quantization;
    }
}

/// The group size that a layer is written with: its own, or the largest that divides a row with one scale.
fn group_size(scheme: Scheme, cols: usize) -> Option<u16> {
    let divides = |size: &u16| cols.is_multiple_of((*size).into());
    match scheme.span() {
        Span::Group(size) => Some(size).filter(|size| GROUPS.contains(size)).filter(divides),
        Span::Channel | Span::Tensor => GROUPS.into_iter().find(divides),
    }
}

/// The type that scales are written in: that of an f32 model, which loses nothing, else their own.
fn stored_scales(scheme: Scheme, model_dtype: Dtype) -> StoredDtype {
    if model_dtype == Dtype::F32 { StoredDtype::F32 } else { scheme.scale_type().into() }
}
