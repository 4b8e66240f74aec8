//! What to quantize, and what came of it.

use std::path::{Path, PathBuf};

use crate::calib::CalibrationDataset;
use crate::eval::{EvalRequest, Evaluation};
use crate::export::{self, Record};
use crate::scheme::Plan;

/// What to quantize and where to put it.
///
/// ```
/// use bitsmith::quant::{QuantizeRequest, Rtn, RtnConfig, quantize_model};
/// use bitsmith::{Device, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("tiny-llama-w4");
/// let request = QuantizeRequest::new("examples/tiny-llama", &out).skip("down_proj");
/// let rtn = Rtn::new(RtnConfig { group_size: "64".parse()?, ..Default::default() })?;
/// let done = pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Silent))?;
/// assert_eq!(done.record.layers.len(), 4 * 6);
/// assert!(out.join("model.safetensors").exists());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct QuantizeRequest {
    /// Folder of the original model, or a safetensors file.
    pub model: PathBuf,
    /// What quality and size are told against, where it is not `model`: the model that this one was trained from.
    pub reference: Option<PathBuf>,
    /// What the record calls the original; without a name it is called like its folder.
    pub name: Option<String>,
    /// Folder to make.
    pub out: PathBuf,
    /// Replace an existing model folder.
    pub force: bool,
    /// Go on with what a run left unfinished in the same place; it must have had the same model and settings.
    pub resume: bool,
    /// Layers to keep, as [`crate::scheme::Pattern`]s, beside embeddings and output head.
    pub skip: Vec<String>,
    /// Schemes by layer; without a plan every layer gets the method's own scheme.
    pub plan: Option<Plan>,
    /// File format, one of [`export::FORMATS`].
    pub format: String,
    /// Refuse what readers of the format would not load, or read with other numbers.
    pub strict: bool,
    /// Largest weight file in bytes.
    pub shard_size: u64,
    /// What a method that learns from data sees; none for the others. A method that only looks at what goes through the
    /// layers has a short text of its own where there is none.
    pub calibration: Option<CalibrationDataset>,
    /// Most bytes of activations that are held in memory between blocks; what is beyond lies in a temporary file beside
    /// the unfinished folder. Without a bound all of it is in memory. It has no part in the result.
    pub max_memory: Option<u64>,
    /// Text to measure the quality before and after on.
    pub quality: Option<EvalRequest>,
}

impl QuantizeRequest {
    /// A request with default format and shard size that measures nothing.
    pub fn new(model: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            reference: None,
            name: None,
            out: out.into(),
            force: false,
            resume: false,
            skip: Vec::new(),
            plan: None,
            format: export::FORMATS[0].to_owned(),
            strict: false,
            shard_size: 5_000_000_000,
            calibration: None,
            max_memory: None,
            quality: None,
        }
    }

    /// Replaces an existing model folder.
    #[must_use]
    pub fn force(self) -> Self {
        Self { force: true, ..self }
    }

    /// Goes on with what a run left unfinished that was killed, stopped or failed; with nothing there, it just starts.
    /// The result is what an unbroken run gives, byte for byte.
    ///
    /// ```
    /// use bitsmith::quant::{QuantizeRequest, Rtn, RtnConfig, quantize_model};
    /// use bitsmith::{Device, Error, progress::Progress};
    ///
    /// /// Asks to stop after three tensors.
    /// struct Impatient(usize);
    /// impl Progress for Impatient {
    ///     fn begin(&mut self, _: &str, _: u64) {}
    ///     fn advance(&mut self, _: u64, _: &str) {
    ///         self.0 += 1;
    ///     }
    ///     fn end(&mut self) {}
    ///     fn cancelled(&self) -> bool {
    ///         self.0 == 3
    ///     }
    /// }
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let out = folder.path().join("tiny-llama-w4");
    /// let request = QuantizeRequest::new("examples/tiny-llama", &out).resume();
    /// let rtn = Rtn::new(RtnConfig::default())?;
    /// let stopped = pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Impatient(0)));
    /// assert!(matches!(stopped, Err(Error::Unfinished { finished: 3, .. })));
    /// let done = pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Impatient(4)))?;
    /// assert_eq!(done.resumed, 3);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn resume(self) -> Self {
        Self { resume: true, ..self }
    }

    /// Keeps the layers that a pattern names.
    #[must_use]
    pub fn skip(mut self, pattern: impl Into<String>) -> Self {
        self.skip.push(pattern.into());
        self
    }

    /// Shows these sequences to a method that learns from data.
    ///
    /// ```
    /// use bitsmith::calib::CalibrationDataset;
    /// use bitsmith::quant::{Learned, LearnedConfig, Preset, QuantizeRequest, quantize_model};
    /// use bitsmith::{Device, progress::Silent};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let out = folder.path().join("tiny-llama-w2");
    /// let data = CalibrationDataset::from_sequences(vec![vec![1, 50, 60, 70], vec![1, 80, 90, 100]])?;
    /// let request = QuantizeRequest::new("examples/tiny-llama", &out).calibration(data);
    /// let learned = Learned::new(LearnedConfig { bits: 2, iters: 3, ..LearnedConfig::preset(Preset::Light) })?;
    /// let done = pollster::block_on(quantize_model(&Device::cpu(), &learned, &request, &mut Silent))?;
    /// assert_eq!((done.record.layers.len(), done.record.blocks.len()), (4 * 7, 4));
    /// # Ok::<(), bitsmith::Error>(())
    /// ```
    #[must_use]
    pub fn calibration(self, data: CalibrationDataset) -> Self {
        Self { calibration: Some(data), ..self }
    }

    /// What the record calls the original.
    pub(crate) fn model_name(&self) -> String {
        let model = self.model.canonicalize().ok();
        let model = model.as_deref().unwrap_or(&self.model).file_name().unwrap_or_default();
        self.name.clone().unwrap_or_else(|| model.to_string_lossy().into_owned())
    }

    /// What the quantized model is compared with.
    pub(super) fn reference(&self) -> &Path {
        self.reference.as_deref().unwrap_or(&self.model)
    }

    /// Measures perplexity before and after, and the distance, on a text.
    #[must_use]
    pub fn quality(self, text: EvalRequest) -> Self {
        Self { quality: Some(text), ..self }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done, as `bitsmith.json` holds it.
    pub record: Record,
    /// The evaluation of the quantized model against the original, where one was asked for.
    pub evaluation: Option<Evaluation>,
    /// Tensors of the model that an earlier run had finished already.
    pub resumed: usize,
    /// Things a user should know, one a line.
    pub notes: Vec<String>,
}
