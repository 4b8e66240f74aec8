//! Which kernel a layer gets, and why.

use std::fmt;

use super::config::{BitLinearConfig, WeightPrecision};
use crate::device::{Caps, Device, DeviceKind, Recorder};
use crate::error::Result;
use crate::kernel::matvec::MAX_BATCH;
use crate::op::{self, Activations, GroupWeight, LayerInput};
use crate::pack::{PackedTensor, Packing};
use crate::tensor::Tensor;

/// The kernel that computes the product of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedKernel {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Its variant.
    pub variant: String,
    /// Why this one, for people.
    pub reason: String,
}

impl fmt::Display for SelectedKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kernel, self.variant, self.reason)
    }
}

/// The kernel that a deployed layer of this config and shape would get on a device for inputs of `tokens` rows. Nothing is
/// computed; memory for such a layer is taken on the device for a moment.
///
/// ```
/// use bitsmith::nn::{BitLinearConfig, selected_kernel};
/// let config = BitLinearConfig::default();
/// let one = selected_kernel(&bitsmith::Device::cpu(), &config, [64, 32], 1)?;
/// assert_eq!(one.kernel, "matvec_group_int8");
/// assert!(one.reason.contains("ternary") && one.reason.contains("int8"), "{one}");
/// let many = selected_kernel(&bitsmith::Device::cpu(), &BitLinearConfig::float(), [64, 32], 100)?;
/// assert_eq!(many.kernel, "matmul");
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// Those of recording, as of a layer that does not fit the device.
pub fn selected_kernel(
    device: &Device,
    config: &BitLinearConfig,
    [out_features, in_features]: [usize; 2],
    tokens: usize,
) -> Result<SelectedKernel> {
    let (rows, cols) = (out_features, in_features);
    of_layer(device, config, false, tokens, cols, |rec, x| match config.scheme() {
        Some(scheme) => {
            let codes = vec![0; Packing::Rows.words(rows, cols, scheme.bits())];
            let scales = vec![1.0; scheme.groups(rows, cols).count()];
            let packed = PackedTensor { scheme, rows, cols, codes, scales, zeros: None, kept: None };
            config.input().apply(rec, x, &GroupWeight::upload(device, &packed)?)
        }
        None => {
            let weight = Tensor::from_f32(vec![rows, cols], &vec![0.0; rows * cols])?;
            op::dense(rec, x, &op::DenseWeight::upload(device, &weight)?)
        }
    })
}

/// The product among the kernels that a layer records for an input of `tokens` rows; nothing of it is run, so the answer is
/// what the layer does, whatever decides that.
pub(super) fn of_layer(
    device: &Device,
    config: &BitLinearConfig,
    training: bool,
    tokens: usize,
    in_features: usize,
    forward: impl FnOnce(&mut Recorder, &Activations) -> Result<Activations>,
) -> Result<SelectedKernel> {
    let mut rec = Recorder::new(device);
    let x = Activations { buffer: rec.alloc(tokens * in_features * 4)?, rows: tokens, cols: in_features };
    forward(&mut rec, &x)?;
    let recording = rec.finish();
    let product = recording.dispatches().filter(|(kernel, _)| kernel.starts_with("mat")).last();
    let (kernel, variant) = product.map_or(("none", String::new()), |(kernel, variant)| (kernel, variant.to_string()));
    let reason = reason(device.caps(), config, training, tokens, kernel);
    Ok(SelectedKernel { kernel, variant, reason })
}

fn reason(caps: &Caps, config: &BitLinearConfig, training: bool, tokens: usize, kernel: &str) -> String {
    let weights = match config.weights {
        WeightPrecision::Float => "float weights".to_owned(),
        WeightPrecision::Ternary if training => "ternary weights in training, decoded to f32".to_owned(),
        WeightPrecision::Bits(bits) if training => format!("{bits}-bit weights in training, decoded to f32"),
        WeightPrecision::Ternary => "ternary codes in 2 bits".to_owned(),
        WeightPrecision::Bits(bits) => format!("codes of {bits} bits"),
    };
    let activations = match (config.input(), training) {
        (LayerInput::Exact, _) => "f32 activations: sums in f32",
        (_, true) => "int8 activations decoded to f32: sums in f32",
        (_, false) => "int8 activations: integer products",
    };
    let rows = match kernel.starts_with("matvec") {
        true => format!("{tokens} of at most {MAX_BATCH} rows at once: a matrix-vector product"),
        false => format!("{tokens} rows, more than {MAX_BATCH}: a matrix product by tiles"),
    };
    let device = match (caps.kind, caps.subgroups) {
        (DeviceKind::Cpu, _) => "on the CPU, by the widest instructions it has",
        (_, Some(_)) => "on a GPU with subgroups",
        (_, None) => "on a GPU without subgroups",
    };
    format!("{weights}; {activations}; {rows}; {device}")
}
