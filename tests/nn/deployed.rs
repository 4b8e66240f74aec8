//! What is deployed, against what was evaluated and trained.

use bitsmith::nn::{
    BitLinear, BitLinearConfig, BitMlp, BitMlpConfig, DeployedMlp, InputPrecision, Pass, WeightPrecision,
    selected_kernel,
};
use bitsmith::op::{self, Activations};
use bitsmith::{Activation, Bits, Device, Random, Recorder, Result, Span};

/// A training adds up f32 products of decoded numbers, a deployed layer integers: sums of 70 terms below 1, through two
/// layers.
const SUMS: f32 = 2e-5;
const WIDTHS: [usize; 3] = [70, 40, 10];

fn configs() -> Result<Vec<BitLinearConfig>> {
    let mut all = Vec::new();
    for weights in
        [WeightPrecision::Ternary, WeightPrecision::Bits(Bits::new(4)?), WeightPrecision::Bits(Bits::new(8)?)]
    {
        for granularity in [Span::Tensor, Span::Channel] {
            for activations in [InputPrecision::Float, InputPrecision::Int8] {
                all.push(BitLinearConfig { weights, activations, granularity, bias: true });
            }
        }
    }
    Ok(all)
}

fn run(
    device: &Device,
    x: &Activations,
    forward: impl FnOnce(&mut Recorder, &Activations) -> Result<Activations>,
) -> Result<Vec<f32>> {
    let mut rec = Recorder::new(device);
    let y = forward(&mut rec, x)?;
    rec.submit()?;
    pollster::block_on(y.read(device))
}

pub fn equal(device: &Device) -> Result<()> {
    for linear in configs()?.into_iter().chain([BitLinearConfig::float()]) {
        for tokens in [1, 12] {
            let x = Activations::upload(device, tokens, WIDTHS[0], &Random::new(9).normals(tokens * WIDTHS[0]))?;
            let config = BitMlpConfig {
                layers: WIDTHS.to_vec(),
                activation: Activation::Sigmoid,
                dropout: 0.5,
                linear,
                normalize: None,
            };
            let mut model = BitMlp::new(device, config, 3)?;
            let trained = run(device, &x, |rec, x| model.forward(rec, x, Pass::Eval))?;
            let codes = codes(device, &model)?;
            model.eval()?;
            let evaluated = run(device, &x, |rec, x| model.forward(rec, x, Pass::Eval))?;
            model.train();
            assert_eq!(run(device, &x, |rec, x| model.forward(rec, x, Pass::Eval))?, trained, "{linear}");
            let deployed = pollster::block_on(model.deploy())?;
            // The same integers by the same kernels.
            assert_eq!(packed(&deployed)?, codes, "{linear}");
            assert_eq!(run(device, &x, |rec, x| deployed.forward(rec, x))?, evaluated, "{linear}");
            let mut rec = Recorder::new(device);
            deployed.forward(&mut rec, &x)?;
            let biases = rec.finish().kernels().filter(|kernel| *kernel == "add_bias").count();
            // Products with packed weights add theirs.
            assert_eq!(biases, if linear.scheme().is_some() { 0 } else { WIDTHS.len() - 1 }, "{linear}");
            for (a, b) in evaluated.iter().zip(&trained) {
                assert!((a - b).abs() <= SUMS, "{linear}, {tokens} tokens: {a} deployed, {b} trained");
            }
        }
    }
    Ok(())
}

/// Codes and scales of each layer, from the weights that train.
fn codes(device: &Device, model: &BitMlp) -> Result<Vec<(Vec<u32>, Vec<f32>)>> {
    let Some(scheme) = model.config().linear.scheme() else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for layer in model.layers() {
        let weight = &layer.parameters()[0];
        let values =
            Activations { buffer: weight.buffer.clone(), rows: layer.out_features(), cols: layer.in_features() };
        let mut rec = Recorder::new(device);
        let packed = op::pack_weight(&mut rec, &values, scheme)?;
        rec.submit()?;
        let packed = pollster::block_on(packed.read(device))?;
        all.push((packed.codes, packed.scales));
    }
    Ok(all)
}

fn packed(model: &DeployedMlp) -> Result<Vec<(Vec<u32>, Vec<f32>)>> {
    let packed = model.layers().iter().filter_map(|layer| pollster::block_on(layer.packed()).transpose());
    packed.map(|packed| packed.map(|packed| (packed.codes, packed.scales))).collect()
}

pub fn selected(device: &Device) -> Result<()> {
    let float = BitLinearConfig { activations: InputPrecision::Float, ..BitLinearConfig::default() };
    for (config, tokens, training, deployed) in [
        (BitLinearConfig::default(), 1, "matvec", "matvec_group_int8"),
        (BitLinearConfig::default(), 9, "matmul", "matmul_group_int8"),
        (float, 8, "matvec", "matvec_group"),
        (float, 100, "matmul", "matmul_group"),
        (BitLinearConfig::float(), 1, "matvec", "matvec"),
    ] {
        let mut layer = BitLinear::new(device, "fc", 64, 32, config, &mut Random::new(1))?;
        let now = layer.selected_kernel(tokens)?;
        assert_eq!(now.kernel, training, "{config}");
        assert_eq!(now.reason.contains("in training"), config.scheme().is_some(), "{now}");
        layer.eval()?;
        let evaluated = layer.selected_kernel(tokens)?;
        assert_eq!(evaluated.kernel, deployed, "{config}");
        assert_eq!(selected_kernel(device, &config, [32, 64], tokens)?, evaluated);
        assert_eq!(pollster::block_on(layer.deploy())?.selected_kernel(tokens)?, evaluated);
    }
    Ok(())
}
