//! The end of a search: all blocks are tuned together. What that makes good is room, so that plans are looked for that take
//! more than the budgets before it.

use std::cmp::Ordering;

use super::Budgets;
use super::course::{Held, Search, used};
use super::trials::On;
use crate::error::{Error, Result};
use crate::export::{SearchPhase, SearchQuality};

/// Plans that are tuned, at most, before the one that needs no tuning.
const TUNINGS: usize = 4;
/// The share of the loss that tuning is expected to leave, until it was measured.
const LEFT: f64 = 0.6;
/// What tuning can leave: outside, the first measurement says more of chance than of the model.
const LEAST_LEFT: f64 = 0.25;
/// For each plan that was over the budgets after tuning, so much more loss is expected to be left than was measured: what one
/// plan gains another may not.
const CAUTION: f64 = 1.05;
/// A tuned plan that uses this share of the budgets is not replaced.
const CLOSE: f64 = 0.95;

impl Search<'_> {
    /// The fewest bytes within budgets after tuning. Where no tuned plan is within them, the best of those that need no tuning is
    /// tuned.
    ///
    /// # Errors
    /// Those of a search without tuning.
    pub(super) async fn within_tuned(&mut self, budgets: &Budgets) -> Result<Held> {
        let mut best: Option<Held> = None;
        let (mut left, mut over) = (LEFT, 0);
        for round in 0..TUNINGS {
            let wider = budgets.times(1.0 / left)?;
            let held = match self.within(&wider).await {
                // The first plan only shows what tuning is worth.
                Ok(held) if round > 0 => self.finish(&wider, held).await?,
                Ok(held) => held,
                // What is impossible within less is told in the terms of the budgets.
                Err(Error::Config { .. }) => break,
                Err(error) => return Err(error),
            };
            let tuned = self.tuned(held.clone(), Some(budgets)).await?;
            let before = used(budgets, &held.measured);
            tracing::info!(round, bytes = tuned.bytes, before, used = tuned.used, "a plan is tuned");
            let fits = tuned.used <= 1.0;
            over += i32::from(!fits);
            let measured = tuned.used / before.max(1e-3);
            left = (measured * CAUTION.powi(over)).max(LEAST_LEFT);
            if fits && best.as_ref().is_none_or(|best| tuned.bytes < best.bytes) {
                let close = round > 0 && tuned.used >= CLOSE;
                best = Some(tuned);
                if close {
                    break;
                }
            } else if fits || left >= 1.0 {
                break;
            }
        }
        let best = match best {
            Some(best) => best,
            None => {
                let held = self.within(budgets).await?;
                let held = self.finish(budgets, held).await?;
                let tuned = self.tuned(held.clone(), Some(budgets)).await?;
                if tuned.used <= 1.0 { tuned } else { held }
            }
        };
        self.keep(&best).await?;
        Ok(best)
    }

    /// A model that is held, once it is tuned.
    async fn tuned(&mut self, held: Held, budgets: Option<&Budgets>) -> Result<Held> {
        let state = self.trials.tuned(&held.state, self.config.tune_iters, self.progress).await?;
        let measured = self.trials.measure(On::HeldOut, &state, 0, self.progress).await?;
        let used = budgets.map_or(0.0, |budgets| used(budgets, &measured));
        Ok(Held { state, measured, used, ..held })
    }

    /// A model that is held, tuned if that makes it better.
    pub(super) async fn better_tuned(&mut self, held: Held) -> Result<Held> {
        let ternary = held.state.values().any(|made| made.scheme.bits().is_ternary());
        if ternary || !self.config.tunes() {
            return Ok(held);
        }
        let tuned = self.tuned(held.clone(), None).await?;
        // What is no number is no better.
        if tuned.measured.kl.partial_cmp(&held.measured.kl).is_none_or(Ordering::is_ge) {
            return Ok(held);
        }
        self.keep(&tuned).await?;
        Ok(tuned)
    }

    /// Accepts a model as it is held, whatever was accepted on the way.
    async fn keep(&mut self, held: &Held) -> Result<()> {
        let measured = self.trials.measure(On::Decide, &held.state, 0, self.progress).await?;
        let rules = self.rules(SearchPhase::Tune, 1.0);
        let quality = SearchQuality::new(measured.perplexity(), measured.kl);
        let steps = rules.steps(&held.state, &held.state, &held.state, None, quality, None);
        self.history.save(self.trials, steps, &held.state)
    }
}
