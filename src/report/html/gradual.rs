//! What a search for mixed precision did: parts of the page about a quantization.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::blocks::{Blocks, blocks};
use super::chart::strip::Bar as Column;
use super::chart::{Bar, Cell, HeatMap, Mark, Path, Scale, bars, path, strip};
use super::page::{section, table, values};
use super::text::{data, line, name, number, plain_name};
use crate::export::{CodesFrom, HeldOut, SearchMemory, SearchPhase, SearchRecord, SearchStep, SearchedLayer};
use crate::report::number::{bytes, count, short};
use crate::report::search::{goal, verdict};
use crate::search::normalised;

/// Steps in a picture and in a table.
const STEPS: usize = 1000;
/// Layers in a strip and in a map of importance.
const LAYERS: usize = 1000;
/// Layers of a step that are named.
const NAMED: usize = 4;

/// Plan, path, what was rolled back, importance and memory.
pub(super) fn sections(search: &SearchRecord) -> Markup {
    html! {
        (section("Plan", &plan(search)))
        @if !search.steps.is_empty() { (section("Path of the search", &steps(search))) }
        @if search.steps.iter().any(|step| step.rolled_back.is_some()) {
            (section("Rolled back", &rolled_back(search)))
        }
        @if !search.importance.is_empty() { (section("Importance by measure", &importance(search))) }
        (section("Memory of the search", &memory(&search.memory)))
        @if !search.steps.is_empty() { (section("Steps", &listing(search))) }
    }
}

/// Bits of a layer's codes: three levels are the logarithm of 3.
fn bits(layer: &SearchedLayer) -> f64 {
    let bits = layer.scheme.bits();
    if bits.is_ternary() { 3f64.log2() } else { bits.get().into() }
}

fn plan(search: &SearchRecord) -> Markup {
    let scale = Scale::over(search.layers.iter().map(bits), 1.0);
    let column = |layer: &SearchedLayer| Column { value: bits(layer), hint: hint(layer) };
    let columns: Vec<Column> = search.layers.iter().take(LAYERS).map(column).collect();
    let (stacks, _) = blocks(search.layers.iter().map(|layer| layer.path.as_str()));
    let mut rows = vec![("goal", html! { (goal(&search.goal)) })];
    if let Some(held) = &search.held_out {
        rows.push(("on text held out", held_out(held)));
    }
    rows.push(("time of the search", html! { (data(search.seconds, short)) " s" }));
    html! {
        (values(&rows))
        p.note { "A bar is a layer, from the first block to the last; its height and colour are the bits of its codes." }
        (scale.legend("bits"))
        (strip(&columns, scale))
        @if search.layers.len() > LAYERS {
            p.note { "The first " (count(LAYERS as u64)) " of " (count(search.layers.len() as u64)) " layers." }
        }
        @for stack in &stacks { h3 { "Bits in " (name(&stack.stack)) } (map(stack, &search.layers).draw(scale)) }
        @if stacks.is_empty() { (layers(&search.layers)) }
    }
}

fn held_out(held: &HeldOut) -> Markup {
    html! {
        @if let Some(after) = held.quality.perplexity {
            "perplexity " (number(held.original_perplexity)) " → " (number(after)) " ("
            (data(100.0 * (after / held.original_perplexity - 1.0), |change| format!("{change:+.2} %"))) ")"
        }
        @if let Some(kl) = held.quality.kl { ", KL " (number(kl)) " nats a token" }
        (verdict(held)) " (" (count(held.tokens as u64)) " tokens in " (held.samples) " sequences)"
    }
}

/// A cell for each block and kind: bits, and how many weights share a scale.
fn map(stack: &Blocks, layers: &[SearchedLayer]) -> HeatMap {
    let cell = |(row, column, layer): &(usize, usize, usize)| {
        let layer = &layers[*layer];
        let bits = bits(layer);
        // What fits a cell: without the zero points and the type of the scales, which the hint has.
        let text = format!("{}{}", (bits * 10.0).round() / 10.0, layer.scheme.span());
        Cell { row: *row, column: *column, value: bits, text, hint: hint(layer) }
    };
    HeatMap {
        rows: stack.blocks.iter().map(ToString::to_string).collect(),
        columns: stack.short_kinds().iter().map(|kind| plain_name(kind)).collect(),
        cells: stack.layers.iter().map(cell).collect(),
    }
}

fn layers(layers: &[SearchedLayer]) -> Markup {
    let rows = layers.iter().take(LAYERS).map(|layer| {
        [name(&layer.path), html! { (layer.scheme) }, html! { (codes(layer.codes)) }, html! { (count(layer.bytes)) }]
    });
    table(["layer", "scheme", "codes", ">bytes"], rows)
}

fn hint(layer: &SearchedLayer) -> String {
    let (path, size) = (plain_name(&layer.path), bytes(layer.bytes));
    format!("{path}: {}, {}, {size}", layer.scheme, codes(layer.codes))
}

fn codes(codes: CodesFrom) -> &'static str {
    match codes {
        CodesFrom::Rtn => "round to nearest",
        CodesFrom::Searched => "searched scales",
        CodesFrom::Learned => "learned rounding",
        CodesFrom::Tuned => "tuned together",
    }
}

fn phase(phase: SearchPhase) -> &'static str {
    match phase {
        SearchPhase::Walk => "walk",
        SearchPhase::Upgrade => "upgrade",
        SearchPhase::Downgrade => "downgrade",
        SearchPhase::Tune => "tuning",
    }
}

/// What a step changes, in one line.
fn change(step: &SearchStep) -> String {
    let layers = step.layers.iter().take(NAMED).map(|path| plain_name(path)).collect::<Vec<_>>().join(", ");
    let more = step.layers.len().saturating_sub(NAMED);
    let layers = if more > 0 { format!("{layers} and {more} more") } else { layers };
    let from = step.from.map_or_else(|| "original".to_owned(), |from| from.to_string());
    format!("{layers}: {from} → {}, {}", step.to, codes(step.codes))
}

/// By how much perplexity is above the original's, in percent.
fn increase(search: &SearchRecord, step: &SearchStep) -> Option<f64> {
    step.measured.perplexity.map(|perplexity| 100.0 * (perplexity / search.original_perplexity - 1.0))
}

fn steps(search: &SearchRecord) -> Markup {
    let shown = &search.steps[..search.steps.len().min(STEPS)];
    let marks = |of: &dyn Fn(&SearchStep) -> Option<f64>| {
        let mark = |step: &SearchStep| {
            let why = step.rolled_back.as_ref().map_or_else(String::new, |why| format!("\nrolled back: {}", line(why)));
            let hint = format!("{}{why}", change(step));
            Mark { value: of(step).unwrap_or(f64::INFINITY), kept: step.rolled_back.is_none(), hint }
        };
        shown.iter().map(mark).collect::<Vec<_>>()
    };
    let goal = &search.goal;
    let perplexity = Path {
        steps: marks(&|step| increase(search, step)),
        limit: goal.max_perplexity_increase.map(|most| 100.0 * most),
        text: |percent| format!("{percent:+.2} %"),
    };
    let kl = Path { steps: marks(&|step| step.measured.kl), limit: goal.max_kl, text: short };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, between those of two steps")]
    let size = Path {
        steps: marks(&|step| Some(step.bytes as f64)),
        limit: goal.layer_bytes.map(|most| most as f64),
        text: |size| bytes(size.max(0.0) as u64),
    };
    html! {
        p.note {
            "Every step with all before it in place that were kept. A dot is a step that was kept, a cross one that was rolled \
             back; what lies far above the others stands at the edge. A dashed line is what was asked for."
        }
        h3 { "Perplexity against the original's" }
        (path(&perplexity))
        @if shown.iter().any(|step| step.measured.kl.is_some()) { h3 { "KL to the original in nats a token" } (path(&kl)) }
        h3 { "Bytes of the layers" }
        (path(&size))
        @if shown.len() < search.steps.len() {
            p.note { "The first " (count(STEPS as u64)) " of " (count(search.steps.len() as u64)) " steps." }
        }
    }
}

fn rolled_back(search: &SearchRecord) -> Markup {
    let back = search.steps.iter().enumerate().filter_map(|(i, step)| Some((i, step, step.rolled_back.as_deref()?)));
    let rows =
        back.take(STEPS).map(|(i, step, why)| [html! { (change(step)) }, html! { (i + 1) }, html! { (line(why)) }]);
    table(["what it changed", ">step", "why it was rolled back"], rows)
}

/// A row for each layer or block, a column for each measure.
fn importance(search: &SearchRecord) -> Markup {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rows: Vec<&str> = Vec::new();
    for (path, _) in search.importance.iter().flat_map(|measure| &measure.values) {
        places.entry(path).or_insert_with(|| {
            rows.push(path);
            rows.len() - 1
        });
    }
    let mut cells = Vec::new();
    for (column, measure) in search.importance.iter().enumerate() {
        let shares = normalised(&measure.values.iter().map(|(_, value)| *value).collect::<Vec<_>>());
        for ((path, value), share) in measure.values.iter().zip(shares) {
            let row = places[path.as_str()];
            let hint =
                format!("{}, {}: {} {}", plain_name(path), line(&measure.measure), short(*value), line(&measure.unit));
            if row < LAYERS {
                cells.push(Cell { row, column, value: share, text: format!("{share:.2}"), hint });
            }
        }
    }
    let (scale, total) = (Scale::over([0.0, 1.0].into_iter(), 1.0), rows.len());
    let rows = rows.into_iter().take(LAYERS).map(plain_name).collect();
    let columns = search.importance.iter().map(|measure| line(&measure.measure)).collect();
    html! {
        p.note { "As a share of the range of each measure: dark blue is the most important, bright yellow the least." }
        (scale.legend("of the range of a column"))
        (HeatMap { rows, columns, cells }.draw(scale))
        @if total > LAYERS { p.note { "The first " (count(LAYERS as u64)) " of " (count(total as u64)) "." } }
    }
}

fn memory(memory: &SearchMemory) -> Markup {
    let SearchMemory { before, after, peak } = *memory;
    let bar = |label: &str, size: u64| Bar {
        label: html! { (label) },
        value: size as f64,
        text: bytes(size),
        hint: format!("{} bytes", count(size)),
    };
    let mut all = vec![bar("model before", before), bar("model after", after)];
    all.extend(peak.map(|peak| bar("the program at its peak", peak)));
    html! {
        p.note { "Bytes of all tensors, those included that are kept, and the most that the program had in memory." }
        (bars(&all))
    }
}

fn listing(search: &SearchRecord) -> Markup {
    let shown = search.steps.iter().take(STEPS).enumerate();
    let optional = |value: Option<f64>| value.map_or_else(|| html! { "no number" }, number);
    let rows = shown.map(|(i, step)| {
        [
            html! { (change(step)) },
            html! { (i + 1) },
            html! { (phase(step.phase)) },
            increase(search, step)
                .map_or_else(|| html! { "no number" }, |rise| data(rise, |rise| format!("{rise:+.2}"))),
            optional(step.measured.kl),
            html! { (count(step.bytes)) },
            html! { @if step.rolled_back.is_some() { "rolled back" } @else { "kept" } },
        ]
    });
    table(["what it changed", ">step", "phase", ">perplexity %", ">KL", ">bytes of the layers", "outcome"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{ImportanceRecord, SearchGoal, SearchQuality};

    fn record() -> SearchRecord {
        let scheme = |text: &str| text.parse().expect("a scheme");
        let layer = |path: &str, text| SearchedLayer {
            path: path.into(),
            scheme: scheme(text),
            codes: CodesFrom::Rtn,
            bytes: 1000,
        };
        let step = |to, perplexity, why: Option<&str>| SearchStep {
            phase: SearchPhase::Walk,
            layers: vec!["m.0.q".into(), "m.0.<k>".into()],
            from: None,
            to: scheme(to),
            codes: CodesFrom::Learned,
            predicted: None,
            measured: SearchQuality { perplexity, kl: Some(0.01) },
            bytes: 5000,
            rolled_back: why.map(str::to_owned),
        };
        SearchRecord {
            goal: SearchGoal { max_perplexity_increase: Some(0.05), ..SearchGoal::default() },
            original_perplexity: 8.0,
            layers: vec![
                layer("m.0.q", "w4g32s"),
                layer("m.0.k", "w1.58g16s"),
                layer("m.1.q", "w8g128s-f32"),
                layer("m.1.k", "w2g32a"),
            ],
            importance: vec![ImportanceRecord {
                measure: "rtn".into(),
                unit: "nats".into(),
                values: vec![("m.0.q".into(), 0.5), ("m.1.q".into(), 0.25)],
            }],
            steps: vec![step("w4g32s", Some(8.2), None), step("w2g32s", None, Some("perplexity is no <number>"))],
            memory: SearchMemory { before: 9000, after: 4000, peak: Some(70_000) },
            held_out: Some(HeldOut {
                samples: 2,
                tokens: 30,
                original_perplexity: 9.0,
                quality: SearchQuality::new(9.36, 0.02),
                within_budget: Some(true),
            }),
            seconds: 3.5,
        }
    }

    #[test]
    fn a_search_is_told_in_pictures_and_numbers() {
        let page = sections(&record()).into_string();
        for words in [
            "perplexity at most 5.00 % higher",
            "within the budget",
            "+4.00 %",
            ">1.6g16<",
            "perplexity is no &lt;number&gt;",
            "m.0.&lt;k&gt;",
            "class=\"back\"",
            "the program at its peak",
            "70.0 kB",
            "rolled back",
        ] {
            assert!(page.contains(words), "{words} is not in: {page}");
        }
        assert!(!page.contains("NaN") && !page.contains("<k>"));
    }

    #[test]
    fn a_search_without_steps_has_a_plan() {
        let page = sections(&SearchRecord { steps: Vec::new(), importance: Vec::new(), held_out: None, ..record() });
        let page = page.into_string();
        assert!(
            page.contains("Plan") && !page.contains("Path of the search") && !page.contains("Importance"),
            "{page}"
        );
        assert!(!sections(&SearchRecord::default()).into_string().contains("NaN"));
    }
}
