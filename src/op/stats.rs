//! Statistics of activations, kept on the device from batch to batch and read once.

use super::Activations;
use super::checks::{matrix, shape, size};
use crate::device::{Buffer, Device, Recorder};
use crate::error::{Error, Result};
use crate::kernel::column_stats::{self, ColumnStats as Kernel, Params};

/// Statistics of each column of activations that come in batches of rows.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{Activations, ColumnStats}};
/// let device = Device::cpu();
/// let mut stats = ColumnStats::new(&device, 2)?;
/// for batch in [[1.0, 10.0, 3.0, 10.0], [5.0, -2.0, 7.0, -2.0]] {
///     let mut rec = Recorder::new(&device);
///     stats.add(&mut rec, &Activations::upload(&device, 2, 2, &batch)?)?;
///     rec.submit()?;
/// }
/// let found = pollster::block_on(stats.read(&device))?;
/// assert_eq!((found.columns[0].mean, found.columns[0].variance()), (4.0, 5.0));
/// assert_eq!((found.whole().min, found.whole().abs_max(), found.whole().mean), (-2.0, 10.0, 4.0));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ColumnStats {
    cols: usize,
    rows: u32,
    state: Buffer,
}

/// Statistics of some values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Number of values.
    pub count: u64,
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// The mean.
    pub mean: f64,
    /// Sum of squared distances from the mean.
    pub m2: f64,
}

/// Statistics of the columns of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// One a column.
    pub columns: Vec<Moments>,
}

impl ColumnStats {
    /// Of rows of so many columns, none so far.
    ///
    /// # Errors
    /// [`Error::Shape`] for no columns, and as the device refuses memory.
    pub fn new(device: &Device, cols: usize) -> Result<Self> {
        if cols == 0 {
            return Err(shape("column_stats", "at least one column", 0));
        }
        Ok(Self { cols, rows: 0, state: device.upload(&vec![0f32; cols * 4])? })
    }

    /// Records that the rows of a batch count.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of columns, or more than 2^32 rows in all; those of recording.
    pub fn add(&mut self, rec: &mut Recorder, x: &Activations) -> Result<()> {
        const OP: &str = "column_stats";
        let (rows, cols) = matrix(OP, x)?;
        if x.cols != self.cols {
            return Err(shape(OP, format!("{} columns", self.cols), x.cols));
        }
        let all = size(OP, self.rows as usize + x.rows)?;
        let params = Params { rows, cols, before: self.rows };
        rec.dispatch::<Kernel>(&params, column_stats::variant(), &[&x.buffer, &self.state])?;
        self.rows = all;
        Ok(())
    }

    /// Number of rows so far.
    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// The state on the device, f32 `[4, cols]`: smallest and largest value, mean, sum of squared distances from it.
    pub fn state(&self) -> &Buffer {
        &self.state
    }

    /// Reads the statistics.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a column that held a value that is not finite, [`Error::Shape`] before the first batch, and
    /// those of the device.
    pub async fn read(&self, device: &Device) -> Result<Columns> {
        self.decode(&device.read(&self.state).await?)
    }

    /// [`Self::read`], from the content of [`Self::state`].
    pub(crate) fn decode(&self, state: &[f32]) -> Result<Columns> {
        if self.rows == 0 {
            return Err(shape("column_stats", "at least one row", 0));
        }
        let [min, max, mean, m2]: [&[f32]; 4] = std::array::from_fn(|k| &state[k * self.cols..][..self.cols]);
        let column = |col: usize| {
            let value = [min[col], max[col], mean[col]].into_iter().find(|value| !value.is_finite());
            match value {
                Some(value) => Err(Error::NotFinite { tensor: "activations".into(), row: 0, col, value }),
                None => Ok(Moments {
                    count: self.rows.into(),
                    min: min[col],
                    max: max[col],
                    mean: mean[col].into(),
                    m2: m2[col].into(),
                }),
            }
        };
        Ok(Columns { columns: (0..self.cols).map(column).collect::<Result<_>>()? })
    }
}

impl Moments {
    /// The mean squared distance from the mean.
    pub fn variance(&self) -> f64 {
        self.m2 / self.count.max(1) as f64
    }

    /// The standard deviation.
    pub fn deviation(&self) -> f64 {
        self.variance().sqrt()
    }

    /// The mean square.
    pub fn second_moment(&self) -> f64 {
        self.variance() + self.mean * self.mean
    }

    /// The largest magnitude.
    pub fn abs_max(&self) -> f32 {
        self.min.abs().max(self.max.abs())
    }

    /// Of all values of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        let count = self.count + other.count;
        let share = other.count as f64 / count as f64;
        let away = other.mean - self.mean;
        Self {
            count,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            mean: self.mean + away * share,
            m2: self.m2 + other.m2 + away * away * (self.count as f64 * share),
        }
    }
}

impl Columns {
    /// Of all columns together.
    pub fn whole(&self) -> Moments {
        self.columns.iter().fold(Moments::default(), |all, column| all.and(*column))
    }
}
