//! Networks from files.

use bitsmith::nn::{AutoBitConfig, AutoBitModel, BitLinear, BitLinearConfig};
use bitsmith::{Device, Error, Random, Result, Span, Tensor};

pub fn refused() -> Result<()> {
    for (json, words) in [
        (r#"{"model_type": "rnn", "layers": [2, 2], "activation": "relu"}"#, "rnn"),
        (r#"{"model_type": "mlp", "layers": [2, 2]}"#, "activation"),
        (r#"{"model_type": "mlp", "layers": [2, 2], "activation": "softsign"}"#, "softsign"),
        (r#"{"model_type": "mlp", "layers": [2, 2], "activation": "relu", "linear": {"weights": "int5"}}"#, "int5"),
        (r#"{"model_type": "mlp", "layers": [2, 2], "activation": "relu", "linear": {"granularity": "row"}}"#, "row"),
        (r#"{"model_type": "mlp", "layers": [2, 2], "activation": "relu", "linear": {"granularity": 7}}"#, "7"),
    ] {
        let error = serde_json::from_str::<AutoBitConfig>(json).expect_err(json).to_string();
        assert!(error.contains(words), "{error}");
    }
    let device = Device::cpu();
    for (layers, rest, words) in [
        ("[2]", "", "layers"),
        ("[2, 0, 3]", "", "at least one"),
        ("[2, 3]", r#", "dropout": 1.0"#, "dropout"),
        ("[4294967296, 4294967296]", "", "bytes wanted"),
        ("[64, 3]", r#", "linear": {"weights": "int4", "granularity": 16}"#, "each token"),
    ] {
        let json = format!(r#"{{"model_type": "mlp", "layers": {layers}, "activation": "relu"{rest}}}"#);
        let config: AutoBitConfig = serde_json::from_str(&json).expect("the parts are right by themselves");
        let error = AutoBitModel::from_config(&device, &config, 1).expect_err(&json).to_string();
        assert!(error.contains(words), "{error}");
    }
    // A weight that is not finite is not deployed.
    let config = BitLinearConfig { granularity: Span::Channel, bias: false, ..BitLinearConfig::default() };
    let wrong = Tensor::from_f32(vec![2, 2], &[1.0, 2.0, f32::NAN, 1.0])?;
    let error = pollster::block_on(BitLinear::from_values(&device, "fc", &wrong, None, config)?.deploy());
    assert!(matches!(error, Err(Error::Config { field, .. }) if field == "fc.weight"));
    assert!(BitLinear::from_values(&device, "fc", &wrong, Some(&[0.0, 0.0]), config).is_err());
    assert!(BitLinear::new(&device, "fc", 2, 2, config, &mut Random::new(1)).is_ok());
    Ok(())
}

pub fn round_trip() -> Result<()> {
    let device = Device::cpu();
    let json = r#"{"model_type": "mlp", "layers": [5, 7, 3], "activation": "sigmoid", "dropout": 0.25,
        "linear": {"weights": "int2", "activations": "float", "granularity": 32, "bias": true},
        "normalize": {"scale": 0.5, "mean": 1.0, "std": 2.0}}"#;
    let config: AutoBitConfig = serde_json::from_str(json).expect("it is a config");
    let model = AutoBitModel::from_config(&device, &config, 4)?;
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("mlp");
    pollster::block_on(model.save(&path))?;
    let read = AutoBitModel::open(&device, &path)?;
    assert_eq!(read.config(), config);
    let (before, after) = (model.parameters(), read.parameters());
    assert_eq!(
        before.iter().map(|p| &p.name[..]).collect::<Vec<_>>(),
        ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    );
    for (a, b) in before.iter().zip(&after) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
        let [a, b] = [a, b].map(|p| pollster::block_on(device.read::<u32>(&p.buffer)));
        assert_eq!(a?, b?);
    }
    assert!(pollster::block_on(model.save(&path)).is_err(), "the folder is there already");
    // A config that asks for another shape than the file has.
    let text = std::fs::read_to_string(path.join("config.json")).expect("it was written");
    std::fs::write(path.join("config.json"), text.replace('7', "8")).expect("it can be written");
    let error = AutoBitModel::open(&device, &path).expect_err("the shapes differ").to_string();
    assert!(error.contains("fc1.weight has shape [7, 5], but config.json asks for [8, 5]"), "{error}");
    Ok(())
}
