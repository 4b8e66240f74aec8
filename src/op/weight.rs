//! Weights on a device, split by rows into parts that fit one binding.

use std::ops::Range;

use rayon::prelude::*;

use super::{Activations, ColumnOrder, param};
use crate::device::{Buffer, Caps, Device};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Scheme, Span};
use crate::tensor::Tensor;

/// A dense `[rows, cols]` weight in its storage type.
///
/// ```
/// use bitsmith::{Device, Tensor, op::DenseWeight};
/// let w = DenseWeight::upload(&Device::cpu(), &Tensor::from_f32(vec![2, 3], &[1.0; 6])?)?;
/// assert_eq!((w.rows(), w.cols(), w.bytes()), (2, 3, 24));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DenseWeight {
    dtype: Dtype,
    rows: usize,
    cols: usize,
    parts: Vec<DensePart>,
}

/// Some rows of a dense weight.
#[derive(Clone, Debug)]
pub(super) struct DensePart {
    pub(super) rows: Range<usize>,
    pub(super) values: Buffer,
}

impl DenseWeight {
    /// Uploads a tensor, seen as a matrix of its first axis by all others.
    ///
    /// # Errors
    /// If a single row is larger than a binding may be, or device memory ends.
    pub fn upload(device: &Device, tensor: &Tensor<'_>) -> Result<Self> {
        Self::upload_in_parts(device, tensor, part_limit(device.caps()))
    }

    /// [`Self::upload`] in parts of at most `limit` bytes.
    pub fn upload_in_parts(device: &Device, tensor: &Tensor<'_>, limit: u64) -> Result<Self> {
        let (dtype, rows, cols) = (tensor.dtype(), tensor.rows(), tensor.cols());
        let row_bytes = cols * dtype.bytes();
        let upload = |rows: Range<usize>| {
            let values = device.upload(&tensor.bytes()[rows.start * row_bytes..rows.end * row_bytes])?;
            Ok(DensePart { rows, values })
        };
        let parts = split_rows(rows, row_bytes, limit)?.into_iter().map(upload).collect::<Result<_>>()?;
        Ok(Self { dtype, rows, cols, parts })
    }

    /// A weight of f32 values that are on the device already, or will be when the recording runs.
    ///
    /// # Errors
    /// [`Error::Shape`] if the buffer is shorter than the shape says.
    pub fn from_values(values: Activations) -> Result<Self> {
        let Activations { buffer, rows, cols } = values;
        if buffer.bytes() / 4 < rows.saturating_mul(cols) {
            let (expected, found) = (format!("{rows} x {cols} f32 values"), format!("{} bytes", buffer.bytes()));
            return Err(Error::Shape { op: "weight", expected, found });
        }
        Ok(Self { dtype: Dtype::F32, rows, cols, parts: vec![DensePart { rows: 0..rows, values: buffer }] })
    }

    /// Storage type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Output features; of an embedding, the vocabulary.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|p| p.values.bytes()).sum()
    }

    /// Reads the values back, as they are stored.
    ///
    /// # Errors
    /// Those of the device.
    pub async fn read(&self, device: &Device) -> Result<Tensor<'static>> {
        let buffers: Vec<&Buffer> = self.parts.iter().map(|part| &part.values).collect();
        let row_bytes = self.cols * self.dtype.bytes();
        let mut data = Vec::with_capacity(self.rows * row_bytes);
        for (part, read) in self.parts.iter().zip(device.read_all(&buffers).await?) {
            // Buffers are whole words, and may be longer than what they were made for.
            data.extend_from_slice(&read[..part.rows.len() * row_bytes]);
        }
        Tensor::new(self.dtype, vec![self.rows, self.cols], data)
    }

    pub(super) fn parts(&self) -> &[DensePart] {
        &self.parts
    }
}

/// A quantized `[rows, cols]` weight: packed codes, scales in the scheme's type, zero points one a byte.
///
/// ```
/// use bitsmith::{Device, PackedTensor, QuantizedTensor, op::GroupWeight};
/// let tensor = QuantizedTensor::new("w4g16s".parse()?, 2, 3, vec![8; 6], vec![0.5; 2], None)?;
/// let w = GroupWeight::upload(&Device::cpu(), &PackedTensor::pack(&tensor))?;
/// assert_eq!((w.rows(), w.cols(), w.scheme().to_string()), (2, 3, "w4g16s".to_owned()));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GroupWeight {
    scheme: Scheme,
    rows: usize,
    cols: usize,
    parts: Vec<GroupPart>,
    row_sums: Option<Buffer>,
    kept: Option<DenseWeight>,
    order: Option<ColumnOrder>,
}

/// Some rows of a quantized weight.
#[derive(Clone, Debug)]
pub(super) struct GroupPart {
    pub(super) rows: Range<usize>,
    pub(super) codes: Buffer,
    pub(super) scales: Buffer,
    /// The scales again where the scheme stores no zero points: a binding must hold something.
    pub(super) zeros: Buffer,
}

impl GroupWeight {
    /// Uploads a packed tensor.
    ///
    /// # Errors
    /// If the tensor's parts do not fit each other, a single row is larger than a binding may be, or device memory
    /// ends.
    pub fn upload(device: &Device, tensor: &PackedTensor) -> Result<Self> {
        Self::upload_in_parts(device, tensor, part_limit(device.caps()))
    }

    /// [`Self::upload`] in parts of which no buffer is larger than `limit` bytes.
    pub fn upload_in_parts(device: &Device, tensor: &PackedTensor, limit: u64) -> Result<Self> {
        tensor.check()?;
        let PackedTensor { scheme, rows, cols, codes, scales, zeros, .. } = tensor;
        let (scheme, rows, cols) = (*scheme, *rows, *cols);
        let words = Packing::Rows.words(1, cols, scheme.bits());
        let per_row = scheme.groups(rows, cols).per_row();
        let scale_bytes = scheme.scale_type().bytes();
        let row_bytes = (words * 4).max(per_row * scale_bytes);
        let upload = |rows: Range<usize>| {
            let groups = if per_row == 0 { 0..1 } else { rows.start * per_row..rows.end * per_row };
            let scales = device.upload(&scheme.scale_type().encode(&scales[groups.clone()]))?;
            let zeros = match zeros {
                Some(zeros) => device.upload(&zeros[groups])?,
                None => scales.clone(),
            };
            let codes = device.upload(&codes[rows.start * words..rows.end * words])?;
            Ok(GroupPart { rows, codes, scales, zeros })
        };
        let parts = split_rows(rows, row_bytes, limit)?.into_iter().map(upload).collect::<Result<_>>()?;
        Ok(Self { scheme, rows, cols, parts, row_sums: None, kept: None, order: None })
    }

    /// With the sum of the weights of each row, f32, which a product with activations needs that have zero points.
    /// `tensor` is what was uploaded. The sums of codes are integers, scaled and added in f64.
    ///
    /// # Errors
    /// [`Error::Shape`] for another tensor, as [`PackedTensor::unpack`], and those of the device.
    pub fn with_row_sums(self, device: &Device, tensor: &PackedTensor) -> Result<Self> {
        if (tensor.scheme, tensor.rows, tensor.cols) != (self.scheme, self.rows, self.cols) {
            let said = |scheme: Scheme, rows, cols| format!("{scheme} of {rows} x {cols}");
            let expected = said(self.scheme, self.rows, self.cols);
            let found = said(tensor.scheme, tensor.rows, tensor.cols);
            return Err(Error::Shape { op: "row sums", expected, found });
        }
        let tensor = tensor.unpack()?;
        let groups = self.scheme.groups(self.rows, self.cols);
        let middle = self.scheme.bits().middle();
        let row = |(row, codes): (usize, &[u8])| {
            let sums = codes.chunks(groups.size().max(1)).enumerate().map(|(k, codes)| {
                let group = groups.index(row, k * groups.size());
                let zero = i64::from(tensor.zeros().map_or(middle, |zeros| zeros[group]));
                let sum: i64 = codes.iter().map(|code| i64::from(*code) - zero).sum();
                sum as f64 * f64::from(tensor.scales()[group])
            });
            #[allow(clippy::cast_possible_truncation, reason = "rounded to what kernels compute with")]
            {
                sums.sum::<f64>() as f32
            }
        };
        let sums: Vec<f32> = tensor.codes().par_chunks(self.cols.max(1)).enumerate().map(row).collect();
        Ok(Self { row_sums: Some(device.upload(&sums)?), ..self })
    }

    /// With what is kept of the original weight, which outliers meet instead of the codes. `tensor` is what was uploaded.
    ///
    /// # Errors
    /// [`Error::Shape`] if it keeps nothing, and those of the device.
    pub fn with_kept(self, device: &Device, tensor: &PackedTensor) -> Result<Self> {
        let shape = vec![self.rows, self.cols];
        let Some(kept) = &tensor.kept else {
            let (expected, found) = (format!("a weight of {shape:?} that is kept in f16"), "none".to_owned());
            return Err(Error::Shape { op: "outliers", expected, found });
        };
        let kept = DenseWeight::upload(device, &Tensor::new(Dtype::F16, shape, &kept[..])?)?;
        Ok(Self { kept: Some(kept), ..self })
    }

    /// With the order in which the columns of its codes are: place `i` is taken by input feature `columns[i]`. It is
    /// [`LayerInput::Ordered`](super::LayerInput::Ordered) that brings inputs into it.
    ///
    /// # Errors
    /// [`Error::Shape`] unless each input feature is there once, and those of the device.
    pub fn with_order(self, device: &Device, columns: &[u32]) -> Result<Self> {
        if columns.len() != self.cols {
            let (expected, found) = (format!("an order of {} columns", self.cols), columns.len().to_string());
            return Err(Error::Shape { op: "column order", expected, found });
        }
        Ok(Self { order: Some(ColumnOrder::upload(device, columns)?), ..self })
    }

    /// The order of its columns, where it is another than that of the input.
    pub(super) fn order(&self) -> Option<&ColumnOrder> {
        self.order.as_ref()
    }

    /// What outliers meet, where it is kept.
    pub(super) fn kept(&self) -> Option<&DenseWeight> {
        self.kept.as_ref()
    }

    /// The sums of rows, where they were made.
    pub(super) fn row_sums(&self) -> Option<&Buffer> {
        self.row_sums.as_ref()
    }

    /// Codes and f32 scales that are on the device already, or will be when the recording runs.
    pub(super) fn symmetric(scheme: Scheme, rows: usize, cols: usize, codes: Buffer, scales: Buffer) -> Result<Self> {
        let (words, groups) = (Packing::Rows.words(rows, cols, scheme.bits()), scheme.groups(rows, cols).count());
        if codes.bytes() != words * 4 || scales.bytes() != groups * 4 {
            let found = format!("{} and {} bytes", codes.bytes(), scales.bytes());
            let expected = format!("{words} words of codes and {groups} f32 scales");
            return Err(Error::Shape { op: "weight", expected, found });
        }
        let part = GroupPart { rows: 0..rows, codes, zeros: scales.clone(), scales };
        Ok(Self { scheme, rows, cols, parts: vec![part], row_sums: None, kept: None, order: None })
    }

    /// Reads codes, scales and zero points back, not what is kept beside them.
    ///
    /// # Errors
    /// [`Error::Config`] for a scale that is not finite, which a weight has that is not, and those of the device.
    pub async fn read(&self, device: &Device) -> Result<PackedTensor> {
        let Self { scheme, rows, cols, .. } = *self;
        let mut all = PackedTensor {
            scheme,
            rows,
            cols,
            codes: Vec::new(),
            scales: Vec::new(),
            zeros: (!scheme.is_symmetric()).then(Vec::new),
            kept: None,
        };
        let words = Packing::Rows.words(1, cols, scheme.bits());
        for part in &self.parts {
            let read = device.read_all(&[&part.codes, &part.scales, &part.zeros]).await?;
            let [codes, scales, zeros] = &read[..] else { unreachable!("three buffers were read") };
            let groups = scheme.groups(part.rows.len(), cols).count();
            // Buffers are whole words, and may be longer than what they hold.
            let codes = codes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
            all.codes.extend(codes.take(part.rows.len() * words));
            if self.scheme.span() != Span::Tensor || all.scales.is_empty() {
                let scales = &scales[..groups * scheme.scale_type().bytes()];
                all.scales.extend(scheme.scale_type().decode(scales));
                all.zeros.iter_mut().for_each(|all| all.extend(&zeros[..groups]));
            }
        }
        if let Some(scale) = all.scales.iter().find(|scale| !scale.is_finite()) {
            return Err(Error::config("weights", format!("a scale is {scale}: the weights are not finite")));
        }
        all.check()?;
        Ok(all)
    }

    /// What the codes mean.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        let zeros = |p: &GroupPart| if self.scheme.is_symmetric() { 0 } else { p.zeros.bytes() };
        let sums = self.row_sums.as_ref().map_or(0, Buffer::bytes);
        let kept = self.kept.as_ref().map_or(0, DenseWeight::bytes) + self.order.as_ref().map_or(0, ColumnOrder::bytes);
        self.parts.iter().map(|p| p.codes.bytes() + p.scales.bytes() + zeros(p)).sum::<usize>() + sums + kept
    }

    pub(super) fn parts(&self) -> &[GroupPart] {
        &self.parts
    }

    /// The shape as kernels take it: group, groups of a row, words of a row.
    pub(super) fn layout(&self, op: &'static str) -> Result<[u32; 3]> {
        layout(self.scheme, self.rows, self.cols, op)
    }
}

/// Group, groups of a row, and words of a row, as kernels take them.
pub(super) fn layout(scheme: Scheme, rows: usize, cols: usize, op: &'static str) -> Result<[u32; 3]> {
    let groups = scheme.groups(rows, cols);
    let words = Packing::Rows.words(1, cols, scheme.bits());
    Ok([param(op, groups.size())?, param(op, groups.per_row())?, param(op, words)?])
}

/// The largest part: what can be bound, and what a buffer can hold after the pool rounds it up by a quarter at most.
fn part_limit(caps: &Caps) -> u64 {
    caps.max_binding_bytes.min(caps.max_buffer_bytes / 5 * 4)
}

/// The rows of each part, so that `row_bytes` a row stay within `limit` bytes a part.
fn split_rows(rows: usize, row_bytes: usize, limit: u64) -> Result<Vec<Range<usize>>> {
    // Buffers are whole words, which may round a part up.
    let limit = usize::try_from(limit).unwrap_or(usize::MAX) / 4 * 4;
    if row_bytes > limit {
        let (wanted, allowed) = (row_bytes as u64, limit as u64);
        return Err(Error::Limit { what: "one row of a weight".into(), wanted, allowed });
    }
    let step = (limit / row_bytes.max(1)).max(1);
    Ok((0..rows).step_by(step).map(|start| start..rows.min(start.saturating_add(step))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_rows_and_fit() {
        let cases: [(usize, usize, u64, &[[usize; 2]]); 6] = [
            (7, 10, 20, &[[0, 2], [2, 4], [4, 6], [6, 7]]),
            (7, 10, 71, &[[0, 6], [6, 7]]),
            (7, 10, 72, &[[0, 7]]),
            (1, 8, 8, &[[0, 1]]),
            (3, 0, 8, &[[0, 3]]),
            (0, 8, 8, &[]),
        ];
        for (rows, row_bytes, limit, expected) in cases {
            let parts = split_rows(rows, row_bytes, limit).expect("every row fits");
            let parts: Vec<_> = parts.into_iter().map(|part| [part.start, part.end]).collect();
            assert_eq!(parts, expected, "{rows} rows of {row_bytes} bytes in {limit}");
        }
        assert!(matches!(split_rows(1, 12, 11), Err(Error::Limit { wanted: 12, allowed: 8, .. })));
    }

    #[test]
    fn the_limit_leaves_room_for_rounding() {
        let caps = Caps { max_binding_bytes: 1 << 31, max_buffer_bytes: 1 << 31, ..Caps::portable() };
        assert_eq!(part_limit(&caps), (1 << 31) / 5 * 4);
        assert_eq!(part_limit(&Caps::portable()), 128 << 20);
    }
}
