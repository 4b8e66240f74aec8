//! bitsandbytes' LLM.int8. With `[out, in]` the shape of a layer, its tensors are
//!
//! | tensor | type | shape |
//! | --- | --- | --- |
//! | `weight` | I8 | `[out, in]` |
//! | `SCB` | F32 | `[out]`: 127 times the scale of each row |
//! | `weight_format` | U8 | `[]`: 0, rows |
//!
//! Readers round activations to int8 by token, those columns apart in which a value reaches `llm_int8_threshold`.

mod reader;

use serde_json::{Value, json};

pub use self::reader::Reader;
use super::layer_tensors::{by_row, codes_of, ordered, tensor_name};
use super::{Exporter, Fit, LayerSpec};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{StoredDtype, TensorSpec};
use crate::op::LayerInput;
use crate::pack::PackedTensor;
use crate::scheme::Span;

/// The name of the format, in a configuration and on the command line.
pub const NAME: &str = "bitsandbytes";

const CODES: &str = "weight";
const SCALES: &str = "SCB";
const ORDER: &str = "weight_format";

/// Where outliers begin, unless the layers say otherwise.
const THRESHOLD: f32 = 6.0;
/// The largest code of the format's own quantizer, in whose steps it counts.
const STEPS: f32 = 127.0;

/// The exporter.
///
/// ```
/// use bitsmith::export::{Exporter, Fit, LayerSpec, bitsandbytes::BitsAndBytes};
/// let layer = |scheme: &str| Ok(LayerSpec {
///     path: "q_proj".into(), scheme: scheme.parse()?, rows: 64, cols: 96, input: Default::default(),
/// });
/// assert_eq!(BitsAndBytes.fit(&layer("w8cs-f32")?), Fit::Exact);
/// assert!(matches!(BitsAndBytes.fit(&layer("w4g32s")?), Fit::Refused(_)));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct BitsAndBytes;

impl Exporter for BitsAndBytes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fit(&self, layer: &LayerSpec) -> Fit {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        if rows == 0 || cols == 0 {
            return Fit::Refused(format!("a weight of shape [{rows}, {cols}] has no elements"));
        }
        if let Some(refused) = ordered(&layer.input) {
            return refused;
        }
        let by_row = matches!(scheme.span(), Span::Channel | Span::Tensor);
        if scheme.bits().get() != 8 || !scheme.is_symmetric() || !by_row {
            return Fit::Refused(
                "the format holds symmetric 8 bits per output channel; use --method llm-int8".to_owned(),
            );
        }
        if matches!(layer.input, LayerInput::Outliers { kept: true, .. }) {
            return Fit::Refused("the format has no kept weights; leave --keep-fp16-weight out".to_owned());
        }
        Fit::Exact
    }

    /// Readers put the format's own layer in the place of a Conv1D.
    fn fit_conv1d(&self, layer: &LayerSpec) -> Fit {
        self.fit(layer)
    }

    fn tensors(&self, layer: &LayerSpec, _: Dtype) -> Result<Vec<TensorSpec>> {
        layer.refuse(self)?;
        let name = |name| tensor_name(&layer.path, name);
        Ok(vec![
            TensorSpec::new(name(CODES), StoredDtype::I8, [layer.rows, layer.cols]),
            TensorSpec::new(name(SCALES), StoredDtype::F32, [layer.rows]),
            TensorSpec::new(name(ORDER), StoredDtype::U8, []),
        ])
    }

    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        weight.check()?;
        layer.check(weight)?;
        let names = self.tensors(layer, model_dtype)?.into_iter().map(|tensor| tensor.name);
        let scales: Vec<f32> = by_row(&weight.scales, weight.scheme, weight.rows).into_iter().map(largest).collect();
        let codes = codes_of(weight)?.into_iter().map(signed).collect();
        Ok(names.zip([codes, Dtype::F32.encode(&scales), vec![0]]).collect())
    }

    fn config(&self, layers: &[LayerSpec], kept: &[String]) -> Result<Value> {
        let Some(first) = layers.first() else {
            return Err(Error::config("plan", "no layer is quantized; plan at least one"));
        };
        // Readers keep what ends like one of these, or contains it.
        if let Some((layer, kept)) =
            layers.iter().find_map(|layer| Some((layer, kept.iter().find(|kept| layer.path.contains(*kept))?)))
        {
            return Err(Error::config(
                "plan",
                format!("{} is quantized, but {kept}, which is in it, is kept", layer.path),
            ));
        }
        let threshold = match self.input(first) {
            LayerInput::Outliers { threshold, .. } => threshold,
            _ => THRESHOLD,
        };
        Ok(json!({
            "quant_method": NAME,
            "load_in_8bit": true,
            "load_in_4bit": false,
            "_load_in_8bit": true,
            "_load_in_4bit": false,
            "llm_int8_threshold": threshold,
            "llm_int8_skip_modules": kept,
            "llm_int8_enable_fp32_cpu_offload": false,
            "llm_int8_has_fp16_weight": false,
            "bnb_4bit_compute_dtype": "float32",
            "bnb_4bit_quant_type": "fp4",
            "bnb_4bit_use_double_quant": false,
            "bnb_4bit_quant_storage": "uint8",
        }))
    }

    fn input(&self, layer: &LayerSpec) -> LayerInput {
        match layer.input {
            LayerInput::Outliers { .. } => layer.input.clone(),
            _ => LayerInput::Outliers { threshold: THRESHOLD, kept: false },
        }
    }

    fn scale_error(&self) -> f32 {
        f32::EPSILON
    }
}

/// The largest magnitude of a row of this scale. The package takes weights in f16, so that its own are such numbers.
fn largest(scale: f32) -> f32 {
    let near = scale * STEPS;
    let half = Dtype::F16.round(near);
    if half / STEPS == scale { half } else { near }
}

/// An 8-bit code counted from -128, modulo 256: the bits of an I8, and back.
const fn signed(code: u8) -> u8 {
    code.wrapping_add(128)
}
