//! The block of 2 bits whose scales and minima are quantized themselves.

use crate::dtype::Dtype;

/// 256 weights, `d * scale * code - dmin * minimum`, with a scale and a minimum of 4 bits for each 16.
///
/// ```text
/// | scales: 16 | qs: 64 | d: 2 | dmin: 2 |
///   byte k of scales: scale of sub-block k low, its minimum high
///   byte 32h+l of qs, h of 0..2, l of 0..32: the codes of weights 128h+l, +32, +64, +96, from the lowest bits up
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SuperBlock {
    /// One a weight, 0 to 3.
    pub codes: [u8; Self::WEIGHTS],
    /// One a sub-block, 0 to 15.
    pub scales: [u8; Self::SUB_BLOCKS],
    /// One a sub-block, 0 to 15.
    pub minima: [u8; Self::SUB_BLOCKS],
    /// What a step of a scale is worth, an f16.
    pub d: f32,
    /// What a step of a minimum is worth, an f16.
    pub dmin: f32,
}

impl SuperBlock {
    /// Weights of a block.
    pub const WEIGHTS: usize = 256;
    /// Weights that share a scale and a minimum.
    pub const SUB_BLOCK: usize = 16;
    /// Scales of a block.
    pub const SUB_BLOCKS: usize = 16;
    /// Bytes of a block.
    pub const BYTES: usize = 84;
    /// The largest scale and minimum.
    pub const MOST: u8 = 15;

    /// Byte and bit of a code, from the first byte of `qs`.
    const fn place(weight: usize) -> (usize, usize) {
        (32 * (weight / 128) + weight % 32, 2 * (weight % 128 / 32))
    }

    /// The block in these bytes.
    pub fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let code = |weight| {
            let (byte, bit) = Self::place(weight);
            bytes[16 + byte] >> bit & 3
        };
        let f16 = |at: usize| Dtype::F16.decode(&bytes[at..at + 2])[0];
        Self {
            codes: std::array::from_fn(code),
            scales: std::array::from_fn(|k| bytes[k] & 15),
            minima: std::array::from_fn(|k| bytes[k] >> 4),
            d: f16(80),
            dmin: f16(82),
        }
    }

    /// The bytes of the block; of codes, scales and minima only the bits that they have room for.
    pub fn bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for k in 0..Self::SUB_BLOCKS {
            bytes[k] = self.scales[k] & 15 | self.minima[k] << 4;
        }
        for (weight, code) in self.codes.iter().enumerate() {
            let (byte, bit) = Self::place(weight);
            bytes[16 + byte] |= (code & 3) << bit;
        }
        bytes[80..].copy_from_slice(&Dtype::F16.encode(&[self.d, self.dmin]));
        bytes
    }

    /// Scale and minimum of a sub-block.
    pub fn range(&self, sub_block: usize) -> (f32, f32) {
        (self.d * f32::from(self.scales[sub_block]), self.dmin * f32::from(self.minima[sub_block]))
    }

    /// The weights.
    pub fn values(&self) -> [f32; Self::WEIGHTS] {
        std::array::from_fn(|weight| {
            let (scale, minimum) = self.range(weight / Self::SUB_BLOCK);
            scale * f32::from(self.codes[weight]) - minimum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_gguf() {
        let mut bytes = [0; SuperBlock::BYTES];
        (0..80_usize).for_each(|k| bytes[k] = ((73 * k + 5) % 256).to_le_bytes()[0]);
        bytes[80..].copy_from_slice(&Dtype::F16.encode(&[0.5, 0.25]));
        let block = SuperBlock::read(&bytes);
        let values = block.values();
        assert_eq!(values[..4], [2.5, 5.0, 7.5, 0.0]);
        assert_eq!(values[126..132], [0.0, 2.0, 5.5, 12.0, 18.5, -1.0]);
        assert_eq!(values[252..], [11.0, 17.0, 5.0, 11.0]);
        assert_eq!(values.iter().sum::<f32>(), 1043.0);
        assert_eq!(block.bytes(), bytes);
    }
}
