//! Quantization after a training with the quantizer in the loop.

use std::path::Path;

use bitsmith::eval::EvalRequest;
use bitsmith::export::Record;
use bitsmith::progress::{Progress, Silent};
use bitsmith::quant::{Outcome, QuantizeRequest, Rtn, RtnConfig, Ternary, TernaryConfig, quantize_model};
use bitsmith::train::{Finetune, FinetuneConfig, quantize_finetuned};
use bitsmith::{Device, Error, Result};

use super::impatient::Impatient;

const MODEL: &str = "examples/tiny-llama";
/// Of the perplexity without a training: a few steps take the worst of the damage away.
const RECOVERED: f64 = 0.5;

fn ternary() -> Result<Ternary> {
    Ok(Ternary::new(TernaryConfig { group_size: "channel".parse()?, ..TernaryConfig::default() }))
}

fn finetune(steps: u32) -> Finetune {
    Finetune {
        text: "examples/tiny-llama/calibration.txt".into(),
        documents: Some("<|endoftext|>".into()),
        config: FinetuneConfig { steps, batch_size: 4, seq_len: Some(32), ..FinetuneConfig::default() },
    }
}

fn run(request: &QuantizeRequest, steps: u32, progress: &mut dyn Progress) -> Result<Outcome> {
    pollster::block_on(quantize_finetuned(&Device::cpu(), &ternary()?, request, &finetune(steps), progress))
}

/// A training gives back what the quantizer took, and the record tells of both against the original.
pub fn recovers() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let quality = EvalRequest {
        text: "examples/tiny-llama/validation.txt".into(),
        window: Some(32),
        max_tokens: Some(640),
        ..EvalRequest::default()
    };
    let request = |name: &str| QuantizeRequest::new(MODEL, folder.path().join(name)).quality(quality.clone());
    let plain = pollster::block_on(quantize_model(&Device::cpu(), &ternary()?, &request("plain"), &mut Silent))?;
    assert!(
        plain.notes.iter().any(|note| note.starts_with("warning") && note.contains("--finetune")),
        "{:?}",
        plain.notes
    );
    let tuned = run(&request("tuned"), 40, &mut Silent)?;
    let perplexities = |outcome: &Outcome| {
        let quality = outcome.record.quality.as_ref().unwrap();
        [quality.perplexity_before, quality.perplexity_after]
    };
    let ([before, damaged], [same, after]) = (perplexities(&plain), perplexities(&tuned));
    assert_eq!(before, same);
    assert!(after < RECOVERED * damaged, "{before} became {damaged}, {after} after the training");
    let record = Record::read(&folder.path().join("tuned"))?;
    assert_eq!((record.method.name.as_str(), record.model.as_str()), ("ternary", "tiny-llama"));
    assert_eq!(record.method.settings["finetune"]["steps"], 40);
    assert_eq!(record.sizes.original_bytes, plain.record.sizes.original_bytes);
    assert_eq!(record.layers[0].scheme.to_string(), "w1.58cs");
    Ok(())
}

/// A run that is stopped in either half goes on to the same bytes.
pub fn resumes() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let whole = QuantizeRequest::new(MODEL, folder.path().join("whole"));
    run(&whole, 3, &mut Silent)?;
    let broken = QuantizeRequest::new(MODEL, folder.path().join("broken")).resume();
    // Within the training, and after it: units of the second half are bytes.
    for (patience, expected) in [(2, ("steps", 2)), (3 + 1_000_000, ("tensors", 0))] {
        match run(&broken, 3, &mut Impatient(patience)) {
            Err(Error::Unfinished { unit, finished, .. }) => {
                assert!(unit == expected.0 && finished >= expected.1, "{finished} {unit}");
            }
            other => panic!("{other:?}"),
        }
        assert!(!broken.out.exists());
    }
    // The training is not taken up again: this many steps are more than nothing.
    run(&broken, 3, &mut Silent)?;
    let [a, b] = [&whole.out, &broken.out].map(|out| std::fs::read(out.join("model.safetensors")).unwrap());
    assert!(a == b, "the weights differ");
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    Ok(())
}

/// What has no training is refused before anything is made.
pub fn refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let with = |quantizer: &dyn bitsmith::quant::Quantizer, request: &QuantizeRequest, finetune: &Finetune| {
        let device = Device::cpu();
        let done = pollster::block_on(quantize_finetuned(&device, quantizer, request, finetune, &mut Silent));
        done.expect_err("it cannot be").to_string()
    };
    let request = QuantizeRequest::new(Path::new(MODEL), &out);
    let mse = Ternary::new(TernaryConfig { rule: "mse".parse()?, ..TernaryConfig::default() });
    let mut long = finetune(1);
    long.config.seq_len = Some(1000);
    for (error, words) in [
        (with(&Rtn::new(RtnConfig::default())?, &request, &finetune(1)), "take --method ternary"),
        (with(&mse, &request, &finetune(1)), "absmean"),
        (with(&ternary()?, &request.clone().skip("down_proj"), &finetune(1)), "skip"),
        (with(&ternary()?, &request, &finetune(0)), "finetune_steps"),
        (with(&ternary()?, &request, &long), "finetune_seq_len"),
    ] {
        assert!(error.contains(words), "`{words}` is not in: {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    Ok(())
}
