//! What was measured of kernels.

use serde::Serialize;

use super::copy::Copy;
use super::host;
use super::timing::Timing;
use crate::check::{LargeCase, Product, Scale};
use crate::device::{Device, DeviceKind};
use crate::dispatch::Role;
use crate::dtype::Dtype;

/// The kernels of some devices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelBench {
    /// Version of this crate.
    pub bitsmith: &'static str,
    /// In UTC, year-month-day.
    pub date: String,
    /// `full`, or `quick` where times mean nothing.
    pub scale: &'static str,
    /// The devices, in the order in which they were measured.
    pub devices: Vec<DeviceBench>,
}

/// The kernels of one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceBench {
    /// What `--device` takes: `cpu`, `wgpu:0`, `cuda:0`.
    pub device: String,
    /// Name, as the driver or the maker of the processor gives it.
    pub name: String,
    /// Interface.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// Threads, of the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// The device's own limit.
    pub copy: Copy,
    /// Compute pipelines, of a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipelines: Option<Pipelines>,
    /// One for each case.
    pub rows: Vec<Row>,
}

/// When compute pipelines were created: each at its first use, so none while work that has run before is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Pipelines {
    /// All of them, those of the self-test counted.
    pub created: usize,
    /// Of these, while something was timed.
    pub while_timed: usize,
}

/// A case of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The kernel.
    pub kernel: &'static str,
    /// How it is run.
    pub variant: String,
    /// The size, for people.
    pub size: String,
    #[serde(skip)]
    pub(super) product: Option<Product>,
    #[serde(skip)]
    pub(super) dense_f16: bool,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// The result is right, and this is how long it takes.
    Timed(Timed),
    /// The device is too small for the case.
    NotRun {
        /// What it lacks.
        not_run: String,
    },
    /// The result is wrong, or the device failed: no time is worth a look.
    Wrong {
        /// Where and how.
        wrong: String,
    },
}

/// Times of a case, in seconds a dispatch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timed {
    /// The median of the samples.
    pub seconds: f64,
    /// The fastest sample.
    pub seconds_fastest: f64,
    /// The slowest sample.
    pub seconds_slowest: f64,
    /// Samples.
    pub samples: usize,
    /// Dispatches of a sample.
    pub dispatches_per_sample: usize,
    /// Copies of the buffers that dispatches take turns on.
    pub copies_of_buffers: usize,
    /// Inputs and outputs, each moved once, by the median time: 10^9 bytes a second.
    pub gb_s: f64,
    /// That rate by the rate of a copy on the same device.
    pub share_of_copy: f64,
    /// Multiplications and additions of the formula by the median time: 10^9 a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflop_s: Option<f64>,
    /// Time of the fastest dense f32 product of the shape on the device by this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_dense_f32: Option<f64>,
    /// The same with f16 weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_dense_f16: Option<f64>,
}

impl KernelBench {
    /// No device yet.
    pub fn new(scale: Scale) -> Self {
        let scale = if scale == Scale::Full { "full" } else { "quick" };
        Self { bitsmith: env!("CARGO_PKG_VERSION"), date: host::today(), scale, devices: Vec::new() }
    }
}

impl DeviceBench {
    pub(super) fn new(request: &str, device: &Device, copy: Copy) -> Self {
        let caps = device.caps();
        let is_cpu = caps.kind == DeviceKind::Cpu;
        Self {
            device: request.to_owned(),
            name: if is_cpu { host::processor() } else { caps.name.clone() },
            backend: caps.backend.clone(),
            driver: caps.driver.clone(),
            threads: is_cpu.then(rayon::current_num_threads),
            copy,
            pipelines: (!is_cpu).then_some(Pipelines { created: 0, while_timed: 0 }),
            rows: Vec::new(),
        }
    }

    /// The first case that came out wrong.
    pub fn wrong(&self) -> Option<&str> {
        self.rows.iter().find_map(|row| match &row.outcome {
            Outcome::Wrong { wrong } => Some(wrong.as_str()),
            _ => None,
        })
    }

    /// Sets each product against the fastest dense ones of its shape, here or among `others`.
    pub(super) fn compare_products(&mut self, others: &[Row]) {
        let peers: Vec<Row> = self.rows.iter().chain(others).cloned().collect();
        let fastest = |shape: [usize; 3], is_peer: &dyn Fn(&Row, Product) -> bool| {
            let of_shape = peers.iter().filter(|row| row.product.is_some_and(|p| p.shape == shape && is_peer(row, p)));
            of_shape.filter_map(Row::seconds).min_by(f64::total_cmp)
        };
        for row in &mut self.rows {
            if let (Some(Product { shape, .. }), Outcome::Timed(timed)) = (row.product, &mut row.outcome) {
                let ratio = |peer: Option<f64>| peer.map(|seconds| seconds / timed.seconds);
                let f32 = ratio(fastest(shape, &|_, product| product.dense_f32));
                let f16 = ratio(fastest(shape, &|row, _| row.dense_f16));
                (timed.times_dense_f32, timed.times_dense_f16) = (f32, f16);
            }
        }
    }
}

impl Row {
    pub(super) fn new(case: &LargeCase, outcome: Outcome) -> Self {
        let (variant, size, dense_f16) = (case.variant.to_string(), case.size.clone(), is_dense_f16(case));
        Self { kernel: case.kernel, variant, size, product: case.product, dense_f16, outcome }
    }

    fn seconds(&self) -> Option<f64> {
        match &self.outcome {
            Outcome::Timed(timed) => Some(timed.seconds),
            _ => None,
        }
    }
}

/// Whether a case is a product with f16 weights, whatever its activations are.
pub(super) fn is_dense_f16(case: &LargeCase) -> bool {
    case.product.is_some() && case.variant.of(Role::Weight).is_some_and(|part| part.dtype == Some(Dtype::F16))
}

impl Timed {
    pub(super) fn new(timing: Timing, bytes: usize, operations: usize, copy_gb_s: f64) -> Self {
        let gb_s = bytes as f64 / timing.median / 1e9;
        Self {
            seconds: timing.median,
            seconds_fastest: timing.fastest,
            seconds_slowest: timing.slowest,
            samples: timing.samples,
            dispatches_per_sample: timing.dispatches,
            copies_of_buffers: timing.copies,
            gb_s,
            share_of_copy: gb_s / copy_gb_s,
            gflop_s: (operations > 0).then(|| operations as f64 / timing.median / 1e9),
            times_dense_f32: None,
            times_dense_f16: None,
        }
    }
}
