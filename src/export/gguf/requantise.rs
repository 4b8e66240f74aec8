//! Codes of 2 bits with any scales and zero points, as blocks whose scales and minima have 4 bits.

use rayon::prelude::*;

use crate::dtype::Dtype;
use crate::pack::SuperBlock;
use crate::tensor::QuantizedTensor;

/// What the steps of scales and minima are tried at, in shares of the finest that reaches the largest: a step that is
/// somewhat finer or coarser may meet the others better.
const SHARES: [f32; 3] = [1.0, 15.0 / 15.5, 15.0 / 14.5];

/// The blocks of a tensor whose rows are multiples of 256.
pub(super) fn super_blocks(tensor: &QuantizedTensor) -> Vec<u8> {
    let values = tensor.dequantize();
    let groups = tensor.groups();
    let blocks = values.par_chunks_exact(SuperBlock::WEIGHTS).enumerate().flat_map_iter(|(block, values)| {
        let first = block * SuperBlock::WEIGHTS;
        let (row, col) = (first / tensor.cols(), first % tensor.cols());
        let range = |k: usize| {
            let group = groups.index(row, col + k * SuperBlock::SUB_BLOCK);
            let middle = tensor.scheme().bits().middle();
            let zero = f32::from(tensor.zeros().map_or(middle, |zeros| zeros[group]));
            // With a negative scale the codes run the other way.
            match tensor.scales()[group] {
                scale if scale < 0.0 => (-scale, -scale * (3.0 - zero)),
                scale => (scale, scale * zero),
            }
        };
        fitted(values, &std::array::from_fn(range)).bytes()
    });
    blocks.collect()
}

/// The block that is nearest to `values` among those tried; `ranges` holds scale and minimum of each sub-block, as they
/// would be without rounding.
fn fitted(values: &[f32], ranges: &[(f32, f32); SuperBlock::SUB_BLOCKS]) -> SuperBlock {
    let most = |part: fn(&(f32, f32)) -> f32| ranges.iter().map(part).fold(0.0, f32::max);
    let step = |most: f32, share: f32| Dtype::F16.round(most * share / f32::from(SuperBlock::MOST));
    let (scale, minimum) = (most(|range| range.0), most(|range| range.1));
    let tried = SHARES.iter().map(|share| with_steps(values, ranges, step(scale, *share), step(minimum, *share)));
    let best = tried.min_by(|a, b| a.1.total_cmp(&b.1));
    best.expect("several were tried").0
}

/// The block with these steps, and its squared error.
fn with_steps(values: &[f32], ranges: &[(f32, f32); SuperBlock::SUB_BLOCKS], d: f32, dmin: f32) -> (SuperBlock, f32) {
    let mut block = SuperBlock {
        codes: [0; SuperBlock::WEIGHTS],
        scales: [0; SuperBlock::SUB_BLOCKS],
        minima: [0; SuperBlock::SUB_BLOCKS],
        d,
        dmin,
    };
    let mut error = 0.0;
    for (k, (values, (scale, minimum))) in values.chunks_exact(SuperBlock::SUB_BLOCK).zip(ranges).enumerate() {
        let mut best = f32::INFINITY;
        for scale in near(*scale, d) {
            for minimum in near(*minimum, dmin) {
                let (step, low) = (d * f32::from(scale), dmin * f32::from(minimum));
                let code = |value: &f32| code(*value, step, low);
                let off = |value: &f32| (step * f32::from(code(value)) - low - value).powi(2);
                let found: f32 = values.iter().map(off).sum();
                if found < best {
                    best = found;
                    (block.scales[k], block.minima[k]) = (scale, minimum);
                    let codes = &mut block.codes[k * SuperBlock::SUB_BLOCK..][..SuperBlock::SUB_BLOCK];
                    codes.iter_mut().zip(values).for_each(|(place, value)| *place = code(value));
                }
            }
        }
        error += best;
    }
    (block, error)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the codes")]
fn code(value: f32, step: f32, low: f32) -> u8 {
    if step == 0.0 { 0 } else { ((value + low) / step).round().clamp(0.0, 3.0) as u8 }
}

/// The number of steps nearest to a value, and its neighbours.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 4 bits")]
fn near(value: f32, step: f32) -> [u8; 3] {
    let most = f32::from(SuperBlock::MOST);
    let steps = if step == 0.0 { 0.0 } else { (value / step).round().clamp(0.0, most) };
    [0.0, -1.0, 1.0].map(|by| (steps + by).clamp(0.0, most) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scales_cost_next_to_nothing_and_others_little() {
        let tensor = |scales: Vec<f32>, zeros: Vec<u8>| {
            let codes = (0..256_u32).map(|i| ((i * 7 + i / 5) % 4).to_le_bytes()[0]).collect();
            QuantizedTensor::new("w2g32a-f32".parse().expect("a scheme"), 1, 256, codes, scales, Some(zeros))
                .expect("it fits together")
        };
        let distance = |tensor: &QuantizedTensor| {
            let bytes = super_blocks(tensor);
            let found = SuperBlock::read(bytes.as_chunks().0.first().expect("one block")).values();
            let meant = tensor.dequantize();
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
            let off = square(&mut found.iter().zip(&meant).map(|(a, b)| a - b));
            (off / square(&mut meant.iter().copied())).sqrt()
        };
        assert!(distance(&tensor(vec![0.1; 8], vec![2; 8])) < 1e-3);
        let scales = (0..8_u8).map(|g| 0.05 + 0.01 * f32::from(g)).collect();
        let found = distance(&tensor(scales, vec![0, 1, 2, 3, 1, 2, 3, 0]));
        assert!(found < 0.03, "{found}");
        assert!(distance(&tensor(vec![-0.1; 8], vec![1; 8])) < 1e-3);
        assert_eq!(super_blocks(&tensor(vec![0.0; 8], vec![0; 8]))[..16], [0; 16]);
    }
}
