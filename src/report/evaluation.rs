//! What an evaluation found.

use std::fmt::Write as _;

use super::number::{estimate, value};
use super::visible;
use crate::eval::{Evaluation, KlSummary, Reference};
use crate::op::ActivationPrecision;

/// A small table of an evaluation, means with their standard errors.
pub fn evaluation(e: &Evaluation) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<22}{value}");
    };
    line("perplexity", estimate(e.perplexity, e.perplexity_error));
    if e.activations != ActivationPrecision::Exact {
        line("  activations", format!("{} where they enter quantized layers", e.activations));
    }
    let exact = e.reference == Some(Reference::ExactActivations);
    if let Some(reference) = e.reference_perplexity {
        let cost = 100.0 * (e.perplexity / reference - 1.0);
        let cost = if exact { format!(" ({cost:+.3} % by {})", e.activations) } else { String::new() };
        line(if exact { "  with exact ones" } else { "  of the reference" }, value(reference) + &cost);
    }
    if let Some(kl) = &e.kl {
        let name = if exact { "KL to exact ones" } else { "KL to the reference" };
        line(name, format!("{} nats per token", estimate(kl.kl_mean, kl.kl_mean_error)));
        line("  median", value(kl.kl_median));
        line("  90 / 95 / 99 %", [kl.kl_p90, kl.kl_p95, kl.kl_p99].map(value).join(" / "));
        line("  largest", value(kl.kl_max));
        line("  reversed", estimate(kl.reversed_kl_mean, kl.reversed_kl_mean_error));
        line("same top token", agreement(kl));
    }
    let windows = format!("{} in windows of {}, stride {}", e.tokens_scored, e.window, e.stride);
    line("tokens scored", windows);
    let documents = if e.text.documents == 1 { "document" } else { "documents" };
    line("text", format!("{}, {} {documents} of {} tokens", visible(&e.text.source), e.text.documents, e.text.tokens));
    line("text sha256", e.text.sha256.clone());
    line("time", format!("{:.1} s on {}", e.seconds, e.device));
    text
}

/// How often the most likely token is the same, in percent.
pub(super) fn agreement(kl: &KlSummary) -> String {
    format!("{:.2} ± {:.2} %", 100.0 * kl.top1_agreement, 100.0 * kl.top1_agreement_error)
}

/// The speed of a generation, in one line.
pub fn speed(tokens: usize, seconds: f64, device: &str) -> String {
    format!(
        "{tokens} tokens in {seconds:.2} s, {:.1} tokens/s on {device}",
        tokens as f64 / seconds.max(f64::MIN_POSITIVE)
    )
}
