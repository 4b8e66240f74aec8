//! A model folder through a quantization method: plan, stream the weights, write, verify, measure, publish.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Job, LayerJob, LinearLayer, QuantizedLayer, Quantizer, Skip, linear_layers, original};
use crate::device::Device;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::eval::{EvalRequest, Evaluation, evaluate_folders};
use crate::export::{self, Exporter, Fit, LayerRecord, LayerSpec, Method, Quality, Record, Sizes};
use crate::io::{Checkpoint, CheckpointWriter, ShardPlan, Staging, TensorSpec};
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::scheme::Plan;

/// Module path of the output head in language models.
const HEAD: &str = "lm_head";

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
    /// What the record calls the original; without a name it is called like its folder.
    pub name: Option<String>,
    /// Folder to make.
    pub out: PathBuf,
    /// Replace an existing model folder.
    pub force: bool,
    /// Layers to keep, as [`crate::scheme::Pattern`]s, beside embeddings and output head.
    pub skip: Vec<String>,
    /// Schemes by layer; without a plan every layer gets the method's own scheme.
    pub plan: Option<Plan>,
    /// File format, one of [`export::FORMATS`].
    pub format: String,
    /// Largest weight file in bytes.
    pub shard_size: u64,
    /// Text to measure the quality before and after on.
    pub quality: Option<EvalRequest>,
}

impl QuantizeRequest {
    /// A request with default format and shard size that measures nothing.
    pub fn new(model: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            name: None,
            out: out.into(),
            force: false,
            skip: Vec::new(),
            plan: None,
            format: export::FORMATS[0].to_owned(),
            shard_size: 5_000_000_000,
            quality: None,
        }
    }

    /// Replaces an existing model folder.
    #[must_use]
    pub fn force(self) -> Self {
        Self { force: true, ..self }
    }

    /// Keeps the layers that a pattern names.
    #[must_use]
    pub fn skip(mut self, pattern: impl Into<String>) -> Self {
        self.skip.push(pattern.into());
        self
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
    /// Things a user should know, one a line.
    pub notes: Vec<String>,
}

/// Quantizes the model of a folder. The new folder appears under its name only when it is complete; memory stays
/// near one layer, whatever the model's size.
///
/// # Errors
/// Those of reading the model, of the method, of the device and of writing; nothing is left behind then.
pub async fn quantize_model(
    device: &Device,
    quantizer: &dyn Quantizer,
    request: &QuantizeRequest,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let checkpoint = Checkpoint::open(&request.model)?;
    let mut config = original_config(&request.model)?;
    let mut skip = Skip::new(&request.skip)?;
    let layers = linear_layers(&checkpoint, &config, &mut skip);
    let plan = plan(&layers, quantizer, request)?;
    let exporter = export::exporter(&request.format)?;
    let unmeasurable = original::check_quality(&request.model, request.quality.as_ref())?;
    let staging = Staging::create(&request.out, request.force)?;

    let mut run =
        Run { device, quantizer, checkpoint: &checkpoint, exporter: &*exporter, layers: &layers, plan: &plan };
    let mut notes: Vec<String> =
        skip.unmatched().iter().map(|p| format!("warning: --skip {p} matches no linear layer")).collect();
    notes.extend(unmeasurable);
    notes.extend(original::no_matrices(&checkpoint));
    notes.extend(run.fit()?);
    let written = run.write(staging.path(), request.shard_size, progress).await?;

    let mut kept: Vec<String> = layers.iter().filter(|l| plan.get(&l.path).is_none()).map(|l| l.path.clone()).collect();
    // A head that shares the embedding has no tensor of its own, but to other readers it is a linear layer that would
    // have to be quantized if nothing was said.
    if !layers.iter().any(|l| l.path == HEAD) {
        kept.push(HEAD.to_owned());
    }
    config["quantization_config"] = exporter.config(&plan, &kept)?;
    let config_path = staging.path().join("config.json");
    let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    std::fs::write(&config_path, text).map_err(|e| Error::io(&config_path, e))?;
    copy_companions(&request.model, staging.path())?;
    verify(staging.path(), &config["quantization_config"], &written)?;

    let evaluation = match &request.quality {
        Some(quality) => {
            let result = evaluate_folders(device, staging.path(), Some(&request.model), quality, progress).await?;
            Some(result)
        }
        None => None,
    };
    let record = run.record(request, &written, evaluation.as_ref(), staging.path())?;
    record.write(staging.path())?;
    staging.commit()?;
    Ok(Outcome { record, evaluation, notes })
}

/// One layer as it was written.
struct Written {
    record: LayerRecord,
    /// Names of its tensors.
    tensors: Vec<String>,
    fingerprint: u64,
}

struct Run<'a> {
    device: &'a Device,
    quantizer: &'a dyn Quantizer,
    checkpoint: &'a Checkpoint,
    exporter: &'a dyn Exporter,
    layers: &'a [LinearLayer],
    plan: &'a Plan,
}

impl Run<'_> {
    fn spec(&self, name: &str) -> Option<LayerSpec> {
        let path = name.strip_suffix(".weight")?;
        let scheme = self.plan.get(path)?;
        let layer = self.layers.iter().find(|l| l.path == path)?;
        Some(LayerSpec { path: path.to_owned(), scheme, rows: layer.rows, cols: layer.cols })
    }

    fn is_conv1d(&self, path: &str) -> bool {
        self.layers.iter().any(|l| l.path == path && l.conv1d)
    }

    /// Refuses what the format cannot hold; says in one line why other readers may not take the result.
    fn fit(&self) -> Result<Option<String>> {
        let (mut layers, mut reasons) = (0, Vec::<String>::new());
        for info in self.checkpoint.infos() {
            let Some(layer) = self.spec(&info.name) else { continue };
            let conv1d = self.is_conv1d(&layer.path);
            match if conv1d { self.exporter.fit_conv1d(&layer) } else { self.exporter.fit(&layer) } {
                Fit::Exact => {}
                Fit::Refused(why) => {
                    let what = format!("{} as {} in {}", layer.path, layer.scheme, self.exporter.name());
                    return Err(Error::Unsupported { what, remedy: why });
                }
                Fit::OwnReader(why) => {
                    layers += 1;
                    // A reason may be several; each is named once.
                    let new: Vec<_> = why.split("; ").filter(|w| !reasons.iter().any(|r| r == w)).collect();
                    reasons.extend(new.into_iter().map(str::to_owned));
                }
            }
        }
        let (format, why) = (self.exporter.name(), reasons.join("; "));
        Ok((layers > 0)
            .then(|| format!("note: {layers} layer(s) load in bitsmith, not in every {format} reader: {why}")))
    }

    /// Streams the checkpoint: kept tensors as they are, linear layers through the method.
    async fn write(&mut self, folder: &Path, shard_size: u64, progress: &mut dyn Progress) -> Result<Vec<Written>> {
        let mut tensors = Vec::new();
        for info in self.checkpoint.infos() {
            match self.spec(&info.name) {
                None => tensors.push(TensorSpec::new(info.name.clone(), info.dtype, info.shape.clone())),
                Some(layer) => tensors.extend(self.exporter.tensors(&layer, self.dtype_of(&info.name)?)?),
            }
        }
        let mut writer = CheckpointWriter::create(folder, ShardPlan::new(tensors, shard_size)?)?;
        let mut written = Vec::new();
        progress.begin("quantizing", self.checkpoint.total_bytes());
        for info in self.checkpoint.infos() {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            match self.spec(&info.name) {
                None => writer.write(&info.name, self.checkpoint.raw(&info.name)?.bytes)?,
                Some(layer) => written.push(self.layer(&layer, &info.name, &mut writer).await?),
            }
            self.checkpoint.release(&info.name);
            progress.advance(info.bytes() as u64, &info.name);
        }
        progress.end();
        writer.finish()?;
        Ok(written)
    }

    async fn layer(&self, layer: &LayerSpec, name: &str, writer: &mut CheckpointWriter) -> Result<Written> {
        let stored = self.checkpoint.tensor(name)?;
        let weight = if self.is_conv1d(&layer.path) { stored.transposed() } else { stored };
        let job =
            Job { device: self.device, layers: vec![LayerJob { path: &layer.path, weight, scheme: layer.scheme }] };
        let QuantizedLayer { weight, error } = self.quantizer.quantize(&job).await?.remove(0);
        let (mut bytes, mut tensors) = (0, Vec::new());
        for (name, data) in self.exporter.encode(&layer.path, &weight, self.dtype_of(name)?)? {
            writer.write(&name, &data)?;
            bytes += data.len() as u64;
            tensors.push(name);
        }
        let record = LayerRecord {
            path: layer.path.clone(),
            shape: [layer.rows, layer.cols],
            scheme: layer.scheme,
            mse: error.mse(),
            sqnr_db: error.sqnr_db(),
            cosine: error.cosine(),
            bytes,
        };
        Ok(Written { record, tensors, fingerprint: fingerprint(&weight) })
    }

    fn dtype_of(&self, name: &str) -> Result<Dtype> {
        Ok(self.checkpoint.tensor(name)?.dtype())
    }

    fn record(
        &self,
        request: &QuantizeRequest,
        written: &[Written],
        evaluation: Option<&Evaluation>,
        folder: &Path,
    ) -> Result<Record> {
        let quantized: HashSet<_> = self.plan.iter().map(|(path, _)| format!("{path}.weight")).collect();
        let weights: u64 = written.iter().map(|w| w.record.shape.iter().product::<usize>() as u64).sum();
        let bytes: u64 = written.iter().map(|w| w.record.bytes).sum();
        let quality = evaluation.and_then(|e| {
            let (before, kl) = (e.reference_perplexity?, serde_json::to_value(e.kl).ok()?);
            Some(Quality { perplexity_before: before, perplexity_after: e.perplexity, kl })
        });
        let model = request.model.canonicalize().ok();
        let model = model.as_deref().unwrap_or(&request.model).file_name().unwrap_or_default();
        let name = request.name.clone().unwrap_or_else(|| model.to_string_lossy().into_owned());
        Ok(Record {
            bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
            method: Method { name: self.quantizer.name().to_owned(), settings: self.quantizer.settings() },
            model: name,
            layers: written.iter().map(|w| w.record.clone()).collect(),
            kept: self.checkpoint.names().filter(|n| !quantized.contains(*n)).map(str::to_owned).collect(),
            sizes: Sizes {
                original_bytes: self.checkpoint.total_bytes(),
                quantized_bytes: Checkpoint::open(folder)?.total_bytes(),
                bits_per_weight: bytes as f64 * 8.0 / weights.max(1) as f64,
            },
            quality,
        })
    }
}

/// The model's config.json, empty if there is none; a model that is quantized already is refused.
fn original_config(folder: &Path) -> Result<Value> {
    let config = original::config(folder)?;
    if config.get("quantization_config").is_some_and(|q| !q.is_null()) {
        let detail = "quantization_config is there: the model is quantized already; give the original";
        return Err(Error::format(folder.join("config.json"), detail));
    }
    Ok(config)
}

/// The scheme of every layer: the plan that was given, or the method's own for all that is not kept.
fn plan(layers: &[LinearLayer], quantizer: &dyn Quantizer, request: &QuantizeRequest) -> Result<Plan> {
    let plan: Plan = match &request.plan {
        Some(plan) => {
            if let Some((path, _)) = plan.iter().find(|(path, _)| !layers.iter().any(|l| l.path == *path)) {
                return Err(Error::config("plan", format!("{path} is no linear layer of {}", request.model.display())));
            }
            plan.clone()
        }
        None => layers.iter().filter(|l| !l.kept).map(|l| (l.path.as_str(), quantizer.scheme())).collect(),
    };
    if plan.is_empty() {
        let what = format!("{}: a model in which no linear layer is left to quantize", request.model.display());
        return Err(Error::Unsupported { what, remedy: "check the model and --skip".into() });
    }
    Ok(plan)
}

/// Copies tokenizer, generation settings, licence and the like; what describes other weight files stays behind, and so
/// does all that lies beside weights given as a file.
fn copy_companions(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(from).map_err(|e| Error::io(from, e))? {
        let path = entry.map_err(|e| Error::io(from, e))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let text = matches!(name, "vocab.txt" | "merges.txt") || name.to_uppercase().starts_with("LICENSE");
        let companion = matches!(kind, "json" | "model" | "jinja") || text;
        let ours =
            matches!(name, "config.json" | Record::FILE | "quantize_config.json") || name.ends_with(".index.json");
        if companion && !ours && path.is_file() {
            std::fs::copy(&path, to.join(name)).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}

/// Reads the written layers back and compares them with what the method gave.
fn verify(folder: &Path, config: &Value, written: &[Written]) -> Result<()> {
    let checkpoint = Checkpoint::open(folder)?;
    let importer = export::importer(config, folder)?;
    for Written { record, tensors, fingerprint: expected } in written {
        if fingerprint(&importer.decode(&record.path, &checkpoint)?) != *expected {
            let detail = format!("{} does not read back as it was written; check the disk", record.path);
            return Err(Error::format(folder, detail));
        }
        tensors.iter().for_each(|name| checkpoint.release(name));
    }
    Ok(())
}

/// A hash of all that decoding a weight depends on. The type of the scales is not part of it: a format may store them
/// in a wider one.
fn fingerprint(weight: &PackedTensor) -> u64 {
    let mut hasher = DefaultHasher::new();
    (weight.scheme.with_scale_type(Dtype::F32), weight.rows, weight.cols, &weight.zeros).hash(&mut hasher);
    hasher.write(bytemuck::cast_slice(&weight.codes));
    hasher.write(bytemuck::cast_slice(&weight.scales));
    hasher.finish()
}
