//! Reproducible random numbers, for sampling and for test data.

use crate::dtype::Dtype;
use crate::scheme::uniform;

/// A stream of numbers that depends on its seed alone.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u32,
    position: u32,
}

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u32) -> Self {
        Self { seed, position: 0 }
    }

    /// The next number in (0, 1).
    pub fn uniform(&mut self) -> f32 {
        self.position += 1;
        uniform(self.seed, self.position)
    }

    /// The next integer below `bound`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the bound by construction")]
    pub fn below(&mut self, bound: u32) -> u32 {
        ((self.uniform() * bound as f32) as u32).min(bound.saturating_sub(1))
    }

    /// Brings values into random order.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let other = self.below(u32::try_from(last + 1).unwrap_or(u32::MAX)) as usize;
            values.swap(last, other);
        }
    }

    /// A number with mean 0 and standard deviation about 1, like a weight: twelve uniforms less six.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    /// `n` such numbers.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// Words that hold `n` such numbers, times `scale`, in a storage type.
    pub fn stored(&mut self, dtype: Dtype, n: usize, scale: f32) -> Vec<u32> {
        let values: Vec<f32> = (0..n).map(|_| self.normal() * scale).collect();
        words(&dtype.encode(&values))
    }
}

/// Little-endian bytes as words, the last one padded with zeros.
pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    let (whole, rest) = bytes.as_chunks();
    let mut words: Vec<u32> = whole.iter().map(|b| u32::from_le_bytes(*b)).collect();
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        words.push(u32::from_le_bytes(last));
    }
    words
}
