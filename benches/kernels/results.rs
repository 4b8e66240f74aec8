//! What was measured: as a table for people, as JSON for programs.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bitsmith::check::{LargeCase, Product, Scale};
use bitsmith::device::Caps;
use serde::Serialize;

use super::limit::Limit;
use super::timing::Timing;

#[derive(Debug, Serialize)]
pub struct Results {
    bitsmith: &'static str,
    date: String,
    scale: &'static str,
    pub devices: Vec<DeviceResults>,
}

#[derive(Debug, Serialize)]
pub struct DeviceResults {
    device: String,
    backend: String,
    driver: String,
    pub memory_limit_gb_s: f64,
    memory_limit_by: &'static str,
    pub rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    kernel: &'static str,
    variant: String,
    size: String,
    #[serde(skip)]
    product: Option<Product>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    Timed(Timed),
    /// The device is too small for the case.
    NotRun {
        not_run: String,
    },
    /// The result is wrong, or the device failed: no time is worth a look.
    Wrong {
        wrong: String,
    },
}

/// Times in seconds a dispatch.
#[derive(Debug, Serialize)]
pub struct Timed {
    seconds: f64,
    seconds_fastest: f64,
    seconds_slowest: f64,
    samples: usize,
    dispatches_per_sample: usize,
    copies_of_buffers: usize,
    gb_s: f64,
    share_of_memory_limit: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gflop_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times_dense_f32: Option<f64>,
}

impl Results {
    pub fn new(scale: Scale) -> Self {
        let scale = if scale == Scale::Full { "full" } else { "quick" };
        Self { bitsmith: env!("CARGO_PKG_VERSION"), date: today(), scale, devices: Vec::new() }
    }

    pub fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("numbers and strings become JSON");
        text + "\n"
    }
}

impl DeviceResults {
    pub fn new(caps: &Caps, limit: Limit) -> Self {
        Self {
            device: caps.name.clone(),
            backend: caps.backend.clone(),
            driver: caps.driver.clone(),
            memory_limit_gb_s: limit.gb_s,
            memory_limit_by: limit.by,
            rows: Vec::new(),
        }
    }

    /// Sets each product against the fastest dense f32 product of its shape.
    pub fn compare_products(&mut self) {
        let time = |row: &Row| match &row.outcome {
            Outcome::Timed(timed) => row.product.map(|p| (p, timed.seconds)),
            _ => None,
        };
        let dense: Vec<(Product, f64)> = self.rows.iter().filter_map(time).filter(|(p, _)| p.dense_f32).collect();
        for row in &mut self.rows {
            if let (Some(product), Outcome::Timed(timed)) = (row.product, &mut row.outcome) {
                let peers = dense.iter().filter(|(peer, _)| peer.shape == product.shape).map(|(_, seconds)| *seconds);
                timed.times_dense_f32 = peers.min_by(f64::total_cmp).map(|peer| peer / timed.seconds);
            }
        }
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "\n{} · {} · {} · {}\n\nMemory limit {:.1} GB/s, by {}.\n\n",
            self.device,
            self.backend,
            self.driver,
            today(),
            self.memory_limit_gb_s,
            self.memory_limit_by
        );
        text += "| kernel | variant | size | µs | GB/s | of limit | GFLOP/s | times dense f32 |\n";
        text += "|---|---|---|--:|--:|--:|--:|--:|\n";
        for row in &self.rows {
            let Row { kernel, variant, size, outcome, .. } = row;
            text += &match outcome {
                Outcome::Timed(t) => format!(
                    "| {kernel} | {variant} | {size} | {:.1} | {:.1} | {:.0} % | {} | {} |\n",
                    t.seconds * 1e6,
                    t.gb_s,
                    t.share_of_memory_limit * 100.0,
                    t.gflop_s.map_or(String::new(), |g| format!("{g:.1}")),
                    t.times_dense_f32.map_or(String::new(), |r| format!("{r:.2}")),
                ),
                other => format!("| {kernel} | {variant} | {size} | {other} | | | | |\n"),
            };
        }
        text
    }
}

impl Row {
    pub fn new(case: &LargeCase, outcome: Outcome) -> Self {
        let (variant, size) = (case.variant.to_string(), case.size.clone());
        Self { kernel: case.kernel, variant, size, product: case.product, outcome }
    }
}

impl Timed {
    pub fn new(timing: Timing, bytes: usize, operations: usize, limit: f64) -> Self {
        let gb_s = bytes as f64 / timing.median / 1e9;
        Self {
            seconds: timing.median,
            seconds_fastest: timing.fastest,
            seconds_slowest: timing.slowest,
            samples: timing.samples,
            dispatches_per_sample: timing.dispatches,
            copies_of_buffers: timing.copies,
            gb_s,
            share_of_memory_limit: gb_s / limit,
            gflop_s: (operations > 0).then(|| operations as f64 / timing.median / 1e9),
            times_dense_f32: None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timed(timed) => write!(f, "{:.1} µs, {:.1} GB/s", timed.seconds * 1e6, timed.gb_s),
            Self::NotRun { not_run } => write!(f, "not run: {not_run}"),
            Self::Wrong { wrong } => write!(f, "WRONG: {wrong}"),
        }
    }
}

/// The date in UTC as year-month-day.
fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    // Years that begin in March put the leap day last; 146,097 days make 400 of them, the first from 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", year + u64::from(month <= 2))
}
