//! What a search for mixed precision did, in a few lines.

use std::collections::BTreeMap;

use super::number::{bytes, short, value};
use super::visible::visible;
use crate::export::{HeldOut, SearchGoal, SearchMemory, SearchQuality, SearchRecord};

/// Steps named that were rolled back.
const ROLLED_BACK: usize = 3;

/// Goal, plan, steps, quality and memory of a search, each as a line with its name.
pub(super) fn search(record: &SearchRecord, line: &mut dyn FnMut(&str, String)) {
    line("goal", goal(&record.goal));
    line("plan", plan(record));
    let back: Vec<_> = record.steps.iter().filter_map(|step| Some((step, step.rolled_back.as_deref()?))).collect();
    let (kept, seconds) = (record.steps.len() - back.len(), short(record.seconds));
    line("steps", format!("{kept} kept, {} rolled back, in {seconds} s", back.len()));
    for (step, why) in back.iter().take(ROLLED_BACK) {
        let first = step.layers.first().map_or_else(String::new, |path| visible(path).to_string());
        let more = step.layers.len().saturating_sub(1);
        let layers = if more > 0 { format!("{first} and {more} more") } else { first };
        line("  rolled back", format!("{layers} to {}: {}", step.to, visible(why)));
    }
    if back.len() > ROLLED_BACK {
        line("", format!("and {} more in bitsmith.json", back.len() - ROLLED_BACK));
    }
    if let Some(last) = record.steps.iter().rfind(|step| step.rolled_back.is_none()) {
        line("on the search's text", quality(record.original_perplexity, &last.measured));
    }
    if let Some(held) = &record.held_out {
        line("on text held out", quality(held.original_perplexity, &held.quality) + verdict(held));
    }
    let SearchMemory { before, after, peak } = record.memory;
    let peak = peak.map_or_else(String::new, |peak| format!(", {} at the search's peak", bytes(peak)));
    line("memory", format!("{} -> {}{peak}", bytes(before), bytes(after)));
}

/// What a search was to reach.
pub(super) fn goal(goal: &SearchGoal) -> String {
    let SearchGoal { max_perplexity_increase, max_kl, layer_bytes } = goal;
    let percent = |increase: &f64| format!("perplexity at most {} % higher", short(100.0 * increase));
    let parts = [
        max_perplexity_increase.as_ref().map(percent),
        max_kl.map(|kl| format!("KL at most {} nats a token", short(kl))),
        layer_bytes.map(|most| format!("layers in at most {}", bytes(most))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// Schemes by the number of their layers.
fn plan(record: &SearchRecord) -> String {
    let mut counts = BTreeMap::new();
    for layer in &record.layers {
        *counts.entry(layer.scheme.to_string()).or_insert(0usize) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, layers)| std::cmp::Reverse(*layers));
    counts.into_iter().map(|(scheme, layers)| format!("{layers} x {scheme}")).collect::<Vec<_>>().join(", ")
}

/// Perplexity against the original's, and divergence.
fn quality(original: f64, quality: &SearchQuality) -> String {
    let perplexity = quality.perplexity.map(|after| {
        format!("perplexity {} -> {} ({:+.2} %)", value(original), value(after), 100.0 * (after / original - 1.0))
    });
    let kl = quality.kl.map(|kl| format!("KL {} nats a token", value(kl)));
    let parts: Vec<String> = [perplexity, kl].into_iter().flatten().collect();
    if parts.is_empty() { "no number".to_owned() } else { parts.join(", ") }
}

/// Whether the budgets hold on text that was held out.
pub(super) fn verdict(held: &HeldOut) -> &'static str {
    match held.within_budget {
        Some(true) => ", within the budget",
        Some(false) => ", OVER the budget",
        None => "",
    }
}
