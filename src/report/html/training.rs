//! What a method that works by blocks made of each.

use maud::{Markup, html};

use super::page::table;
use super::text::{data, number};
use crate::export::BlockRecord;
use crate::report::number::{count, short};

/// Rows of the table.
const ROWS: usize = 1000;

/// The blocks in numbers.
pub(super) fn listing(blocks: &[BlockRecord]) -> Markup {
    let loss = |loss: Option<f64>| loss.map_or_else(|| html! { "unknown" }, |loss| data(loss, short));
    let rows = blocks.iter().take(ROWS).map(|block| {
        let ratio = block.loss_before.zip(block.loss_after).filter(|(before, _)| *before > 0.0);
        [
            html! { (block.index) },
            loss(block.loss_before),
            loss(block.loss_after),
            ratio.map_or_else(
                || html! {},
                |(before, after)| data(100.0 * after / before, |share| format!("{share:.1}")),
            ),
            block.best_iteration.map_or_else(|| html! {}, |iteration| html! { (count(iteration.into())) }),
            number(block.seconds),
        ]
    });
    html! {
        p.note {
            "Mean squared error of a block's output against what the original block gives, before the method did its work \
             and with the codes. Losses of different blocks do not compare: their outputs differ in size."
        }
        @if blocks.len() > ROWS { p.note { "and " (count((blocks.len() - ROWS) as u64)) " more; all are in bitsmith.json." } }
        (table(["block", ">loss before", ">loss after", ">% left", ">best iteration", ">seconds"], rows))
    }
}
