//! The reports of trainings.

use maud::{Markup, html};

use super::chart::curve;
use super::facts::RunFacts;
use super::page::{Card, cards, page, section, values};
use super::text::{data, line, number};
use crate::report::number::{bytes, count};
use crate::train::{TrainConfig, TrainRecord, Trained, TrainedClassifier};

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
    let mut first = vec![Card {
        label: "Steps",
        value: html! { (count(record.settings.steps.into())) },
        detail: html! { (count(record.tokens)) " tokens predicted" },
    }];
    first.extend(loss(&record.losses, record.last_loss(), "nats a token"));
    first.extend(record.last_loss().map(|end| Card {
        label: "Perplexity on the text",
        value: data(end.exp(), |perplexity| format!("{perplexity:.4}")),
        detail: html! { "of what it learns, as it learns" },
    }));
    if let Some(deployed) = &trained.deployed {
        let sizes = &deployed.record.sizes;
        first.push(Card {
            label: "Packed",
            value: html! { (bytes(sizes.original_bytes)) " → " (bytes(sizes.quantized_bytes)) },
            detail: html! { (data(sizes.bits_per_weight, |bits| format!("{bits:.3}"))) " bits a quantized weight" },
        });
    }
    Page {
        model: &record.model,
        from_scratch: record.from_scratch,
        parameters: record.parameters,
        layers: format!("linear layers {}", record.settings.linear()),
        cards: first,
        losses: &record.losses,
        unit: "nats a token",
        data: vec![
            ("text", html! { (line(&record.text.source)) ", " (count(record.text.tokens as u64)) " tokens" }),
            ("sequence", html! { (count(record.seq_len as u64)) " tokens" }),
        ],
        settings: &record.settings,
    }
    .draw(facts)
}

/// The page about the training of a classifier: the loss as a picture, what it gets right, and how to make it again.
pub fn classifier(trained: &TrainedClassifier, facts: &RunFacts) -> String {
    let record = &trained.record;
    let mut first = vec![Card {
        label: "Steps",
        value: html! { (count(record.settings.steps.into())) },
        detail: html! { (record.epochs) " epochs of " (count(record.images as u64)) " images" },
    }];
    first.extend(loss(&record.losses, record.last_loss(), "nats an image"));
    let share = |accuracy: f64| data(100.0 * accuracy, |percent| format!("{percent:.2} %"));
    first.extend(record.accuracy.map(|accuracy| Card {
        label: "Accuracy",
        value: share(accuracy),
        detail: html! { "of " (count(record.held_out as u64)) " images held out" },
    }));
    first.extend(record.deployed_bytes.map(|size| Card {
        label: "Packed",
        value: html! { (bytes(size as u64)) },
        detail: html! {
            "of weights" @if let Some(accuracy) = record.deployed_accuracy { ", accuracy " (share(accuracy)) }
        },
    }));
    Page {
        model: &record.model,
        from_scratch: record.from_scratch,
        parameters: record.parameters,
        layers: format!("layers {}", record.layers),
        cards: first,
        losses: &record.losses,
        unit: "nats an image",
        data: vec![(
            "images",
            html! { (count(record.images as u64)) " learned, " (count(record.held_out as u64)) " held out" },
        )],
        settings: &record.settings,
    }
    .draw(facts)
}

fn loss(losses: &[f64], last: Option<f64>, unit: &str) -> Option<Card> {
    let (begin, end) = (*losses.first()?, last?);
    let over = losses.len().min(TrainRecord::LAST);
    Some(Card {
        label: "Loss",
        value: html! { (number(begin)) " → " (number(end)) },
        detail: html! { (unit) ", at last over " (over) " steps" },
    })
}

/// What a page about any training tells.
struct Page<'a> {
    model: &'a str,
    from_scratch: bool,
    parameters: usize,
    layers: String,
    cards: Vec<Card>,
    losses: &'a [f64],
    unit: &'a str,
    /// What it learned.
    data: Vec<(&'static str, Markup)>,
    settings: &'a TrainConfig,
}

impl Page<'_> {
    fn draw(self, facts: &RunFacts) -> String {
        let lead = html! { (count(self.parameters as u64)) " parameters, " (self.layers) ". " (facts.date()) "." };
        let mut origin = vec![("from", html! { (line(self.model)) @if self.from_scratch { ", new weights" } })];
        origin.extend(self.data);
        origin.extend([("device", html! { (line(&facts.device)) }), ("time", html! { (facts.duration()) })]);
        if let Some(command) = facts.command_line() {
            origin.push(("command", html! { code { (line(&command)) } }));
        }
        let settings = self.settings.to_json();
        let settings: Vec<_> = settings.as_object().into_iter().flatten().take(SETTINGS).collect();
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| (name.as_str(), html! { (line(&value.to_string())) })).collect();
        let body = html! {
            (cards(&self.cards))
            (section("Loss", &html! {
                p.note { "Mean cross-entropy of each step, in " (self.unit) "." }
                (curve(self.losses, self.unit))
            }))
            (section("How it was made", &values(&origin)))
            (section("Settings", &values(&settings)))
        };
        page(&format!("{} trained", line(self.model)), &lead, &body)
    }
}
