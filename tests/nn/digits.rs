//! The example with the digits, and the same on points of a plane.

use std::path::{Path, PathBuf};

use bitsmith::io::Idx;
use bitsmith::nn::{Recipe, Samples};
use bitsmith::{Device, Random, Result};
use libtest_mimic::{Failed, Trial};

#[allow(dead_code, reason = "main is for cargo run")]
#[path = "../../examples/mnist.rs"]
mod mnist;

/// Points of accuracy that three levels may cost.
const COST: f64 = 0.01;
/// Test images that a deployed network may see another way than in training: those whose two best digits are next to level.
const CHANGED: f64 = 0.001;

pub fn trials() -> Vec<Trial> {
    let present = images().exists();
    let needs = |name: &str, run: fn() -> std::result::Result<(), Failed>| {
        let kind = if present { "" } else { "needs shared/" };
        Trial::test(name, run).with_ignored_flag(!present).with_kind(kind)
    };
    vec![
        needs("digits/the shared perceptron has its published accuracy", published),
        needs("digits/ternary is within a point of float", ternary),
        Trial::test("digits/a circle is learned as well by three levels", || circle().map_err(super::failed)),
    ]
}

fn shared() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("BITSMITH_SHARED").map_or_else(default, PathBuf::from)
}

fn images() -> PathBuf {
    shared().join("data/mnist/t10k-images-idx3-ubyte.gz")
}

fn read() -> Result<[Idx; 2]> {
    Ok([Idx::read(&images())?, Idx::read(&shared().join("data/mnist/t10k-labels-idx1-ubyte.gz"))?])
}

fn published() -> std::result::Result<(), Failed> {
    let [images, labels] = read()?;
    let right = mnist::score(&Device::cpu(), &shared().join("models/mnist-mlp-784-100-10"), &images, &labels)?;
    if right == 0.978 { Ok(()) } else { Err(format!("{right}, not 0.9780").into()) }
}

fn ternary() -> std::result::Result<(), Failed> {
    let [images, labels] = read()?;
    let samples = Samples::from_idx(&images, &labels, mnist::NORMALIZE)?;
    let [float, ternary] = mnist::compare(&Device::cpu(), &samples, &mnist::RECIPE)?;
    compare(&float, &ternary, 0.93)
}

fn compare(float: &mnist::Trained, ternary: &mnist::Trained, least: f64) -> std::result::Result<(), Failed> {
    let fair = float.accuracy > least && ternary.accuracy >= float.accuracy - COST;
    let deployed = (ternary.deployed - ternary.accuracy).abs() <= CHANGED && float.deployed == float.accuracy;
    // Two bits a weight in place of 32.
    let small = ternary.bytes * 15 < float.bytes;
    if fair && deployed && small { Ok(()) } else { Err(format!("{float:?}, {ternary:?}").into()) }
}

/// Points within a circle, on a ring around it, and outside.
fn circle() -> Result<()> {
    let points = Random::new(3).normals(2 * 1500);
    let class = |p: &[f32]| match p[0] * p[0] + p[1] * p[1] {
        ..0.8 => 0,
        0.8..2.0 => 1,
        _ => 2,
    };
    let samples = Samples::new(2, points.clone(), points.chunks(2).map(class).collect())?;
    let recipe = Recipe { epochs: 30, rate: 1e-2, ..mnist::RECIPE };
    let [float, ternary] = mnist::compare(&Device::cpu(), &samples, &recipe)?;
    assert!(float.accuracy > 0.95 && ternary.accuracy > 0.9, "{float:?}, {ternary:?}");
    assert!((ternary.deployed - ternary.accuracy).abs() <= 0.01, "{ternary:?}");
    Ok(())
}
