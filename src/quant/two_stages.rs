//! A run in two stages: all blocks, one after the other, into a folder of their own beside the result; then all of them
//! together, for the result. Each stage goes on where it was stopped.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::pipeline::{TENSORS, fingerprint, may_pass, straight};
use super::{
    Fingerprint, LayerJob, LayerQuantizer, NamedLayer, Outcome, QuantizeRequest, QuantizedLayer, Quantizer, Task,
    TuneConfig, Way, original, tune, tune_bytes, walk,
};
use crate::calib::CalibrationDataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::export::{self, Record};
use crate::io::{Checkpoint, Staging, read_config, read_limited, replace};
use crate::model::StreamedModel;
use crate::op::{WeightError, weight_error};
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::scheme::Scheme;

/// What decided a finished first stage, in its folder.
const MADE_FROM: &str = "made_from.json";
/// A larger one is refused unread.
const MOST_BYTES: u64 = 256 << 20;

/// A quantizer whose codes are known.
struct Known<'a> {
    method: &'a dyn Quantizer,
    layers: HashMap<String, PackedTensor>,
}

/// [`super::quantize_model`] for a method whose blocks are to be tuned together.
pub(super) async fn two_stages(
    device: &Device,
    quantizer: &dyn Quantizer,
    (tuning, seed): (TuneConfig, u32),
    data: &CalibrationDataset,
    request: &QuantizeRequest,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let model = prepared(device, quantizer.name(), &tuning, data, request)?;
    let folder = beside(&request.out, "untuned");
    let first = QuantizeRequest { out: folder.clone(), force: true, quality: None, ..request.clone() };
    let made_from = fingerprint(device, quantizer, &first)?;
    let (mut notes, mut resumed) = (Vec::new(), 0);
    let first = match finished(&made_from, &first)? {
        Some(record) => record,
        None => {
            let outcome = straight(device, quantizer, &first, None, progress).await?;
            remember(&made_from, &folder)?;
            (notes, resumed) = (outcome.notes, outcome.resumed);
            outcome.record
        }
    };
    let count = first.layers.len();
    let work = async {
        let layers = layers(&folder, &first)?;
        tune(&model, layers, data, &tuning, seed, progress).await
    };
    let tuned = work.await.map_err(|cause| {
        if may_pass(&cause) {
            let (cause, folder) = (Box::new(cause), folder.clone());
            return Error::Unfinished { cause, unit: TENSORS, finished: count, total: count, folder };
        }
        let _ = std::fs::remove_dir_all(&folder);
        cause
    })?;
    notes.push(format!(
        "note: tuning took the divergence from the original's predictions from {:.4} to {:.4} nats a token, on sequences \
         held out of it",
        tuned.divergence_before, tuned.divergence_after
    ));
    let known = Known {
        method: quantizer,
        layers: tuned.layers.into_iter().map(|layer| (layer.path, layer.layer.weight)).collect(),
    };
    let outcome = straight(device, &known, request, Some(first.blocks), progress).await?;
    // Whatever may be left of it is replaced by the next run.
    let _ = std::fs::remove_dir_all(&folder);
    notes.extend(outcome.notes);
    notes.dedup();
    Ok(Outcome { resumed: resumed.max(outcome.resumed), notes, ..outcome })
}

/// The model, once all is checked that only the second stage needs: hours may lie before it.
fn prepared(
    device: &Device,
    method: &str,
    tuning: &TuneConfig,
    data: &CalibrationDataset,
    request: &QuantizeRequest,
) -> Result<StreamedModel> {
    original::check_quality(&request.model, request.quality.as_ref())?;
    let model = walk::open(method, device, &request.model)?;
    let bytes = tune_bytes(&model, data, tuning)?;
    tracing::info!(bytes, "tuning all blocks together, on {}", device.caps().name);
    device.reserve(bytes).map_err(|error| Error::Unsupported {
        what: format!("tuning all blocks together, which takes {:.1} GB at once ({error})", bytes as f64 / 1e9),
        remedy: "leave it out (--tune-iters 0), or take fewer --samples or a device with more memory".into(),
    })?;
    // What lies there stays: whether it is to be gone on with is for the second stage to say.
    drop(Staging::resume(&request.out, request.force)?);
    Ok(model)
}

/// The hidden folder of this ending beside a result: where its first stage lies.
pub(crate) fn beside(out: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(".");
    name.push(ending);
    out.with_file_name(name)
}

/// What the first stage left when it was finished before.
///
/// # Errors
/// [`Error::Config`] if it was made from another model or with other settings; those of reading.
pub(super) fn finished(fingerprint: &Fingerprint, request: &QuantizeRequest) -> Result<Option<Record>> {
    let file = request.out.join(MADE_FROM);
    if !request.resume || !file.exists() {
        return Ok(None);
    }
    let head = serde_json::from_slice(&read_limited(&file, MOST_BYTES)?).ok();
    fingerprint.expect(head, &request.out)?;
    Record::read(&request.out).map(Some)
}

/// Says in the folder of a finished first stage what decided it.
pub(super) fn remember(fingerprint: &Fingerprint, folder: &Path) -> Result<()> {
    let file = folder.join(MADE_FROM);
    let text = serde_json::to_vec(fingerprint).map_err(|e| Error::format(&file, e.to_string()))?;
    replace(&file, &text)
}

/// The codes in a folder, in the schemes that they were made in.
fn layers(folder: &Path, record: &Record) -> Result<Vec<NamedLayer>> {
    let checkpoint = Checkpoint::open(folder)?;
    let importer = export::importer(&read_config(folder)?["quantization_config"], folder)?;
    let layer = |path: &str, scheme: Scheme| {
        let weight = PackedTensor { scheme, ..importer.decode(path, &checkpoint)? };
        let layer = QuantizedLayer { weight, error: WeightError::default() };
        Ok(NamedLayer { path: path.to_owned(), layer })
    };
    record.layers.iter().map(|made| layer(&made.path, made.scheme)).collect()
}

impl Quantizer for Known<'_> {
    fn name(&self) -> &'static str {
        self.method.name()
    }

    fn settings(&self) -> serde_json::Value {
        self.method.settings()
    }

    fn scheme(&self) -> Scheme {
        self.method.scheme()
    }

    fn way(&self, _: bool) -> Way<'_> {
        Way::Layers(self)
    }
}

impl LayerQuantizer for Known<'_> {
    fn quantize<'a>(&'a self, job: &'a LayerJob<'a>) -> Task<'a, QuantizedLayer> {
        Box::pin(async move {
            let weight = self.layers.get(job.path).cloned().ok_or_else(|| Error::Shape {
                op: "tune",
                expected: "codes of every planned layer".into(),
                found: format!("none of {}", job.path),
            })?;
            let error = weight_error(job.device, &job.weight, &weight).await?;
            Ok(QuantizedLayer { weight, error })
        })
    }
}
