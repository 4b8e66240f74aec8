//! The first half of a run: which tensor becomes what, and the loop that computes.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::changes::Changes;
use super::output::{Ended, Item, Made, Output};
use super::read_ahead::ReadAhead;
use super::restore::Restore;
use super::saved::{Finished, Saved};
use super::walk::Work;
use super::{LayerChoice, LayerJob, LayerQuantizer, LinearLayer, Quantizer};
use crate::device::Device;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::{self, BlockRecord, Exporter, LayerSpec, SearchRecord};
use crate::io::{Checkpoint, CheckpointWriter, ShardPlan, Source, Staging, TensorInfo, TensorSpec};
use crate::progress::Progress;
use crate::scheme::Plan;
use crate::tensor::Tensor;

pub(super) struct Run<'a> {
    pub(super) device: &'a Device,
    pub(super) quantizer: &'a dyn Quantizer,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) exporter: &'a dyn Exporter,
    /// The format that the result is for: where that is made of this one, another.
    pub(super) aim: &'a dyn Exporter,
    pub(super) layers: &'a [LinearLayer],
    pub(super) plan: &'a Plan,
    /// What was decided on layers by what was seen of them.
    pub(super) choices: &'a BTreeMap<String, LayerChoice>,
    /// The search that decided so, if one did.
    pub(super) search: Option<SearchRecord>,
    /// What is to be recorded of the blocks, if that is known before.
    pub(super) blocks: Option<Vec<BlockRecord>>,
}

impl Run<'_> {
    fn spec(&self, name: &str) -> Option<LayerSpec> {
        self.layer_spec(name.strip_suffix(".weight")?)
    }

    fn layer_spec(&self, path: &str) -> Option<LayerSpec> {
        let scheme = self.plan.get(path)?;
        let layer = self.layers.iter().find(|l| l.path == path)?;
        let input = self.choices.get(path).map_or_else(|| self.quantizer.input(), |choice| choice.input.clone());
        let spec = LayerSpec { path: path.to_owned(), scheme, rows: layer.rows, cols: layer.cols, input };
        let input = self.exporter.input(&spec);
        Some(spec.with_input(input))
    }

    /// All layers that are to be quantized.
    pub(super) fn specs(&self) -> Vec<LayerSpec> {
        self.plan.iter().filter_map(|(path, _)| self.layer_spec(path)).collect()
    }

    /// Layer and type of a weight that is to be quantized.
    pub(super) fn quantized(&self, name: &str) -> Result<Option<(LayerSpec, Dtype)>> {
        let Some((spec, info)) = self.spec(name).zip(self.checkpoint.info(name)) else { return Ok(None) };
        Ok(Some((spec, self.dtype_of(info)?)))
    }

    fn is_conv1d(&self, path: &str) -> bool {
        self.layers.iter().any(|l| l.path == path && l.conv1d)
    }

    /// Refuses what the format cannot hold, and with `strict` what others would read otherwise; says in a line each why other
    /// readers may not take the result, or read other numbers.
    pub(super) fn fit(&self, strict: bool) -> Result<Vec<String>> {
        let mut changes = Changes::new(self.aim, strict);
        for info in self.checkpoint.infos() {
            match self.spec(&info.name) {
                Some(layer) => changes.add(&layer, self.is_conv1d(&layer.path))?,
                None => changes.keep(&info.name),
            }
        }
        changes.notes()
    }

    /// The files to write: kept tensors as they are, linear layers as the format stores them.
    pub(super) fn shards(&self, shard_size: u64) -> Result<ShardPlan> {
        let mut tensors = Vec::new();
        for info in self.checkpoint.infos() {
            match self.spec(&info.name) {
                None => tensors.push(TensorSpec::new(info.name.clone(), info.dtype, info.shape.clone())),
                Some(layer) => tensors.extend(self.exporter.tensors(&layer, self.dtype_of(info)?)?),
            }
        }
        ShardPlan::new(tensors, shard_size)
    }

    fn dtype_of(&self, info: &TensorInfo) -> Result<Dtype> {
        info.dtype.dtype().ok_or_else(|| Error::Shape {
            op: "quantize",
            expected: format!("{} as F32, F16 or BF16", info.name),
            found: info.dtype.to_string(),
        })
    }

    /// Takes all tensors that are not finished through the method and into the files. `config` is the
    /// quantization_config of the result. What is finished is returned with the error that ended it, if one did.
    pub(super) async fn write(
        &self,
        work: Work<'_>,
        saved: Saved,
        source: &Source,
        staging: &Staging,
        config: &Value,
        progress: &mut dyn Progress,
    ) -> (Vec<Finished>, Result<()>) {
        let finished: HashSet<String> = saved.finished.iter().flat_map(|f| f.sources.clone()).collect();
        let before = saved.finished.clone();
        let written = saved.writer.written();
        let importer = || export::importer(config, staging.path());
        let started = export::exporter(self.exporter.name())
            .and_then(|exporter| Ok((exporter, importer()?, importer()?)))
            .and_then(|(exporter, a, b)| Ok((Output::start(saved, source.another(), exporter, a)?, b)));
        let (output, importer) = match started {
            Ok(started) => started,
            Err(error) => return (before, Err(error)),
        };
        let computed = match work {
            Work::Layers(quantizer) => self.compute(quantizer, &output, source, &finished, progress).await,
            Work::Blocks(walk) => {
                let restore = Restore::new(before, written, importer);
                match self.copy(&output, &finished, progress) {
                    Ok(()) => walk.go(self, &output, &restore, staging.partial(), progress).await,
                    failed => failed,
                }
            }
        };
        let Ended { finished, writer, result } = output.end();
        // Where both failed, the first follows from the second.
        let ended = result.and(computed).and_then(|()| CheckpointWriter::finish(writer));
        (finished, ended)
    }

    /// Sends the tensors that are kept and not finished.
    fn copy(&self, output: &Output, finished: &HashSet<String>, progress: &mut dyn Progress) -> Result<()> {
        let kept: Vec<_> = self.checkpoint.infos().filter(|info| self.spec(&info.name).is_none()).collect();
        progress.begin("copying", kept.iter().map(|info| info.bytes() as u64).sum());
        for info in kept {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            if !finished.contains(&info.name) && !output.send(Item::Kept(info.name.clone())) {
                break;
            }
            progress.advance(info.bytes() as u64, &info.name);
        }
        progress.end();
        Ok(())
    }

    async fn compute(
        &self,
        quantizer: &dyn LayerQuantizer,
        output: &Output,
        source: &Source,
        finished: &HashSet<String>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let due: Vec<&TensorInfo> = self.checkpoint.infos().filter(|info| !finished.contains(&info.name)).collect();
        let weights = due.iter().filter(|info| self.spec(&info.name).is_some()).map(|info| info.name.clone());
        let mut weights = ReadAhead::start(source.another(), weights.collect())?;
        progress.begin("quantizing", self.checkpoint.total_bytes());
        for info in self.checkpoint.infos().filter(|info| finished.contains(&info.name)) {
            progress.advance(info.bytes() as u64, &info.name);
        }
        for info in due {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let item = match self.spec(&info.name) {
                None => Item::Kept(info.name.clone()),
                Some(spec) => {
                    let bytes = weights.next()?;
                    let made = self.layer(quantizer, spec, info, &bytes).await?;
                    weights.reuse(bytes);
                    Item::Job { layers: vec![made], block: None }
                }
            };
            if !output.send(item) {
                break;
            }
            progress.advance(info.bytes() as u64, &info.name);
        }
        progress.end();
        Ok(())
    }

    async fn layer(
        &self,
        quantizer: &dyn LayerQuantizer,
        spec: LayerSpec,
        info: &TensorInfo,
        bytes: &[u8],
    ) -> Result<Made> {
        let dtype = self.dtype_of(info)?;
        let stored = Tensor::new(dtype, info.shape.clone(), bytes)?;
        let weight = if self.is_conv1d(&spec.path) { stored.transposed() } else { stored };
        let job = LayerJob { device: self.device, path: &spec.path, weight, scheme: spec.scheme };
        let layer = quantizer.quantize(&job).await?;
        Ok(Made { source: info.name.clone(), spec, dtype, layer })
    }
}
