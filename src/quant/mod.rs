//! Quantization methods, and the pipeline that takes a model folder through one.

mod block_progress;
mod block_run;
mod changes;
mod companions;
mod converted;
mod exported;
mod fingerprint;
mod footprint;
mod fused;
mod gptq;
mod group_size;
mod int8;
mod layers;
mod learned;
mod llm_int8;
mod model_part;
mod observation;
mod original;
mod output;
mod parts;
mod pipeline;
mod plan_file;
mod read_ahead;
mod reencode;
mod request;
mod restore;
mod rounded;
mod rtn;
mod run;
mod saved;
mod smooth;
mod tensors;
mod ternary;
mod tune;
mod two_stages;
mod verify;
mod walk;

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;

pub(crate) use block_run::joined;
pub use block_run::{BlockRun, NamedLayer, QuantizedBlock};
pub(crate) use companions::copy_companions;
pub use exported::{ExportRequest, Exported, export_model};
pub use fingerprint::Fingerprint;
pub(crate) use fingerprint::identity;
pub use footprint::{Footprint, ModelSize, SizedLayer};
pub(crate) use fused::fused;
pub use gptq::{Gptq, GptqConfig};
pub use group_size::GroupSize;
use group_size::codes_by_group;
pub use int8::{ActivationKind, Granularity, Int8, Int8Calibration, Int8Config, Mode};
pub use layers::{LinearLayer, Skip, linear_layers};
#[cfg(feature = "cli")]
pub use learned::LearnedArgs;
pub use learned::{Learned, LearnedConfig, Preset, Ranges};
pub use llm_int8::{LlmInt8, LlmInt8Config};
pub(crate) use observation::STATE_JOURNAL;
pub(crate) use pipeline::may_pass;
pub use pipeline::quantize_model;
pub use plan_file::{check_plan_file, parse_plan, read_plan, write_plan};
pub use request::{Outcome, QuantizeRequest};
pub use rtn::{Rtn, RtnConfig};
pub use tensors::{dequantize, quantize, quantize_activations, quantize_batch, quantize_within};
pub use ternary::{Ternary, TernaryConfig};
pub use tune::{TuneConfig, Tuned, tune, tune_bytes};
pub(crate) use two_stages::beside;

pub(crate) use walk::layers_of_blocks;

use crate::calib::{CalibratedBlock, CalibrationDataset, Inputs};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::export::{Observed, SearchRecord};
use crate::model::StreamedModel;
use crate::nn::BitLinearConfig;
use crate::op::{LayerInput, WeightError};
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::scheme::{Plan, Scheme};
use crate::tensor::Tensor;

/// A quantization method: turns weights into codes. The pipeline around it plans, streams, saves and reports.
pub trait Quantizer {
    /// Name on the command line.
    fn name(&self) -> &'static str;

    /// The method's settings, as `bitsmith.json` records them.
    fn settings(&self) -> serde_json::Value;

    /// The scheme the method gives a layer when no plan says otherwise.
    fn scheme(&self) -> Scheme;

    /// Why the method cannot make codes of a scheme that a plan asks for, if it cannot.
    fn refuses(&self, _scheme: Scheme) -> Option<&'static str> {
        None
    }

    /// What the method makes of the input of a layer of which it has seen nothing.
    fn input(&self) -> LayerInput {
        LayerInput::Exact
    }

    /// What layers compute with that train with this method in the loop.
    ///
    /// # Errors
    /// [`Error::Config`] where there is no such training.
    fn in_the_loop(&self) -> Result<BitLinearConfig> {
        let detail = format!("{} is no method to train with; take --method ternary, or leave it out", self.name());
        Err(Error::config("finetune", detail))
    }

    /// How much of what makes activations hard to round goes to the weights before it starts, from 0 to 1, if it is to; for methods
    /// that look at a text.
    fn smoothing(&self) -> Option<f64> {
        None
    }

    /// How it goes through a model, with calibration data or without.
    fn way(&self, data: bool) -> Way<'_>;
}

/// How a method goes through a model.
#[derive(Clone, Copy)]
pub enum Way<'a> {
    /// Layer by layer, from the weights alone.
    Layers(&'a dyn LayerQuantizer),
    /// Layer by layer, when it has seen what goes through all of them.
    Observed(&'a dyn ObservingQuantizer),
    /// Block by block, with calibration data.
    Blocks(&'a dyn BlockQuantizer),
}

/// A method that needs nothing but a weight.
pub trait LayerQuantizer {
    /// Quantizes a layer.
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer>;
}

/// A method that decides what becomes of each layer by what goes through it when the original model reads a text.
pub trait ObservingQuantizer: LayerQuantizer {
    /// How many sequences of so many tokens it wants where nobody says.
    fn samples(&self, _seq_len: usize) -> usize {
        32
    }

    /// Whether the short text that comes with this crate is not enough.
    fn needs_text(&self) -> bool {
        false
    }

    /// Looks at the model and decides. A plan of the user's own decides on schemes before it.
    fn observe<'a>(&'a self, job: ObserveJob<'a>) -> Task<'a, Observation>;
}

/// A method that sees what goes through a block.
pub trait BlockQuantizer {
    /// What it wants to see.
    fn inputs(&self) -> Inputs;

    /// How many sequences of so many tokens it wants where nobody says; of a short text it takes fewer.
    fn samples(&self, _seq_len: usize) -> usize {
        128
    }

    /// Quantizes the layers of a block that the plan names. What the block computes with afterwards does not matter: the
    /// walk goes on with the codes that are returned.
    fn quantize<'a>(&'a self, job: BlockJob<'a>) -> Task<'a, BlockResult>;

    /// How [`tune`] is to follow when every block is done, and with which seed, if it is.
    fn tuning(&self) -> Option<(TuneConfig, u32)> {
        None
    }
}

/// A layer to quantize.
#[derive(Debug)]
pub struct LayerJob<'a> {
    /// Where to compute.
    pub device: &'a Device,
    /// Module path.
    pub path: &'a str,
    /// The weight, `[out_features, in_features]`.
    pub weight: Tensor<'a>,
    /// What its codes are to mean.
    pub scheme: Scheme,
}

/// A model to look at.
pub struct ObserveJob<'a> {
    /// The original.
    pub model: StreamedModel,
    /// What it is to read.
    pub data: &'a CalibrationDataset,
    /// The layers to quantize, and what they take in the file.
    pub footprint: &'a Footprint<'a>,
    /// The user's plan, if there is one.
    pub plan: Option<&'a Plan>,
    /// A folder for what is to outlive a kill; it is there only if an earlier run made it. It goes when the result is
    /// complete, or when what failed cannot succeed later.
    pub state: &'a Path,
    /// Whether to go on with what is in `state`.
    pub resume: bool,
    /// What decides the result: work of another fingerprint must not be gone on with.
    pub fingerprint: &'a Fingerprint,
    /// Who hears how far it is.
    pub progress: &'a mut dyn Progress,
}

/// What came of looking at a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// What is to become of layers, by module path.
    pub choices: BTreeMap<String, LayerChoice>,
    /// The search that decided so, if one did.
    pub search: Option<SearchRecord>,
}

/// What is to become of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerChoice {
    /// What its codes are to mean.
    pub scheme: Scheme,
    /// What its input becomes.
    pub input: LayerInput,
    /// What was seen of it, if the decision rests on that.
    pub observed: Option<Observed>,
}

/// A block to quantize.
pub struct BlockJob<'a> {
    /// The model that it is from.
    pub model: &'a StreamedModel,
    /// The block on the device, its inputs and what it should give.
    pub step: &'a mut CalibratedBlock,
    /// The schemes of the layers to quantize.
    pub plan: &'a Plan,
    /// Who hears how far it is. [`Progress::begin`], with the name of a unit of work (`iteration`), and
    /// [`Progress::end`] are the method's to call.
    pub progress: &'a mut dyn Progress,
}

/// What a method made of a block.
#[derive(Clone, Debug, Default)]
pub struct BlockResult {
    /// The parts of the block that were quantized, in the order of [`crate::model::LoadedBlock::linears`].
    pub parts: Vec<QuantizedPart>,
    /// Mean squared error of the block's output before the method did its work, if it knows.
    pub loss_before: Option<f64>,
    /// The iteration whose parameters were kept, where there are iterations.
    pub best_iteration: Option<u32>,
}

/// Some output features of a layer of the checkpoint, quantized: a block may hold one as several.
#[derive(Clone, Debug)]
pub struct QuantizedPart {
    /// Module path of the checkpoint's layer.
    pub path: String,
    /// The output features.
    pub rows: Range<usize>,
    /// Codes and error.
    pub layer: QuantizedLayer,
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
