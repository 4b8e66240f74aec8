//! The report of a quantization.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::chart::{Share, Stack, stacks};
use super::facts::RunFacts;
use super::page::{Card, cards, page, section, values};
use super::text::{data, line, name, number};
use super::training;
use super::{gradual, layers, observed};
use crate::eval::{Evaluation, KlSummary};
use crate::export::{LayerRecord, Method, Quality, Record};
use crate::quant::Outcome;
use crate::report::number::{bytes, count, estimate, short};
use crate::scheme::{Scheme, Span};

/// Kept tensors that are named.
const KEPT: usize = 1000;
/// Notes that are shown.
const NOTES: usize = 50;

/// The page about a quantized model: sizes, quality before and after where it was measured, the error of each layer as
/// a picture and in numbers, and how to make it again. It holds any model: the parts that grow with it are bounded.
///
/// ```
/// use bitsmith::quant::{QuantizeRequest, Rtn, RtnConfig, quantize_model};
/// use bitsmith::report::html::{self, ReportFile, RunFacts};
/// use bitsmith::{Device, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let (out, file) = (folder.path().join("tiny-llama-w4"), folder.path().join("report.html"));
/// let (device, start) = (Device::cpu(), std::time::Instant::now());
/// let file = ReportFile::check(&file)?;
/// let rtn = Rtn::new(RtnConfig::default())?;
/// let request = QuantizeRequest::new("examples/tiny-llama", &out);
/// let outcome = pollster::block_on(quantize_model(&device, &rtn, &request, &mut Silent))?;
/// let page = html::quantization(&outcome, &RunFacts::new(&device, start));
/// assert!(page.contains("model.layers.3.mlp.down_proj"));
/// file.write(&page)?;
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub fn quantization(outcome: &Outcome, facts: &RunFacts) -> String {
    let Outcome { record, evaluation, notes, .. } = outcome;
    let evaluation = evaluation.as_ref();
    let lead = html! {
        (of(record.layers.len(), "layer")) " quantized by " (line(&record.method.name)) " to " (schemes(&record.layers))
        ", " (of(record.kept.len(), "tensor")) " kept. " (facts.date()) "."
    };
    let body = html! {
        (cards(&summary(record, evaluation)))
        @if !notes.is_empty() { (section("Notes", &notes_list(notes))) }
        @if let Some(search) = &record.search { (gradual::sections(search)) }
        (section("Error per layer", &layers::pictures(&record.layers)))
        @if !record.blocks.is_empty() { (section("Loss of each block", &training::listing(&record.blocks))) }
        (section("Where the bytes are", &stacks(&sizes(record))))
        @if let Some(evaluation) = evaluation { (section("Quality", &quality(record.quality.as_ref(), evaluation))) }
        (section("How it was made", &origin(record, facts)))
        (section("Layers", &layers::listing(&record.layers)))
        @if record.layers.iter().any(|layer| layer.observed.is_some()) {
            (section("What was observed", &observed::listing(&record.layers)))
        }
        (section("Kept as they were", &kept(&record.kept)))
    };
    page(&format!("{} quantized", line(&record.model)), &lead, &body)
}

/// A number of things.
fn of(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

fn summary(record: &Record, evaluation: Option<&Evaluation>) -> Vec<Card> {
    let sizes = &record.sizes;
    let ratio = sizes.original_bytes as f64 / sizes.quantized_bytes.max(1) as f64;
    let mut cards = vec![
        Card {
            label: "Size",
            value: html! {
                data value=(sizes.original_bytes) { (bytes(sizes.original_bytes)) }
                " → "
                data value=(sizes.quantized_bytes) { (bytes(sizes.quantized_bytes)) }
            },
            detail: html! { (data(ratio, |ratio| format!("{ratio:.2}"))) " times smaller" },
        },
        Card {
            label: "Bits per weight",
            value: data(sizes.bits_per_weight, |bits| format!("{bits:.3}")),
            detail: html! { "in quantized layers, scales counted" },
        },
    ];
    match &record.quality {
        Some(Quality { perplexity_before: before, perplexity_after: after, .. }) => cards.push(Card {
            label: "Perplexity",
            value: html! { (number(*before)) " → " (number(*after)) },
            detail: data(100.0 * (after / before - 1.0), |change| format!("{change:+.2} %")),
        }),
        None => cards.push(Card {
            label: "Quality",
            value: html! { "not measured" },
            detail: html! { "only the error of the weights is known" },
        }),
    }
    if let Some(kl) = evaluation.and_then(|evaluation| evaluation.kl.as_ref()) {
        cards.push(Card {
            label: "KL to the original",
            value: data(kl.kl_mean, short),
            detail: html! { "nats per token, ± " (data(kl.kl_mean_error, short)) "; 99 % below " (data(kl.kl_p99, short)) },
        });
        cards.push(Card {
            label: "Same top token",
            value: data(kl.top1_agreement, |share| format!("{:.2} %", 100.0 * share)),
            detail: html! { "± " (data(kl.top1_agreement_error, |error| format!("{:.2} %", 100.0 * error))) },
        });
    }
    cards
}

fn notes_list(notes: &[String]) -> Markup {
    html! {
        ul.notes {
            @for note in notes.iter().take(NOTES) {
                li class=[note.starts_with("warning").then_some("warning")] { (line(note)) }
            }
            @if notes.len() > NOTES { li { "and " (notes.len() - NOTES) " more" } }
        }
    }
}

/// The weights before and after, to the same scale.
fn sizes(record: &Record) -> [Stack; 2] {
    let layers: u64 = record.layers.iter().map(|layer| layer.bytes).sum();
    let codes: u64 = record.layers.iter().map(|layer| codes(layer).min(layer.bytes)).sum();
    let kept = record.sizes.quantized_bytes.saturating_sub(layers);
    let share = |label, colour, bytes| Share { label, colour, bytes };
    [
        Stack {
            label: "before",
            shares: vec![
                share("weights to quantize", "s0", record.sizes.original_bytes.saturating_sub(kept)),
                share("tensors to keep", "s2", kept.min(record.sizes.original_bytes)),
            ],
        },
        Stack {
            label: "after",
            shares: vec![
                share("codes", "s0", codes),
                share("scales, zero points, shapes", "s1", layers - codes),
                share("tensors kept", "s2", kept),
            ],
        },
    ]
}

/// Bytes of the codes alone.
fn codes(layer: &LayerRecord) -> u64 {
    let weights = layer.shape.iter().fold(1u64, |product, extent| product.saturating_mul(*extent as u64));
    weights.saturating_mul(layer.scheme.bits().get().into()).div_ceil(8)
}

fn quality(quality: Option<&Quality>, evaluation: &Evaluation) -> Markup {
    let nats = |mean: f64, error: f64| html! { (data(mean, |mean| estimate(mean, error))) " nats per token" };
    let mut rows = Vec::new();
    if let Some(quality) = quality {
        rows.push(("perplexity before", number(quality.perplexity_before)));
    }
    rows.push(("perplexity after", data(evaluation.perplexity, |mean| estimate(mean, evaluation.perplexity_error))));
    if let Some(kl) = &evaluation.kl {
        let KlSummary { kl_median, kl_p90, kl_p95, kl_p99, kl_max, .. } = *kl;
        rows.push(("KL(original ‖ quantized)", nats(kl.kl_mean, kl.kl_mean_error)));
        rows.extend([
            ("median", number(kl_median)),
            ("90 % below", number(kl_p90)),
            ("95 % below", number(kl_p95)),
            ("99 % below", number(kl_p99)),
            ("largest", number(kl_max)),
            ("KL(quantized ‖ original)", nats(kl.reversed_kl_mean, kl.reversed_kl_mean_error)),
        ]);
    }
    let windows = format!("in windows of {}, stride {}", evaluation.window, evaluation.stride);
    rows.push(("tokens scored", html! { (count(evaluation.tokens_scored as u64)) " " (windows) }));
    let text = &evaluation.text;
    rows.push(("text", html! { (name(&text.source)) ", " (count(text.documents as u64)) " documents of " (count(text.tokens as u64)) " tokens" }));
    rows.push(("its SHA-256", html! { code.name { (text.sha256) } }));
    html! {
        (values(&rows))
        p.note { "± is one standard error. Perplexities compare only over the same text, windows and tokens." }
    }
}

fn origin(record: &Record, facts: &RunFacts) -> Markup {
    let Method { name: method, settings } = &record.method;
    let mut rows = vec![("model", name(&record.model)), ("method", html! { (line(method)) })];
    let settings: Vec<(&str, Markup)> = match settings {
        Value::Object(settings) => settings.iter().map(|(key, value)| (key.as_str(), setting(value))).collect(),
        Value::Null => Vec::new(),
        other => vec![("settings", setting(other))],
    };
    rows.extend(settings);
    if let Some(data) = &record.calibration {
        let sequences = html! { (of(data.samples, "sequence")) " of " (count(data.seq_len as u64)) " tokens"
            @if let Some(text) = &data.text { " from " (line(&text.source)) }
        };
        rows.push(("learned from", sequences));
    }
    rows.extend([
        ("device", html! { (line(&facts.device)) }),
        ("time taken", html! { (facts.duration()) }),
        ("finished", html! { (facts.date()) }),
        ("version", html! { "bitsmith " (line(&record.bitsmith)) }),
    ]);
    html! {
        @if let Some(command) = facts.command_line() { pre.command tabindex="0" { (command) } }
        (values(&rows))
        (scheme_list(&record.layers))
    }
}

fn setting(value: &Value) -> Markup {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    html! { (line(&text)) }
}

/// The schemes there are, those of the most layers first.
fn count_schemes(layers: &[LayerRecord]) -> Vec<(Scheme, usize)> {
    let mut counts = BTreeMap::new();
    for layer in layers {
        *counts.entry(layer.scheme).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, layers)| std::cmp::Reverse(*layers));
    counts
}

/// The schemes in a few words.
fn schemes(layers: &[LayerRecord]) -> String {
    match &count_schemes(layers)[..] {
        [] => "nothing".to_owned(),
        [(only, _)] => only.to_string(),
        [(a, _), (b, _)] => format!("{a} and {b}"),
        [(first, _), rest @ ..] => format!("{first} and {} other schemes", rest.len()),
    }
}

fn scheme_list(layers: &[LayerRecord]) -> Markup {
    html! {
        ul.schemes {
            @for (scheme, count) in count_schemes(layers) {
                li { b { (scheme) } " for " (of(count, "layer")) ": " (meaning(scheme)) }
            }
        }
    }
}

/// A scheme in words.
fn meaning(scheme: Scheme) -> String {
    let span = match scheme.span() {
        Span::Tensor => "one scale for the whole weight".to_owned(),
        Span::Channel => "one scale per output feature".to_owned(),
        Span::Group(size) => format!("one scale per {size} input features"),
    };
    let zero = if scheme.is_symmetric() { "symmetric" } else { "with zero points" };
    format!("{} bits, {span}, {zero}, scales in {}", scheme.bits(), scheme.scale_type())
}

fn kept(kept: &[String]) -> Markup {
    html! {
        @if kept.is_empty() { p { "Nothing." } }
        ul.names { @for tensor in kept.iter().take(KEPT) { "\n" li { (name(tensor)) } } }
        @if kept.len() > KEPT {
            p.note { "and " (count((kept.len() - KEPT) as u64)) " more; all are in bitsmith.json." }
        }
    }
}
