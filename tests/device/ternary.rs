//! Three levels on a GPU.

use bitsmith::op::{self, Activations, GroupWeight};
use bitsmith::{Device, Dtype, Error, Random, Recorder, Scheme, Tensor, TernaryRule};
use libtest_mimic::Failed;

/// Codes, scales, and products with one int8 scale a token, where there is one for all columns of the weight, with a bias, are
/// the CPU's.
pub fn equal(gpu: &Device) -> Result<(), Failed> {
    let (rows, cols) = (33, 700);
    let values: Vec<f32> = Random::new(2).normals(rows * cols).iter().map(|v| v * 0.02).collect();
    for (dtype, scheme) in [(Dtype::F32, "w1.58ts"), (Dtype::Bf16, "w1.58cs-f32"), (Dtype::F16, "w1.58g100s-bf16")] {
        let weight = Tensor::new(dtype, vec![rows, cols], dtype.encode(&values))?;
        let scheme: Scheme = scheme.parse()?;
        for rule in TernaryRule::ALL {
            let [a, b] = [&Device::cpu(), gpu].map(|device| outcome(device, &weight, scheme, rule));
            let (a, b) = (a?, b?);
            if a != b {
                return Err(format!("{scheme} {rule} from {dtype}: the GPU differs").into());
            }
        }
    }
    Ok(())
}

/// Codes and scales; products of 1, 5 and 12 tokens, as bits.
type Outcome = (Vec<u32>, Vec<f32>, Vec<u32>);

fn outcome(device: &Device, weight: &Tensor<'_>, scheme: Scheme, rule: TernaryRule) -> Result<Outcome, Error> {
    let (packed, _) = pollster::block_on(op::quantize_ternary(device, weight, scheme, rule, "weight"))?;
    let mut products = Vec::new();
    if !matches!(scheme.span(), bitsmith::Span::Group(_)) {
        let w = GroupWeight::upload(device, &packed)?;
        for tokens in [1, 5, 12] {
            let mut random = Random::new(9);
            let x = Activations::upload(device, tokens, w.cols(), &random.normals(tokens * w.cols()))?;
            let mut recorder = Recorder::new(device);
            let x = op::int8(&mut recorder, &x, w.cols())?;
            let bias = device.upload(&random.normals(w.rows()))?;
            let y = op::group_int8_with_bias(&mut recorder, &x, &w, Some(&bias))?;
            recorder.submit()?;
            products.extend(pollster::block_on(y.read(device))?.iter().map(|y| y.to_bits()));
        }
    }
    Ok((packed.codes, packed.scales, products))
}
