//! Deployed networks in folders, and trainings of classifiers.

use std::path::Path;

use bitsmith::nn::{AutoBitConfig, AutoBitModel, DeployedModel};
use bitsmith::op::Activations;
use bitsmith::progress::{Progress, Silent};
use bitsmith::train::{ClassifierRequest, TrainConfig, score_classifier, train_classifier};
use bitsmith::{Device, Error, Random, Recorder, Result};

use super::impatient::Impatient;

const MLP: &str = r#"{"model_type": "mlp", "layers": [16, 12, 3], "activation": "sigmoid", "linear": LINEAR}"#;
const CNN: &str = r#"{"model_type": "cnn", "image": {"channels": 1, "height": 4, "width": 4}, "layers": [
    {"layer": "conv2d", "name": "conv1", "channels": 5, "kernel": 3},
    {"layer": "batch_norm", "name": "norm1"},
    {"layer": "activation", "function": "relu"},
    {"layer": "flatten"},
    {"layer": "linear", "name": "fc1", "features": 3}], "linear": LINEAR}"#;

fn config(json: &str, linear: &str) -> AutoBitConfig {
    serde_json::from_str(&json.replace("LINEAR", linear)).expect("it is a config")
}

fn logits(model: &DeployedModel, device: &Device) -> Result<Vec<f32>> {
    let mut rec = Recorder::new(device);
    let y = model.forward(&mut rec, &Activations::upload(device, 3, 16, &Random::new(5).normals(48))?)?;
    rec.submit()?;
    pollster::block_on(y.read(device))
}

/// What is read computes the same logits, bit for bit, with as many bytes.
pub fn round_trip(device: &Device) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    for (i, (json, linear)) in [
        (MLP, r#"{"weights": "ternary"}"#),
        (MLP, r#"{"weights": "int4", "activations": "float", "granularity": 32}"#),
        (CNN, r#"{"weights": "int8", "granularity": "channel"}"#),
        (CNN, r#"{"weights": "int3", "activations": "float", "granularity": "channel"}"#),
        (CNN, r#"{"weights": "ternary", "bias": false}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(i.to_string());
        let model = pollster::block_on(AutoBitModel::from_config(device, &config(json, linear), 3)?.deploy())?;
        pollster::block_on(model.save(&path))?;
        let read = pollster::block_on(DeployedModel::open(device, &path))?;
        assert_eq!((read.config(), read.weight_bytes()), (config(json, linear), model.weight_bytes()), "{linear}");
        assert_eq!(logits(&read, device)?, logits(&model, device)?, "{linear}");
    }
    Ok(())
}

/// What is no deployed network is refused, with the file or a remedy.
pub fn refused() -> Result<()> {
    let (device, folder) = (Device::cpu(), tempfile::tempdir().unwrap());
    let path = folder.path().join("packed");
    let float = AutoBitModel::from_config(&device, &config(MLP, r#"{"weights": "float"}"#), 3)?;
    let float = pollster::block_on(float.deploy())?;
    let error = pollster::block_on(float.save(&path)).expect_err("its layers are float").to_string();
    assert!(error.contains("before it is deployed"), "{error}");
    let model = AutoBitModel::from_config(&device, &config(MLP, r#"{"weights": "int8"}"#), 3)?;
    pollster::block_on(pollster::block_on(model.deploy())?.save(&path))?;
    let error = AutoBitModel::open(&device, &path).expect_err("it is deployed").to_string();
    assert!(error.contains("not trained"), "{error}");
    let text = std::fs::read_to_string(path.join("config.json")).unwrap();
    for (from, to, words) in [
        ("\"int8\"", "\"int4\"", "config.json asks for w4ts"),
        ("\"int8\"", "\"float\"", "its weights are float"),
        ("12,", "13,", "fc1.bias has shape [12], but config.json asks for [13"),
    ] {
        std::fs::write(path.join("config.json"), text.replacen(from, to, 1)).unwrap();
        let error = pollster::block_on(DeployedModel::open(&device, &path)).expect_err(words).to_string();
        assert!(error.contains(words) && error.contains("packed"), "`{words}` is not in {error}");
    }
    Ok(())
}

/// An idx file.
pub fn write_idx(path: &Path, sizes: &[u8], bytes: &[u8]) {
    let mut file = vec![0, 0, 8, u8::try_from(sizes.len()).unwrap()];
    sizes.iter().for_each(|size| file.extend([0, 0, 0, *size]));
    std::fs::write(path, [&file, bytes].concat()).unwrap();
}

/// Bars that lie and bars that stand are told apart by a packed network, which is scored alike from its folder, and trained on
/// from the other one.
pub fn classifier() -> Result<()> {
    const COUNT: u8 = 240;
    let (device, folder) = (Device::cpu(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let (mut random, mut images, mut labels) = (Random::new(2), Vec::new(), Vec::new());
    for _ in 0..COUNT {
        let (stands, place) = (random.below(2), random.below(4));
        labels.push(u8::try_from(stands).unwrap());
        images.extend((0..16u32).map(|i| if [i / 4, i % 4][stands as usize] == place { 255 } else { 0u8 }));
    }
    write_idx(&path("images"), &[COUNT, 4, 4], &images);
    write_idx(&path("labels"), &[COUNT], &labels);
    std::fs::write(path("cnn.json"), CNN.replace(", \"linear\": LINEAR", "")).unwrap();
    let config = TrainConfig {
        weights: "ternary".parse()?,
        activations: "int8".parse()?,
        lr: Some(1e-2),
        ..TrainConfig::default()
    };
    let request = ClassifierRequest {
        held_out: 0.25,
        epochs: 30,
        deploy: Some(path("packed")),
        ..ClassifierRequest::new(path("cnn.json"), [path("images"), path("labels")], path("latent"), config)
    };
    let run = |request: &ClassifierRequest| {
        pollster::block_on(train_classifier(&device, request, &mut Silent)).map(|trained| trained.record)
    };
    let record = run(&request)?;
    // Eleven batches of 16 and one of 4 in each epoch.
    assert_eq!((record.images, record.held_out, record.losses.len()), (180, 60, 30 * 12));
    assert!(record.deployed_accuracy > Some(0.95), "{record:?}");
    let score = |folder: &str| pollster::block_on(score_classifier(&device, &path(folder), &request.samples));
    assert_eq!(score("packed")?, score("latent")?);
    let more =
        ClassifierRequest { model: path("latent"), epochs: 1, out: path("more"), deploy: None, ..request.clone() };
    let again = run(&more)?;
    assert!(!again.from_scratch && again.last_loss() < record.losses.first().map(|first| 0.5 * first), "{again:?}");
    for (change, words) in [
        (ClassifierRequest { held_out: 1.0, ..more.clone() }, "held_out"),
        (ClassifierRequest { epochs: 0, ..more.clone() }, "epochs"),
        (ClassifierRequest { model: path("packed"), ..more.clone() }, "not trained"),
        (
            ClassifierRequest { config: TrainConfig { steps: 7, ..TrainConfig::default() }, ..more.clone() },
            "language models",
        ),
        (ClassifierRequest { out: path("latent"), ..more.clone() }, "latent"),
    ] {
        let change = ClassifierRequest { out: if words == "latent" { change.out } else { path("no") }, ..change };
        let error = run(&change).expect_err(words).to_string();
        assert!(error.contains(words), "`{words}` is not in {error}");
    }
    assert!(!path("no").exists());
    Ok(())
}

/// A classifier's training that is stopped goes on to the bytes of one that is not, wherever in an epoch; batches added up are
/// the larger batch, but for the order of sums.
pub fn resumes() -> Result<()> {
    /// Of a loss, in shares: two sums in place of one.
    const SUMS: f64 = 1e-5;
    let (device, folder) = (Device::cpu(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let mut random = Random::new(4);
    let images: Vec<u8> = (0..50 * 16u32).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
    write_idx(&path("images"), &[50, 16], &images);
    write_idx(&path("labels"), &[50], &images.chunks(16).map(|image| u8::from(image[3] > 127)).collect::<Vec<_>>());
    let mlp = MLP.replace(", \"linear\": LINEAR", ", \"dropout\": 0.2");
    std::fs::write(path("mlp.json"), mlp).unwrap();
    let config = TrainConfig {
        progressive: "8,ternary".parse()?,
        activations: "int8".parse()?,
        noise: 0.2,
        batch_size: 6,
        accumulate: 2,
        checkpoint_every: 3,
        ..TrainConfig::default()
    };
    // Four steps an epoch, the last of them of four images.
    let request = |name: &str, config: &TrainConfig| ClassifierRequest {
        epochs: 3,
        ..ClassifierRequest::new(path("mlp.json"), [path("images"), path("labels")], path(name), config.clone())
    };
    let run = |request: &ClassifierRequest, progress: &mut dyn Progress| {
        pollster::block_on(train_classifier(&device, request, progress))
    };
    let whole = run(&request("whole", &config), &mut Silent)?.record;
    assert_eq!((whole.losses.len(), whole.settings.steps, whole.layers.as_str()), (12, 12, "w1.58ts-f32 int8"));
    let broken = ClassifierRequest { resume: true, ..request("broken", &config) };
    for stop in [5, 9] {
        let stopped = run(&broken, &mut Impatient(stop));
        let at = |finished: usize| finished as u64 == stop;
        assert!(matches!(&stopped, Err(Error::Unfinished { finished, total: 12, .. }) if at(*finished)), "{stopped:?}");
    }
    let other = ClassifierRequest { config: TrainConfig { clip: 0.5, ..config.clone() }, ..broken.clone() };
    let refused = run(&other, &mut Silent).expect_err("it is another training").to_string();
    assert!(refused.contains("clip was 1.0 and is 0.5"), "{refused}");
    assert_eq!(run(&broken, &mut Silent)?.resumed, 9);
    for file in ["model.safetensors", "training.json", "config.json"] {
        let [a, b] = ["whole", "broken"].map(|out| std::fs::read(path(out).join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "something is left behind");
    std::fs::write(path("mlp.json"), MLP.replace(", \"linear\": LINEAR", "")).unwrap();
    let float = |batch_size, accumulate| TrainConfig { batch_size, accumulate, ..TrainConfig::default() };
    let [one, two] = [("one", float(12, 1)), ("two", float(6, 2))].map(|(name, config)| request(name, &config));
    let [one, two] = [run(&one, &mut Silent)?.record.losses, run(&two, &mut Silent)?.record.losses];
    assert!(one.iter().zip(&two).all(|(a, b)| (a - b).abs() <= SUMS * a), "{one:?} at once, {two:?} in two batches");
    Ok(())
}
