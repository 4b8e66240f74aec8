//! Columns of activations that hold outliers, and their products with 8-bit weights beside those of the rest.

use super::activations::Activations;
use super::checks::{like, matrix, shape};
use super::param;
use super::weight::GroupWeight;
use crate::device::{Buffer, Recorder};
use crate::error::Result;
use crate::kernel::outlier_columns::{self, OutlierColumns};
use crate::kernel::outlier_kept::{self, OutlierKept};
use crate::kernel::outlier_product::{self, OutlierProduct};
use crate::kernel::outlier_split::{self, OutlierSplit};

/// Activations `[rows, cols]` in two parts, of which each column belongs to one and is zero in the other.
#[derive(Clone, Debug)]
pub struct SplitActivations {
    /// The columns without an outlier, as they were.
    pub inliers: Activations,
    /// The columns with one, rounded to f16; what is too large for it is infinite.
    pub outliers: Activations,
    /// Which column is which: 1 for outliers, u32.
    pub flags: Buffer,
}

/// Splits off the columns in which any magnitude reaches `threshold`, a NaN included. Nothing is read back.
///
/// ```
/// use bitsmith::{Device, Recorder, op::{self, Activations}};
/// let device = Device::cpu();
/// let x = Activations::upload(&device, 2, 2, &[0.5, -6.0, 0.25, 0.1])?;
/// let mut recorder = Recorder::new(&device);
/// let split = op::split_outliers(&mut recorder, &x, 6.0)?;
/// recorder.submit()?;
/// assert_eq!(pollster::block_on(split.inliers.read(&device))?, [0.5, 0.0, 0.25, 0.0]);
/// // 0.1 in f16.
/// assert_eq!(pollster::block_on(split.outliers.read(&device))?, [0.0, -6.0, 0.0, 0.099975586]);
/// # Ok::<(), bitsmith::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Shape`] for empty activations or a threshold that is no number above 0, and those of the device.
pub fn split_outliers(recorder: &mut Recorder, x: &Activations, threshold: f32) -> Result<SplitActivations> {
    const OP: &str = "outliers";
    let (rows, cols) = matrix(OP, x)?;
    if !(threshold > 0.0 && threshold.is_finite()) {
        return Err(shape(OP, "a threshold above 0", threshold));
    }
    let flags = recorder.alloc(x.cols * 4)?;
    let params = outlier_columns::Params { rows, cols, threshold };
    recorder.dispatch::<OutlierColumns>(&params, outlier_columns::variant(), &[&x.buffer, &flags])?;
    let (inliers, outliers) = (like(recorder, x)?, like(recorder, x)?);
    let params = outlier_split::Params { rows, cols };
    let buffers = [&x.buffer, &flags, &inliers.buffer, &outliers.buffer];
    recorder.dispatch::<OutlierSplit>(&params, outlier_split::variant(), &buffers)?;
    Ok(SplitActivations { inliers, outliers, flags })
}

/// Adds to `y` the product of the outliers with the columns of `w` that they meet: kept ones, where `w` has them, or else
/// dequantized ones.
///
/// # Errors
/// [`crate::Error::Shape`] if the shapes do not fit together or the codes of `w` have other than 8 bits, and those of the
/// device.
pub fn add_outliers(recorder: &mut Recorder, x: &SplitActivations, w: &GroupWeight, y: &Activations) -> Result<()> {
    const OP: &str = "product of outliers";
    let SplitActivations { outliers: x, flags, .. } = x;
    let (batch, cols) = matrix(OP, x)?;
    if x.cols != w.cols() || flags.bytes() < x.cols * 4 {
        return Err(shape(OP, format!("outliers of {} features", w.cols()), x.cols));
    }
    if (y.rows, y.cols) != (x.rows, w.rows()) {
        return Err(shape(OP, format!("a product of {} x {}", x.rows, w.rows()), format!("{} x {}", y.rows, y.cols)));
    }
    matrix(OP, y)?;
    if let Some(kept) = w.kept() {
        for part in kept.parts() {
            let params = outlier_kept::Params {
                batch,
                rows: param(OP, part.rows.len())?,
                cols,
                out_offset: param(OP, part.rows.start)?,
                out_stride: param(OP, w.rows())?,
            };
            let buffers = [&x.buffer, flags, &part.values, &y.buffer];
            recorder.dispatch::<OutlierKept>(&params, outlier_kept::variant(), &buffers)?;
        }
        return Ok(());
    }
    let scheme = w.scheme();
    if scheme.bits().get() != outlier_product::BITS {
        return Err(shape(OP, "a weight of 8 bits", scheme));
    }
    let [group, groups_per_row, words_per_row] = w.layout(OP)?;
    for part in w.parts() {
        let params = outlier_product::Params {
            batch,
            rows: param(OP, part.rows.len())?,
            cols,
            group,
            groups_per_row,
            words_per_row,
            out_offset: param(OP, part.rows.start)?,
            out_stride: param(OP, w.rows())?,
        };
        let variant = outlier_product::variant(scheme.is_symmetric(), scheme.scale_type());
        let buffers = [&x.buffer, flags, &part.codes, &part.scales, &part.zeros, &y.buffer];
        recorder.dispatch::<OutlierProduct>(&params, variant, &buffers)?;
    }
    Ok(())
}
