//! How often values occur, whatever their range turns out to be.

use crate::error::{Error, Result};
use crate::op::Bins;

/// Bins that are kept at most.
const BINS: i64 = 8192;
/// A bin is at least this small a share of the largest magnitude (as a power of two), so that numbers of bins are
/// integers of moderate size.
const FINEST: i32 = 40;

/// Counts of values in bins whose width is a power of two. The range grows with the values: where they need more than
/// 8192 bins, neighbours are merged, which loses no count. So the result depends on the values alone, not on their
/// order or on how they came in batches.
///
/// ```
/// use bitsmith::calib::Histogram;
/// let mut parts = Histogram::default();
/// parts.add(&[0.5, -1.0])?;
/// parts.add(&[1000.0])?;
/// assert_eq!(parts, Histogram::of(&[1000.0, 0.5, -1.0])?);
/// assert_eq!((parts.min(), parts.max(), parts.count()), (-1.0, 1000.0, 3));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// A bin's width is 2 to this.
    exponent: i32,
    /// Number of the first bin: bin `i` holds values from `i` widths on.
    first: i64,
    counts: Vec<u64>,
    ends: Option<[f32; 2]>,
}

impl Histogram {
    /// Of these values.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn of(values: &[f32]) -> Result<Self> {
        let mut histogram = Self::default();
        histogram.add(values)?;
        Ok(histogram)
    }

    /// Of bins that were counted on a device, with the smallest and the largest value of all.
    ///
    /// # Errors
    /// [`Error::Shape`] for ends that are not finite or do not lie in the outermost bins.
    pub fn from_bins(bins: &Bins, ends: [f32; 2]) -> Result<Self> {
        let Bins { exponent, first, counts } = bins;
        if counts.is_empty() {
            return Ok(Self::default());
        }
        let last = first.saturating_add(counts.len() as i64 - 1);
        let fits = ends.iter().all(|end| end.is_finite()) && ends.map(|end| bin(end, *exponent)) == [*first, last];
        if !fits {
            let expected = format!("ends in bins {first} and {last} of width 2^{exponent}");
            return Err(Error::Shape { op: "histogram", expected, found: format!("{ends:?}") });
        }
        let counts = counts.iter().map(|n| u64::from(*n)).collect();
        Ok(Self { exponent: *exponent, first: *first, counts, ends: Some(ends) })
    }

    /// Counts more values.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a value that is not finite; nothing is counted then.
    pub fn add(&mut self, values: &[f32]) -> Result<()> {
        if let Some((col, value)) = values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(Error::NotFinite { tensor: "values to count".into(), row: 0, col, value: *value });
        }
        let ends = values.iter().fold(self.ends, |ends, x| {
            let [min, max] = ends.unwrap_or([*x; 2]);
            Some([min.min(*x), max.max(*x)])
        });
        let Some(ends) = ends else { return Ok(()) };
        self.widen(ends);
        values.iter().for_each(|x| {
            let at = usize::try_from(bin(*x, self.exponent) - self.first).expect("the range holds every value");
            self.counts[at] += 1;
        });
        Ok(())
    }

    /// Makes room for values between these ends.
    fn widen(&mut self, [min, max]: [f32; 2]) {
        let largest = min.abs().max(max.abs());
        let finest = if largest > 0.0 { exponent(largest) - FINEST } else { -FINEST };
        let mut exponent = if self.counts.is_empty() { finest } else { self.exponent.max(finest) };
        while bin(max, exponent) - bin(min, exponent) >= BINS {
            exponent += 1;
        }
        let first = bin(min, exponent);
        let count = usize::try_from(bin(max, exponent) - first + 1).expect("at least one bin");
        let mut counts = vec![0; count];
        for (i, n) in (self.first..).zip(&self.counts).filter(|(_, n)| **n > 0) {
            let merged = i >> (exponent - self.exponent).min(63);
            counts[usize::try_from(merged - first).expect("the range only grows")] += n;
        }
        *self = Self { exponent, first, counts, ends: Some([min, max]) };
    }

    /// The smallest value; 0 of none.
    pub fn min(&self) -> f32 {
        self.ends.map_or(0.0, |ends| ends[0])
    }

    /// The largest value; 0 of none.
    pub fn max(&self) -> f32 {
        self.ends.map_or(0.0, |ends| ends[1])
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Width of a bin.
    pub fn width(&self) -> f64 {
        2f64.powi(self.exponent)
    }

    /// The middle of each bin and how many values lie in it, from the smallest on. No middle lies outside the values.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let (min, max) = (f64::from(self.min()), f64::from(self.max()));
        let middle = move |i: i64| ((i as f64 + 0.5) * self.width()).clamp(min, max);
        (self.first..).zip(&self.counts).map(move |(i, n)| (middle(i), *n))
    }

    /// The value below which this share of all lies, to within a bin.
    pub fn quantile(&self, share: f64) -> f32 {
        let wanted = share.clamp(0.0, 1.0) * self.count() as f64;
        let mut below = 0.0;
        for (i, n) in (self.first..).zip(&self.counts).filter(|(_, n)| **n > 0) {
            if below + *n as f64 >= wanted {
                let within = ((wanted - below) / *n as f64).clamp(0.0, 1.0);
                #[allow(clippy::cast_possible_truncation, reason = "rounded to the type of the values")]
                return (((i as f64 + within) * self.width()) as f32).clamp(self.min(), self.max());
            }
            below += *n as f64;
        }
        self.max()
    }
}

/// The bin of a value.
#[allow(clippy::cast_possible_truncation, reason = "below 2^41 in size, as no bin is finer than FINEST allows")]
fn bin(x: f32, exponent: i32) -> i64 {
    (f64::from(x) * 2f64.powi(-exponent)).floor() as i64
}

/// The exponent of a number's power of two.
fn exponent(x: f32) -> i32 {
    // Subnormal numbers are normal in f64.
    i32::try_from(f64::from(x).to_bits() >> 52 & 0x7ff).expect("eleven bits") - 1023
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn order_and_batches_do_not_matter() {
        let mut values = Random::new(3).normals(5000);
        values.extend([1e-30, -3e4, 0.0, 2.5e5]);
        let whole = Histogram::of(&values).expect("finite");
        assert_eq!(whole.count(), 5004);
        let mut parts = Histogram::default();
        Random::new(4).shuffle(&mut values);
        values.chunks(77).for_each(|part| parts.add(part).expect("finite"));
        assert_eq!(parts, whole);
        assert!(whole.counts.len() <= 8192);
    }

    #[test]
    fn quantiles_are_right_within_a_bin() {
        let values: Vec<f32> = (0..10_000u16).map(|i| f32::from(i) / 100.0).collect();
        let histogram = Histogram::of(&values).expect("finite");
        for share in [0.0, 0.01, 0.5, 0.99, 1.0] {
            let off = f64::from(histogram.quantile(share)) - share * 99.99;
            assert!(off.abs() <= histogram.width(), "{share}: {off}");
        }
    }

    #[test]
    fn odd_values() {
        assert!(Histogram::of(&[1.0, f32::NAN]).is_err());
        let none = Histogram::default();
        assert_eq!((none.min(), none.max(), none.count(), none.quantile(0.5)), (0.0, 0.0, 0, 0.0));
        for x in [0.0, 7.25, -f32::MAX, f32::MIN_POSITIVE / 4.0] {
            let one = Histogram::of(&[x; 3]).expect("finite");
            assert_eq!((one.count(), one.quantile(0.5), one.bins().count()), (3, x, 1));
        }
        let both = Histogram::of(&[f32::MAX, -f32::MAX, 1e-20]).expect("finite");
        assert_eq!((both.count(), both.min(), both.max()), (3, -f32::MAX, f32::MAX));
    }
}
