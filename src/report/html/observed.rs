//! What a method saw of each layer before it decided.

use maud::{Markup, html};

use super::page::table;
use super::text::{data, name};
use crate::export::LayerRecord;
use crate::report::number::{count, short};

/// Rows of the table.
const ROWS: usize = 4000;

/// The layers that were observed, in numbers.
pub(super) fn listing(layers: &[LayerRecord]) -> Markup {
    let number = |value: f64| data(value, short);
    let seen = layers.iter().filter_map(|layer| Some((layer, layer.observed?)));
    let rows = seen.clone().take(ROWS).map(|(layer, observed)| {
        let [input, output] = [observed.input, observed.output];
        [
            name(&layer.path),
            number(input.mean),
            number(input.deviation),
            data(input.symmetry, |score| format!("{score:.3}")),
            html! { (layer.input) },
            number(output.mean),
            number(output.deviation),
            data(output.symmetry, |score| format!("{score:.3}")),
            html! { (layer.scheme) },
        ]
    });
    let count_seen = seen.clone().count();
    html! {
        p.note {
            "What went into each layer and what it gave when the original model read a text. The symmetry score is \
             exp(−|mean| / (std + ε)): 1 for values around zero."
        }
        @if count_seen > ROWS { p.note { "and " (count((count_seen - ROWS) as u64)) " more; all are in bitsmith.json." } }
        (table(
            ["layer", ">input mean", ">std", ">symmetry", "becomes", ">output mean", ">std", ">symmetry", "weight"],
            rows,
        ))
    }
}
