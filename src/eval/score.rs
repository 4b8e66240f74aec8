//! Per-token scores of a token stream: windows through the model in batches, one batch always under way while the
//! results of the one before are read.

use crate::device::{Buffer, Recorder};
use crate::error::{Error, Result};
use crate::io::{Window, Windows};
use crate::model::{Cache, Model};
use crate::op::{self, Activations};
use crate::progress::Progress;

/// One value for each scored token.
#[derive(Debug, Default)]
pub(super) struct Scores {
    pub(super) nll: Vec<f32>,
    pub(super) reference_nll: Vec<f32>,
    /// KL(reference || model) and KL(model || reference).
    pub(super) kl: Vec<[f32; 2]>,
    pub(super) same_top1: Vec<f32>,
}

/// Tokens put through the model at once, about: enough to keep a GPU busy with short windows.
const BATCH_TOKENS: usize = 2048;
/// Bytes of logits held at once; a long vocabulary is scored in several parts.
const LOGITS_BYTES: usize = 64 << 20;
/// Rows of a part are a multiple of this, so that each starts where a binding may.
const PART_ROWS: usize = 64;
/// Marks a row that predicts nothing that is scored.
const UNSCORED: u32 = u32::MAX;

pub(super) async fn score(
    model: &Model,
    reference: Option<&Model>,
    ids: &[u32],
    windows: Windows,
    progress: &mut dyn Progress,
) -> Result<Scores> {
    let windows: Vec<Window> = windows.collect();
    let length = windows.first().map_or(1, |w| w.len);
    let batch = (BATCH_TOKENS / length).clamp(1, windows.len().max(1));
    let mut scorer = Scorer::new(model, reference, batch, length)?;
    let mut scores = Scores::default();
    progress.begin("evaluating", windows.iter().map(|w| w.scored() as u64).sum());
    let mut pending: Option<(Batch, u64)> = None;
    for windows in windows.chunks(batch) {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        if windows.len() != batch {
            scorer = Scorer::new(model, reference, windows.len(), length)?;
        }
        let scored = windows.iter().map(|w| w.scored() as u64).sum();
        let next = scorer.submit(ids, windows).await?;
        if let Some((done, units)) = pending.replace((next, scored)) {
            done.read(model, &mut scores).await?;
            progress.advance(units, "");
        }
    }
    if let Some((done, units)) = pending {
        done.read(model, &mut scores).await?;
        progress.advance(units, "");
    }
    progress.end();
    if let Some(bad) = scores.nll.iter().position(|v| !v.is_finite()) {
        return Err(model.no_number(&format!("token {bad} of the text a probability")));
    }
    if let (Some(reference), true) = (reference, scores.reference_nll.iter().any(|v| !v.is_finite())) {
        return Err(reference.no_number("a token of the text a probability"));
    }
    Ok(scores)
}

/// The models with room for a batch of windows.
struct Scorer<'a> {
    model: (&'a Model, Cache),
    reference: Option<(&'a Model, Cache)>,
}

/// Results of a batch that are still on the device.
struct Batch {
    targets: Vec<u32>,
    parts: Vec<Part>,
}

struct Part {
    rows: usize,
    nll: Buffer,
    /// Negative log-likelihood by the reference, and per row KL, reversed KL and whether the top token is the same.
    reference: Option<(Buffer, Buffer)>,
}

impl<'a> Scorer<'a> {
    fn new(model: &'a Model, reference: Option<&'a Model>, batch: usize, window: usize) -> Result<Self> {
        let with_cache = |m: &'a Model| Ok((m, m.cache(batch, window)?));
        Ok(Self { model: with_cache(model)?, reference: reference.map(with_cache).transpose()? })
    }

    async fn submit(&mut self, ids: &[u32], windows: &[Window]) -> Result<Batch> {
        let tokens: Vec<u32> = windows.iter().flat_map(|w| &ids[w.tokens()]).copied().collect();
        let targets: Vec<u32> = windows.iter().flat_map(|w| targets(ids, w)).collect();
        let (model, cache) = (self.model.0, &mut self.model.1);
        let mut rec = Recorder::new(model.device());
        cache.clear();
        let hidden = model.pass(&mut rec, &tokens, cache).await?;
        let other = match &mut self.reference {
            Some((reference, cache)) => {
                cache.clear();
                Some((*reference, reference.pass(&mut rec, &tokens, cache).await?))
            }
            None => None,
        };
        let rows = LOGITS_BYTES / (4 * model.config().vocab_size);
        let rows = (rows / PART_ROWS).max(1) * PART_ROWS;
        let mut parts = Vec::new();
        for first in (0..tokens.len()).step_by(rows) {
            let rows = rows.min(tokens.len() - first);
            let targets = &targets[first..first + rows];
            let logits = logits(&mut rec, model, &hidden, first, rows)?;
            let nll = op::nll(&mut rec, &logits, targets)?;
            let reference = match &other {
                Some((reference, hidden)) => {
                    let expected = self::logits(&mut rec, reference, hidden, first, rows)?;
                    Some((op::nll(&mut rec, &expected, targets)?, op::kl(&mut rec, &expected, &logits)?))
                }
                None => None,
            };
            parts.push(Part { rows, nll, reference });
        }
        rec.submit()?;
        Ok(Batch { targets, parts })
    }
}

/// Logits of `rows` hidden states from `first` on.
fn logits(rec: &mut Recorder, model: &Model, hidden: &Activations, first: usize, rows: usize) -> Result<Activations> {
    let row_bytes = hidden.cols * 4;
    let buffer = hidden.buffer.slice(first * row_bytes, rows * row_bytes)?;
    model.logits(rec, &Activations { buffer, rows, cols: hidden.cols })
}

/// For each row of a window the token it is to predict.
fn targets(ids: &[u32], window: &Window) -> Vec<u32> {
    let target =
        |i: usize| if i + 1 >= window.score_from && i + 1 < window.len { ids[window.start + i + 1] } else { UNSCORED };
    (0..window.len).map(target).collect()
}

impl Batch {
    async fn read(self, model: &Model, scores: &mut Scores) -> Result<()> {
        let device = model.device();
        let mut targets = &self.targets[..];
        for part in self.parts {
            let scored: Vec<bool> = targets[..part.rows].iter().map(|t| *t != UNSCORED).collect();
            targets = &targets[part.rows..];
            scores.nll.extend(only(&scored, &device.read::<f32>(&part.nll).await?));
            if let Some((nll, kl)) = &part.reference {
                scores.reference_nll.extend(only(&scored, &device.read::<f32>(nll).await?));
                let kl = device.read::<f32>(kl).await?;
                let kl: Vec<[f32; 3]> = only(&scored, kl.as_chunks::<3>().0).collect();
                scores.kl.extend(kl.iter().map(|[forward, reversed, _]| [*forward, *reversed]));
                scores.same_top1.extend(kl.iter().map(|row| row[2]));
            }
        }
        Ok(())
    }
}

fn only<T: Copy>(scored: &[bool], values: &[T]) -> impl Iterator<Item = T> {
    scored.iter().zip(values).filter(|(s, _)| **s).map(|(_, v)| *v)
}
