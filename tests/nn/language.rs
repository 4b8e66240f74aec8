//! Language models that train from their configuration to a folder.

use std::path::{Path, PathBuf};

use bitsmith::eval::{EvalRequest, evaluate, evaluate_folders};
use bitsmith::model::Model;
use bitsmith::nn::{InputPrecision, WeightPrecision, swap_linears};
use bitsmith::progress::Silent;
use bitsmith::scheme::SkipList;
use bitsmith::train::{TrainConfig, TrainRequest, Trained, train_model};
use bitsmith::{Device, Error, Result};
use serde_json::{Value, json};

use super::impatient::Impatient;

/// Losses of the first steps on two devices, in shares: sums in another order, before they had the time to drift apart.
const FIRST: f64 = 1e-4;
/// Perplexities of products of floats and of integers, in shares: roundings of f32 through two blocks, and activations that
/// these move to the next code.
const PACKED: f64 = 2e-3;
const TEXT: &str = "examples/tiny-llama/calibration.txt";

/// A folder with a small configuration of a family and the tokenizer of the example.
fn config(folder: &Path, family: &Value) -> PathBuf {
    std::fs::copy("examples/tiny-llama/tokenizer.json", folder.join("tokenizer.json")).unwrap();
    let path = folder.join("config.json");
    std::fs::write(&path, family.to_string()).unwrap();
    path
}

fn llama() -> Value {
    json!({"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 512, "max_position_embeddings": 64,
        "tie_word_embeddings": true, "bos_token_id": 1, "torch_dtype": "bfloat16"})
}

fn request(model: &Path, out: PathBuf, config: TrainConfig) -> TrainRequest {
    let documents = Some("<|endoftext|>".to_owned());
    TrainRequest { documents, max_documents: Some(40), ..TrainRequest::new(model, TEXT, out, config) }
}

fn settings() -> TrainConfig {
    TrainConfig { steps: 12, batch_size: 4, seq_len: Some(32), lr: Some(1e-2), ..TrainConfig::default() }
}

fn quantized() -> TrainConfig {
    TrainConfig { weights: WeightPrecision::Ternary, activations: InputPrecision::Int8, ..settings() }
}

fn train(device: &Device, request: &TrainRequest) -> Result<Trained> {
    pollster::block_on(train_model(device, request, &mut Silent))
}

/// The loss falls, in float and with quantization in the loop, and begins as on the processor.
pub fn learns(device: &Device) -> Result<()> {
    let accumulated = TrainConfig { accumulate: 2, batch_size: 2, noise: 0.1, ..quantized() };
    for settings in [settings(), accumulated].map(|settings| TrainConfig { steps: 30, ..settings }) {
        let folder = tempfile::tempdir().unwrap();
        let model = config(folder.path(), &llama());
        let losses = |device, name: &str| {
            Ok::<_, Error>(train(device, &request(&model, folder.path().join(name), settings.clone()))?.record.losses)
        };
        let (here, cpu) = (losses(device, "here")?, losses(&Device::cpu(), "cpu")?);
        let last = here[25..].iter().sum::<f64>() / 5.0;
        assert!(last < 0.93 * here[0], "{here:?}");
        for (a, b) in here.iter().zip(&cpu).take(3) {
            assert!((a - b).abs() < FIRST * b, "{here:?} here, {cpu:?} on the processor");
        }
    }
    Ok(())
}

/// A training that is stopped and goes on gives the bytes of one that is not.
pub fn resumes() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let model = config(folder.path(), &llama());
    let progressive = "8,ternary".parse()?;
    let settings =
        TrainConfig { progressive, noise: 0.2, checkpoint_every: 4, activations: InputPrecision::Int8, ..settings() };
    let device = Device::cpu();
    let whole = request(&model, folder.path().join("whole"), settings.clone());
    train(&device, &whole)?;
    let mut broken = request(&model, folder.path().join("broken"), settings.clone());
    // Between two states, and after one.
    for (stop, total) in [(5, 5), (3, 8)] {
        broken.resume = true;
        // Steps that were taken before count as progress too.
        let patience = Impatient(if stop == total { stop } else { total });
        let stopped = pollster::block_on(train_model(&device, &broken, &mut { patience }));
        assert!(
            matches!(&stopped, Err(Error::Unfinished { finished, total: 12, .. }) if *finished as u64 == total),
            "{stopped:?}"
        );
        assert!(!broken.out.exists());
    }
    let other = TrainRequest { config: TrainConfig { seed: 9, ..settings }, ..broken.clone() };
    let refused = train(&device, &other).expect_err("it is another training").to_string();
    assert!(refused.contains("seed was 0 and is 9"), "{refused}");
    assert_eq!(train(&device, &broken)?.resumed, 8);
    for file in ["model.safetensors", "training.json", "config.json"] {
        let [a, b] = [&whole.out, &broken.out].map(|out| std::fs::read(out.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with('.')), "something is left behind");
    Ok(())
}

/// What is packed predicts as what trained, and the folders are what other commands read.
pub fn packed() -> Result<()> {
    let device = Device::cpu();
    let evaluation = EvalRequest {
        text: TEXT.into(),
        documents: Some("<|endoftext|>".into()),
        max_tokens: Some(640),
        window: Some(32),
        ..Default::default()
    };
    for granularity in ["tensor", "channel"] {
        let folder = tempfile::tempdir().unwrap();
        let model = config(folder.path(), &llama());
        let settings = TrainConfig { granularity: granularity.parse()?, ..quantized() };
        let mut request = request(&model, folder.path().join("latent"), settings.clone());
        (request.deploy, request.resume) = (Some(folder.path().join("packed")), true);
        // All steps, and some bytes of what is packed.
        let stopped = pollster::block_on(train_model(&device, &request, &mut Impatient(12 + 1000)));
        assert!(matches!(&stopped, Err(Error::Unfinished { unit: "steps", finished: 12, .. })), "{stopped:?}");
        assert!(!request.out.exists());
        let trained = train(&device, &request)?;
        assert_eq!(trained.resumed, 12);
        let record = trained.deployed.expect("it was asked for").record;
        assert_eq!(record.layers.len(), 14);
        assert!(record.sizes.bits_per_weight < 3.5, "{:?}", record.sizes);
        let mut latent = Model::open(&request.out, &device)?;
        pollster::block_on(swap_linears(&mut latent, &settings.linear(), &mut SkipList::default()))?;
        let latent = pollster::block_on(evaluate(&latent, None, &evaluation, &mut Silent))?.perplexity;
        let packed = folder.path().join("packed");
        let packed = pollster::block_on(evaluate_folders(&device, &packed, None, &evaluation, &mut Silent))?;
        assert_eq!(packed.activations.to_string(), "int8");
        let difference = (packed.perplexity / latent - 1.0).abs();
        assert!(difference < PACKED, "{} packed, {latent} trained", packed.perplexity);
    }
    Ok(())
}

/// Every family trains from scratch, and its folder is a model to go on from.
pub fn families() -> Result<()> {
    let device = Device::cpu();
    let gpt2 = json!({"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 512, "n_positions": 64,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5});
    let opt = json!({"model_type": "opt", "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "vocab_size": 512, "max_position_embeddings": 64, "activation_function": "relu", "do_layer_norm_before": true,
        "word_embed_proj_dim": 32});
    let mut qwen = llama();
    qwen["model_type"] = "qwen2".into();
    qwen["tie_word_embeddings"] = false.into();
    for family in [gpt2, opt, qwen] {
        let folder = tempfile::tempdir().unwrap();
        let name = &family["model_type"];
        let model = config(folder.path(), &family);
        let first = request(&model, folder.path().join("first"), settings());
        let losses = train(&device, &first)?.record.losses;
        assert!(losses[11] < 0.95 * losses[0], "{name}: {losses:?}");
        let settings = TrainConfig { granularity: "channel".parse()?, steps: 2, seed: 3, ..quantized() };
        let mut second = request(&first.out, folder.path().join("second"), settings.clone());
        second.deploy = Some(folder.path().join("packed"));
        let trained = train(&device, &second)?;
        assert!(!trained.record.from_scratch && trained.deployed.is_some(), "{name}");
        Model::open(&second.out, &device)?;
        Model::open(&folder.path().join("packed"), &device)?;
        // A float step from there begins where the first training ended.
        let float = TrainConfig { steps: 1, lr: Some(1e-9), ..self::settings() };
        let again = train(&device, &request(&first.out, folder.path().join("again"), float))?.record.losses;
        assert!(again[0] < losses[1], "{name}: {again:?} after {losses:?}");
        if name == "gpt2" {
            let settings = TrainConfig { granularity: "tensor".parse()?, ..settings };
            let refused = train(&device, &request(&model, folder.path().join("tensor"), settings));
            assert!(refused.is_err_and(|error| error.to_string().contains("granularity")));
        }
    }
    Ok(())
}

/// What cannot be trained is refused before anything is made.
pub fn refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let model = config(folder.path(), &llama());
    let out = folder.path().join("out");
    let with = |change: fn(&mut TrainRequest)| {
        let mut request = request(&model, out.clone(), settings());
        change(&mut request);
        train(&Device::cpu(), &request).expect_err("it cannot be trained").to_string()
    };
    let cases: [(String, &str); 5] = [
        (with(|r| r.config.seq_len = Some(65)), "context is 64"),
        (with(|r| r.deploy = Some(r.out.with_extension("packed"))), "--weights"),
        (with(|r| r.max_documents = Some(0)), "text"),
        (with(|r| r.model = "examples/tiny-llama/model.safetensors".into()), "folder"),
        (with(|r| r.config.lr = Some(1e30)), "loss"),
    ];
    for (error, words) in cases {
        assert!(error.contains(words), "`{words}` is not in: {error}");
    }
    assert!(!out.exists());
    Ok(())
}
