//! SmoothQuant: what makes activations hard to round is moved into weights. The input feature `j` of linear layers that
//! follow a norm is divided by a factor, in the norm, and their weights of that feature are multiplied by it,
//! `s_j = max|x_j|^a / max|w_j|^(1-a)`. Factors are rounded to powers of two, so that no value is rounded and the model
//! computes what it did.
//!
//! The model that comes of it lies beside the result while that is made of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::companions::copy_companions;
use super::fingerprint::identity;
use super::pipeline::{original_config, straight};
use super::two_stages::beside;
use super::{Outcome, QuantizeRequest, Quantizer, walk};
use crate::calib::{CalibrationDataset, Calibrator, InputStatistics, Inputs};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::{
    CONFIG_FILE, Checkpoint, CheckpointWriter, Digest, ShardPlan, Source, SourceFile, Staging, TensorInfo, TensorSpec,
    is_conv1d,
};
use crate::model::{LoadedBlock, Observer};
use crate::progress::Progress;
use crate::tensor::Tensor;

/// The first of the layers that share an input, and the norm that gives it, by their names in a block. Norms that follow
/// what they belong to have other names, or [`follows`] tells.
const NORMS: [(&str, &str); 6] = [
    ("self_attn.q_proj", "input_layernorm"),
    ("self_attn.q_proj", "self_attn_layer_norm"),
    ("mlp.gate_proj", "post_attention_layernorm"),
    ("attn.c_attn", "ln_1"),
    ("mlp.c_fc", "ln_2"),
    ("fc1", "final_layer_norm"),
];

/// Exponents of factors are within this of 0.
const FARTHEST: f64 = 30.0;

/// What a smoothed model tells of itself, in a file that is none of a model's.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Made {
    bitsmith: String,
    device: String,
    alpha: f64,
    calibration: Digest,
    files: Vec<SourceFile>,
}

const MADE: &str = "smoothing";

/// Linear layers that take what a norm gives, by module path.
#[derive(Debug)]
struct Group {
    norm: String,
    layers: Vec<String>,
    /// The largest magnitude of each input feature.
    largest: Vec<f32>,
}

/// What becomes of a tensor: each of its values is multiplied by the factor of its input feature, or divided by it.
struct Change {
    factors: Rc<[f32]>,
    divides: bool,
    /// Whether features are rows.
    conv1d: bool,
}

/// [`super::quantize_model`] of a method that wants a smoothed model.
pub(super) async fn smoothed(
    device: &Device,
    quantizer: &dyn Quantizer,
    alpha: f64,
    data: &CalibrationDataset,
    request: &QuantizeRequest,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let config = original_config(&request.model)?;
    let folder = beside(&request.out, "smoothed");
    let checkpoint = Checkpoint::open(&request.model)?;
    let source = Source::of(&checkpoint)?;
    let made = Made {
        bitsmith: env!("CARGO_PKG_VERSION").to_owned(),
        device: identity(device),
        alpha,
        calibration: data.digest(),
        files: source.files(),
    };
    let is_there = request.resume && Made::read(&folder).is_some_and(|found| found == made);
    if !is_there {
        let model = walk::open(quantizer.name(), device, &request.model)?;
        let groups = match follows(&config) {
            true => Vec::new(),
            false => groups(Calibrator::new(model, data, Inputs::Original)?, &checkpoint, progress).await?,
        };
        let mut changes = HashMap::new();
        for group in &groups {
            changes.extend(changes_of(group, &checkpoint, &config, alpha)?);
        }
        write(&folder, request, &checkpoint, source, &changes, &made)?;
    }
    let second = QuantizeRequest { model: folder.clone(), name: Some(request.model_name()), ..request.clone() };
    let outcome = straight(device, quantizer, &second, None, progress).await;
    if !matches!(outcome, Err(Error::Unfinished { .. })) {
        // Whatever may be left of it is replaced by the next run.
        let _ = std::fs::remove_dir_all(&folder);
    }
    outcome
}

impl Made {
    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(MADE)).ok()?).ok()
    }
}

/// Whether norms follow attention and feed-forward instead of going before them, so that what they give is added too.
fn follows(config: &Value) -> bool {
    config["do_layer_norm_before"] == Value::Bool(false)
}

/// The groups of all blocks that can be smoothed, with what goes into them.
async fn groups(
    mut calibrator: Calibrator,
    checkpoint: &Checkpoint,
    progress: &mut dyn Progress,
) -> Result<Vec<Group>> {
    let device = calibrator.model().device().clone();
    let mut groups = Vec::new();
    progress.begin("observing", calibrator.model().blocks() as u64);
    while let Some(mut entered) = calibrator.enter().await? {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let index = entered.index;
        let path = calibrator.model().block_path(index);
        let observed = observe(&device, &mut entered.block, &path, checkpoint)?;
        calibrator.leave(entered).await?;
        for (norm, layers, statistics) in observed {
            let largest = statistics.columns(&device).await?.columns.iter().map(|column| column.abs_max()).collect();
            groups.push(Group { norm, layers, largest });
        }
        progress.advance(1, &format!("block {index}"));
    }
    progress.end();
    Ok(groups)
}

/// Norm, layers and statistics of each group of a block that can be smoothed.
type Observed = Vec<(String, Vec<String>, Rc<InputStatistics>)>;

fn observe(device: &Device, block: &mut LoadedBlock, path: &str, checkpoint: &Checkpoint) -> Result<Observed> {
    let mut observed = Vec::new();
    for mut linears in block.linears_mut() {
        let Some(first) = linears.first() else { continue };
        let named = |(layer, norm): &(&str, &str)| {
            let norm = format!("{path}.{norm}");
            (first.path() == format!("{path}.{layer}") && checkpoint.contains(&format!("{norm}.weight")))
                .then_some(norm)
        };
        let Some(norm) = NORMS.iter().find_map(named) else { continue };
        let statistics = Rc::new(InputStatistics::new(device, first.shape()[1])?);
        let observer: Rc<dyn Observer> = statistics.clone();
        // Of one among those that take the same input.
        linears[0].set_observer(Some(observer));
        let mut layers: Vec<String> = linears.iter().map(|linear| linear.path().to_owned()).collect();
        layers.dedup();
        observed.push((norm, layers, statistics));
    }
    Ok(observed)
}

/// What becomes of the tensors of a group, by name.
fn changes_of(group: &Group, checkpoint: &Checkpoint, config: &Value, alpha: f64) -> Result<BTreeMap<String, Change>> {
    let [weight, bias] = ["weight", "bias"].map(|part| format!("{}.{part}", group.norm));
    let norms = [weight, bias].into_iter().filter(|name| checkpoint.contains(name)).map(|name| (name, true, false));
    let layers = group.layers.iter().map(|path| (format!("{path}.weight"), false, is_conv1d(config, path)));
    let mut largest = vec![0f32; group.largest.len()];
    for (name, _, conv1d) in layers.clone() {
        let tensor = checkpoint.tensor(&name)?;
        expect(&name, &tensor, conv1d, largest.len())?;
        let feature = features(&tensor, conv1d);
        tensor.to_f32().iter().enumerate().for_each(|(i, w)| largest[feature(i)] = largest[feature(i)].max(w.abs()));
        checkpoint.release(&name);
    }
    let factors = group.largest.iter().zip(&largest).map(|(x, w)| factor(*x, *w, alpha));
    let mut factors: Vec<f32> = factors.collect();
    let all: Vec<_> = norms.chain(layers).collect();
    for (name, divides, conv1d) in &all {
        let tensor = checkpoint.tensor(name)?;
        expect(name, &tensor, *conv1d, factors.len())?;
        let change = Change { factors: factors.clone().into(), divides: *divides, conv1d: *conv1d };
        let values = change.values(&tensor);
        let stored = tensor.dtype().decode(&tensor.dtype().encode(&values));
        let feature = features(&tensor, *conv1d);
        for (i, (value, stored)) in values.iter().zip(stored).enumerate() {
            // A factor under which some value becomes too large or too small for its type is none.
            if *value != stored || !value.is_finite() {
                factors[feature(i)] = 1.0;
            }
        }
        checkpoint.release(name);
    }
    let factors: Rc<[f32]> = factors.into();
    let change = |(name, divides, conv1d)| (name, Change { factors: factors.clone(), divides, conv1d });
    Ok(all.into_iter().map(change).collect())
}

/// A power of two near `x^alpha / w^(1 - alpha)`, the larger the more of the difficulty goes to the weights; 1 for a feature
/// that is always 0 or has no weight.
fn factor(x: f32, w: f32, alpha: f64) -> f32 {
    if x > 0.0 && w > 0.0 && x.is_finite() && w.is_finite() {
        let exponent = alpha * f64::from(x).log2() - (1.0 - alpha) * f64::from(w).log2();
        #[allow(clippy::cast_possible_truncation, reason = "a power of two within 2^30")]
        {
            exponent.round().clamp(-FARTHEST, FARTHEST).exp2() as f32
        }
    } else {
        1.0
    }
}

/// The input feature of each value of a tensor, which has one or two axes.
fn features(tensor: &Tensor<'_>, conv1d: bool) -> impl Fn(usize) -> usize {
    let last = tensor.shape().last().copied().unwrap_or(1).max(1);
    move |i| if conv1d { i / last } else { i % last }
}

/// An error unless a tensor has so many input features.
fn expect(name: &str, tensor: &Tensor<'_>, conv1d: bool, features: usize) -> Result<()> {
    let axis = if conv1d { tensor.shape().first() } else { tensor.shape().last() };
    if axis == Some(&features) && tensor.shape().len() <= 2 {
        return Ok(());
    }
    let (expected, found) = (format!("{name} for {features} input features"), format!("{:?}", tensor.shape()));
    Err(Error::Shape { op: "smooth", expected, found })
}

impl Change {
    fn values(&self, tensor: &Tensor<'_>) -> Vec<f32> {
        let feature = features(tensor, self.conv1d);
        let mut values = tensor.to_f32();
        for (i, value) in values.iter_mut().enumerate() {
            let factor = self.factors[feature(i)];
            *value = if self.divides { *value / factor } else { *value * factor };
        }
        values
    }
}

/// Writes the smoothed model.
fn write(
    folder: &Path,
    request: &QuantizeRequest,
    checkpoint: &Checkpoint,
    mut source: Source,
    changes: &HashMap<String, Change>,
    made: &Made,
) -> Result<()> {
    let staging = Staging::create(folder, true)?;
    let spec = |info: &TensorInfo| TensorSpec::new(info.name.clone(), info.dtype, info.shape.clone());
    let plan = ShardPlan::new(checkpoint.infos().map(spec).collect(), request.shard_size)?;
    let mut writer = CheckpointWriter::create(staging.path(), plan)?;
    let mut bytes = Vec::new();
    for info in checkpoint.infos() {
        source.read(&info.name, &mut bytes)?;
        match changes.get(&info.name).zip(info.dtype.dtype()) {
            None => writer.write(&info.name, &bytes)?,
            Some((change, dtype)) => {
                let tensor = Tensor::new(dtype, info.shape.clone(), &bytes[..])?;
                writer.write(&info.name, &dtype.encode(&change.values(&tensor)))?;
            }
        }
    }
    writer.finish()?;
    copy_companions(&request.model, staging.path())?;
    let copied = staging.path().join(CONFIG_FILE);
    std::fs::copy(request.model.join(CONFIG_FILE), &copied).map_err(|e| Error::io(&copied, e))?;
    let note = staging.path().join(MADE);
    std::fs::write(&note, serde_json::to_vec(made).unwrap_or_default()).map_err(|e| Error::io(&note, e))?;
    staging.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_powers_of_two_near_the_formula() {
        for (x, w, alpha) in [(100.0, 0.02, 0.5), (3.0, 0.7, 0.8), (0.01, 5.0, 0.0), (77.0, 0.5, 1.0)] {
            let (exact, found) = (f64::from(x).powf(alpha) / f64::from(w).powf(1.0 - alpha), factor(x, w, alpha));
            assert_eq!(found.to_bits() & 0x007f_ffff, 0, "{found} is no power of two");
            let ratio = f64::from(found) / exact;
            assert!((0.707..1.415).contains(&ratio), "{found}, not {exact}");
        }
        for (x, w) in [(0.0, 1.0), (1.0, 0.0), (f32::INFINITY, 1.0)] {
            assert_eq!(factor(x, w, 0.5), 1.0);
        }
    }
}
