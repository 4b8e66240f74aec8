//! The report of how important layers and blocks are.

use maud::{Markup, html};

use super::blocks::blocks;
use super::chart::{Cell, HeatMap, Scale};
use super::facts::RunFacts;
use super::page::{Card, cards, page, section, table, values};
use super::text::{data, line, name, number, plain_name};
use crate::calib::CalibrationDataset;
use crate::report::number::{count, short};
use crate::search::{Finding, Importance, MeasureCost, RankCorrelation, UnitImportance, normalised};

/// Layers in a picture.
const ROWS: usize = 400;
/// Rows of a table.
const LISTED: usize = 4000;

/// The page about the importance of layers and blocks: every measure as a picture and in numbers, what it cost, and how far
/// the prediction is right. `model` is its name, `sequences` what it was measured on.
///
/// ```
/// use bitsmith::calib::CalibrationDataset;
/// use bitsmith::report::html::{self, RunFacts};
/// use bitsmith::search::{GradualEvaluator, ImportanceAnalyzer, ImportanceConfig, Measure};
/// use bitsmith::{Device, model::StreamedModel, progress::Silent};
/// # pollster::block_on(async {
/// let (device, start) = (Device::cpu(), std::time::Instant::now());
/// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70, 80]])?;
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &device)?;
/// let evaluator = GradualEvaluator::new(model, &data).await?;
/// let analyzer = ImportanceAnalyzer::new(&evaluator, &data, ImportanceConfig::default());
/// let found = analyzer.analyze(&[Measure::Disable, Measure::Gradient], &mut Silent).await?;
/// let page = html::importance(&found, "tiny-llama", &data, &RunFacts::new(&device, start));
/// assert!(page.contains("Heat map") && page.contains("model.layers.3.mlp.down_proj"));
/// # Ok::<(), bitsmith::Error>(())
/// # })?;
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub fn importance(found: &Importance, model: &str, sequences: &CalibrationDataset, facts: &RunFacts) -> String {
    let Importance { layers, blocks, costs, correlations, .. } = found;
    let measures = costs.iter().map(|cost| cost.measure.to_string()).collect::<Vec<_>>().join(", ");
    let lead = html! {
        (count(layers.len() as u64)) " layers in " (count(blocks.len() as u64)) " blocks, by " (measures) ". "
        (facts.date()) "."
    };
    let body = html! {
        (cards(&summary(found, sequences)))
        (section("Importance", &pictures(found)))
        @if !correlations.is_empty() { (section("The prediction", &prediction(correlations))) }
        (section("What it cost", &cost(found)))
        (section("Blocks", &listing("block", blocks)))
        (section("Layers", &listing("layer", layers)))
        (section("How it was made", &origin(found, model, sequences, facts)))
    };
    page(&format!("Importance of the layers of {}", line(model)), &lead, &body)
}

fn summary(found: &Importance, sequences: &CalibrationDataset) -> Vec<Card> {
    let first = |label, units: &[UnitImportance]| {
        let unit = *Importance::ranked(units).first()?;
        let detail = html! { "score " (data(unit.score, |score| format!("{score:.3}"))) };
        Some(Card { label, value: name(&unit.path), detail })
    };
    let text = Card {
        label: "Perplexity of the original",
        value: number(found.perplexity),
        detail: html! { "on " (count(found.tokens as u64)) " tokens in " (sequences.sequences().len()) " sequences" },
    };
    let tops = [first("Most important block", &found.blocks), first("Most important layer", &found.layers)];
    tops.into_iter().flatten().chain([text]).collect()
}

fn pictures(found: &Importance) -> Markup {
    let scale = Scale::over([0.0, 1.0].into_iter(), 1.0);
    html! {
        p.note {
            "Colours compare within a column: dark blue is the most important of the column, bright yellow the least. Numbers \
             in the cells are KL to the original's predictions in nats a token: for upgrade and noise what comes back, for the \
             others what is lost. The score is all of them in one."
        }
        (scale.legend("of the range of a column"))
        h3 { "Blocks" }
        (measures(&found.blocks).draw(scale))
        (by_kind(&found.layers, scale))
        h3 { "Layers" }
        (measures(&found.layers[..found.layers.len().min(ROWS)]).draw(scale))
        @if found.layers.len() > ROWS { p.note { "The first " (ROWS) " of " (count(found.layers.len() as u64)) "." } }
    }
}

/// A row for each unit, a column for the score and for each finding.
fn measures(units: &[UnitImportance]) -> HeatMap {
    let findings = units.first().map_or(&[][..], |unit| &unit.findings);
    let columns = std::iter::once("score".to_owned()).chain(findings.iter().map(ToString::to_string)).collect();
    let mut cells: Vec<Cell> = units.iter().enumerate().map(|(row, unit)| score(row, 0, unit)).collect();
    for (place, finding) in findings.iter().enumerate() {
        let shares = normalised(&units.iter().map(|unit| unit.findings[place].kl).collect::<Vec<_>>());
        for (row, (unit, value)) in units.iter().zip(shares).enumerate() {
            let Finding { kl, increase, .. } = unit.findings[place];
            let hint = format!(
                "{}, {}: KL {} nats, perplexity {:+.2} %",
                plain_name(&unit.path),
                finding,
                short(kl),
                100.0 * increase
            );
            cells.push(Cell { row, column: place + 1, value, text: few(kl), hint });
        }
    }
    HeatMap { rows: units.iter().map(|unit| plain_name(&unit.path)).collect(), columns, cells }
}

/// The scores of layers, a row for each block and a column for each kind of layer.
fn by_kind(layers: &[UnitImportance], scale: Scale) -> Markup {
    let (stacks, _) = blocks(layers.iter().map(|layer| layer.path.as_str()));
    let map = |stack: &super::blocks::Blocks| HeatMap {
        rows: stack.blocks.iter().map(ToString::to_string).collect(),
        columns: stack.short_kinds().iter().map(|kind| plain_name(kind)).collect(),
        cells: stack.layers.iter().map(|(row, kind, layer)| score(*row, *kind, &layers[*layer])).collect(),
    };
    html! {
        @for stack in &stacks {
            h3 { "Scores of the layers of " (name(&stack.stack)) }
            (map(stack).draw(scale))
        }
    }
}

fn score(row: usize, column: usize, unit: &UnitImportance) -> Cell {
    let hint = format!("{}: score {:.3}", plain_name(&unit.path), unit.score);
    Cell { row, column, value: unit.score, text: format!("{:.2}", unit.score), hint }
}

/// A number in at most six characters.
fn few(value: f64) -> String {
    match value.abs() {
        size if size >= 9.95 => format!("{value:.1}"),
        size if size >= 0.00095 || size == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.0e}"),
    }
}

fn prediction(correlations: &[RankCorrelation]) -> Markup {
    let rank = |rank: Option<f64>| rank.map_or_else(|| html! {}, |rank| data(rank, |rank| format!("{rank:.3}")));
    let rows = correlations
        .iter()
        .map(|line| [html! { (line.to_string()) }, html! { (line.predicted) }, rank(line.layers), rank(line.blocks)]);
    html! {
        p.note {
            "How far the order that one pass back through the model predicts is the order that a measure finds: Spearman's rank \
             correlation, 1 for the same order, 0 for none."
        }
        (table(["measure", "predicted for", ">layers", ">blocks"], rows))
    }
}

fn cost(found: &Importance) -> Markup {
    let rows = found.costs.iter().map(|cost| {
        let MeasureCost { measure, seconds, block_passes, whole_block_passes } = *cost;
        let changes = whole_block_passes as f64 / found.blocks.len().max(1) as f64;
        [
            html! { (measure) },
            number(seconds),
            data(seconds / (changes * found.pass_seconds), |share| format!("{:.1} %", 100.0 * share)),
            html! { (count(block_passes)) },
            html! { (count(whole_block_passes)) },
        ]
    });
    html! {
        p.note {
            "What lies in front of a change is computed once. A whole pass takes " (number(found.pass_seconds)) " s."
        }
        (table(["measure", ">seconds", ">of whole passes", ">blocks computed", ">with whole passes"], rows))
    }
}

fn listing(title: &str, units: &[UnitImportance]) -> Markup {
    let findings = units.first().map_or(&[][..], |unit| &unit.findings);
    html! {
        div.wide tabindex="0" {
            table.rows {
                thead { tr {
                    th scope="col" { (title) }
                    th scope="col" class="number" { "weights" }
                    th scope="col" class="number" { "score" }
                    @for finding in findings { th scope="col" class="number" { (finding.to_string()) } }
                } }
                tbody {
                    @for unit in Importance::ranked(units).into_iter().take(LISTED) {
                        "\n" tr {
                            td { (name(&unit.path)) }
                            td.number { (count(unit.weights)) }
                            td.number { (data(unit.score, |score| format!("{score:.3}"))) }
                            @for finding in &unit.findings { td.number { (data(finding.kl, short)) } }
                        }
                    }
                }
            }
        }
        @if units.len() > LISTED { p.note { "The first " (LISTED) " of " (count(units.len() as u64)) "." } }
    }
}

fn origin(found: &Importance, model: &str, sequences: &CalibrationDataset, facts: &RunFacts) -> Markup {
    let settings = &found.settings;
    let rungs = settings.rungs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut rows = vec![
        ("model", name(model)),
        ("rungs", html! { (rungs) }),
        ("weights of the score", html! { (settings.combination.to_string()) }),
        ("noise", html! { (settings.noise) " of the weights' standard deviation, seed " (settings.seed) }),
        ("sequences", html! { (sequences.sequences().len()) " of " (count(sequences.seq_len() as u64)) " tokens" }),
    ];
    if let Some(text) = sequences.text() {
        rows.push(("text", html! { (name(&text.source)) }));
    }
    rows.extend([
        ("device", html! { (line(&facts.device)) }),
        ("time taken", html! { (facts.duration()) }),
        ("version", html! { "bitsmith " (env!("CARGO_PKG_VERSION")) }),
    ]);
    html! {
        @if let Some(command) = facts.command_line() { pre.command tabindex="0" { (command) } }
        (values(&rows))
    }
}
