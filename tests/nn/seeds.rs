//! Training depends on its seed, and on nothing else.

use bitsmith::nn::{AutoBitConfig, AutoBitModel, BitLinearConfig, BitMlpConfig, Recipe, Samples, fit};
use bitsmith::progress::Silent;
use bitsmith::{Activation, Device, Random, Result};

pub fn same_bytes() -> Result<()> {
    let [first, again, other] = [run(1)?, run(1)?, run(2)?];
    assert_eq!(first, again);
    assert_ne!(first, other);
    Ok(())
}

/// The bytes of all parameters after a training.
fn run(seed: u32) -> Result<Vec<Vec<u8>>> {
    let device = Device::cpu();
    let config = AutoBitConfig::Mlp(BitMlpConfig {
        layers: vec![20, 30, 4],
        activation: Activation::Gelu,
        dropout: 0.3,
        linear: BitLinearConfig::default(),
        normalize: None,
    });
    let model = AutoBitModel::from_config(&device, &config, seed)?;
    let mut random = Random::new(7);
    let samples = Samples::new(20, random.normals(20 * 70), (0..70).map(|_| random.below(4)).collect())?;
    let recipe = Recipe { epochs: 3, batch: 16, rate: 0.01, seed, ..Recipe::default() };
    let losses = pollster::block_on(fit(&model, &samples, &recipe, &mut Silent))?;
    assert_eq!(losses.len(), 3);
    assert!(losses[2] < losses[0], "{losses:?}");
    let buffers: Vec<_> = model.parameters().into_iter().map(|parameter| parameter.buffer).collect();
    pollster::block_on(device.read_all(&buffers.iter().collect::<Vec<_>>()))
}
