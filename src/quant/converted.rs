//! A run whose result is one file, or no model: all layers into a hidden folder beside it, in the default format and resumable as ever; then
//! that folder into the file, one tensor at a time.

use super::exported::{is_whole, stage};
use super::pipeline::{collapse, fingerprint, may_pass, original_config, quality, quantize_folder};
use super::reencode::Original;
use super::two_stages::{beside, finished, remember};
use super::{Outcome, QuantizeRequest, Quantizer, original};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::eval::evaluate_folders;
use crate::export::{self, LayerRecord, Record, Sizes, WholeModel};
use crate::io::Checkpoint;
use crate::progress::Progress;

/// [`super::quantize_model`] for a format that holds a whole model in `file`, or one that holds no model.
pub(super) async fn converted(
    device: &Device,
    quantizer: &dyn Quantizer,
    request: &QuantizeRequest,
    file: Option<&'static str>,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    original::check_quality(&request.model, request.quality.as_ref())?;
    if file.is_some() {
        check_file(request)?;
    }
    // Holds the name while the work lasts.
    let staging = stage(&request.out, file, request.force)?;
    let folder = beside(&request.out, "codes");
    let first = QuantizeRequest { out: folder.clone(), force: true, quality: None, ..request.clone() };
    let made_from = fingerprint(device, quantizer, &first)?;
    let outcome = match finished(&made_from, &first)? {
        Some(record) => {
            let resumed = record.layers.len() + record.kept.len();
            Outcome { record, evaluation: None, resumed, notes: Vec::new() }
        }
        None => {
            let outcome = quantize_folder(device, quantizer, &first, progress).await?;
            remember(&made_from, &folder)?;
            outcome
        }
    };
    let Outcome { record, resumed, mut notes, .. } = outcome;
    notes.extend_from_slice(staging.notes());
    let count = record.layers.len() + record.kept.len();
    let second = async {
        let original = Original::open(&folder)?.named(request.model_name());
        let exporter = export::exporter_for(&request.format, original.config())?;
        notes.extend(original.fit(&*exporter, request.strict)?);
        let exported = original.written(&*exporter, &staging, request.shard_size, progress)?;
        notes.extend(exported.notes);
        let evaluation = match &request.quality {
            Some(text) => {
                let reference = Some(request.reference());
                let written = if exporter.is_model() { staging.path() } else { &folder };
                Some(evaluate_folders(device, written, reference, text, progress).await?)
            }
            None => None,
        };
        let bits_per_weight = exported.layer_bytes as f64 * 8.0 / exported.weights.max(1) as f64;
        let sizes = Sizes { quantized_bytes: exported.bytes, bits_per_weight, ..record.sizes };
        let bytes = |layer: LayerRecord| {
            let bytes = original.bytes_of(&*exporter, &layer.path).unwrap_or(layer.bytes);
            LayerRecord { bytes, ..layer }
        };
        let layers = record.layers.into_iter().map(bytes).collect();
        let record = Record { layers, sizes, quality: evaluation.as_ref().and_then(quality), ..record };
        if !file.is_some_and(|file| is_whole(&request.out, file)) {
            record.write(staging.path())?;
        }
        staging.commit()?;
        Ok((record, evaluation))
    };
    let (record, evaluation) = second.await.map_err(|cause| match may_pass(&cause) {
        true => {
            let (cause, folder) = (Box::new(cause), folder.clone());
            Error::Unfinished { cause, unit: super::pipeline::TENSORS, finished: count, total: count, folder }
        }
        false => {
            let _ = std::fs::remove_dir_all(&folder);
            cause
        }
    })?;
    // Whatever may be left of it is replaced by the next run.
    let _ = std::fs::remove_dir_all(&folder);
    notes.extend(record.quality.as_ref().and_then(|quality| collapse(quality, quantizer)));
    let mut told = std::collections::HashSet::new();
    notes.retain(|note| told.insert(note.clone()));
    Ok(Outcome { record, evaluation, resumed, notes })
}

/// Refuses a model whose tokenizer or kept tensors the file has no place for: hours may lie before it is written.
fn check_file(request: &QuantizeRequest) -> Result<()> {
    let (config, name) = (original_config(&request.model)?, request.model_name());
    let model = WholeModel { folder: &request.model, name: &name, config: &config, shard_size: request.shard_size };
    let container = export::exporter_for(&request.format, &config)?.container(&model)?;
    Checkpoint::open(&request.model)?.infos().try_for_each(|info| container.kept(info).map(drop))
}
