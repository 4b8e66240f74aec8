//! Prompts and tokens through a model, timed as `generate` runs them, and kernel by kernel.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Lengths;
use crate::check::Scale;
use crate::device::{Recorder, StepTime};
use crate::error::{Error, Result};
use crate::model::{Cache, Model, Sampling};
use crate::progress::Progress;
use crate::random::Random;

/// Tokens a second over some runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// The median of the runs.
    pub tokens_per_second: f64,
    /// The slowest run.
    pub slowest: f64,
    /// The fastest run.
    pub fastest: f64,
    /// Number of runs.
    pub runs: usize,
}

/// What a kernel takes of a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelShare {
    /// Name of the kernel.
    pub kernel: String,
    /// Dispatches a token.
    pub dispatches: f64,
    /// Seconds a token.
    pub seconds: f64,
    /// Of the sum over all kernels.
    pub share: f64,
}

/// What generating takes.
pub(super) struct Decoding {
    pub(super) prompt: Speed,
    pub(super) decode: Speed,
    pub(super) submissions_per_token: f64,
    pub(super) dispatches_per_token: f64,
    /// Pipelines created by the timed runs.
    pub(super) pipelines_while_timed: usize,
    /// Seconds of a token by the sum of its kernels' seconds, where the device has a clock for kernels.
    pub(super) overhead: Option<f64>,
    /// The longest first.
    pub(super) kernels: Vec<KernelShare>,
}

/// Runs at most.
const RUNS: usize = 7;
const QUICK_RUNS: usize = 2;
/// Seconds after which no further run begins.
const PATIENCE: f64 = 20.0;

/// Runs a prompt and tokens after it several times, after one run that does not count. Each run is followed by one over
/// the same positions with a clock at each kernel, so that the two see the same machine.
pub(super) async fn decode(
    model: &Model,
    lengths: Lengths,
    scale: Scale,
    progress: &mut dyn Progress,
) -> Result<Decoding> {
    let most = if scale == Scale::Full { RUNS } else { QUICK_RUNS };
    let device = model.device();
    let mut turn = Turn::new(model, lengths)?;
    progress.begin("decoding", (1 + most) as u64);
    turn.prompt().await?;
    turn.tokens(progress).await?;
    turn.profile(progress).await?;
    progress.advance(1, "");

    let start = Instant::now();
    let (mut prompts, mut decodes, mut overheads, mut steps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut submissions, mut pipelines) = (0, 0);
    while decodes.len() < most && (decodes.is_empty() || start.elapsed().as_secs_f64() < PATIENCE) {
        let created = device.pipelines();
        prompts.push(turn.prompt().await?);
        let submitted = device.submissions();
        let seconds = turn.tokens(progress).await?;
        submissions += device.submissions() - submitted;
        pipelines += device.pipelines() - created;
        decodes.push(seconds);
        if let Some(found) = turn.profile(progress).await? {
            overheads.push(seconds / found.iter().map(|step| step.seconds).sum::<f64>());
            steps.extend(found);
        }
        progress.advance(1, "");
    }
    progress.end();
    let tokens = lengths.decode as f64 * decodes.len() as f64;
    Ok(Decoding {
        prompt: Speed::of(lengths.prompt, &prompts),
        decode: Speed::of(lengths.decode, &decodes),
        submissions_per_token: submissions as f64 / tokens,
        dispatches_per_token: turn.dispatches as f64,
        pipelines_while_timed: pipelines,
        overhead: median(overheads),
        kernels: KernelShare::of(&steps, tokens),
    })
}

/// One sequence that is generated again and again.
struct Turn<'a> {
    model: &'a Model,
    cache: Cache,
    prompt: Vec<u32>,
    lengths: Lengths,
    /// The most likely token after the prompt.
    first: u32,
    dispatches: usize,
}

impl<'a> Turn<'a> {
    fn new(model: &'a Model, lengths: Lengths) -> Result<Self> {
        let cache = model.cache(1, lengths.prompt + lengths.decode)?;
        // What the tokens are makes no difference to the time.
        let mut random = Random::new(1);
        let vocab = u32::try_from(model.config().vocab_size).unwrap_or(u32::MAX);
        let prompt = (0..lengths.prompt).map(|_| random.below(vocab)).collect();
        Ok(Self { model, cache, prompt, lengths, first: 0, dispatches: 0 })
    }

    /// Seconds from the prompt to the first token.
    async fn prompt(&mut self) -> Result<f64> {
        self.cache.clear();
        let start = Instant::now();
        let mut recorder = Recorder::new(self.model.device());
        let logits = self.model.next_token(&mut recorder, &self.prompt, &mut self.cache)?;
        self.first = draw(&recorder.submit_and_read(&logits.buffer).await?);
        Ok(start.elapsed().as_secs_f64())
    }

    /// Seconds of all tokens after the prompt.
    async fn tokens(&mut self, progress: &dyn Progress) -> Result<f64> {
        self.cache.truncate(self.lengths.prompt);
        let mut token = self.first;
        let start = Instant::now();
        for _ in 0..self.lengths.decode {
            let mut recorder = Recorder::new(self.model.device());
            let logits = self.model.next_token(&mut recorder, &[token], &mut self.cache)?;
            token = draw(&recorder.submit_and_read(&logits.buffer).await?);
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// The kernels of all tokens after the prompt.
    async fn profile(&mut self, progress: &dyn Progress) -> Result<Option<Vec<StepTime>>> {
        self.cache.truncate(self.lengths.prompt);
        let (mut token, mut all) = (self.first, Vec::new());
        for _ in 0..self.lengths.decode {
            let mut recorder = Recorder::new(self.model.device());
            let logits = self.model.next_token(&mut recorder, &[token], &mut self.cache)?;
            let recording = recorder.finish();
            self.dispatches = recording.len();
            let Some(steps) = self.model.device().profile(recording).await? else { return Ok(None) };
            all.extend(steps);
            token = draw(&logits.read(self.model.device()).await?);
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
        }
        Ok(Some(all))
    }
}

fn draw(logits: &[f32]) -> u32 {
    Sampling::default().draw(logits, &mut Random::new(0))
}

impl Speed {
    fn of(tokens: usize, seconds: &[f64]) -> Self {
        let rate = |seconds: f64| tokens as f64 / seconds;
        let mut sorted = seconds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: Option<&f64>| place.map_or(0.0, |seconds| rate(*seconds));
        Self {
            tokens_per_second: median(sorted.clone()).map_or(0.0, rate),
            slowest: at(sorted.last()),
            fastest: at(sorted.first()),
            runs: seconds.len(),
        }
    }
}

impl KernelShare {
    fn of(steps: &[StepTime], tokens: f64) -> Vec<Self> {
        let total: f64 = steps.iter().map(|step| step.seconds).sum();
        let mut sums: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
        for StepTime { kernel, seconds } in steps {
            let (dispatches, sum) = sums.entry(kernel).or_default();
            *dispatches += 1;
            *sum += seconds;
        }
        let share = |(kernel, (dispatches, sum)): (&str, (usize, f64))| Self {
            kernel: kernel.to_owned(),
            dispatches: dispatches as f64 / tokens,
            seconds: sum / tokens,
            share: sum / total,
        };
        let mut shares: Vec<Self> = sums.into_iter().map(share).collect();
        shares.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        shares
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n.is_multiple_of(2) => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spread() {
        assert_eq!((median(Vec::new()), median(vec![3.0, 1.0, 2.0])), (None, Some(2.0)));
        let speed = Speed::of(8, &[4.0, 1.0]);
        assert_eq!((speed.tokens_per_second, speed.slowest, speed.fastest), (8.0 / 2.5, 2.0, 8.0));
    }

    #[test]
    fn shares_are_of_all_kernels() {
        let step = |kernel, seconds| StepTime { kernel, seconds };
        let shares = KernelShare::of(&[step("a", 1.0), step("b", 2.0), step("a", 0.0), step("b", 1.0)], 2.0);
        let share = |kernel: &str, dispatches, seconds, share| KernelShare {
            kernel: kernel.to_owned(),
            dispatches,
            seconds,
            share,
        };
        assert_eq!(shares, [share("b", 1.0, 1.5, 0.75), share("a", 1.0, 0.5, 0.25)]);
    }
}
