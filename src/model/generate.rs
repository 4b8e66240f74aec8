//! Text from a model, one token at a time.

use super::Model;
use crate::device::Recorder;
use crate::error::{Error, Result};
use crate::random::Random;

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token; higher flattens the distribution.
    pub temperature: f32,
    /// Only the most likely tokens whose probabilities reach this sum are drawn from, in (0, 1].
    pub top_p: f32,
    /// Seed of the draw.
    pub seed: u32,
}

impl Default for Sampling {
    /// The most likely token.
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Refuses values outside their range.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::config("temperature", format!("{} is not a number from 0 up", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::config("top_p", format!("{} is not above 0 and at most 1", self.top_p)));
        }
        Ok(())
    }

    /// The next token by these logits.
    pub(crate) fn draw(&self, logits: &[f32], random: &mut Random) -> u32 {
        let best = logits.iter().copied().fold(f32::MIN, f32::max);
        let first_best = logits.iter().position(|l| *l == best).unwrap_or_default();
        if self.temperature == 0.0 {
            return u32::try_from(first_best).unwrap_or_default();
        }
        let weight = |l: f32| (f64::from(l - best) / f64::from(self.temperature)).exp();
        let mut ranked: Vec<(u32, f64)> = (0..).zip(logits.iter().map(|l| weight(*l))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let total: f64 = ranked.iter().map(|r| r.1).sum();
        let mut kept = 0.0;
        let nucleus = ranked.iter().take_while(|r| {
            let inside = kept < f64::from(self.top_p) * total;
            kept += r.1;
            inside
        });
        let nucleus: Vec<_> = nucleus.copied().collect();
        let mut left = f64::from(random.uniform()) * nucleus.iter().map(|r| r.1).sum::<f64>();
        for (token, weight) in &nucleus {
            left -= weight;
            if left <= 0.0 {
                return *token;
            }
        }
        nucleus.last().map_or(0, |r| r.0)
    }
}

/// What was generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The new tokens, an end token included.
    pub tokens: Vec<u32>,
    /// Tokens put through the model: each of the prompt and each generated one but the last, once.
    pub computed: u64,
    /// Whether it ended by an end token and not by the limit.
    pub ended: bool,
}

/// Continues a prompt by up to `max_tokens` tokens; ends early at an end token. `each` hears of every token and
/// stops the generation by returning false.
///
/// # Errors
/// [`Error::Config`] for an empty prompt, for one that with `max_tokens` is longer than the model's context, and for
/// sampling values out of range; those of the device.
pub async fn generate(
    model: &Model,
    prompt: &[u32],
    max_tokens: usize,
    sampling: Sampling,
    mut each: impl FnMut(u32) -> bool,
) -> Result<Generation> {
    sampling.check()?;
    if prompt.is_empty() {
        return Err(Error::config("prompt", "it is empty and the tokenizer adds no beginning token; give some text"));
    }
    let wanted = prompt.len().saturating_add(max_tokens);
    if wanted > model.context() {
        let detail =
            format!("prompt and new tokens make {wanted}, the model's context is {}; lower it", model.context());
        return Err(Error::config("max_tokens", detail));
    }
    let mut cache = model.cache(1, wanted)?;
    let mut random = Random::new(sampling.seed);
    let mut done = Generation { tokens: Vec::new(), computed: 0, ended: false };
    let mut next = prompt.to_vec();
    while done.tokens.len() < max_tokens {
        let mut rec = Recorder::new(model.device());
        let logits = model.predict(&mut rec, &next, &mut cache).await?;
        let logits: Vec<f32> = rec.submit_and_read(&logits.buffer).await?;
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(model.no_number("the next token a probability"));
        }
        let token = sampling.draw(&logits, &mut random);
        done.tokens.push(token);
        done.ended = model.config().eos_token_ids.contains(&token);
        if done.ended || !each(token) {
            break;
        }
        next = vec![token];
    }
    done.computed = cache.computed();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(Sampling::default().draw(&[0.0, 3.0, 3.0, -1.0], &mut Random::new(1)), 1);
    }

    #[test]
    fn a_nucleus_leaves_the_tail_out() {
        let sampling = Sampling { temperature: 1.0, top_p: 0.6, seed: 3 };
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut random = Random::new(sampling.seed);
        let drawn: Vec<u32> = (0..1000).map(|_| sampling.draw(&logits, &mut random)).collect();
        let count = |token| drawn.iter().filter(|t| **t == token).count();
        // Of the nucleus {0, 1} the first has probability 5/8: 625 of 1000, standard deviation 15.
        assert!((550..700).contains(&count(0)), "{}", count(0));
        assert_eq!(count(2), 0);
    }
}
