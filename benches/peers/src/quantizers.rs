//! Rounding to the nearest code: weights in f32 and bf16.

use std::borrow::Cow;

use bitsmith::{Device, Dtype, Random, Tensor};
use candle_core::DType;
use candle_core::quantized::GgmlDType;

use crate::measure::{Effort, Group, take_turns};
use crate::{Outcome, candle, ours};

const WIDTHS: [(&str, &[GgmlDType]); 2] =
    [("w4g128s", &[GgmlDType::Q4_0, GgmlDType::Q4K]), ("w8g128s", &[GgmlDType::Q8_0])];

/// The name of a group of quantizers.
pub fn name(dtype: Dtype, scheme: &str) -> String {
    format!("quantize {dtype} to {scheme}")
}

pub fn measure(effort: &Effort, wanted: &dyn Fn(&str) -> bool, groups: &mut Vec<Group>) -> Outcome<()> {
    let [rows, cols] = effort.shape;
    let device = Device::cpu();
    for (dtype, theirs) in [(Dtype::F32, DType::F32), (Dtype::Bf16, DType::BF16)] {
        if !WIDTHS.iter().any(|(scheme, _)| wanted(&name(dtype, scheme))) {
            continue;
        }
        let values: Vec<f32> = Random::new(2).normals(rows * cols).iter().map(|w| w * 0.02).collect();
        let bytes = dtype.encode(&values);
        let copies = effort.copies(bytes.len());
        let ours: Vec<Tensor<'_>> = (0..copies)
            .map(|_| Tensor::new(dtype, vec![rows, cols], Cow::Owned(bytes.clone())))
            .collect::<bitsmith::Result<_>>()?;
        let w = candle::tensor(&values, rows, cols)?.to_dtype(theirs)?;
        let theirs = (0..copies).map(|_| w.copy()).collect::<candle_core::Result<Vec<_>>>()?;
        for (scheme, formats) in WIDTHS.iter().filter(|(scheme, _)| wanted(&name(dtype, scheme))) {
            let parsed = scheme.parse()?;
            let mut peers =
                vec![ours::quantize_kernels(&device, &ours, parsed)?, ours::quantize_whole(&device, &ours, parsed)];
            for format in *formats {
                peers.push(candle::quantize(&theirs, *format)?);
            }
            groups.push(take_turns(name(dtype, scheme), (0, 0.0), peers, None, effort)?);
        }
    }
    Ok(())
}
