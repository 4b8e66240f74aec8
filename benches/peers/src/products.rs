//! Products with quantized and dense weights at several batches.

use bitsmith::op::{Activations, DenseWeight};
use bitsmith::{Device, Random, Tensor};
use candle_core::quantized::GgmlDType;

use crate::Outcome;
use crate::measure::{Effort, Group, Peer, take_turns};
use crate::ours::{self, Precision};
use crate::{candle, dense};

pub const BATCHES: [usize; 4] = [1, 8, 64, 512];
/// A 4-bit weight stands beside the others, so that ratios between widths come from one run.
pub const FOUR: &str = "w4g128s";
/// Our scheme of each width and candle's formats near it.
const WIDTHS: [(u8, &str, &[GgmlDType]); 4] = [
    (4, FOUR, &[GgmlDType::Q4K, GgmlDType::Q4_0]),
    (8, "w8g128s", &[GgmlDType::Q8_0]),
    (3, "w3g128s", &[GgmlDType::Q3K]),
    (2, "w2g128s", &[GgmlDType::Q2K]),
];

/// The name of a group of products.
pub fn name(bits: u8, batch: usize) -> String {
    format!("{bits} bits, batch {batch}")
}

/// The data that all share.
struct Inputs<'a> {
    effort: &'a Effort,
    threads: usize,
    device: Device,
    weight: Vec<f32>,
    x: Vec<f32>,
    /// Product of the weight with the first row of x.
    exact: Vec<f32>,
}

pub fn measure(effort: &Effort, threads: usize, wanted: &dyn Fn(&str) -> bool, groups: &mut Vec<Group>) -> Outcome<()> {
    let of_width = |bits: u8| BATCHES.into_iter().filter(|b| wanted(&name(bits, *b))).collect::<Vec<_>>();
    let of_dense = BATCHES.into_iter().filter(|b| wanted(&dense_name(*b))).collect::<Vec<_>>();
    if of_dense.is_empty() && WIDTHS.iter().all(|(bits, ..)| of_width(*bits).is_empty()) {
        return Ok(());
    }
    let [rows, cols] = effort.shape;
    let mut random = Random::new(1);
    let weight: Vec<f32> = random.normals(rows * cols).iter().map(|w| w * 0.02).collect();
    let x = random.normals(BATCHES[3] * cols);
    let dot = |row: &[f32]| row.iter().zip(&x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32;
    let exact = weight.chunks_exact(cols).map(dot).collect();
    let inputs = Inputs { effort, threads, device: Device::cpu(), weight, x, exact };
    for (bits, scheme, formats) in WIDTHS {
        inputs.width(bits, scheme, formats, &of_width(bits), groups)?;
    }
    inputs.dense(&of_dense, groups)
}

fn dense_name(batch: usize) -> String {
    format!("dense f32, batch {batch}")
}

impl Inputs<'_> {
    fn width(
        &self,
        bits: u8,
        scheme: &str,
        formats: &[GgmlDType],
        batches: &[usize],
        groups: &mut Vec<Group>,
    ) -> Outcome<()> {
        if batches.is_empty() {
            return Ok(());
        }
        let (device, effort, [rows, cols]) = (&self.device, self.effort, self.effort.shape);
        let tensor = Tensor::from_f32(vec![rows, cols], &self.weight)?;
        let schemes = if scheme == FOUR { vec![scheme] } else { vec![scheme, FOUR] };
        let ours =
            schemes.iter().map(|s| ours::Quantized::new(device, &tensor, s, effort)).collect::<Outcome<Vec<_>>>();
        let ours = ours?;
        let w = candle::tensor(&self.weight, rows, cols)?;
        let theirs = formats.iter().map(|f| candle::Quantized::new(&w, *f, effort)).collect::<Outcome<Vec<_>>>()?;
        let dense = self.copies();
        let words = dense::words(effort.working_set)?;
        for &batch in batches {
            let x = Activations::upload(device, batch, cols, &self.x[..batch * cols])?;
            let their_x = candle::tensor(&self.x[..batch * cols], batch, cols)?;
            let mut peers: Vec<Peer<'_>> = Vec::new();
            for ours in &ours {
                peers.extend(Precision::ALL.into_iter().map(|precision| ours.peer(device, &x, precision)));
            }
            for theirs in &theirs {
                peers.extend(theirs.peers(&their_x, rows)?);
            }
            let bytes = peers[0].bytes;
            if batch == 1 {
                peers.push(dense::sum(bytemuck::cast_slice(&words), bytes));
            }
            if bits == 4 {
                peers.extend(dense::gemm(&self.x[..batch * cols], &dense, batch, cols, self.threads));
            }
            groups.push(take_turns(name(bits, batch), self.work(batch), peers, Some(&self.exact), effort)?);
        }
        Ok(())
    }

    fn dense(&self, batches: &[usize], groups: &mut Vec<Group>) -> Outcome<()> {
        if batches.is_empty() {
            return Ok(());
        }
        let (device, [rows, cols]) = (&self.device, self.effort.shape);
        let tensor = Tensor::from_f32(vec![rows, cols], &self.weight)?;
        let dense = self.copies();
        let ours = dense.iter().map(|_| DenseWeight::upload(device, &tensor)).collect::<bitsmith::Result<Vec<_>>>()?;
        for &batch in batches {
            let x = Activations::upload(device, batch, cols, &self.x[..batch * cols])?;
            let mut peers = vec![ours::dense(device, &ours, &x)];
            peers.extend(dense::gemm(&self.x[..batch * cols], &dense, batch, cols, self.threads));
            groups.push(take_turns(dense_name(batch), self.work(batch), peers, Some(&self.exact), self.effort)?);
        }
        Ok(())
    }

    fn copies(&self) -> Vec<Vec<f32>> {
        vec![self.weight.clone(); self.effort.copies(4 * self.weight.len())]
    }

    /// Batch and operations of a product.
    fn work(&self, batch: usize) -> (usize, f64) {
        (batch, 2.0 * (batch * self.weight.len()) as f64)
    }
}
