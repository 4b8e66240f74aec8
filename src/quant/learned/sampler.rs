//! Which sequences a step is taken on.

use crate::random::Random;

/// Mini-batches of shuffled indices: each index comes once before any comes again, as far as whole batches allow.
#[derive(Debug)]
pub(in crate::quant) struct Sampler {
    random: Random,
    order: Vec<usize>,
    next: usize,
}

impl Sampler {
    /// Of the indices below `count`.
    pub(in crate::quant) fn new(seed: u32, count: usize) -> Self {
        Self { random: Random::new(seed), order: (0..count).collect(), next: count }
    }

    /// The next mini-batch, of at most all indices.
    pub(in crate::quant) fn batch(&mut self, size: usize) -> &[usize] {
        let size = size.min(self.order.len());
        if self.next + size > self.order.len() {
            self.random.shuffle(&mut self.order);
            self.next = 0;
        }
        self.next += size;
        &self.order[self.next - size..self.next]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_comes_once_in_each_round() {
        let mut sampler = Sampler::new(1, 10);
        for _ in 0..5 {
            let mut seen: Vec<_> = (0..2).flat_map(|_| sampler.batch(5).to_vec()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(Sampler::new(1, 3).batch(8).len(), 3);
    }

    #[test]
    fn seeds_differ_and_repeat() {
        let batches = |seed| {
            let mut sampler = Sampler::new(seed, 50);
            (0..20).map(|_| sampler.batch(8).to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(batches(3), batches(3));
        assert_ne!(batches(3), batches(4));
    }
}
