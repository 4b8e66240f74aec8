//! Statistics of what goes into a layer.

use std::cell::RefCell;
use std::rc::Rc;

use super::Histogram;
use crate::device::{Device, Recorder};
use crate::error::Result;
use crate::model::Observer;
use crate::op::{Activations, Bins, ColumnStats, Columns, ValueCounts};

/// Collects statistics of the inputs of a layer, on the device; they are read once, at the end.
///
/// ```
/// use std::rc::Rc;
/// use bitsmith::calib::InputStatistics;
/// use bitsmith::{Device, Recorder, model::StreamedModel};
/// let model = StreamedModel::open("examples/tiny-llama".as_ref(), &Device::cpu())?;
/// let mut block = model.block(0)?;
/// let mut linears: Vec<_> = block.linears_mut().into_iter().flatten().collect();
/// let statistics = Rc::new(InputStatistics::new(model.device(), linears[0].shape()[1])?.with_counts(model.device())?);
/// linears[0].set_observer(Some(statistics.clone()));
/// let mut cache = model.cache(1, 4)?;
/// let mut rec = Recorder::new(model.device());
/// let x = model.embed(&mut rec, &[1, 50, 60, 70], &cache)?;
/// block.forward(&mut rec, x, &mut cache)?;
/// rec.submit()?;
/// let columns = pollster::block_on(statistics.columns(model.device()))?;
/// assert_eq!(columns.columns[0].count, 4);
/// let bins = pollster::block_on(statistics.bins(model.device()))?.expect("they were counted");
/// assert_eq!(u64::from(bins.counts.iter().sum::<u32>()), columns.whole().count);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct InputStatistics {
    columns: RefCell<ColumnStats>,
    counts: Option<RefCell<ValueCounts>>,
}

impl InputStatistics {
    /// Of a layer with so many input features: their smallest and largest values, means and variances.
    ///
    /// # Errors
    /// As [`ColumnStats::new`].
    pub fn new(device: &Device, features: usize) -> Result<Self> {
        Ok(Self { columns: RefCell::new(ColumnStats::new(device, features)?), counts: None })
    }

    /// Counts the values in bins as well.
    ///
    /// # Errors
    /// As [`ValueCounts::new`].
    pub fn with_counts(self, device: &Device) -> Result<Self> {
        Ok(Self { counts: Some(RefCell::new(ValueCounts::new(device)?)), ..self })
    }

    /// Reads the statistics of each input feature.
    ///
    /// # Errors
    /// As [`ColumnStats::read`].
    pub async fn columns(&self, device: &Device) -> Result<Columns> {
        // Ended before the read: nothing is borrowed while it waits.
        let columns = self.columns.borrow().clone();
        columns.read(device).await
    }

    /// Reads the counts of all values of several layers, with their ends, in one wait; empty where they were not asked for.
    ///
    /// # Errors
    /// Those of the device, and [`Error::NotFinite`](crate::Error::NotFinite) for a value that was not finite.
    pub async fn histograms(device: &Device, layers: &[Rc<Self>]) -> Result<Vec<Histogram>> {
        let held = |layer: &Rc<Self>| {
            layer.counts.as_ref().map(|counts| (layer.columns.borrow().clone(), counts.borrow().clone()))
        };
        let held: Vec<Option<(ColumnStats, ValueCounts)>> = layers.iter().map(held).collect();
        let buffers = held.iter().flatten().flat_map(|(columns, counts)| {
            let [range, counts] = counts.buffers();
            [columns.state(), range, counts]
        });
        let read = device.read_all(&buffers.collect::<Vec<_>>()).await?;
        let mut read = read.as_chunks::<3>().0.iter();
        let mut histogram = |(columns, _): &(ColumnStats, ValueCounts)| {
            let [state, range, counts] = read.next().expect("three buffers a layer were read");
            let whole = columns.decode(&bytemuck::pod_collect_to_vec(state))?.whole();
            Histogram::from_bins(&ValueCounts::decode([range, counts]), [whole.min, whole.max])
        };
        held.iter().map(|held| held.as_ref().map_or_else(|| Ok(Histogram::default()), &mut histogram)).collect()
    }

    /// Reads the counts of all values, if they were asked for.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn bins(&self, device: &Device) -> Result<Option<Bins>> {
        let Some(counts) = self.counts.as_ref().map(|counts| counts.borrow().clone()) else { return Ok(None) };
        counts.read(device).await.map(Some)
    }
}

impl Observer for InputStatistics {
    fn observe(&self, rec: &mut Recorder, x: &Activations) -> Result<()> {
        let mut columns = self.columns.borrow_mut();
        columns.add(rec, x)?;
        match &self.counts {
            Some(counts) => counts.borrow_mut().add(rec, x, &columns),
            None => Ok(()),
        }
    }
}
