//! What a linear layer computes with in place of its weight.

use rayon::prelude::*;

use crate::device::Device;
use crate::error::Result;
use crate::model::{Linear, LoadedBlock};
use crate::op::{Activations, DenseWeight, GroupWeight, quantize, quantize_ternary};
use crate::pack::PackedTensor;
use crate::random::Random;
use crate::scheme::{Scheme, TernaryRule};
use crate::tensor::Tensor;

/// The three levels of models that were not trained for them.
const TERNARY: TernaryRule = TernaryRule::Twn;

/// In place of the weight of a linear layer.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// The weight itself.
    Original,
    /// Codes of it.
    Codes(PackedTensor),
    /// Other values.
    Values(Tensor<'static>),
    /// Zeros.
    Zero,
}

impl Form {
    /// Lets a layer, which has its original weight, compute with this.
    fn apply(&self, device: &Device, linear: &mut Linear) -> Result<()> {
        let [rows, cols] = linear.shape();
        match self {
            Self::Original => Ok(()),
            Self::Codes(codes) => linear.set_group(GroupWeight::upload(device, codes)?),
            Self::Values(values) => linear.set_dense(DenseWeight::upload(device, values)?),
            Self::Zero => {
                let zeros = Activations::upload(device, rows, cols, &vec![0.0; rows * cols])?;
                linear.set_dense(DenseWeight::from_values(zeros)?)
            }
        }
    }
}

/// Lets the layers of a block compute with their forms: those at `chosen` places with `changed`, the others with `base`.
/// Without a form, a layer keeps its weight.
pub(super) fn dress(
    device: &Device,
    block: &mut LoadedBlock,
    base: &[Form],
    changed: &[Form],
    chosen: &[usize],
) -> Result<()> {
    for (place, linear) in block.linears_mut().into_iter().flatten().enumerate() {
        let forms = if chosen.contains(&place) { changed } else { base };
        forms.get(place).map_or(Ok(()), |form| form.apply(device, linear))?;
    }
    Ok(())
}

/// Every layer of a block rounded to nearest.
pub(super) async fn rounded(device: &Device, block: &LoadedBlock, scheme: Scheme) -> Result<Vec<Form>> {
    let mut forms = Vec::new();
    for linear in block.linears().into_iter().flatten() {
        forms.push(Form::Codes(codes(device, linear, scheme).await?));
    }
    Ok(forms)
}

/// A layer rounded to nearest, with the default rules.
pub(super) async fn codes(device: &Device, linear: &Linear, scheme: Scheme) -> Result<PackedTensor> {
    let weight = linear.original()?.read(device).await?;
    let (codes, _) = match scheme.bits().is_ternary() {
        true => quantize_ternary(device, &weight, scheme, TERNARY, linear.path()).await?,
        false => quantize(device, &weight, &scheme.into(), linear.path()).await?,
    };
    Ok(codes)
}

/// Every layer of a block with Gaussian noise, whose standard deviation is `share` of that of the layer's weights.
pub(super) async fn noisy(device: &Device, block: &LoadedBlock, share: f32, seed: u32) -> Result<Vec<Form>> {
    let mut forms = Vec::new();
    for (seed, linear) in (seed..).zip(block.linears().into_iter().flatten()) {
        let weight = linear.original()?.read(device).await?;
        forms.push(Form::Values(with_noise(&weight, share, seed)?));
    }
    Ok(forms)
}

fn with_noise(weight: &Tensor<'_>, share: f32, seed: u32) -> Result<Tensor<'static>> {
    let mut values = weight.to_f32();
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / n;
    let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / n;
    #[allow(clippy::cast_possible_truncation, reason = "noise has the precision of weights")]
    let deviation = share * variance.sqrt() as f32;
    #[allow(clippy::cast_possible_truncation, reason = "a seed; wrapping is harmless")]
    let noise = |(row, values): (usize, &mut [f32])| {
        // An odd multiplier keeps the rows of layers with seeds side by side apart.
        let mut random = Random::new(seed.wrapping_add((row as u32).wrapping_mul(0x9E37_79B1)));
        values.iter_mut().for_each(|value| *value += deviation * random.normal());
    };
    values.par_chunks_mut(weight.cols().max(1)).enumerate().for_each(noise);
    Tensor::new(weight.dtype(), weight.shape().to_vec(), weight.dtype().encode(&values))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 20000 draws, some standard errors of mean and deviation.
    const DRAWN: f64 = 0.03;

    #[test]
    fn noise_is_a_share_of_the_deviation_and_repeats() {
        let values: Vec<f32> = Random::new(1).normals(20_000).iter().map(|value| 2.0 * value + 1.0).collect();
        let weight = Tensor::from_f32(vec![100, 200], &values).expect("as many values");
        let of = |seed| with_noise(&weight, 0.1, seed).expect("finite").to_f32();
        let noise: Vec<f64> = of(7).iter().zip(&values).map(|(a, b)| f64::from(a - b)).collect();
        let mean = noise.iter().sum::<f64>() / 20_000.0;
        let deviation = (noise.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0).sqrt();
        assert!(mean.abs() < DRAWN * 0.2 && (deviation / 0.2 - 1.0).abs() < DRAWN, "{mean} {deviation}");
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        // No two rows have the same noise.
        assert!(noise[..200].iter().zip(&noise[200..400]).any(|(a, b)| (a - b).abs() > 1e-3));
    }
}
