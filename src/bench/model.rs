//! Measures a model: bytes, memory, time to load, speed, quality.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::decode::{KernelShare, Speed, decode};
use super::host;
use super::results::Pipelines;
use crate::check::Scale;
use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::eval::{self, EvalRequest};
use crate::io::Checkpoint;
use crate::model::Model;
use crate::progress::Progress;

/// Tokens of the prompt, and tokens generated after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// Put through the model at once.
    pub prompt: usize,
    /// One by one after them.
    pub decode: usize,
}

/// What a model costs and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelBench {
    /// The folder.
    pub model: PathBuf,
    /// Name of the device.
    pub device: String,
    /// Driver and version.
    pub driver: String,
    /// Threads, of the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Bytes of all tensors in the files.
    pub disk_bytes: u64,
    /// Bytes of the weights on the device.
    pub weight_bytes: u64,
    /// The most buffer memory taken from the device, for weights, cache and intermediate results.
    pub peak_device_bytes: u64,
    /// The most memory the process has held while it loaded and generated, mapped files and on the CPU the buffers
    /// counted; none where the system does not tell.
    pub peak_resident_bytes: Option<u64>,
    /// From opening the files, which the system has in its cache, to weights on the device.
    pub load_seconds: f64,
    /// Tokens of prompt and generation.
    pub lengths: Lengths,
    /// The prompt: from its ids to the first token.
    pub prompt: Speed,
    /// Generation, one token at a time.
    pub decode: Speed,
    /// Submissions to the device for each generated token.
    pub submissions_per_token: f64,
    /// Kernels run for each generated token.
    pub dispatches_per_token: f64,
    /// Time of a generated token by the sum of its kernels' times; none where the device has no clock for kernels.
    pub overhead: Option<f64>,
    /// What each kernel takes of a generated token, the longest first.
    pub kernels: Vec<KernelShare>,
    /// Compute pipelines, of a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipelines: Option<Pipelines>,
    /// On a text, if one was given.
    #[serde(flatten)]
    pub quality: Option<Perplexity>,
}

/// How well a model predicts a text: see [`crate::eval::Evaluation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of an evaluation")]
pub struct Perplexity {
    pub perplexity: f64,
    pub perplexity_error: f64,
    pub tokens_scored: usize,
    pub window: usize,
    pub text_sha256: String,
}

/// One model, or two side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Version of this crate.
    pub bitsmith: &'static str,
    /// In UTC, year-month-day.
    pub date: String,
    /// The processor.
    pub processor: String,
    /// The models, in the order in which they were named.
    pub models: Vec<ModelBench>,
    /// The second by the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratios: Option<Ratios>,
}

/// What the second model has by what the first has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names are those of the values divided")]
pub struct Ratios {
    pub disk_bytes: f64,
    pub weight_bytes: f64,
    pub peak_device_bytes: f64,
    pub peak_resident_bytes: Option<f64>,
    pub load_seconds: f64,
    pub prompt_tokens_per_second: f64,
    pub decode_tokens_per_second: f64,
    pub perplexity: Option<f64>,
}

/// Where no length is asked for, unless the context is too short.
const PROMPT_TOKENS: usize = 512;
const DECODE_TOKENS: usize = 128;

impl Lengths {
    /// The lengths asked for, or as long as usual, for models of these contexts.
    ///
    /// # Errors
    /// [`Error::Config`] if a length is zero or both together are over a context.
    ///
    /// ```
    /// use bitsmith::bench::Lengths;
    /// assert_eq!(Lengths::fit(None, None, &[2048, 4096])?, Lengths { prompt: 512, decode: 128 });
    /// assert_eq!(Lengths::fit(None, None, &[256])?, Lengths { prompt: 128, decode: 128 });
    /// assert_eq!(Lengths::fit(Some(200), None, &[256])?, Lengths { prompt: 200, decode: 56 });
    /// assert!(Lengths::fit(Some(300), None, &[256]).is_err());
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    pub fn fit(prompt: Option<usize>, decode: Option<usize>, contexts: &[usize]) -> Result<Self> {
        let context = contexts.iter().copied().min().unwrap_or(usize::MAX);
        let room = |asked: Option<usize>| context.saturating_sub(asked.unwrap_or(0));
        let decode_tokens = decode.unwrap_or_else(|| {
            // Without a wish for either, half of a short context is for the prompt.
            let share = if prompt.is_none() { context / 2 } else { room(prompt) };
            DECODE_TOKENS.min(share)
        });
        let prompt_tokens = prompt.unwrap_or_else(|| PROMPT_TOKENS.min(room(Some(decode_tokens))));
        let field = if prompt.is_some() || decode.is_none() { "prompt_tokens" } else { "decode_tokens" };
        let detail = match prompt_tokens.checked_add(decode_tokens) {
            Some(all) if all <= context && prompt_tokens > 0 && decode_tokens > 0 => {
                return Ok(Self { prompt: prompt_tokens, decode: decode_tokens });
            }
            _ => format!(
                "{prompt_tokens} tokens of prompt and {decode_tokens} generated ones; at least one of each is needed, \
                 and {context}, the shortest context, is the most for both"
            ),
        };
        Err(Error::config(field, detail))
    }
}

/// Loads a model onto a device and measures it. Peak memory is that of this process so far: for a figure of this model
/// alone, start a process for it.
///
/// ```
/// use bitsmith::{Device, bench::{Lengths, bench_model}, check::Scale, progress::Silent};
/// let (folder, lengths) = ("examples/tiny-llama".as_ref(), Lengths { prompt: 4, decode: 4 });
/// let device = Device::cpu();
/// let mut silent = Silent;
/// let done = pollster::block_on(bench_model(&device, folder, lengths, Scale::Quick, None, &mut silent))?;
/// assert_eq!(done.submissions_per_token, 1.0);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// Those of [`Model::open`] and of [`crate::eval::evaluate`]; [`Error::Cancelled`].
pub async fn bench_model(
    device: &Device,
    folder: &Path,
    lengths: Lengths,
    scale: Scale,
    text: Option<&EvalRequest>,
    progress: &mut dyn Progress,
) -> Result<ModelBench> {
    if let Some(request) = text {
        eval::check(folder, request)?;
    }
    let disk_bytes = warm(folder)?;
    let start = Instant::now();
    let model = Model::open(folder, device)?;
    // Uploads to a GPU end some time after they were asked for, at the latest before something is read.
    device.read::<u32>(&device.upload(&[0u32])?).await?;
    let load_seconds = start.elapsed().as_secs_f64();

    let decoding = decode(&model, lengths, scale, progress).await?;
    let peak_resident_bytes = host::peak_resident_bytes();
    let peak_device_bytes = device.memory().peak;
    let created = device.pipelines();

    let quality = match text {
        Some(request) => Some(eval::evaluate(&model, None, request, progress).await?),
        None => None,
    };
    let is_cpu = device.caps().kind == DeviceKind::Cpu;
    Ok(ModelBench {
        model: folder.to_path_buf(),
        device: device.caps().name.clone(),
        driver: device.caps().driver.clone(),
        threads: is_cpu.then(rayon::current_num_threads),
        disk_bytes,
        weight_bytes: model.bytes(),
        peak_device_bytes,
        peak_resident_bytes,
        load_seconds,
        lengths,
        prompt: decoding.prompt,
        decode: decoding.decode,
        submissions_per_token: decoding.submissions_per_token,
        dispatches_per_token: decoding.dispatches_per_token,
        overhead: decoding.overhead,
        kernels: decoding.kernels,
        pipelines: (!is_cpu).then_some(Pipelines { created, while_timed: decoding.pipelines_while_timed }),
        quality: quality.map(|e| Perplexity {
            perplexity: e.perplexity,
            perplexity_error: e.perplexity_error,
            tokens_scored: e.tokens_scored,
            window: e.window,
            text_sha256: e.text.sha256,
        }),
    })
}

/// Reads the files of a model once, so that loading it is not timed by the disk. Returns the bytes of its tensors.
fn warm(folder: &Path) -> Result<u64> {
    let checkpoint = Checkpoint::open(folder)?;
    let mut paths: Vec<&Path> = checkpoint.infos().filter_map(|info| checkpoint.path_of(&info.name)).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut piece = vec![0; 1 << 20];
    for path in paths {
        let failed = |e| Error::io(path, e);
        let mut file = File::open(path).map_err(failed)?;
        while file.read(&mut piece).map_err(failed)? > 0 {}
    }
    Ok(checkpoint.infos().map(|info| info.bytes() as u64).sum())
}

impl Comparison {
    /// Of one model, or of two.
    pub fn new(models: Vec<ModelBench>) -> Self {
        let ratios = match &models[..] {
            [first, second] => Some(Ratios::of(first, second)),
            _ => None,
        };
        let (date, processor) = (host::today(), host::processor());
        Self { bitsmith: env!("CARGO_PKG_VERSION"), date, processor, models, ratios }
    }
}

impl Ratios {
    fn of(first: &ModelBench, second: &ModelBench) -> Self {
        let bytes = |of: fn(&ModelBench) -> u64| of(second) as f64 / of(first) as f64;
        let both = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(first, second)| second / first);
        let resident = |m: &ModelBench| m.peak_resident_bytes.map(|bytes| bytes as f64);
        let perplexity = |m: &ModelBench| m.quality.as_ref().map(|quality| quality.perplexity);
        Self {
            disk_bytes: bytes(|m| m.disk_bytes),
            weight_bytes: bytes(|m| m.weight_bytes),
            peak_device_bytes: bytes(|m| m.peak_device_bytes),
            peak_resident_bytes: both(resident(first), resident(second)),
            load_seconds: second.load_seconds / first.load_seconds,
            prompt_tokens_per_second: second.prompt.tokens_per_second / first.prompt.tokens_per_second,
            decode_tokens_per_second: second.decode.tokens_per_second / first.decode.tokens_per_second,
            perplexity: both(perplexity(first), perplexity(second)),
        }
    }
}
