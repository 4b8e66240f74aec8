//! Handwritten digits: a trained perceptron is scored as it was published, and one with ternary weights and int8
//! activations is trained beside a float one, by the same recipe.
//!
//! `cargo run --release --example mnist -- IMAGES LABELS [MODEL]`, with `t10k-images-idx3-ubyte` and
//! `t10k-labels-idx1-ubyte`, packed by gzip or not, and a folder with a perceptron for these images.

use std::path::Path;

use bitsmith::io::Idx;
use bitsmith::nn::{
    AutoBitConfig, AutoBitModel, BitLinearConfig, BitMlpConfig, Normalize, Pass, Recipe, Samples, accuracy, fit,
};
use bitsmith::op::Decay;
use bitsmith::progress::{Progress, Silent};
use bitsmith::{Activation, Device, Result};
use pollster::block_on;

/// Digits.
pub const CLASSES: usize = 10;
/// Mean and deviation of MNIST.
pub const NORMALIZE: Normalize = Normalize { scale: 1.0 / 255.0, mean: 0.1307, std: 0.3081 };
/// For both networks.
pub const RECIPE: Recipe =
    Recipe { epochs: 20, batch: 64, rate: 1e-2, warmup: 0.05, decay: Decay::Cosine, weight_decay: 0.0, seed: 1 };

/// A network after its training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Of what precision.
    pub name: String,
    /// Share of the test images that the network gets right as it was trained.
    pub accuracy: f64,
    /// The same once it is deployed.
    pub deployed: f64,
    /// Bytes of the deployed weights.
    pub bytes: usize,
    /// What each product of a single image runs on.
    pub kernel: String,
}

/// Share of these images that the network in a folder gets right.
pub fn score(device: &Device, model: &Path, images: &Idx, labels: &Idx) -> Result<f64> {
    let model = AutoBitModel::open(device, model)?;
    let samples = Samples::from_idx(images, labels, model.config().normalize().unwrap_or(NORMALIZE))?;
    block_on(accuracy(device, &samples, |rec, x| model.forward(rec, x, Pass::Eval)))
}

/// Trains a perceptron of this precision and measures it on other images.
pub fn train(
    device: &Device,
    linear: BitLinearConfig,
    recipe: &Recipe,
    [learned, tested]: [&Samples; 2],
    progress: &mut dyn Progress,
) -> Result<Trained> {
    let config = BitMlpConfig {
        layers: vec![learned.features(), 256, CLASSES],
        activation: Activation::Relu,
        dropout: 0.1,
        linear,
        normalize: Some(NORMALIZE),
    };
    let model = AutoBitModel::from_config(device, &AutoBitConfig::Mlp(config), recipe.seed)?;
    block_on(fit(&model, learned, recipe, progress))?;
    let trained = block_on(accuracy(device, tested, |rec, x| model.forward(rec, x, Pass::Eval)))?;
    let model = block_on(model.deploy())?;
    let deployed = block_on(accuracy(device, tested, |rec, x| model.forward(rec, x)))?;
    let kernel = bitsmith::nn::selected_kernel(device, &linear, [256, learned.features()], 1)?.kernel;
    let (name, bytes, kernel) = (linear.to_string(), model.weight_bytes(), kernel.to_owned());
    Ok(Trained { name, accuracy: trained, deployed, bytes, kernel })
}

/// Ternary weights with int8 activations, and float, by the same recipe: trained on all images but the last fifth, measured on
/// that.
pub fn compare(device: &Device, samples: &Samples, recipe: &Recipe) -> Result<[Trained; 2]> {
    let split = samples.len() / 5 * 4;
    let parts = [samples.part(0..split)?, samples.part(split..samples.len())?];
    let run = |linear| train(device, linear, recipe, [&parts[0], &parts[1]], &mut Silent);
    Ok([run(BitLinearConfig::float())?, run(BitLinearConfig::default())?])
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [images, labels, rest @ ..] = &arguments[..] else {
        return Err("usage: mnist IMAGES LABELS [MODEL]".into());
    };
    let (images, labels) = (Idx::read(images.as_ref())?, Idx::read(labels.as_ref())?);
    let device = Device::cpu();
    if let [model, ..] = rest {
        let right = score(&device, model.as_ref(), &images, &labels)?;
        println!("{}: {:.2} %", Path::new(model).display(), 100.0 * right);
    }
    let samples = Samples::from_idx(&images, &labels, NORMALIZE)?;
    let start = std::time::Instant::now();
    println!("{:20} {:>8} {:>9} {:>8}  kernel", "784-256-10", "trained", "deployed", "bytes");
    for Trained { name, accuracy, deployed, bytes, kernel } in compare(&device, &samples, &RECIPE)? {
        println!("{name:20} {:7.2}% {:8.2}% {bytes:8}  {kernel}", 100.0 * accuracy, 100.0 * deployed);
    }
    println!("{:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
