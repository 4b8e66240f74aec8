//! What goes through the linear layers of a model when it reads a text.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::calib::{CalibrationDataset, Calibrator, Histogram, InputStatistics, Inputs};
use crate::device::{Device, Recorder};
use crate::error::{Error, Result};
use crate::model::{Observer, StreamedModel};
use crate::op::{Activations, ColumnStats, Moments};
use crate::progress::Progress;

/// What was seen of a layer.
#[derive(Debug)]
pub(super) struct Seen {
    /// How often values occur in what goes into it.
    pub(super) values: Histogram,
    /// Statistics of the same.
    pub(super) input: Moments,
    /// Statistics of what it gives.
    pub(super) output: Moments,
}

/// Shows a layer's inputs to statistics that it may share with others, and its outputs to its own.
#[derive(Debug)]
struct LayerObserver {
    /// Of one layer among those that take the same input.
    input: Option<Rc<InputStatistics>>,
    output: RefCell<ColumnStats>,
}

impl Observer for LayerObserver {
    fn observe(&self, rec: &mut Recorder, x: &Activations) -> Result<()> {
        self.input.as_ref().map_or(Ok(()), |input| input.observe(rec, x))
    }

    fn observe_output(&self, rec: &mut Recorder, y: &Activations) -> Result<()> {
        self.output.borrow_mut().add(rec, y)
    }
}

/// A layer that is being observed.
struct Observed {
    path: String,
    /// Which of the statistics of inputs are its own.
    input: usize,
    observer: Rc<LayerObserver>,
}

/// Lets the original model read and looks at each linear layer of its blocks, by module path. Layers that a checkpoint
/// holds as one are one.
///
/// # Errors
/// Those of reading the model, of the data and of the device, and [`Error::Cancelled`].
pub(super) async fn observe(
    model: StreamedModel,
    data: &CalibrationDataset,
    progress: &mut dyn Progress,
) -> Result<BTreeMap<String, Seen>> {
    let mut calibrator = Calibrator::new(model, data, Inputs::Original)?;
    let device = calibrator.model().device().clone();
    let blocks = calibrator.model().blocks();
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    progress.begin("observing", blocks as u64);
    while let Some(mut entered) = calibrator.enter().await? {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let (mut inputs, mut layers) = (Vec::new(), Vec::new());
        for linears in entered.block.linears_mut() {
            for (i, linear) in linears.into_iter().enumerate() {
                let [outs, ins] = linear.shape();
                if i == 0 {
                    inputs.push(Rc::new(InputStatistics::new(&device, ins)?.with_counts(&device)?));
                }
                let input = inputs.last().filter(|_| i == 0).cloned();
                let output = RefCell::new(ColumnStats::new(&device, outs)?);
                let observer = Rc::new(LayerObserver { input, output });
                linear.set_observer(Some(observer.clone()));
                layers.push(Observed { path: linear.path().to_owned(), input: inputs.len() - 1, observer });
            }
        }
        let index = entered.index;
        calibrator.leave(entered).await?;
        let values = InputStatistics::histograms(&device, &inputs).await?;
        let mut moments = Vec::with_capacity(inputs.len());
        for input in &inputs {
            moments.push(input.columns(&device).await?.whole());
        }
        for Observed { path, input, observer } in layers {
            let output = whole(&device, &observer.output).await?;
            let found = Seen { values: values[input].clone(), input: moments[input], output };
            seen.entry(path).and_modify(|seen| seen.output = seen.output.and(output)).or_insert(found);
        }
        progress.advance(1, &format!("block {index}"));
    }
    progress.end();
    Ok(seen)
}

async fn whole(device: &Device, stats: &RefCell<ColumnStats>) -> Result<Moments> {
    // Ended before the read: nothing is borrowed while it waits.
    let stats = stats.borrow().clone();
    Ok(stats.read(device).await?.whole())
}
