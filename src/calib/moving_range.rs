//! The range of values that come in batches, following them.

use crate::error::{Error, Result};
use crate::op::Columns;
use crate::scheme::divide_exact;

/// An exponential moving average of the smallest and the largest value of each batch, of one channel (the whole tensor) or
/// of several: it follows values that drift, and a batch out of the ordinary fades, where the range of all values only
/// grows.
///
/// The first batch is taken as it is; then `range = momentum * range + (1 - momentum) * batch`, in f64.
///
/// ```
/// use bitsmith::calib::MovingRange;
/// use bitsmith::{Device, Tensor, quant};
/// let mut range = MovingRange::new(1, 0.75)?;
/// for batch in [[-1.0, 2.0], [-1.0, 2.0], [-1.0, 4.0]] {
///     range.add(&[batch])?;
/// }
/// assert_eq!(range.channel(0), Some([-1.0, 2.5]));
///
/// // Static activations of 8 bits.
/// let x = Tensor::from_f32(vec![1, 2], &[0.75, 9.0])?;
/// let (device, scheme) = (Device::cpu(), "w8ta-f32".parse()?);
/// let q = quant::quantize_within(&device, &x, scheme, range.whole().expect("three batches"));
/// assert_eq!(pollster::block_on(q)?.codes(), [128, 255]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MovingRange {
    momentum: f64,
    channels: usize,
    /// None before the first batch.
    ranges: Vec<[f64; 2]>,
}

/// The largest int8 code.
const LARGEST: u32 = 127;

impl MovingRange {
    /// What remains of the past with each batch, where nothing better is known.
    pub const MOMENTUM: f64 = 0.99;

    /// Of so many channels, before any batch.
    ///
    /// # Errors
    /// [`Error::Config`] for a momentum that is not from 0 to below 1, [`Error::Shape`] for no channel.
    pub fn new(channels: usize, momentum: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&momentum) {
            return Err(Error::config("momentum", format!("{momentum} is not from 0 to below 1, such as 0.99")));
        }
        if channels == 0 {
            return Err(Error::Shape {
                op: "moving range",
                expected: "at least one channel".into(),
                found: "0".into(),
            });
        }
        Ok(Self { momentum, channels, ranges: Vec::new() })
    }

    /// Takes a batch: the smallest and the largest value of each channel.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of channels or a range whose ends are in the wrong order, [`Error::NotFinite`] for
    /// an end that is not finite. Nothing changes then.
    pub fn add(&mut self, batch: &[[f32; 2]]) -> Result<()> {
        let wrong = |expected: String, found: String| Error::Shape { op: "moving range", expected, found };
        if batch.len() != self.channels {
            return Err(wrong(format!("{} channels", self.channels), batch.len().to_string()));
        }
        for (col, range) in batch.iter().enumerate() {
            if let Some(value) = range.iter().copied().find(|end| !end.is_finite()) {
                return Err(Error::NotFinite { tensor: "moving range".into(), row: 0, col, value });
            }
            if range[0] > range[1] {
                return Err(wrong("ranges from small to large".into(), format!("{range:?} of channel {col}")));
            }
        }
        let batch = batch.iter().map(|range| range.map(f64::from));
        if self.ranges.is_empty() {
            self.ranges.extend(batch);
            return Ok(());
        }
        for (range, batch) in self.ranges.iter_mut().zip(batch) {
            for (end, new) in range.iter_mut().zip(batch) {
                *end = self.momentum * *end + (1.0 - self.momentum) * new;
            }
        }
        Ok(())
    }

    /// Takes a batch whose columns are the channels, as [`ColumnStats`](crate::op::ColumnStats) saw them.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_columns(&mut self, batch: &Columns) -> Result<()> {
        self.add(&batch.columns.iter().map(|column| [column.min, column.max]).collect::<Vec<_>>())
    }

    /// The range of a channel; none before the first batch, or if there is no such channel.
    #[allow(clippy::cast_possible_truncation, reason = "between two f32")]
    pub fn channel(&self, channel: usize) -> Option<[f32; 2]> {
        self.ranges.get(channel).map(|range| range.map(|end| end as f32))
    }

    /// The range of all channels; none before the first batch.
    pub fn whole(&self) -> Option<[f32; 2]> {
        let all = (0..self.channels).filter_map(|channel| self.channel(channel));
        all.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])])
    }

    /// The scale of symmetric int8 codes for each channel: its largest magnitude by 127. None before the first batch.
    pub fn int8_scales(&self) -> Vec<f32> {
        let scale = |[min, max]: [f32; 2]| divide_exact(min.abs().max(max.abs()), LARGEST);
        (0..self.channels).filter_map(|channel| self.channel(channel)).map(scale).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_follows_its_own_batches() {
        let mut range = MovingRange::new(2, 0.5).expect("a momentum");
        assert_eq!((range.channel(0), range.whole(), range.int8_scales()), (None, None, vec![]));
        range.add(&[[-1.0, 1.0], [0.0, 127.0]]).expect("a batch");
        range.add(&[[-3.0, 2.0], [0.0, 0.0]]).expect("a batch");
        range.add(&[[-2.0, 0.5], [-254.0, 0.0]]).expect("a batch");
        assert_eq!(range.channel(0), Some([-2.0, 1.0]));
        assert_eq!(range.channel(1), Some([-127.0, 31.75]));
        assert_eq!((range.whole(), range.channel(2)), (Some([-127.0, 31.75]), None));
        assert_eq!(range.int8_scales(), [2.0 / 127.0, 1.0]);
    }

    #[test]
    fn an_outlier_fades() {
        let mut range = MovingRange::new(1, MovingRange::MOMENTUM).expect("a momentum");
        for batch in 0..1000 {
            range.add(&[[-1.0, if batch == 300 { 1000.0 } else { 1.0 }]]).expect("a batch");
        }
        // 999 hundredths, times the momentum for each of the 699 batches that followed.
        let expected = 1.0 + 9.99 * 0.99f64.powi(699);
        let [low, high] = range.whole().expect("batches");
        assert!(low == -1.0 && (f64::from(high) - expected).abs() < 1e-6, "{high}, not {expected}");
    }

    #[test]
    fn what_is_no_range_changes_nothing() {
        assert!(MovingRange::new(1, 1.0).is_err() && MovingRange::new(1, f64::NAN).is_err());
        assert!(MovingRange::new(0, 0.5).is_err());
        let mut range = MovingRange::new(1, 0.5).expect("a momentum");
        range.add(&[[0.0, 1.0]]).expect("a batch");
        for bad in [&[[0.0, f32::NAN]][..], &[[1.0, 0.0]], &[[0.0, 1.0]; 2], &[]] {
            assert!(range.add(bad).is_err(), "{bad:?}");
        }
        assert_eq!(range.whole(), Some([0.0, 1.0]));
    }
}
