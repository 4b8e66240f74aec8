//! How important layers and blocks are.

use std::fmt::Write as _;

use super::markdown::Markdown;
use super::number::{count, short, value};
use super::visible::visible;
use crate::calib::CalibrationDataset;
use crate::search::{Importance, MeasureCost, UnitImportance};

/// Tables of blocks and layers, the most important first, and of what each measure cost. `data` are the sequences that it
/// was measured on.
pub fn importance(found: &Importance, data: &CalibrationDataset) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:<22}{}", "perplexity", value(found.perplexity));
    let source = data.text().map_or_else(String::new, |text| format!(" of {}", visible(&text.source)));
    let (samples, length) = (data.sequences().len(), data.seq_len());
    let tokens = count(found.tokens as u64);
    let _ = writeln!(text, "{:<22}{tokens} in {samples} sequences of {length}{source}", "tokens predicted");
    let _ = writeln!(text, "{:<22}{} s", "pass of the model", short(found.pass_seconds));
    let _ = writeln!(
        text,
        "\nKL to the original in nats a token: of upgrade and noise what comes back, of others what is lost."
    );
    for (title, units) in [("block", &found.blocks), ("layer", &found.layers)] {
        let _ = writeln!(text, "\n{}", ranking(title, units));
    }
    let mut table = Markdown::new(["measure", "seconds", "blocks computed", "with whole passes"]);
    for MeasureCost { measure, seconds, block_passes, whole_block_passes } in &found.costs {
        table.row([measure.to_string(), short(*seconds), count(*block_passes), count(*whole_block_passes)]);
    }
    let _ = write!(text, "{table}");
    if !found.correlations.is_empty() {
        let mut table =
            Markdown::new(["gradient against", "predicted for<", "rank correlation of layers", "of blocks"]);
        for line in &found.correlations {
            let known = |rank: Option<f64>| rank.map_or_else(String::new, |rank| format!("{rank:.3}"));
            table.row([line.to_string(), line.predicted.to_string(), known(line.layers), known(line.blocks)]);
        }
        let _ = write!(text, "\n{table}");
    }
    text
}

fn ranking(title: &str, units: &[UnitImportance]) -> Markdown {
    let columns = units.first().map_or(&[][..], |unit| &unit.findings).iter().map(ToString::to_string);
    let mut table = Markdown::new([title.to_owned(), "score".to_owned()].into_iter().chain(columns));
    for unit in Importance::ranked(units) {
        let findings = unit.findings.iter().map(|finding| short(finding.kl));
        table.row([visible(&unit.path).to_string(), format!("{:.3}", unit.score)].into_iter().chain(findings));
    }
    table
}
