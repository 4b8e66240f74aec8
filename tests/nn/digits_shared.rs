//! The shared networks for digits: their published accuracies, and what int8 costs. An optimized build takes all images, a
//! debug build the first of them.

use std::path::{Path, PathBuf};

use bitsmith::Device;
use bitsmith::io::Idx;
use bitsmith::nn::{BitLinearConfig, Samples};
use libtest_mimic::{Failed, Trial};

#[allow(dead_code, reason = "main is for cargo run")]
#[path = "../../examples/mnist_cnn.rs"]
mod mnist_cnn;

/// Images of a debug build, which takes several times as long.
const SOME: usize = 500;
/// Of all images: a tenth of a point. Of some: that share of them and two images more.
const COST: f64 = 0.001;

/// A network: its config, its folder, its published accuracy on all images, and PyTorch's on the first of them.
struct Published {
    config: &'static str,
    folder: &'static str,
    all: f64,
    some: f64,
}

const MLP: Published = Published { config: mnist_cnn::MLP, folder: "mnist-mlp-784-100-10", all: 0.9780, some: 0.982 };
const LENET: Published = Published { config: mnist_cnn::LENET, folder: "mnist-lenet", all: 0.9903, some: 0.992 };
const CNN: Published = Published { config: mnist_cnn::CNN, folder: "mnist-burn-cnn", all: 0.9917, some: 0.988 };

pub fn trials() -> Vec<Trial> {
    let present = shared().join("data/mnist").exists();
    let needs = |name: &str, published: Published| {
        let kind = if present { "" } else { "needs shared/" };
        let name = format!("digits/the shared {name} in float and in int8");
        Trial::test(name, move || score(&published)).with_ignored_flag(!present).with_kind(kind)
    };
    vec![needs("perceptron", MLP), needs("LeNet", LENET), needs("network with batch norms", CNN)]
}

fn shared() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("BITSMITH_SHARED").map_or_else(default, PathBuf::from)
}

fn samples() -> bitsmith::Result<Samples> {
    let read = |name: &str| Idx::read(&shared().join("data/mnist").join(name));
    let [images, labels] = ["images-idx3", "labels-idx1"].map(|kind| read(&format!("t10k-{kind}-ubyte.gz")));
    let all = Samples::from_idx(&images?, &labels?, mnist_cnn::NORMALIZE)?;
    if cfg!(debug_assertions) { all.part(0..SOME) } else { Ok(all) }
}

fn score(published: &Published) -> Result<(), Failed> {
    let (device, samples) = (Device::cpu(), samples()?);
    let (right, cost) = match cfg!(debug_assertions) {
        true => (published.some, COST + 2.0 / SOME as f64),
        false => (published.all, COST),
    };
    let network = mnist_cnn::Network::open(published.config, &shared().join("models").join(published.folder))?;
    let float = network.score(&device, BitLinearConfig::float(), &samples)?;
    let int8 = network.score(&device, mnist_cnn::int8()?, &samples)?;
    let near = int8.accuracy >= float.accuracy - cost && int8.bytes * 3 < float.bytes;
    if float.accuracy == right && near { Ok(()) } else { Err(format!("{float:?}, {int8:?}").into()) }
}
