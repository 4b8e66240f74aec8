//! candle's side.

use std::borrow::Cow;

use candle_core::quantized::k_quants::{self, BlockQ4K, BlockQ8_0, GgmlType};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};

use crate::Outcome;
use crate::measure::{Effort, Peer};

/// candle's name of a format.
pub fn name(dtype: GgmlDType) -> &'static str {
    match dtype {
        GgmlDType::Q2K => "candle q2k",
        GgmlDType::Q3K => "candle q3k",
        GgmlDType::Q4_0 => "candle q4_0",
        GgmlDType::Q4K => "candle q4k",
        _ => "candle q8_0",
    }
}

/// `[rows, cols]` values as a tensor.
pub fn tensor(values: &[f32], rows: usize, cols: usize) -> Outcome<Tensor> {
    Ok(Tensor::from_slice(values, (rows, cols), &Device::Cpu)?)
}

/// Copies of a quantized weight.
pub struct Quantized {
    dtype: GgmlDType,
    bytes: usize,
    copies: Vec<QMatMul>,
    /// The blocks as they are stored, where `QMatMul` lays them out anew.
    blocks: Blocks,
}

enum Blocks {
    AsStored,
    Q4K(Vec<Vec<BlockQ4K>>),
    Q8_0(Vec<Vec<BlockQ8_0>>),
}

impl Quantized {
    pub fn new(w: &Tensor, dtype: GgmlDType, effort: &Effort) -> Outcome<Self> {
        let quantized = QTensor::quantize(w, dtype)?;
        let data = quantized.data()?.into_owned();
        let bytes = data.len();
        let count = effort.copies(bytes);
        let copy = |_| -> Outcome<QMatMul> {
            let storage = QStorage::from_data(Cow::Borrowed(&data), &Device::Cpu, dtype)?;
            Ok(QMatMul::from_qtensor(QTensor::new(storage, quantized.shape())?)?)
        };
        let copies = (0..count).map(copy).collect::<Outcome<Vec<_>>>()?;
        // The first call of each may lay its weight out anew.
        let row = Tensor::zeros((1, w.dim(1)?), DType::F32, &Device::Cpu)?;
        copies.iter().try_for_each(|w| w.forward(&row).map(drop))?;
        let values = || -> Outcome<Vec<f32>> { Ok(w.flatten_all()?.to_vec1()?) };
        let blocks = match dtype {
            GgmlDType::Q4K => Blocks::Q4K(vec![stored(&values()?); count]),
            GgmlDType::Q8_0 => Blocks::Q8_0(vec![stored(&values()?); count]),
            _ => Blocks::AsStored,
        };
        Ok(Self { dtype, bytes, copies, blocks })
    }

    /// The products with `x`, `[batch, cols]`: through `QMatMul`, and through the blocks as stored where that differs.
    pub fn peers<'a>(&'a self, x: &'a Tensor, rows: usize) -> Outcome<Vec<Peer<'a>>> {
        let mut turns = self.copies.iter().cycle();
        let packed = Peer::new(name(self.dtype), self.bytes, move |read| {
            let y = turns.next().ok_or("no copies")?.forward(x)?;
            if read { Ok(y.get(0)?.to_vec1()?) } else { Ok(Vec::new()) }
        });
        let name = format!("{} as stored", name(self.dtype));
        let stored = match &self.blocks {
            Blocks::AsStored => None,
            Blocks::Q4K(copies) => Some(unpacked(name, self.bytes, copies, x, rows)?),
            Blocks::Q8_0(copies) => Some(unpacked(name, self.bytes, copies, x, rows)?),
        };
        Ok(std::iter::once(packed).chain(stored).collect())
    }
}

fn stored<T: GgmlType + Clone>(values: &[f32]) -> Vec<T> {
    let mut blocks = vec![T::zeros(); values.len() / T::BLCK_SIZE];
    T::from_float(values, &mut blocks);
    blocks
}

fn unpacked<'a, T: GgmlType>(
    name: String,
    bytes: usize,
    copies: &'a [Vec<T>],
    x: &Tensor,
    rows: usize,
) -> Outcome<Peer<'a>> {
    let (batch, cols) = x.dims2()?;
    let x: Vec<f32> = x.flatten_all()?.to_vec1()?;
    let mut turns = copies.iter().cycle();
    Ok(Peer::new(name, bytes, move |read| {
        let mut y = vec![0.0; batch * rows];
        k_quants::matmul((batch, cols, rows), &x, turns.next().ok_or("no copies")?, &mut y)?;
        y.truncate(if read { rows } else { 0 });
        Ok(y)
    }))
}

/// candle's quantization of weights in f32 or bf16.
pub fn quantize(w: &[Tensor], dtype: GgmlDType) -> Outcome<Peer<'_>> {
    let bytes = w[0].elem_count() * if w[0].dtype() == DType::BF16 { 2 } else { 4 };
    let mut turns = w.iter().cycle();
    Ok(Peer::new(name(dtype), bytes, move |_| {
        QTensor::quantize(turns.next().ok_or("no copies")?, dtype)?;
        Ok(Vec::new())
    }))
}
