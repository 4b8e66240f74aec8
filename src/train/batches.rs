//! Which tokens a step sees.

use crate::error::{Error, Result};
use crate::random::Random;

/// Sequences of a stream of tokens in random order. Each epoch cuts the stream into pieces from another offset and shows
/// each once; what the n-th sequence is depends on the seed and n alone.
#[derive(Debug)]
pub(super) struct Batches {
    ids: Vec<u32>,
    seq_len: usize,
    seed: u32,
    /// Sequences of an epoch.
    pieces: usize,
    /// An epoch, and where its sequences start.
    epoch: Option<(u64, Vec<usize>)>,
}

/// What goes into a model, and what is to follow each token, one sequence after the other.
#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) ids: Vec<u32>,
    pub(super) targets: Vec<u32>,
}

impl Batches {
    /// # Errors
    /// [`Error::Config`] for a text that is shorter than a sequence.
    pub(super) fn new(ids: Vec<u32>, seq_len: usize, seed: u32) -> Result<Self> {
        if ids.len() <= seq_len {
            let detail = format!(
                "{seq_len} tokens and the one after them, but the text has only {}; take a longer text or shorter sequences",
                ids.len()
            );
            return Err(Error::config("seq_len", detail));
        }
        let pieces = ((ids.len() - seq_len) / seq_len).max(1);
        if u32::try_from(pieces).is_err() {
            return Err(Error::config("seq_len", format!("{pieces} sequences; take longer ones")));
        }
        Ok(Self { ids, seq_len, seed, pieces, epoch: None })
    }

    /// The sequences from the `first` on, so many.
    pub(super) fn batch(&mut self, first: u64, count: usize) -> Batch {
        let mut batch = Batch { ids: Vec::new(), targets: Vec::new() };
        for index in first..first + count as u64 {
            let start = self.start(index);
            batch.ids.extend(&self.ids[start..start + self.seq_len]);
            batch.targets.extend(&self.ids[start + 1..=start + self.seq_len]);
        }
        batch
    }

    #[allow(clippy::cast_possible_truncation, reason = "the seed of an epoch; a rest below the number of pieces")]
    fn start(&mut self, index: u64) -> usize {
        let (epoch, piece) = (index / self.pieces as u64, (index % self.pieces as u64) as usize);
        let starts = match self.epoch.take() {
            Some((same, starts)) if same == epoch => starts,
            _ => {
                // Epochs are far apart in the numbers of a seed.
                let mut random = Random::new(self.seed.wrapping_add((epoch as u32).wrapping_mul(0x9e37_79b9)));
                let left = self.ids.len() - 1 - self.pieces * self.seq_len;
                let offset = random.below(left.min(self.seq_len - 1) as u32 + 1) as usize;
                let mut starts: Vec<_> = (0..self.pieces).map(|piece| offset + piece * self.seq_len).collect();
                random.shuffle(&mut starts);
                starts
            }
        };
        let start = starts[piece];
        self.epoch = Some((epoch, starts));
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_shows_each_piece_once() {
        let mut batches = Batches::new((0..103).collect(), 10, 5).expect("it is long enough");
        assert_eq!(batches.pieces, 9);
        let epoch = |batches: &mut Batches, n: u64| {
            let batch = batches.batch(n * 9, 9);
            assert!(batch.ids.iter().zip(&batch.targets).all(|(id, target)| id + 1 == *target));
            let mut ids = batch.ids.clone();
            ids.sort_unstable();
            assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]) && ids.len() == 90, "{ids:?}");
            batch
        };
        let (first, second) = (epoch(&mut batches, 0), epoch(&mut batches, 1));
        assert_ne!(first, second);
        // Whatever was asked for before.
        let mut again = Batches::new((0..103).collect(), 10, 5).expect("it is long enough");
        assert_eq!(again.batch(9, 9), second);
        assert_eq!(again.batch(0, 9), first);
        for length in 2..40u32 {
            let mut short =
                Batches::new((0..length).collect(), 7.min(length as usize - 1), 1).expect("it is long enough");
            (0..50).for_each(|n| assert_eq!(short.batch(n, 3).ids.len(), 3 * 7.min(length as usize - 1)));
        }
        assert!(Batches::new(vec![1, 2, 3], 3, 0).is_err());
    }
}
