//! Deployed networks in folders, and trainings of classifiers.

use std::path::Path;

use bitsmith::nn::{AutoBitConfig, AutoBitModel, DeployedModel};
use bitsmith::op::Activations;
use bitsmith::progress::Silent;
use bitsmith::train::{ClassifierRequest, TrainConfig, score_classifier, train_classifier};
use bitsmith::{Device, Random, Recorder, Result};

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
    let request = ClassifierRequest {
        model: path("cnn.json"),
        samples: [path("images"), path("labels")],
        held_out: 0.25,
        epochs: 30,
        out: path("latent"),
        deploy: Some(path("packed")),
        force: false,
        config: TrainConfig {
            weights: "ternary".parse()?,
            activations: "int8".parse()?,
            lr: Some(1e-2),
            ..TrainConfig::default()
        },
    };
    let run = |request: &ClassifierRequest| pollster::block_on(train_classifier(&device, request, &mut Silent));
    let record = run(&request)?;
    assert_eq!((record.images, record.held_out, record.losses.len()), (180, 60, 30));
    assert!(record.deployed_accuracy > Some(0.95), "{record:?}");
    let score = |folder: &str| pollster::block_on(score_classifier(&device, &path(folder), &request.samples));
    assert_eq!(score("packed")?, score("latent")?);
    let more =
        ClassifierRequest { model: path("latent"), epochs: 1, out: path("more"), deploy: None, ..request.clone() };
    let again = run(&more)?;
    assert!(!again.from_scratch && again.losses[0] < 0.5 * record.losses[0], "{again:?}");
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
