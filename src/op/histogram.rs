//! How often values occur, counted on the device and read once.

use super::Activations;
use super::checks::{matrix, shape, size};
use super::choose;
use super::stats::ColumnStats;
use crate::device::{Buffer, Device, Recorder};
use crate::error::Result;
use crate::kernel::histogram_count::{self as count, HistogramCount};
use crate::kernel::histogram_range::{self as range, HistogramRange};
use crate::kernel::histogram_widen::{self as widen, HistogramWiden};

/// Number of bins on the device.
const BINS: u32 = 8192;

/// Counts of values on the device, in bins whose width is a power of two. The range grows with the values: where they reach
/// beyond it, neighbouring bins are merged, which loses no count. So the result does not depend on how they came in batches.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{Activations, ColumnStats, ValueCounts}};
/// let device = Device::cpu();
/// let (mut stats, mut counts) = (ColumnStats::new(&device, 2)?, ValueCounts::new(&device)?);
/// for batch in [[0.5, -1.0], [1000.0, 0.5]] {
///     let mut rec = Recorder::new(&device);
///     let x = Activations::upload(&device, 1, 2, &batch)?;
///     stats.add(&mut rec, &x)?;
///     counts.add(&mut rec, &x, &stats)?;
///     rec.submit()?;
/// }
/// // 8192 bins from -1024 to 1024: a quarter wide.
/// let found = pollster::block_on(counts.read(&device))?;
/// assert_eq!((found.exponent, found.first, found.counts.len()), (-2, -4, 4005));
/// assert_eq!((found.counts[0], found.counts[6], found.counts[4004]), (1, 2, 1));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ValueCounts {
    values: u32,
    range: Buffer,
    counts: Buffer,
}

/// Counts of values: bin `i` holds those from `(first + i) * 2^exponent` on, below the next bin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bins {
    /// The power of two that is the width of a bin.
    pub exponent: i32,
    /// Number of the first bin.
    pub first: i64,
    /// How many values lie in each; the first and the last bin are not empty.
    pub counts: Vec<u32>,
}

impl ValueCounts {
    /// Of no values so far.
    ///
    /// # Errors
    /// As the device refuses memory.
    pub fn new(device: &Device) -> Result<Self> {
        let counts = device.upload(&vec![0u32; BINS as usize])?;
        Ok(Self { values: 0, range: device.upload(&[0u32; 2])?, counts })
    }

    /// Records that the values of a batch count. `stats` are statistics that the batch was added to.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for 2^32 values or more in all, and those of recording.
    pub fn add(&mut self, rec: &mut Recorder, x: &Activations, stats: &ColumnStats) -> Result<()> {
        const OP: &str = "histogram";
        matrix(OP, x)?;
        if stats.rows() == 0 {
            return Err(shape(OP, "statistics that the batch was added to", "none"));
        }
        let (all, cols) = (size(OP, self.values as usize + x.rows * x.cols)?, size(OP, stats.state().bytes() / 16)?);
        let variant = range::variant(choose::reduce(rec.device().caps()));
        rec.dispatch::<HistogramRange>(&range::Params { cols }, variant, &[stats.state(), &self.range])?;
        let wide = rec.alloc(BINS as usize * 4)?;
        let buffers = [&self.range, &self.counts, &wide];
        rec.dispatch::<HistogramWiden>(&widen::Params { bins: BINS }, widen::variant(), &buffers)?;
        let params = count::Params { count: size(OP, x.rows * x.cols)?, bins: BINS };
        rec.dispatch::<HistogramCount>(&params, count::variant(), &[&x.buffer, &self.range, &wide])?;
        (self.values, self.counts) = (all, wide);
        Ok(())
    }

    /// Reads the counts. NaN was not counted; infinite values are in the outermost bins.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn read(&self, device: &Device) -> Result<Bins> {
        let read = device.read_all(&self.buffers()).await?;
        Ok(Self::decode([&read[0], &read[1]]))
    }

    /// What holds the counts.
    pub(crate) fn buffers(&self) -> [&Buffer; 2] {
        [&self.range, &self.counts]
    }

    /// [`Self::read`], from the content of [`Self::buffers`].
    pub(crate) fn decode(read: [&[u8]; 2]) -> Bins {
        let [range, counts] = read.map(bytemuck::pod_collect_to_vec::<u8, u32>);
        let held = |n: &u32| *n > 0;
        let (Some(first), Some(last)) = (counts.iter().position(held), counts.iter().rposition(held)) else {
            return Bins::default();
        };
        let half = BINS / 2;
        Bins {
            exponent: range[1].cast_signed() - range::BIAS - half.ilog2().cast_signed(),
            first: first as i64 - i64::from(half),
            counts: counts[first..=last].to_vec(),
        }
    }
}
