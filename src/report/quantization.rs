//! What a quantization did to a model.

use std::fmt::Write as _;

use super::evaluation::agreement;
use super::number::{bytes, estimate, short, value};
use super::search::search;
use super::table::Table;
use super::visible::visible;
use crate::export::{BlockRecord, LayerRecord};
use crate::quant::Outcome;

/// Layers named as the worst.
const WORST: usize = 3;

/// A short report: what was observed of each layer, sizes, worst layers, and quality where it was measured. Notes are not in
/// it.
pub fn quantization(outcome: &Outcome) -> String {
    let record = &outcome.record;
    let mut text = observed(&record.layers);
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<22}{value}");
    };
    let (layers, sizes) = (&record.layers, &record.sizes);
    let quantized = format!("{} layers by {}, {} tensors kept", layers.len(), record.method.name, record.kept.len());
    line("quantized", quantized);
    if let Some(data) = record.calibration.as_ref().filter(|_| layers.iter().any(|layer| layer.observed.is_some())) {
        let text = data.text.as_ref().map_or_else(String::new, |text| format!(" of {}", visible(&text.source)));
        line("observed on", format!("{} sequences of {} tokens{text}", data.samples, data.seq_len));
    }
    let ratio = sizes.original_bytes as f64 / sizes.quantized_bytes.max(1) as f64;
    let (before, after) = (bytes(sizes.original_bytes), bytes(sizes.quantized_bytes));
    let saved = bytes(sizes.original_bytes.saturating_sub(sizes.quantized_bytes));
    line("size", format!("{before} -> {after}, {ratio:.2} times smaller, {saved} saved"));
    line("bits per weight", format!("{:.3} in quantized layers, scales counted", sizes.bits_per_weight));
    if !record.blocks.is_empty() {
        line("block loss", blocks(&record.blocks));
    }
    if let Some(record) = &record.search {
        search(record, &mut line);
    }
    for (i, layer) in worst(layers).iter().enumerate() {
        let title = if i == 0 { "worst layers" } else { "" };
        let sqnr = layer.sqnr_db.map_or_else(|| "no signal".to_owned(), |sqnr| format!("SQNR {sqnr:.2} dB"));
        line(title, format!("{} {} {sqnr}", visible(&layer.path), layer.scheme));
    }
    if let Some(quality) = &record.quality {
        let (before, after) = (quality.perplexity_before, quality.perplexity_after);
        let change = 100.0 * (after / before - 1.0);
        line("perplexity", format!("{} -> {} ({change:+.2} %)", value(before), value(after)));
    }
    if let Some(kl) = outcome.evaluation.as_ref().and_then(|evaluation| evaluation.kl.as_ref()) {
        let mean = estimate(kl.kl_mean, kl.kl_mean_error);
        line("KL to the original", format!("{mean} nats per token, 99 % below {}", value(kl.kl_p99)));
        line("same top token", agreement(kl));
    }
    text
}

/// What was observed of the layers, a row each; nothing if nothing was.
fn observed(layers: &[LayerRecord]) -> String {
    let titles =
        ["layer", ">input mean", ">std", ">symmetry", "becomes", ">output mean", ">std", ">symmetry", "weight"];
    let mut table = Table::new(titles);
    let mut any = false;
    for layer in layers {
        let Some(seen) = &layer.observed else { continue };
        any = true;
        let [input, output] = [seen.input, seen.output]
            .map(|values| [short(values.mean), short(values.deviation), format!("{:.3}", values.symmetry)]);
        let [mean, deviation, symmetry] = input;
        let [output_mean, output_deviation, output_symmetry] = output;
        let (path, becomes, scheme) = (visible(&layer.path), layer.input.to_string(), layer.scheme.to_string());
        table.row([path, mean, deviation, symmetry, becomes, output_mean, output_deviation, output_symmetry, scheme]);
    }
    if any { format!("{table}\n") } else { String::new() }
}

/// The layers with the least signal for their noise; exact ones are never among them.
fn worst(layers: &[LayerRecord]) -> Vec<&LayerRecord> {
    let mut noisy: Vec<&LayerRecord> = layers.iter().filter(|layer| layer.mse > 0.0).collect();
    let sqnr = |layer: &LayerRecord| layer.sqnr_db.unwrap_or(f64::NEG_INFINITY);
    noisy.sort_by(|a, b| sqnr(a).total_cmp(&sqnr(b)));
    noisy.truncate(WORST);
    noisy
}

/// The loss of blocks before and after, and what they took.
fn blocks(blocks: &[BlockRecord]) -> String {
    let mean = |values: Vec<Option<f64>>| {
        let known: Option<Vec<f64>> = values.into_iter().collect();
        known.map_or_else(|| "unknown".to_owned(), |v| short(v.iter().sum::<f64>() / v.len().max(1) as f64))
    };
    let before = mean(blocks.iter().map(|block| block.loss_before).collect());
    let after = mean(blocks.iter().map(|block| block.loss_after).collect());
    let seconds = blocks.iter().map(|block| block.seconds).sum::<f64>() / blocks.len().max(1) as f64;
    format!("{before} -> {after} on average over {} blocks, {seconds:.1} s each", blocks.len())
}
