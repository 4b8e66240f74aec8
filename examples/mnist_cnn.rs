//! Trained networks for handwritten digits, scored in float, in int8 and with three levels, without a training of ours; then
//! the one with three levels trained on.
//!
//! `cargo run --release --example mnist_cnn -- IMAGES LABELS MLP LENET CNN`, with `t10k-images-idx3-ubyte` and
//! `t10k-labels-idx1-ubyte`, packed by gzip or not, and folders with a perceptron, a LeNet and a network of three convolutions.

use std::path::Path;

use bitsmith::io::{Checkpoint, Idx};
use bitsmith::nn::{
    AutoBitConfig, AutoBitModel, BitLinearConfig, InputPrecision, Normalize, Recipe, Samples, WeightPrecision,
    accuracy, fit,
};
use bitsmith::op::Decay;
use bitsmith::progress::Silent;
use bitsmith::{Bits, Device, Error, Result, Span};
use pollster::block_on;

/// A perceptron: `fc1` and `fc2`.
pub const MLP: &str = r#"{"model_type": "mlp", "layers": [784, 100, 10], "activation": "sigmoid"}"#;

/// LeNet. The names are those of its tensors: `conv1.weight` `[20, 1, 5, 5]`, `conv1.bias`, and so on.
pub const LENET: &str = r#"{"model_type": "cnn", "image": {"channels": 1, "height": 28, "width": 28}, "layers": [
    {"layer": "conv2d", "name": "conv1", "channels": 20, "kernel": 5},
    {"layer": "activation", "function": "relu"},
    {"layer": "max_pool2d", "kernel": 2},
    {"layer": "conv2d", "name": "conv2", "channels": 50, "kernel": 5},
    {"layer": "activation", "function": "relu"},
    {"layer": "max_pool2d", "kernel": 2},
    {"layer": "flatten"},
    {"layer": "linear", "name": "fc1", "features": 500},
    {"layer": "activation", "function": "relu"},
    {"layer": "linear", "name": "fc2", "features": 10}]}"#;

/// Three convolutions without pools, and batch norms; the names are again those of the tensors.
pub const CNN: &str = r#"{"model_type": "cnn", "image": {"channels": 1, "height": 28, "width": 28}, "layers": [
    {"layer": "conv2d", "name": "conv1", "channels": 8, "kernel": 3},
    {"layer": "activation", "function": "relu"},
    {"layer": "conv2d", "name": "conv2", "channels": 16, "kernel": 3},
    {"layer": "activation", "function": "relu"},
    {"layer": "conv2d", "name": "conv3", "channels": 24, "kernel": 3},
    {"layer": "activation", "function": "relu"},
    {"layer": "batch_norm", "name": "norm1"},
    {"layer": "flatten"},
    {"layer": "linear", "name": "fc1", "features": 32},
    {"layer": "activation", "function": "relu"},
    {"layer": "linear", "name": "fc2", "features": 10},
    {"layer": "batch_norm", "name": "norm2"}]}"#;

/// Mean and deviation of MNIST.
pub const NORMALIZE: Normalize = Normalize { scale: 1.0 / 255.0, mean: 0.1307, std: 0.3081 };

/// Of the training with three levels, which begins with the trained network.
pub const RECIPE: Recipe =
    Recipe { epochs: 3, batch: 64, rate: 1e-3, warmup: 0.05, decay: Decay::Cosine, weight_decay: 0.0, seed: 1 };

/// A network for digits.
#[derive(Debug)]
pub struct Network {
    config: AutoBitConfig,
    checkpoint: Checkpoint,
}

/// How a network does.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// Share of the images that it gets right.
    pub accuracy: f64,
    /// Bytes of its weights.
    pub bytes: usize,
}

/// Weights with a scale for each output channel, int8 activations with one for each token or window.
pub fn quantized(weights: WeightPrecision) -> BitLinearConfig {
    BitLinearConfig { weights, activations: InputPrecision::Int8, granularity: Span::Channel, bias: true }
}

/// 8 bits.
pub fn int8() -> Result<BitLinearConfig> {
    Ok(quantized(WeightPrecision::Bits(Bits::new(8)?)))
}

impl Network {
    /// The weights of a folder in a network of this config.
    pub fn open(config: &str, folder: &Path) -> Result<Self> {
        let wrong = |error: serde_json::Error| Error::config("model", error.to_string());
        Ok(Self { config: serde_json::from_str(config).map_err(wrong)?, checkpoint: Checkpoint::open(folder)? })
    }

    /// Quantizes it as it is, and scores that.
    pub fn score(&self, device: &Device, linear: BitLinearConfig, samples: &Samples) -> Result<Score> {
        deployed(device, self.latent(device, linear)?, samples)
    }

    /// Trains it, beginning with its weights, on the first of these samples, quantizes it, and scores that on the others.
    pub fn tuned(
        &self,
        device: &Device,
        linear: BitLinearConfig,
        [learned, tested]: [&Samples; 2],
        recipe: &Recipe,
    ) -> Result<Score> {
        let model = self.latent(device, linear)?;
        block_on(fit(&model, learned, recipe, &mut Silent))?;
        deployed(device, model, tested)
    }

    fn latent(&self, device: &Device, linear: BitLinearConfig) -> Result<AutoBitModel> {
        AutoBitModel::load(device, &self.config.clone().with_linear(linear), &self.checkpoint)
    }
}

fn deployed(device: &Device, model: AutoBitModel, samples: &Samples) -> Result<Score> {
    let model = block_on(model.deploy())?;
    let accuracy = block_on(accuracy(device, samples, |rec, x| model.forward(rec, x)))?;
    Ok(Score { accuracy, bytes: model.weight_bytes() })
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [images, labels, folders @ ..] = &arguments[..] else {
        return Err("usage: mnist_cnn IMAGES LABELS MLP LENET CNN".into());
    };
    let device = Device::cpu();
    let samples = Samples::from_idx(&Idx::read(images.as_ref())?, &Idx::read(labels.as_ref())?, NORMALIZE)?;
    let split = samples.len() / 5 * 4;
    let parts = [samples.part(0..split)?, samples.part(split..samples.len())?];
    println!("{:5} {:16} {:>8} {:>9} {:>8}", "model", "layers", "accuracy", "bytes", "seconds");
    for ((name, config), folder) in [("mlp", MLP), ("lenet", LENET), ("cnn", CNN)].iter().zip(folders) {
        let network = Network::open(config, folder.as_ref())?;
        let ternary = quantized(WeightPrecision::Ternary);
        let line = |layers: String, run: &dyn Fn() -> Result<Score>| -> Result<()> {
            let start = std::time::Instant::now();
            let Score { accuracy, bytes } = run()?;
            let seconds = start.elapsed().as_secs_f64();
            println!("{name:5} {layers:16} {:7.2}% {bytes:9} {seconds:8.1}", 100.0 * accuracy);
            Ok(())
        };
        for linear in [BitLinearConfig::float(), int8()?, ternary] {
            line(linear.to_string(), &|| network.score(&device, linear, &samples))?;
        }
        let [learned, tested] = &parts;
        line("last fifth: float".into(), &|| network.score(&device, BitLinearConfig::float(), tested))?;
        line("ternary, trained".into(), &|| network.tuned(&device, ternary, [learned, tested], &RECIPE))?;
    }
    Ok(())
}
