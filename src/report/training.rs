//! What a training was.

use std::fmt::Write as _;

use super::number::{bytes, count, value};
use crate::train::Trained;

/// A short report: what was trained on what, the loss, and the sizes of what was packed. Notes are not in it.
pub fn training(trained: &Trained) -> String {
    let (record, mut text) = (&trained.record, String::new());
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<22}{value}");
    };
    let how = if record.from_scratch { "from scratch" } else { "from a checkpoint" };
    let layers = record.settings.linear();
    line("trained", format!("{} parameters, {how}, linear layers {layers}", count(record.parameters as u64)));
    let steps = u64::from(record.settings.steps);
    line("steps", format!("{}, {} tokens of {}", count(steps), count(record.tokens), count(record.text.tokens as u64)));
    if let (Some(first), Some(last)) = (record.losses.first(), record.last_loss()) {
        let over = record.losses.len().min(crate::train::TrainRecord::LAST);
        line("loss", format!("{} -> {}, mean of the last {over} steps", value(*first), value(last)));
    }
    let taken = steps - u64::from(trained.resumed).min(steps);
    let tokens = record.tokens as f64 * taken as f64 / steps.max(1) as f64;
    if taken > 0 && trained.seconds > 0.0 {
        line("speed", format!("{} tokens a second", value(tokens / trained.seconds)));
    }
    if let Some(deployed) = &trained.deployed {
        let sizes = &deployed.record.sizes;
        let (before, after) = (bytes(sizes.original_bytes), bytes(sizes.quantized_bytes));
        line("packed", format!("{before} -> {after}, {:.3} bits per weight", sizes.bits_per_weight));
    }
    text
}
