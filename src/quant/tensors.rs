//! Quantization of plain tensors, without a model.

use crate::device::{Device, Recorder};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::op::{self, GroupWeight, Quantization};
use crate::pack::PackedTensor;
use crate::scheme::{Bits, RangeRule, Scheme, Span, Zero};
use crate::tensor::{QuantizedTensor, Tensor};

/// Codes, scales and zero points of a `[rows, cols]` tensor.
///
/// ```
/// use bitsmith::{Device, Scheme, Tensor, quant};
/// let weight = Tensor::from_f32(vec![1, 16], &[0.1; 16])?;
/// let scheme: Scheme = "w4g16a".parse()?;
/// let q = pollster::block_on(quant::quantize(&Device::cpu(), &weight, scheme))?;
/// assert_eq!((q.codes()[0], q.zeros()), (15, Some(&[0u8][..])));
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::NotFinite`] for a NaN or an infinity, [`crate::Error::Config`] for rules that do not fit each other, and
/// those of the device.
pub async fn quantize(
    device: &Device,
    tensor: &Tensor<'_>,
    quantization: impl Into<Quantization>,
) -> Result<QuantizedTensor> {
    op::quantize(device, tensor, &quantization.into(), "tensor").await?.0.unpack()
}

/// [`quantize`] for several tensors, in their order.
///
/// # Errors
/// Those of [`quantize`] for the first tensor that fails.
pub async fn quantize_batch(
    device: &Device,
    tensors: &[Tensor<'_>],
    quantization: impl Into<Quantization>,
) -> Result<Vec<QuantizedTensor>> {
    let quantization = quantization.into();
    let mut all = Vec::with_capacity(tensors.len());
    for (i, tensor) in tensors.iter().enumerate() {
        all.push(op::quantize(device, tensor, &quantization, &format!("tensor {i}")).await?.0.unpack()?);
    }
    Ok(all)
}

/// Activations `[tokens, features]` as int8, symmetric, with one f32 scale a token (`absmax / 127`) or, for
/// [`Span::Tensor`], one in all. Codes are unsigned with 128 for zero, in 1..=255: subtract 128 for the int8 value.
///
/// ```
/// use bitsmith::{Device, Span, Tensor, quant};
/// let x = Tensor::from_f32(vec![2, 2], &[1.0, -2.0, 0.0, 254.0])?;
/// let q = pollster::block_on(quant::quantize_activations(&Device::cpu(), &x, Span::Channel))?;
/// assert_eq!(q.codes().iter().map(|c| i16::from(*c) - 128).collect::<Vec<_>>(), [64, -127, 0, 127]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// As [`quantize`].
pub async fn quantize_activations(device: &Device, x: &Tensor<'_>, span: Span) -> Result<QuantizedTensor> {
    let scheme = Scheme::new(Bits::new(8)?, span, Zero::Symmetric).with_scale_type(Dtype::F32);
    quantize(device, x, Quantization { range: RangeRule::Restricted, ..scheme.into() }).await
}

/// Codes of a tensor that is one group, for a range of values that was found before, as by [`crate::calib::Ranges`]; what
/// lies outside is clipped.
///
/// ```
/// use bitsmith::{Device, Tensor, quant};
/// let x = Tensor::from_f32(vec![1, 3], &[-0.5, 0.5, 9.0])?;
/// let device = Device::cpu();
/// let q = quant::quantize_within(&device, &x, "w8ta-f32".parse()?, [-1.0, 1.0]);
/// assert_eq!(pollster::block_on(q)?.codes(), [63, 191, 255]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// As [`quantize`], and [`crate::Error::Config`] for a scheme whose group is not the tensor.
pub async fn quantize_within(
    device: &Device,
    tensor: &Tensor<'_>,
    scheme: Scheme,
    range: [f32; 2],
) -> Result<QuantizedTensor> {
    op::quantize_within(device, tensor, &scheme.into(), range, "tensor").await?.0.unpack()
}

/// The f32 values of a quantized tensor, row-major, computed on a device.
///
/// ```
/// use bitsmith::{Device, QuantizedTensor, quant};
/// let q = QuantizedTensor::new("w4g16s-f32".parse()?, 1, 2, vec![8, 11], vec![0.5], None)?;
/// assert_eq!(pollster::block_on(quant::dequantize(&Device::cpu(), &q))?, [0.0, 1.5]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// Those of the device.
pub async fn dequantize(device: &Device, tensor: &QuantizedTensor) -> Result<Vec<f32>> {
    let weight = GroupWeight::upload(device, &PackedTensor::pack(tensor))?;
    let mut rec = Recorder::new(device);
    let values = op::dequantize(&mut rec, &weight)?;
    rec.submit()?;
    values.read(device).await
}
