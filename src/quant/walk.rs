//! The loop of a method that works block by block: which layers each block holds, what is finished of them, what is due.

use std::collections::HashSet;
use std::path::Path;

use super::block_progress::BlockProgress;
use super::output::{Item, Made, Output};
use super::restore::Restore;
use super::run::Run;
use super::{BlockRun, LayerQuantizer, QuantizeRequest, QuantizedBlock, Quantizer, Way, original};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::export::BlockRecord;
use crate::model::StreamedModel;
use crate::progress::Progress;
use crate::scheme::Plan;

/// What to do with a model that cannot run here.
const ANY_WEIGHTS: &str = "--method rtn takes any weights";

/// What a run has to do beside copying.
pub(super) enum Work<'a> {
    /// Each weight by itself.
    Layers(&'a dyn LayerQuantizer),
    /// All blocks, one after the other.
    Blocks(Box<Walk<'a>>),
}

/// A model about to go through a method block by block.
pub(super) struct Walk<'a> {
    method: &'static str,
    run: BlockRun<'a>,
    /// Module paths of the layers to quantize, of each block.
    layers: Vec<Vec<String>>,
    max_memory: Option<u64>,
}

impl<'a> Work<'a> {
    /// Checks what the method needs before anything is written.
    ///
    /// # Errors
    /// [`Error::Config`] for data that is missing or that the method has no use for, or that the model cannot take;
    /// [`Error::Unsupported`] for a model without known blocks, or a plan with layers outside them; those of reading.
    pub(super) fn new(
        device: &Device,
        quantizer: &'a dyn Quantizer,
        request: &'a QuantizeRequest,
        plan: &'a Plan,
    ) -> Result<Self> {
        let method = quantizer.name();
        match (quantizer.way(request.calibration.is_some()), &request.calibration) {
            (Way::Layers(layers), _) => Ok(Self::Layers(layers)),
            (Way::Observed(layers), _) => Ok(Self::Layers(layers)),
            (Way::Blocks(_), None) => {
                Err(Error::config("calibration", format!("{method} learns from a text; give one, or use --method rtn")))
            }
            (Way::Blocks(blocks), Some(data)) => {
                let model = open(method, device, &request.model)?;
                let layers = layers_of_blocks(method, &model, plan)?;
                let run = BlockRun::new(blocks, model, data, plan)?;
                Ok(Self::Blocks(Box::new(Walk { method, run, layers, max_memory: request.max_memory })))
            }
        }
    }
}

impl Walk<'_> {
    /// Takes every block that is not finished through the method; those before it are gone through with the codes they
    /// have. Activations that memory has no room for lie in `folder` meanwhile.
    ///
    /// # Errors
    /// Those of the method, of reading and of the device; [`Error::Cancelled`].
    pub(super) async fn go(
        mut self,
        run: &Run<'_>,
        output: &Output,
        finished: &Restore,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        if let Some(bytes) = self.max_memory {
            self.run = self.run.bounded(folder, bytes);
        }
        let blocks = self.layers.len();
        let due = (0..blocks).filter(|block| !finished.has(*block)).max();
        let mut progress = BlockProgress::begin(progress, blocks);
        for (index, planned) in self.layers.iter().enumerate() {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            // Nobody needs what the last blocks give.
            if Some(index) > due {
                break;
            }
            if let Some(layers) = finished.layers(run, index)? {
                self.run.replay(&layers).await?;
                progress.block("finished before");
                continue;
            }
            let Some(block) = self.run.next_block(&mut progress).await? else { break };
            let record = record(&block);
            tell(&record, blocks);
            let layers = made(self.method, run, planned, block)?;
            if !output.send(Item::Job { layers, block: Some(record) }) {
                break;
            }
            progress.block("done");
        }
        progress.finish();
        Ok(())
    }
}

/// The model, of which one block at a time will be on the device.
pub(super) fn open(method: &str, device: &Device, folder: &Path) -> Result<StreamedModel> {
    if !original::has_config(folder) {
        let what = format!("{} without config.json by the method {method}", folder.display());
        return Err(Error::Unsupported { what, remedy: ANY_WEIGHTS.to_owned() });
    }
    StreamedModel::open(folder, device).map_err(|error| without_blocks(method, error))
}

/// The error of a model that a method cannot run.
pub(super) fn without_blocks(method: &str, error: Error) -> Error {
    match error {
        Error::Unsupported { what, remedy } => Error::Unsupported {
            what: format!("{what}, by the method {method}"),
            remedy: format!("{ANY_WEIGHTS}; {remedy}"),
        },
        error => error,
    }
}

/// The planned layers of each block. Blocks of a model are alike, so the first tells what linear layers they have.
pub(crate) fn layers_of_blocks(method: &str, model: &StreamedModel, plan: &Plan) -> Result<Vec<Vec<String>>> {
    let within = |path: &str, block: usize| {
        let rest = path.strip_prefix(&model.block_path(block))?.strip_prefix('.')?;
        Some(rest.to_owned())
    };
    let first = model.block(0)?;
    let kinds: HashSet<String> =
        first.linears().into_iter().flatten().filter_map(|linear| within(linear.path(), 0)).collect();
    let mut layers = vec![Vec::new(); model.blocks()];
    for (path, _) in plan.iter() {
        let holds = |block: &usize| within(path, *block).is_some_and(|kind| kinds.contains(&kind));
        let Some(block) = (0..model.blocks()).find(holds) else {
            let what = format!("{path}, which is no linear layer of a block, by the method {method}");
            let remedy = format!("keep it with `--skip {path}`, or use --method rtn");
            return Err(Error::Unsupported { what, remedy });
        };
        layers[block].push(path.to_owned());
    }
    Ok(layers)
}

/// What the files take: exactly the planned layers.
fn made(method: &str, run: &Run<'_>, planned: &[String], block: QuantizedBlock) -> Result<Vec<Made>> {
    let index = block.index;
    let mut layers: Vec<_> = block.layers.into_iter().map(Some).collect();
    let mut all = Vec::with_capacity(planned.len());
    let wrong = |path: &str, how: &str| Error::Shape {
        op: "quantize",
        expected: format!("the planned layers of block {index} from {method}"),
        found: format!("{path} {how}"),
    };
    for path in planned {
        let found = layers.iter_mut().find(|layer| layer.as_ref().is_some_and(|layer| layer.path == *path));
        let layer = found.and_then(Option::take).ok_or_else(|| wrong(path, "without codes"))?.layer;
        let source = format!("{path}.weight");
        let (spec, dtype) = run.quantized(&source)?.ok_or_else(|| wrong(path, "outside the plan"))?;
        if layer.weight.scheme != spec.scheme {
            return Err(wrong(path, &format!("as {}", layer.weight.scheme)));
        }
        all.push(Made { source, spec, dtype, layer });
    }
    match layers.into_iter().flatten().next() {
        Some(layer) => Err(wrong(&layer.path, "outside the plan")),
        None => Ok(all),
    }
}

fn record(block: &QuantizedBlock) -> BlockRecord {
    // A loss that is no number has no place in a file.
    let finite = |loss: f64| loss.is_finite().then_some(loss);
    BlockRecord {
        index: block.index,
        loss_before: block.loss_before.and_then(finite),
        loss_after: finite(block.loss_after),
        best_iteration: block.best_iteration,
        seconds: block.seconds,
    }
}

fn tell(block: &BlockRecord, blocks: usize) {
    let &BlockRecord { index, loss_before, loss_after, best_iteration, seconds } = block;
    tracing::info!(?loss_before, ?loss_after, ?best_iteration, seconds, "block {} of {blocks} is quantized", index + 1);
}
