//! How well a model predicts a text, and how far it is from another one.

mod score;
mod summary;

use std::path::Path;

use serde::Serialize;

pub use summary::{Estimate, KlSummary};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::{ModelConfig, TextFacts, TextSource, TokenStream, Tokenizer, Windows};
use crate::model::{Model, Room};
use crate::op::ActivationPrecision;
use crate::progress::Progress;

/// Which text, and how it is cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvalRequest {
    /// Where it lies.
    pub text: TextSource,
    /// Tokens of a window; 512, or the model's context if that is shorter.
    pub window: Option<usize>,
    /// Tokens between the starts of windows; the window.
    pub stride: Option<usize>,
    /// Use only this many tokens of the text.
    pub max_tokens: Option<usize>,
    /// Split plain text at this separator into documents.
    pub documents: Option<String>,
    /// Use only this many documents.
    pub max_documents: Option<usize>,
    /// How [`evaluate_folders`] opens the model: the precision of activations that enter quantized layers.
    pub activations: ActivationPrecision,
    /// How much of each model [`evaluate_folders`] may put on the device, if there is a bound.
    pub room: Option<Room>,
}

/// The window where none is asked for.
const DEFAULT_WINDOW: usize = 512;

/// What a model was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// Another model.
    Model,
    /// The same model with exact activations.
    ExactActivations,
}

/// What came of an evaluation. Perplexity is `exp(total negative log-likelihood / tokens scored)`; numbers are comparable
/// only with equal text, window, stride and tokens scored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Perplexity of the model.
    pub perplexity: f64,
    /// Its standard error.
    pub perplexity_error: f64,
    /// Tokens predicted.
    pub tokens_scored: usize,
    /// Tokens of a window.
    pub window: usize,
    /// Tokens between windows.
    pub stride: usize,
    /// Which text.
    #[serde(flatten)]
    pub text: TextFacts,
    /// Precision of the model's activations that enter quantized layers.
    pub activations: ActivationPrecision,
    /// What the model was compared with, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Perplexity of the reference, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_perplexity: Option<f64>,
    /// The distance from the reference, if there is one.
    #[serde(flatten)]
    pub kl: Option<KlSummary>,
    /// Wall time of the evaluation without loading.
    pub seconds: f64,
    /// Where it ran.
    pub device: String,
}

/// Evaluates the model of a folder, against the one of another folder if given. A model with int8 activations and no
/// reference is measured against itself with exact ones, which tells what int8 costs.
///
/// # Errors
/// Those of reading models and text, [`Error::Config`] for windows that fit neither text nor model or for models of
/// different vocabularies, and those of the device.
pub async fn evaluate_folders(
    device: &Device,
    model: &Path,
    reference: Option<&Path>,
    request: &EvalRequest,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    let own = (request.activations == ActivationPrecision::Int8).then_some(model);
    let open = |folder, activations| match request.room {
        None => Model::open_with(folder, device, activations),
        Some(room) => Model::open_within(folder, device, activations, room),
    };
    let model = open(model, request.activations)?;
    let reference = reference
        .map(|folder| open(folder, ActivationPrecision::Auto))
        .or_else(|| own.map(|folder| open(folder, ActivationPrecision::Exact)))
        .transpose()?;
    evaluate(&model, reference.as_ref(), request, progress).await
}

/// Evaluates a model, against another one if given.
///
/// # Errors
/// As [`evaluate_folders`].
pub async fn evaluate(
    model: &Model,
    reference: Option<&Model>,
    request: &EvalRequest,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    let vocab = model.config().vocab_size;
    if let Some(other) = reference.map(|r| r.config().vocab_size).filter(|v| *v != vocab) {
        let detail = format!("it has {other} tokens, the model {vocab}; take the model it was made from");
        return Err(Error::config("reference", detail));
    }
    if reference.is_some_and(|other| other.device().caps().kind != model.device().caps().kind) {
        let detail = "of the two models one fits the GPU and the other does not; give them more room, or leave it out";
        return Err(Error::config("reference", detail));
    }
    let Prepared { text, ids, windows, window, stride } = prepare(model.folder(), model.config(), request)?;
    let same = |r: &Model| r.folder() == model.folder() && r.activations() != model.activations();
    let kind = |r| if same(r) { Reference::ExactActivations } else { Reference::Model };
    let start = std::time::Instant::now();
    let scores = score::score(model, reference, &ids, windows, progress).await?;
    let nll = Estimate::of(&scores.nll);
    let perplexity = nll.mean.exp();
    Ok(Evaluation {
        perplexity,
        perplexity_error: perplexity * nll.error,
        tokens_scored: scores.nll.len(),
        window,
        stride,
        text,
        activations: model.activations(),
        reference: reference.map(kind),
        reference_perplexity: reference.map(|_| Estimate::of(&scores.reference_nll).mean.exp()),
        kl: reference.map(|_| KlSummary::of(&scores.kl, &scores.same_top1)),
        seconds: start.elapsed().as_secs_f64(),
        device: model.place(),
    })
}

/// Whether the text of a request can be cut into windows for the model of a folder: what [`evaluate`] would refuse is
/// refused here, before any long work.
///
/// # Errors
/// As [`evaluate_folders`].
pub fn check(model: &Path, request: &EvalRequest) -> Result<()> {
    let (config, _) = ModelConfig::read(model)?;
    prepare(model, &config, request).map(|_| ())
}

/// A text cut for evaluation.
struct Prepared {
    text: TextFacts,
    ids: Vec<u32>,
    windows: Windows,
    window: usize,
    stride: usize,
}

fn prepare(folder: &Path, config: &ModelConfig, request: &EvalRequest) -> Result<Prepared> {
    let documents = request.text.documents(request.documents.as_deref(), request.max_documents)?;
    let tokenizer = Tokenizer::read(folder, config.vocab_size)?;
    let max_tokens = request.max_tokens.unwrap_or(usize::MAX);
    let (mut tokens, text) = TokenStream::read(documents, &tokenizer, max_tokens)?;
    tokens.truncate(max_tokens);
    let context = config.max_position_embeddings;
    let window = request.window.unwrap_or_else(|| DEFAULT_WINDOW.min(context));
    if window > context {
        let detail = format!("{window} tokens, but the model's context is {context}; take a smaller window");
        return Err(Error::config("window", detail));
    }
    let stride = request.stride.unwrap_or(window);
    let windows = Windows::new(tokens.ids().len(), window, stride)?;
    Ok(Prepared { text, ids: tokens.ids().to_vec(), windows, window, stride })
}
