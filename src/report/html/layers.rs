//! The error of each layer: as a map over the blocks of the model, as bars, and as a table.

use maud::{Markup, html};

use super::blocks::{Blocks, blocks};
use super::chart::{Bar, Cell, HeatMap, Scale, bars};
use super::page::table;
use super::text::{data, name, number, plain_name, plain_number};
use crate::export::LayerRecord;
use crate::report::number::count;

/// Bars of the layers with the most error.
const WORST: usize = 20;
/// Bars of layers that are in no block.
const BARS: usize = 40;
/// Maps on a page.
const MAPS: usize = 6;
/// Kinds of layers in a map that leaves room beside it.
const BESIDE: usize = 10;
/// Rows of a map; in a deeper model several blocks share one.
const MAP_ROWS: usize = 400;
/// Layers told of when hovering over one cell.
const HINTS: usize = 4;
/// Rows of the table.
const ROWS: usize = 4000;
/// Decibels that the colours span at least.
const LEAST_SPAN: f64 = 6.0;

/// The signal-to-noise ratio of a layer.
#[derive(Clone, Copy)]
enum Sqnr {
    Decibel(f64),
    /// No noise.
    Exact,
    /// No signal.
    Lost,
}

impl Sqnr {
    fn of(layer: &LayerRecord) -> Self {
        match layer.sqnr_db {
            Some(decibel) => Self::Decibel(decibel),
            None if layer.mse == 0.0 => Self::Exact,
            None => Self::Lost,
        }
    }

    /// In decibels, with infinities for what has no number.
    fn value(self) -> f64 {
        match self {
            Self::Decibel(decibel) => decibel,
            Self::Exact => f64::INFINITY,
            Self::Lost => f64::NEG_INFINITY,
        }
    }

    /// Noise as a share of the signal, both as root mean squares.
    fn relative_error(self) -> f64 {
        10f64.powf(-self.value() / 20.0)
    }

    fn cell(self) -> String {
        match self {
            Self::Decibel(decibel) if decibel.is_finite() => format!("{decibel:.1}"),
            Self::Decibel(_) => "?".to_owned(),
            Self::Exact => "exact".to_owned(),
            Self::Lost => "none".to_owned(),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Decibel(decibel) if decibel.is_finite() => format!("{decibel:.2} dB"),
            Self::Decibel(decibel) => plain_number(decibel),
            Self::Exact => "exact".to_owned(),
            Self::Lost => "no signal".to_owned(),
        }
    }

    /// As [`Self::words`], in a table under a heading that names the unit.
    fn markup(self) -> Markup {
        match self {
            Self::Decibel(decibel) => data(decibel, |decibel| format!("{decibel:.2}")),
            other => html! { (other.words()) },
        }
    }
}

/// Where the error is: a map for each stack of blocks, and bars.
pub(super) fn pictures(layers: &[LayerRecord]) -> Markup {
    let (mut stacks, outside) = blocks(layers.iter().map(|layer| layer.path.as_str()));
    stacks.truncate(MAPS);
    let scale = Scale::over(layers.iter().map(|layer| Sqnr::of(layer).value()), LEAST_SPAN);
    let outside: Vec<&LayerRecord> = outside.into_iter().map(|i| &layers[i]).collect();
    let worst = worst(layers);
    // One map beside the bars, where a screen has the room; more maps, or wide ones, above them.
    let beside = matches!(&stacks[..], [only] if only.kinds.len() <= BESIDE);
    html! {
        p.note {
            "Signal-to-quantization-noise ratio (SQNR) of the weights in decibels: higher is better, 6 dB less is twice \
             the error. "
            @if !stacks.is_empty() { "A row is a block of the model, a column a kind of layer; the more yellow, the more error. " }
            "Bars show the error relative to the weights: root mean square of the difference over that of the weights."
        }
        @if !stacks.is_empty() { (scale.legend("dB")) }
        div.beside[beside] {
            div {
                @for stack in &stacks { h3 { (name(&stack.stack)) } (map(stack, layers).draw(scale)) }
            }
            div {
                @if !outside.is_empty() && outside.len() < layers.len() {
                    h3 { "Layers outside the blocks" }
                    (bars(&outside.iter().take(BARS).map(|layer| bar(layer)).collect::<Vec<_>>()))
                    @if outside.len() > BARS { p.note { "and " (outside.len() - BARS) " more in the table" } }
                }
                @if worst.len() > 1 || stacks.is_empty() {
                    h3 { @if worst.len() < layers.len() { "The " (worst.len()) " layers with the most error" } @else { "All layers" } }
                    (bars(&worst.into_iter().map(bar).collect::<Vec<_>>()))
                }
            }
        }
    }
}

/// All layers in numbers, or the worst of them where there are too many for a page.
pub(super) fn listing(layers: &[LayerRecord]) -> Markup {
    let mut shown: Vec<&LayerRecord> = layers.iter().collect();
    if layers.len() > ROWS {
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by(|a, b| Sqnr::of(&layers[*a]).value().total_cmp(&Sqnr::of(&layers[*b]).value()));
        order.truncate(ROWS);
        order.sort_unstable();
        shown = order.into_iter().map(|i| &layers[i]).collect();
    }
    let rows = shown.iter().map(|layer| {
        let [rows, cols] = layer.shape;
        [
            name(&layer.path),
            html! { (rows) " × " (cols) },
            html! { (layer.scheme) },
            Sqnr::of(layer).markup(),
            data(layer.mse, |mse| format!("{mse:.3e}")),
            layer.cosine.map_or_else(|| html! { "none" }, number),
            html! { data value=(layer.bytes) { (count(layer.bytes)) } },
        ]
    });
    html! {
        @if shown.len() < layers.len() {
            p.note { "The " (count(shown.len() as u64)) " of " (count(layers.len() as u64)) " layers with the most error; all are in bitsmith.json." }
        }
        (table(["layer", ">shape", "scheme", ">SQNR dB", ">mean squared error", ">cosine", ">bytes"], rows))
    }
}

/// The layers with the most error; exact ones are among them only if all are few.
fn worst(layers: &[LayerRecord]) -> Vec<&LayerRecord> {
    let mut worst: Vec<&LayerRecord> = layers.iter().collect();
    if layers.len() > WORST {
        worst.retain(|layer| !matches!(Sqnr::of(layer), Sqnr::Exact));
    }
    worst.sort_by(|a, b| Sqnr::of(a).value().total_cmp(&Sqnr::of(b).value()));
    worst.truncate(WORST);
    worst
}

fn bar(layer: &LayerRecord) -> Bar {
    let sqnr = Sqnr::of(layer);
    let error = sqnr.relative_error();
    let percent = if error > 0.0 && error.is_finite() { format!(" · {:.2} %", 100.0 * error) } else { String::new() };
    Bar { label: name(&layer.path), value: error, text: sqnr.words() + &percent, hint: hint(layer) }
}

/// A cell for each block and kind; of several layers in one, the worst decides.
fn map(stack: &Blocks, layers: &[LayerRecord]) -> HeatMap {
    let per_row = stack.blocks.len().div_ceil(MAP_ROWS).max(1);
    let mut cells: std::collections::BTreeMap<(usize, usize), Vec<&LayerRecord>> = Default::default();
    for (block, kind, layer) in &stack.layers {
        cells.entry((block / per_row, *kind)).or_default().push(&layers[*layer]);
    }
    let cell = |((row, column), mut layers): ((usize, usize), Vec<&LayerRecord>)| {
        layers.sort_by(|a, b| Sqnr::of(a).value().total_cmp(&Sqnr::of(b).value()));
        let sqnr = Sqnr::of(layers[0]);
        let mut hint = layers.iter().take(HINTS).map(|layer| self::hint(layer)).collect::<Vec<_>>().join("\n");
        if layers.len() > HINTS {
            hint += &format!("\nand {} more with less error", layers.len() - HINTS);
        }
        Cell { row, column, value: sqnr.value(), text: sqnr.cell(), hint }
    };
    let row = |blocks: &[u64]| match blocks {
        [first, .., last] => format!("{first}–{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    };
    HeatMap {
        rows: stack.blocks.chunks(per_row).map(row).collect(),
        columns: stack.short_kinds().iter().map(|kind| plain_name(kind)).collect(),
        cells: cells.into_iter().map(cell).collect(),
    }
}

/// A layer in one line.
fn hint(layer: &LayerRecord) -> String {
    let [rows, cols] = layer.shape;
    let sqnr = Sqnr::of(layer).words();
    format!("{}: {sqnr}, {} ({rows} × {cols})", plain_name(&layer.path), layer.scheme)
}
