//! Quantizes a model folder to 4 bits and measures what that cost.
//!
//! `cargo run --release --example quantize_model [OUT]`

use std::path::Path;

use bitsmith::eval::EvalRequest;
use bitsmith::quant::{Outcome, QuantizeRequest, Rtn, RtnConfig, quantize_model};
use bitsmith::{Device, progress::Silent};

/// Quantizes the model that comes with the sources.
pub fn run(out: &Path) -> bitsmith::Result<Outcome> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny-llama");
    let text = EvalRequest {
        text: model.join("validation.txt").into(),
        documents: Some("<|endoftext|>".into()),
        max_documents: Some(20),
        window: Some(128),
        ..Default::default()
    };
    let request = QuantizeRequest::new(&model, out).quality(text);
    let method = Rtn::new(RtnConfig::default())?;
    pollster::block_on(quantize_model(&Device::cpu(), &method, &request, &mut Silent))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let out = std::env::args_os().nth(1).map_or_else(|| temporary.path().join("tiny-llama-w4"), Into::into);
    let done = run(&out)?;
    println!("{} layers quantized into {}", done.record.layers.len(), out.display());
    if let Some(quality) = done.evaluation {
        let before = quality.reference_perplexity.unwrap_or(f64::NAN);
        println!("perplexity {before:.4} before, {:.4} after", quality.perplexity);
    }
    Ok(())
}
