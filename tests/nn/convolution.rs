//! A convolutional network against plain loops in f64; one that trains.

use bitsmith::io::Checkpoint;
use bitsmith::nn::{
    AutoBitConfig, AutoBitModel, BitLinearConfig, InputPrecision, Pass, Recipe, Samples, WeightPrecision, accuracy, fit,
};
use bitsmith::op::Activations;
use bitsmith::progress::Silent;
use bitsmith::{Bits, Device, Random, Recorder, Result, Span};

/// Sums of at most 72 products of numbers near 1, through three layers in f32.
const SUMS: f64 = 2e-5;
/// What 8 bits cost: each of three layers is off by about a 250th of its largest values.
const EIGHT_BITS: f32 = 0.1;

const IMAGES: usize = 3;
const NETWORK: &str = r#"{"model_type": "cnn", "image": {"channels": 2, "height": 9, "width": 7}, "layers": [
    {"layer": "conv2d", "name": "conv1", "channels": 8, "kernel": 3, "padding": 1},
    {"layer": "batch_norm", "name": "norm1", "eps": 0.5},
    {"layer": "activation", "function": "relu"},
    {"layer": "max_pool2d", "kernel": 3, "stride": 2, "padding": 1},
    {"layer": "conv2d", "name": "conv2", "channels": 5, "kernel": 3, "stride": 2, "padding": 1},
    {"layer": "activation", "function": "sigmoid"},
    {"layer": "avg_pool2d", "kernel": 2, "stride": 1, "padding": 1},
    {"layer": "dropout", "rate": 0.5},
    {"layer": "flatten"},
    {"layer": "linear", "name": "fc1", "features": 4}]}"#;

/// `[channels, height, width]` of each image.
#[derive(Clone)]
struct Image {
    extent: [usize; 3],
    values: Vec<f64>,
}

impl Image {
    fn new(extent: [usize; 3], of: impl Fn([usize; 3]) -> f64) -> Self {
        let [channels, height, width] = extent;
        let places = (0..channels).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| [c, y, x])));
        Self { extent, values: places.map(of).collect() }
    }

    /// A value; none outside.
    fn at(&self, c: usize, y: isize, x: isize) -> Option<f64> {
        let [_, height, width] = self.extent;
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        (y < height && x < width).then(|| self.values[(c * height + y) * width + x])
    }

    /// The values of each window of a channel, row by row.
    fn window(&self, c: usize, [y, x]: [usize; 2], [kernel, stride, padding]: [usize; 3]) -> Vec<Option<f64>> {
        let at = |o: usize, k: usize| (o * stride + k) as isize - padding as isize;
        (0..kernel * kernel).map(|k| self.at(c, at(y, k / kernel), at(x, k % kernel))).collect()
    }

    /// The same with windows of this kernel, stride and padding put together.
    fn slide(&self, channels: usize, window: [usize; 3], of: impl Fn(usize, [usize; 2]) -> f64) -> Self {
        let [kernel, stride, padding] = window;
        let places = |extent: usize| (extent + 2 * padding - kernel) / stride + 1;
        let [_, height, width] = self.extent;
        Self::new([channels, places(height), places(width)], |[c, y, x]| of(c, [y, x]))
    }

    fn conv(&self, weight: &[f32], bias: &[f32], window: [usize; 3]) -> Self {
        let (channels, area) = (self.extent[0], window[0] * window[0]);
        self.slide(bias.len(), window, |out, at| {
            let sum = |c: usize| {
                let weight = &weight[(out * channels + c) * area..][..area];
                let values = self.window(c, at, window).into_iter().map(|v| v.unwrap_or(0.0));
                values.zip(weight).map(|(v, w)| v * f64::from(*w)).sum::<f64>()
            };
            (0..channels).map(sum).sum::<f64>() + f64::from(bias[out])
        })
    }

    fn map(&self, of: impl Fn(usize, f64) -> f64) -> Self {
        let area = self.extent[1] * self.extent[2];
        let values = self.values.iter().enumerate().map(|(i, v)| of(i / area, *v)).collect();
        Self { values, ..*self }
    }
}

/// A network, with statistics of a batch norm that are not those of a random one.
fn network(device: &Device, linear: BitLinearConfig) -> Result<(AutoBitModel, Vec<Vec<f32>>)> {
    let config: AutoBitConfig = serde_json::from_str(NETWORK).expect("it is a config");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("cnn");
    let random = AutoBitModel::from_config(&Device::cpu(), &config, 4)?;
    for parameter in random.parameters().iter().filter(|p| p.name.starts_with("norm1")) {
        let mut rec = Recorder::new(random.device());
        let all = |values: Vec<f32>| Activations::upload(random.device(), 1, values.len(), &values);
        let old = Activations { buffer: parameter.buffer.clone(), rows: 1, cols: parameter.elements() };
        let change = all(Random::new(8).normals(parameter.elements()).iter().map(|v| v.abs()).collect())?;
        // In place: the sum with what is there.
        bitsmith::op::add_bias(&mut rec, &old, &change.buffer)?;
        rec.submit()?;
    }
    pollster::block_on(random.save(&path))?;
    let model = AutoBitModel::load(device, &config.with_linear(linear), &Checkpoint::open(&path)?)?;
    let values = random.parameters().into_iter().map(|p| pollster::block_on(random.device().read(&p.buffer)));
    Ok((model, values.collect::<Result<_>>()?))
}

fn input() -> Vec<f32> {
    Random::new(5).normals(IMAGES * 2 * 9 * 7)
}

fn run(device: &Device, forward: impl FnOnce(&mut Recorder, &Activations) -> Result<Activations>) -> Result<Vec<f32>> {
    let x = Activations::upload(device, IMAGES, 2 * 9 * 7, &input())?;
    let mut rec = Recorder::new(device);
    let y = forward(&mut rec, &x)?;
    rec.submit()?;
    pollster::block_on(y.read(device))
}

pub fn by_hand(device: &Device) -> Result<()> {
    let (model, values) = network(device, BitLinearConfig::float())?;
    let [conv1, bias1, norm, shift, mean, var, conv2, bias2, fc, bias] = &values[..] else {
        panic!("the network has {} tensors", values.len())
    };
    let found = run(device, |rec, x| model.forward(rec, x, Pass::Eval))?;
    for (n, pixels) in input().chunks(2 * 9 * 7).enumerate() {
        let image = Image::new([2, 9, 7], |[c, y, x]| f64::from(pixels[(c * 9 + y) * 7 + x]));
        let normed = |c: usize, v: f64| {
            let [norm, shift, mean, var] = [norm, shift, mean, var].map(|part| f64::from(part[c]));
            (v - mean) / (var + 0.5).sqrt() * norm + shift
        };
        let first = image.conv(conv1, bias1, [3, 1, 1]).map(|c, v| normed(c, v).max(0.0));
        let most = |c, at| first.window(c, at, [3, 2, 1]).into_iter().flatten().fold(f64::MIN, f64::max);
        let second = first.slide(8, [3, 2, 1], most).conv(conv2, bias2, [3, 2, 1]);
        let second = second.map(|_, v| 1.0 / (1.0 + (-v).exp()));
        let average = |c, at| second.window(c, at, [2, 1, 1]).into_iter().flatten().sum::<f64>() / 4.0;
        let features = second.slide(5, [2, 1, 1], average).values;
        for (class, weight) in fc.chunks(features.len()).enumerate() {
            let sum: f64 = features.iter().zip(weight).map(|(v, w)| v * f64::from(*w)).sum();
            let (right, found) = (sum + f64::from(bias[class]), f64::from(found[n * 4 + class]));
            assert!((found - right).abs() <= SUMS, "image {n}, class {class}: {found}, not {right}");
        }
    }
    Ok(())
}

pub fn deployed(device: &Device) -> Result<()> {
    let float = run(device, |rec, x| network(device, BitLinearConfig::float())?.0.forward(rec, x, Pass::Eval))?;
    for weights in [WeightPrecision::Bits(Bits::new(8)?), WeightPrecision::Ternary] {
        let linear =
            BitLinearConfig { weights, activations: InputPrecision::Int8, granularity: Span::Channel, bias: true };
        let (mut model, _) = network(device, linear)?;
        model.eval()?;
        let evaluated = run(device, |rec, x| model.forward(rec, x, Pass::Eval))?;
        let deployed = pollster::block_on(model.deploy())?;
        assert_eq!(run(device, |rec, x| deployed.forward(rec, x))?, evaluated, "{linear}");
        let off = evaluated.iter().zip(&float).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(weights == WeightPrecision::Ternary || off <= EIGHT_BITS, "{linear}: off by {off}");
        assert!(off > 0.0, "{linear}");
    }
    Ok(())
}

/// Bars that lie or stand, anywhere in the image.
pub fn trains() -> Result<()> {
    let device = Device::cpu();
    let mut random = Random::new(6);
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let (class, at) = (random.below(2), random.below(8) as usize);
        let on = |i: usize| if class == 0 { i / 8 == at } else { i % 8 == at };
        values.extend((0..64).map(|i| f32::from(u8::from(on(i))) + 0.3 * random.normal()));
        labels.push(class);
    }
    let samples = Samples::new(64, values, labels)?;
    let [learned, tested] = [samples.part(0..300)?, samples.part(300..400)?];
    let config = r#"{"model_type": "cnn", "image": {"channels": 1, "height": 8, "width": 8}, "layers": [
        {"layer": "conv2d", "name": "conv1", "channels": 6, "kernel": 3},
        {"layer": "activation", "function": "relu"},
        {"layer": "max_pool2d", "kernel": 2},
        {"layer": "flatten"},
        {"layer": "linear", "name": "fc1", "features": 2}]}"#;
    let config: AutoBitConfig = serde_json::from_str(config).expect("it is a config");
    for linear in [BitLinearConfig::float(), BitLinearConfig::default()] {
        let model = AutoBitModel::from_config(&device, &config.clone().with_linear(linear), 1)?;
        let recipe = Recipe { epochs: 15, batch: 32, rate: 0.02, ..Recipe::default() };
        pollster::block_on(fit(&model, &learned, &recipe, &mut Silent))?;
        let deployed = pollster::block_on(model.deploy())?;
        let right = pollster::block_on(accuracy(&device, &tested, |rec, x| deployed.forward(rec, x)))?;
        assert!(right >= 0.95, "{linear}: {right}");
    }
    Ok(())
}

pub fn refused() -> Result<()> {
    let conv = r#"{"layer": "conv2d", "name": "a", "channels": 2, "kernel": 3}"#;
    let flat = r#"{"layer": "flatten"}"#;
    let (pool, linear) = (r#""layer": "max_pool2d""#, r#"{"layer": "linear", "name": "a", "features": 2}"#);
    for (layers, words) in [
        (conv.to_owned(), "layers: they end with images; add a flatten"),
        (format!("{flat}, {conv}"), "layers[1].layers: it takes images"),
        (linear.to_owned(), "a takes features; put a flatten before it"),
        (format!("{conv}, {flat}, {linear}"), "`a` is there already"),
        (format!("{{{pool}, \"kernel\": 5}}, {flat}"), "a window of 5 x 5, stride 5, padding 0 does not fit 4 x 4"),
        (format!("{{{pool}, \"kernel\": 0}}, {flat}"), "does not fit"),
        (format!("{{{pool}, \"kernel\": 2, \"stride\": 0}}, {flat}"), "stride 0"),
        (format!("{{{pool}, \"kernel\": 2, \"padding\": 2}}, {flat}"), "more than half of the window"),
        (r#"{"layer": "dropout", "rate": 1.0}"#.to_owned(), "layers[0].rate"),
    ] {
        let image = r#""image": {"channels": 1, "height": 4, "width": 4}"#;
        let json = format!(r#"{{"model_type": "cnn", {image}, "layers": [{layers}]}}"#);
        let config: AutoBitConfig = serde_json::from_str(&json).expect(&json);
        let error = AutoBitModel::from_config(&Device::cpu(), &config, 1).expect_err(&json).to_string();
        assert!(error.contains(words), "{error}");
    }
    let typo = NETWORK.replace("\"padding\"", "\"paddin\"");
    let error = serde_json::from_str::<AutoBitConfig>(&typo).expect_err("no such field").to_string();
    assert!(error.contains("paddin"), "{error}");
    // A checkpoint of another network.
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("cnn");
    let config: AutoBitConfig = serde_json::from_str(NETWORK).expect("it is a config");
    let model = AutoBitModel::from_config(&Device::cpu(), &config, 1)?;
    pollster::block_on(model.save(&path))?;
    assert_eq!(AutoBitModel::open(&Device::cpu(), &path)?.config(), config);
    let other: AutoBitConfig =
        serde_json::from_str(&NETWORK.replace("\"channels\": 5", "\"channels\": 6")).expect("it is a config");
    let error = AutoBitModel::load(&Device::cpu(), &other, &Checkpoint::open(&path)?).expect_err("other shapes");
    assert!(error.to_string().contains("conv2.weight has shape [5, 8, 3, 3]"), "{error}");
    Ok(())
}
