//! Quantization methods, and the pipeline that takes a model folder through one.

mod layers;
pub mod learned;
mod original;
mod output;
mod pipeline;
mod read_ahead;
mod request;
mod rtn;
mod run;
mod saved;
mod tensors;

use std::future::Future;
use std::pin::Pin;

pub use layers::{LinearLayer, Skip, linear_layers};
pub use pipeline::quantize_model;
pub use request::{Outcome, QuantizeRequest};
pub use rtn::{GroupSize, Rtn, RtnConfig};
pub use tensors::{dequantize, quantize, quantize_activations, quantize_batch};

use crate::device::Device;
use crate::error::Result;
use crate::op::WeightError;
use crate::pack::PackedTensor;
use crate::scheme::Scheme;
use crate::tensor::Tensor;

/// A quantization method: turns the weights of one job into codes. The pipeline around it plans, streams, saves and
/// reports.
pub trait Quantizer {
    /// Name on the command line.
    fn name(&self) -> &'static str;

    /// The method's settings, as `bitsmith.json` records them.
    fn settings(&self) -> serde_json::Value;

    /// The scheme the method gives a `[rows, cols]` layer when no plan says otherwise.
    fn scheme(&self) -> Scheme;

    /// What the method wants in one job.
    fn unit(&self) -> Unit;

    /// Quantizes the layers of a job, in their order.
    fn quantize<'a>(&'a self, job: &'a Job<'a>) -> Task<'a, Vec<QuantizedLayer>>;
}

/// How much of a model a method works on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One layer: nothing else is held in memory.
    Layer,
}

/// Work for a [`Quantizer`].
#[derive(Debug)]
pub struct Job<'a> {
    /// Where to compute.
    pub device: &'a Device,
    /// The layers.
    pub layers: Vec<LayerJob<'a>>,
}

/// One layer of a job.
#[derive(Debug)]
pub struct LayerJob<'a> {
    /// Module path.
    pub path: &'a str,
    /// The weight, `[out_features, in_features]`.
    pub weight: Tensor<'a>,
    /// What its codes are to mean.
    pub scheme: Scheme,
}

/// A quantized layer.
#[derive(Clone, Debug)]
pub struct QuantizedLayer {
    /// The weight.
    pub weight: PackedTensor,
    /// How far it is from the original.
    pub error: WeightError,
}

/// A boxed future, so that quantizers can be held as trait objects. Not `Send`: GPU handles are not in a browser.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;
