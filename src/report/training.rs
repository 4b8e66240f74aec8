//! What a training was.

use std::fmt::Write as _;

use super::number::{bytes, count, value};
use crate::train::{TrainRecord, Trained, TrainedClassifier};

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
    loss(&mut line, &record.losses, record.last_loss());
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

/// A short report on a classifier: what was trained on what, the loss, and what it gets right. Notes are not in it.
pub fn classifier(trained: &TrainedClassifier) -> String {
    let (record, mut text) = (&trained.record, String::new());
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<22}{value}");
    };
    let how = if record.from_scratch { "from scratch" } else { "from a checkpoint" };
    line("trained", format!("{} parameters, {how}, layers {}", count(record.parameters as u64), record.layers));
    let (epochs, batch) = (record.epochs, record.settings.batch_size * record.settings.accumulate);
    line("images", format!("{}, {epochs} epochs in steps of {batch}", count(record.images as u64)));
    loss(&mut line, &record.losses, record.last_loss());
    let taken = u64::from(record.settings.steps.saturating_sub(trained.resumed));
    let images = record.images as f64 * f64::from(epochs) * taken as f64 / f64::from(record.settings.steps.max(1));
    if taken > 0 && trained.seconds > 0.0 {
        line("speed", format!("{} images a second", value(images / trained.seconds)));
    }
    let held_out = count(record.held_out as u64);
    let share = |accuracy: f64| format!("{:.2} % of {held_out} images held out", 100.0 * accuracy);
    if let Some(accuracy) = record.accuracy {
        line("accuracy", share(accuracy));
    }
    if let Some(size) = record.deployed_bytes {
        let accuracy = record.deployed_accuracy.map(|accuracy| format!(", {}", share(accuracy))).unwrap_or_default();
        line("packed", format!("weights of {}{accuracy}", bytes(size as u64)));
    }
    text
}

fn loss(line: &mut impl FnMut(&str, String), losses: &[f64], last: Option<f64>) {
    if let (Some(first), Some(last)) = (losses.first(), last) {
        let over = losses.len().min(TrainRecord::LAST);
        line("loss", format!("{} -> {}, mean of the last {over} steps", value(*first), value(last)));
    }
}
