//! A model folder through a quantization method: plan, stream the weights, write, verify, measure, publish.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::companions::copy_companions;
use super::converted::converted;
use super::fingerprint::identity;
use super::observation::{forget, observe, remembers};
use super::plan_file::check_paths;
use super::run::Run;
use super::saved::{Finished, Saved};
use super::smooth::smoothed;
use super::two_stages::two_stages;
use super::walk::{self, Work};
use super::{
    Fingerprint, Footprint, LayerChoice, LinearLayer, Observation, Outcome, QuantizeRequest, Quantizer, Skip, Way,
    linear_layers, original,
};
use crate::calib::CalibrationDataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::eval::{Evaluation, evaluate_folders};
use crate::export::{self, BlockRecord, Calibration, FORMATS, LayerRecord, Method, Quality, Record, Sizes};
use crate::io::{Checkpoint, Checksum, Source, Staging, digest_of};
use crate::progress::Progress;
use crate::scheme::{Plan, Scheme};

/// What an unfinished run counts.
pub(super) const TENSORS: &str = "tensors";
/// Module path of the output head in language models.
pub(super) const HEAD: &str = "lm_head";

/// Quantizes the model of a folder. The new folder appears under its name only when it is complete; memory stays
/// near two layers, whatever the model's size. What is finished is kept beside it as it comes, for
/// [`QuantizeRequest::resume`].
///
/// # Errors
/// Those of reading the model, of the method, of the device and of writing. [`Error::Unfinished`] where the same
/// request may succeed later and something is finished, which is kept then; otherwise nothing is left behind.
/// [`Error::Config`] if what is to be resumed was made from another model or with other settings.
pub async fn quantize_model(
    device: &Device,
    quantizer: &dyn Quantizer,
    request: &QuantizeRequest,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let exporter = export::exporter(&request.format)?;
    match exporter.is_converted() {
        true => converted(device, quantizer, request, exporter.whole_file(), progress).await,
        false => quantize_folder(device, quantizer, request, progress).await,
    }
}

/// [`quantize_model`] into a folder of safetensors.
pub(super) async fn quantize_folder(
    device: &Device,
    quantizer: &dyn Quantizer,
    request: &QuantizeRequest,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let method = quantizer.name();
    let refuse = |detail: &str| Err(Error::config("calibration", format!("{method} {detail}")));
    match (quantizer.way(request.calibration.is_some()), &request.calibration) {
        (Way::Layers(_), Some(_)) => refuse("learns from no text; leave it out"),
        (Way::Blocks(_), None) => refuse("learns from a text; give one, or use --method rtn"),
        (Way::Blocks(blocks), Some(data)) => match blocks.tuning() {
            Some(tuning) => two_stages(device, quantizer, tuning, data, request, progress).await,
            None => straight(device, quantizer, request, None, progress).await,
        },
        (Way::Layers(_), None) => straight(device, quantizer, request, None, progress).await,
        (Way::Observed(_), Some(data)) => observed(device, quantizer, data, request, progress).await,
        (Way::Observed(observing), None) if observing.needs_text() => refuse("searches by what a text shows; give one"),
        (Way::Observed(observing), None) => {
            let data = CalibrationDataset::from_own_text(
                &request.model,
                observing.samples(CalibrationDataset::OWN_TEXT_SEQ_LEN),
            );
            let data = data.map_err(|error| walk::without_blocks(method, error))?;
            let request = request.clone().calibration(data.clone());
            observed(device, quantizer, &data, &request, progress).await
        }
    }
}

/// [`quantize_model`] of a method that looks at a text, which is that of the request.
async fn observed(
    device: &Device,
    quantizer: &dyn Quantizer,
    data: &CalibrationDataset,
    request: &QuantizeRequest,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    match quantizer.smoothing() {
        Some(alpha) => smoothed(device, quantizer, alpha, data, request, progress).await,
        None => straight(device, quantizer, request, None, progress).await,
    }
}

/// [`quantize_model`] in one stage; `blocks` is what is to be recorded of them, if that is known before.
pub(super) async fn straight(
    device: &Device,
    quantizer: &dyn Quantizer,
    request: &QuantizeRequest,
    blocks: Option<Vec<BlockRecord>>,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let checkpoint = Checkpoint::open(&request.model)?;
    let source = Source::of(&checkpoint)?;
    let mut config = original_config(&request.model)?;
    let mut skip = Skip::new(&request.skip)?;
    let layers = linear_layers(&checkpoint, &config, &mut skip);
    let aim = export::exporter_for(&request.format, &config)?;
    // A format that is no folder of this kind is made of one in the default format.
    let exporter = export::exporter(if aim.is_converted() { FORMATS[0] } else { &request.format })?;
    let unmeasurable = original::check_quality(&request.model, request.quality.as_ref())?;
    let mut fingerprint = fingerprint(device, quantizer, request)?;
    let footprint = Footprint::new(&checkpoint, &layers, &*aim, |layer| fingerprint.plan.get(&layer.path).is_some())?;
    let Observation { choices, search } =
        observe(device, quantizer, request, &footprint, &fingerprint, progress).await?;
    let plan = plan(&layers, quantizer, &choices, request)?;
    fingerprint.plan = plan.clone();
    let run = Run {
        device,
        quantizer,
        checkpoint: &checkpoint,
        exporter: &*exporter,
        aim: &*aim,
        layers: &layers,
        plan: &plan,
        choices: &choices,
        search,
        blocks,
    };
    let mut notes: Vec<String> =
        skip.unmatched().iter().map(|p| format!("warning: --skip {p} matches no linear layer")).collect();
    notes.extend(unmeasurable);
    notes.extend(original::no_matrices(&checkpoint));
    notes.extend(run.fit(request.strict)?);
    let mut kept: Vec<String> = layers.iter().filter(|l| plan.get(&l.path).is_none()).map(|l| l.path.clone()).collect();
    // A head that shares the embedding has no tensor of its own, but to other readers it is a linear layer that would
    // have to be quantized if nothing was said.
    if !layers.iter().any(|l| l.path == HEAD) {
        kept.push(HEAD.to_owned());
    }
    exporter.describe(&mut config, exporter.config(&run.specs(), &kept)?);
    let shards = run.shards(request.shard_size)?;
    let work = Work::new(device, quantizer, request, &plan)?;

    let open = if request.resume { Staging::resume } else { Staging::create };
    let mut staging = open(&request.out, request.force)?;
    notes.extend_from_slice(staging.notes());
    let saved = Saved::open(&staging, shards, &fingerprint, request.resume)?;
    notes.extend_from_slice(&saved.notes);
    let resumed = saved.finished.iter().map(|f| f.sources.len()).sum();
    // What is finished is to outlive whatever happens from here on.
    staging.keep(true);
    let (finished, written) = run.write(work, saved, &source, &staging, &config["quantization_config"], progress).await;
    let completed = match written {
        Ok(()) => complete(&run, request, &source, &staging, &config, &finished, progress).await,
        Err(error) => Err(error),
    };
    let total = checkpoint.names().count();
    let count = finished.iter().map(|f| f.sources.len()).sum();
    let (record, evaluation) = completed.map_err(|cause| {
        let keep = (count > 0 || remembers(&request.out)) && may_pass(&cause);
        staging.keep(keep);
        if !keep {
            forget(&request.out);
        }
        let folder = staging.partial().to_path_buf();
        if keep {
            Error::Unfinished { cause: Box::new(cause), unit: TENSORS, finished: count, total, folder }
        } else {
            cause
        }
    })?;
    let folder = staging.partial().to_path_buf();
    staging.commit().map_err(|cause| Error::Unfinished {
        cause: Box::new(cause),
        unit: TENSORS,
        finished: count,
        total,
        folder,
    })?;
    forget(&request.out);
    notes.extend(record.quality.as_ref().and_then(|quality| collapse(quality, quantizer)));
    Ok(Outcome { record, evaluation, resumed, notes })
}

/// Perplexities that many times the original's mean that the model is spoilt.
const COLLAPSE: f64 = 2.0;

/// The warning about a model that predicts far worse than the original.
pub(super) fn collapse(quality: &Quality, quantizer: &dyn Quantizer) -> Option<String> {
    let Quality { perplexity_before: before, perplexity_after: after, .. } = quality;
    (*after > COLLAPSE * before).then(|| {
        let remedy = match quantizer.in_the_loop() {
            Ok(_) => "train it with the quantizer in the loop (--finetune TEXT), or take more bits",
            Err(_) => "take more bits or smaller groups, or a method that learns from data",
        };
        format!(
            "warning: perplexity rose from {before:.2} to {after:.2}, {:.1} times the original's: this model is spoilt; \
             {remedy}",
            after / before
        )
    })
}

/// Whether the same command may succeed at another time.
pub(crate) fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Cancelled | Error::Device { .. } | Error::Limit { .. })
}

/// Adds to the written weights all else that makes a model folder, verifies and measures.
async fn complete(
    run: &Run<'_>,
    request: &QuantizeRequest,
    source: &Source,
    staging: &Staging,
    config: &Value,
    finished: &[Finished],
    progress: &mut dyn Progress,
) -> Result<(Record, Option<Evaluation>)> {
    let folder = staging.path();
    let config_path = folder.join("config.json");
    let text = serde_json::to_string_pretty(config).unwrap_or_default() + "\n";
    std::fs::write(&config_path, text).map_err(|e| Error::io(&config_path, e))?;
    copy_companions(&request.model, folder)?;
    verify(folder, &config["quantization_config"], finished)?;
    let evaluation = match &request.quality {
        Some(quality) => {
            // The original is opened again, and mapped this time.
            source.check()?;
            Some(evaluate_folders(run.device, folder, Some(request.reference()), quality, progress).await?)
        }
        None => None,
    };
    let record = record(run, request, finished, evaluation.as_ref(), folder)?;
    record.write(folder)?;
    Ok((record, evaluation))
}

fn record(
    run: &Run<'_>,
    request: &QuantizeRequest,
    finished: &[Finished],
    evaluation: Option<&Evaluation>,
    folder: &Path,
) -> Result<Record> {
    let quantized: HashSet<_> = run.plan.iter().map(|(path, _)| format!("{path}.weight")).collect();
    // In the order of the model, whatever the order in which they were made.
    let mut made: HashMap<&str, &LayerRecord> =
        finished.iter().flat_map(|f| &f.layers).map(|layer| (layer.path.as_str(), layer)).collect();
    let observed = |layer: LayerRecord| {
        let observed = run.choices.get(&layer.path).and_then(|choice| choice.observed);
        LayerRecord { observed, ..layer }
    };
    let layers: Vec<LayerRecord> =
        run.layers.iter().filter_map(|layer| made.remove(layer.path.as_str()).cloned()).map(observed).collect();
    let found = || finished.iter().filter_map(|f| f.block.clone()).collect();
    let mut blocks: Vec<BlockRecord> = run.blocks.clone().unwrap_or_else(found);
    blocks.sort_by_key(|block| block.index);
    let calibration = request.calibration.as_ref().map(|data| Calibration {
        samples: data.sequences().len(),
        seq_len: data.seq_len(),
        digest: data.digest(),
        text: data.text().cloned(),
    });
    let weights: u64 = layers.iter().map(|layer| layer.shape.iter().product::<usize>() as u64).sum();
    let bytes: u64 = layers.iter().map(|layer| layer.bytes).sum();
    let quality = evaluation.and_then(quality);
    Ok(Record {
        bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
        method: Method { name: run.quantizer.name().to_owned(), settings: run.quantizer.settings() },
        model: request.model_name(),
        calibration,
        layers,
        blocks,
        search: run.search.clone(),
        kept: run.checkpoint.names().filter(|n| !quantized.contains(*n)).map(str::to_owned).collect(),
        sizes: Sizes {
            original_bytes: match &request.reference {
                Some(folder) => Checkpoint::open(folder)?.total_bytes(),
                None => run.checkpoint.total_bytes(),
            },
            quantized_bytes: Checkpoint::open(folder)?.total_bytes(),
            bits_per_weight: bytes as f64 * 8.0 / weights.max(1) as f64,
        },
        quality,
    })
}

/// What the record holds of an evaluation against the original.
pub(super) fn quality(evaluation: &Evaluation) -> Option<Quality> {
    let Evaluation { perplexity, reference_perplexity, kl, .. } = evaluation;
    let (perplexity_before, kl) = ((*reference_perplexity)?, serde_json::to_value(kl).ok()?);
    Some(Quality { perplexity_before, perplexity_after: *perplexity, kl })
}

/// The model's config.json, empty if there is none; a model that is quantized already is refused.
pub(super) fn original_config(folder: &Path) -> Result<Value> {
    let config = original::config(folder)?;
    if config.get("quantization_config").is_some_and(|q| !q.is_null()) {
        let detail = "quantization_config is there: the model is quantized already; give the original";
        return Err(Error::format(folder.join("config.json"), detail));
    }
    Ok(config)
}

/// What decides the result of a request, as far as it is known before the method has looked at the model.
pub(super) fn fingerprint(
    device: &Device,
    quantizer: &dyn Quantizer,
    request: &QuantizeRequest,
) -> Result<Fingerprint> {
    let checkpoint = Checkpoint::open(&request.model)?;
    let config = original_config(&request.model)?;
    let layers = linear_layers(&checkpoint, &config, &mut Skip::new(&request.skip)?);
    Ok(Fingerprint {
        bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
        method: Method { name: quantizer.name().to_owned(), settings: quantizer.settings() },
        plan: plan(&layers, quantizer, &BTreeMap::new(), request)?,
        format: request.format.clone(),
        shard_size: request.shard_size,
        device: identity(device),
        config: Checksum::of(config.to_string().as_bytes()),
        calibration: request.calibration.as_ref().map(CalibrationDataset::digest),
        files: Source::of(&checkpoint)?.files(),
    })
}

/// The scheme of every layer: the plan that was given, or the method's own for all that is not kept.
fn plan(
    layers: &[LinearLayer],
    quantizer: &dyn Quantizer,
    choices: &BTreeMap<String, LayerChoice>,
    request: &QuantizeRequest,
) -> Result<Plan> {
    let scheme = |path: &str| choices.get(path).map_or_else(|| quantizer.scheme(), |choice| choice.scheme);
    let plan: Plan = match &request.plan {
        Some(plan) => {
            check_paths(plan, layers, &request.model)?;
            for (path, scheme) in plan.iter() {
                if let Some(why) = quantizer.refuses(scheme) {
                    let detail = format!("{path} is to become {scheme} by {}, but {why}", quantizer.name());
                    return Err(Error::config("plan", detail));
                }
            }
            plan.clone()
        }
        None => layers.iter().filter(|l| !l.kept).map(|l| (l.path.as_str(), scheme(&l.path))).collect(),
    };
    if plan.is_empty() {
        let what = format!("{}: a model in which no linear layer is left to quantize", request.model.display());
        return Err(Error::Unsupported { what, remedy: "check the model and --skip".into() });
    }
    Ok(plan)
}

/// Opens the written folder as any reader does, and compares what it holds with what the method gave.
fn verify(folder: &Path, config: &Value, finished: &[Finished]) -> Result<()> {
    let checkpoint = Checkpoint::open(folder)?;
    let found = export::importer(config, folder)?.layers(&checkpoint)?;
    let expected: HashMap<&str, &LayerRecord> =
        finished.iter().flat_map(|f| &f.layers).map(|layer| (layer.path.as_str(), layer)).collect();
    let wrong =
        |what: &str| Error::format(folder, format!("{what} does not read back as it was written; check the disk"));
    if found.len() != expected.len() {
        return Err(wrong("the list of layers"));
    }
    // A format may say otherwise which weights share a scale, or know no three levels; its numbers were compared when they
    // were written.
    let bits = |scheme: Scheme| scheme.carrier().bits();
    for layer in found {
        let as_made = expected.get(layer.path.as_str()).is_some_and(|made| {
            made.shape == [layer.rows, layer.cols]
                && bits(made.scheme) == bits(layer.scheme)
                && made.input == layer.input
        });
        if !as_made {
            return Err(wrong(&layer.path));
        }
    }
    let tensors: Vec<_> = finished.iter().flat_map(|f| &f.tensors).collect();
    tensors.par_iter().try_for_each(|(name, digest)| {
        let place = checkpoint.path_of(name).zip(checkpoint.info(name));
        let (path, info) = place.ok_or_else(|| wrong(name))?;
        let found = digest_of(path, info.range.start as u64..info.range.end as u64)?;
        if found == Some(*digest) { Ok(()) } else { Err(wrong(name)) }
    })
}
