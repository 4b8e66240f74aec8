//! The report of a training.

use maud::html;

use super::chart::curve;
use super::facts::RunFacts;
use super::page::{Card, cards, page, section, values};
use super::text::{data, line, number};
use crate::report::number::{bytes, count};
use crate::train::{TrainRecord, Trained};

/// Settings that are shown.
const SETTINGS: usize = 100;

/// The page about a training: the loss as a picture, what was trained on what, and how to make it again.
///
/// ```
/// use bitsmith::report::html::{self, RunFacts};
/// use bitsmith::train::{TrainConfig, TrainRequest, train_model};
/// use bitsmith::{Device, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("tuned");
/// let (device, start) = (Device::cpu(), std::time::Instant::now());
/// let config = TrainConfig { steps: 2, batch_size: 1, seq_len: Some(16), ..Default::default() };
/// let request = TrainRequest::new("examples/tiny-llama", "examples/tiny-llama/calibration.txt", &out, config);
/// let trained = pollster::block_on(train_model(&device, &request, &mut Silent))?;
/// assert!(html::training(&trained, &RunFacts::new(&device, start)).contains("polyline"));
/// # Ok::<(), bitsmith::Error>(())
/// ```
pub fn training(trained: &Trained, facts: &RunFacts) -> String {
    let record = &trained.record;
    let layers = record.settings.linear();
    let lead = html! {
        (count(record.parameters as u64)) " parameters, linear layers " (layers.to_string()) ". " (facts.date()) "."
    };
    let mut first = vec![Card {
        label: "Steps",
        value: html! { (count(record.settings.steps.into())) },
        detail: html! { (count(record.tokens)) " tokens predicted" },
    }];
    if let (Some(begin), Some(end)) = (record.losses.first(), record.last_loss()) {
        let over = record.losses.len().min(TrainRecord::LAST);
        first.push(Card {
            label: "Loss",
            value: html! { (number(*begin)) " → " (number(end)) },
            detail: html! { "nats a token, at last over " (over) " steps" },
        });
        first.push(Card {
            label: "Perplexity on the text",
            value: data(end.exp(), |perplexity| format!("{perplexity:.4}")),
            detail: html! { "of what it learns, as it learns" },
        });
    }
    if let Some(deployed) = &trained.deployed {
        let sizes = &deployed.record.sizes;
        first.push(Card {
            label: "Packed",
            value: html! { (bytes(sizes.original_bytes)) " → " (bytes(sizes.quantized_bytes)) },
            detail: html! { (data(sizes.bits_per_weight, |bits| format!("{bits:.3}"))) " bits a quantized weight" },
        });
    }
    let mut origin = vec![
        ("from", html! { (line(&record.model)) @if record.from_scratch { ", new weights" } }),
        ("text", html! { (line(&record.text.source)) ", " (count(record.text.tokens as u64)) " tokens" }),
        ("sequence", html! { (count(record.seq_len as u64)) " tokens" }),
        ("device", html! { (line(&facts.device)) }),
        ("time", html! { (facts.duration()) }),
    ];
    if let Some(command) = facts.command_line() {
        origin.push(("command", html! { code { (line(&command)) } }));
    }
    let settings = serde_json::to_value(&record.settings).unwrap_or_default();
    let settings: Vec<_> = settings.as_object().into_iter().flatten().take(SETTINGS).collect();
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| (name.as_str(), html! { (line(&value.to_string())) })).collect();
    let body = html! {
        (cards(&first))
        (section("Loss", &html! {
            p.note { "Mean cross-entropy of each step, in nats a token." }
            (curve(&record.losses, "nats a token"))
        }))
        (section("How it was made", &values(&origin)))
        (section("Settings", &values(&settings)))
    };
    page(&format!("{} trained", line(&record.model)), &lead, &body)
}
