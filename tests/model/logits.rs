//! Logits against those of transformers, stored by `golden/make_logits.py` and `golden/make_families.py`.

use std::path::Path;

use bitsmith::Device;
use bitsmith::model::Model;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::{Outcome, logits, max_difference, root, same, shared, tiny_llama, within};

/// Largest difference of a logit. The stored ones are f32 themselves: transformers' f32 and f64 runs differ by 1.3e-5
/// to 1.5e-5 on the trained models and by 4e-6 to 1.6e-5 on the random ones, so this is seven times what rounding does.
/// Measured here: at most 1.8e-5.
const ROUNDING: f32 = 1e-4;
/// The smallest mistake that `make_families.py` tried, say a bias left out, must move the logits by this many times
/// the tolerance.
const MARGIN: f64 = 1000.0;

const FAMILIES: [&str; 12] = [
    "llama3-rope",
    "llama-biases",
    "mistral-window",
    "qwen2-biases",
    "qwen2-window",
    "qwen3-norms",
    "smollm",
    "opt-350m-like",
    "opt-bare",
    "opt-unprefixed",
    "gpt2-tied",
    "bitnet-norms",
];

pub fn trials(name: &str, device: &Device) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (model, folder) in [
        ("tiny-llama", tiny_llama()),
        ("stories260K", shared().join("models/stories260K")),
        ("babyllama-char-0.9M", shared().join("models/babyllama-char-0.9M")),
        ("opt-shakespeare-char", shared().join("models/opt-shakespeare-char")),
        ("gpt2-shakespeare-char", shared().join("models/gpt2-shakespeare-char")),
    ] {
        let present = folder.exists();
        let device = device.clone();
        let trial = Trial::test(format!("logits/{name}/{model}"), move || {
            let golden = read(&root(&format!("tests/golden/logits_{model}.json")));
            compare(&folder, &golden, &device)
        });
        trials.push(trial.with_ignored_flag(!present).with_kind(if present { "" } else { "needs shared/" }));
    }
    for family in FAMILIES {
        let device = device.clone();
        trials.push(Trial::test(format!("logits/{name}/{family}"), move || {
            let folder = root("tests/golden/families").join(family);
            let golden = read(&folder.join("logits.json"));
            let least = golden["least_effect"].as_f64().ok_or("least_effect")?;
            same("a mistake would be seen", &(least > MARGIN * f64::from(ROUNDING)), &true)?;
            compare(&folder, &golden, &device)
        }));
    }
    trials
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the golden file is in the repository");
    serde_json::from_str(&text).expect("the golden file is JSON")
}

fn compare(folder: &Path, golden: &Value, device: &Device) -> Outcome {
    let numbers = |key: &str| golden[key].as_array().into_iter().flatten().filter_map(Value::as_u64);
    let ids: Vec<u32> = numbers("ids").map(u32::try_from).collect::<Result<_, _>>()?;
    let model = Model::open(folder, device)?;
    let found = logits(&model, &ids, &mut model.cache(1, ids.len())?)?;
    let vocab = model.config().vocab_size;
    let mut worst = 0f32;
    for (position, row) in numbers("positions").zip(golden["logits"].as_array().ok_or("logits")?) {
        let expected: Vec<f32> =
            row.as_array().into_iter().flatten().filter_map(Value::as_f64).map(|x| x as f32).collect();
        let start = usize::try_from(position)? * vocab;
        worst = worst.max(max_difference(&found[start..start + vocab], &expected));
    }
    same("rows", &numbers("positions").count().min(1), &1)?;
    within("largest difference of a logit", worst, ROUNDING)
}
