//! What the sequences of a search are for.

use crate::calib::CalibrationDataset;
use crate::error::{Error, Result};

/// Of the sequences that are quantized on, each of this number decides on steps instead.
const DECIDING: usize = 5;
/// Stretches of neighbouring sequences that are held out. Neighbours are often parts of one document, of which tuning learns
/// names by heart: single sequences from among those to tune on would not be held out.
const STRETCHES: usize = 8;

/// How many sequences there are to be for each use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// To learn codes from and decide by.
    pub(super) calibration: usize,
    /// To measure whole models on.
    pub(super) evaluation: usize,
    /// Further ones, for tuning alone, at most.
    pub(super) further: usize,
}

impl Counts {
    /// All of them.
    pub(super) fn total(self) -> usize {
        self.calibration.saturating_add(self.evaluation).saturating_add(self.further)
    }
}

/// Sequences by their use. None is in two parts, but for those to learn from, on which all blocks are tuned too.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// To learn codes from.
    pub(super) learn: CalibrationDataset,
    /// To tune all blocks on: those to learn from, and more.
    pub(super) tune: CalibrationDataset,
    /// To measure single layers and steps on.
    pub(super) decide: CalibrationDataset,
    /// To measure whole models on.
    pub(super) held_out: CalibrationDataset,
}

impl Parts {
    /// Divides sequences so that each part lies evenly over the text, what is held out in stretches. Where there are fewer than the counts ask for, first those
    /// for tuning alone become fewer, then the others by their shares.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than three sequences.
    pub(super) fn of(data: &CalibrationDataset, counts: Counts) -> Result<Self> {
        let count = data.sequences().len();
        if count < 3 {
            let detail = format!("{count}, but a search divides them into three parts; take at least 3, 192 are usual");
            return Err(Error::config("samples", detail));
        }
        // Counts as they are typed may be as large as numbers get.
        let [wanted, checked] = [counts.calibration as u128 + counts.evaluation as u128, counts.evaluation as u128];
        let used = if counts.further == 0 { count } else { usize::try_from(wanted).unwrap_or(count).clamp(3, count) };
        let share = usize::try_from(used as u128 * checked / wanted.max(1)).unwrap_or(used);
        let (rest, held_out) = stretches(data.sequences().to_vec(), share.clamp(1, used - 2));
        let calibration = used - held_out.len();
        let (mut further, rest) = apart(rest, calibration);
        further.truncate(counts.further);
        let (learn, decide) = apart(rest, (calibration / DECIDING).max(1));
        let tune = learn.iter().cloned().chain(further).collect();
        let of = CalibrationDataset::from_sequences;
        Ok(Self { learn: of(learn)?, tune: of(tune)?, decide: of(decide)?, held_out: of(held_out)? })
    }
}

/// All but `take` items, and these in stretches.
fn stretches<T>(items: Vec<T>, take: usize) -> (Vec<T>, Vec<T>) {
    let (count, runs) = (items.len(), STRETCHES.min(take));
    let begin = |all: usize, run: usize| all * run / runs;
    let mut taken = vec![false; count];
    for run in 0..runs {
        let length = begin(take, run + 1) - begin(take, run);
        taken[begin(count, run)..][..length].fill(true);
    }
    let mut taken = taken.into_iter();
    let (taken, left) = items.into_iter().partition(|_| taken.next() == Some(true));
    (left, taken)
}

/// All but `take` items at even distances, and these.
fn apart<T>(items: Vec<T>, take: usize) -> (Vec<T>, Vec<T>) {
    let count = items.len();
    let (mut left, mut taken) = (Vec::with_capacity(count - take), Vec::with_capacity(take));
    for (index, item) in items.into_iter().enumerate() {
        let before = |index: usize| index * take / count;
        if before(index + 1) > before(index) { taken.push(item) } else { left.push(item) }
    }
    (left, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_in_one_part() {
        for (count, calibration, evaluation, further, expected) in [
            (192, 128, 64, 0, [103, 103, 25, 64]),
            (192, 128, 64, 1000, [103, 103, 25, 64]),
            (1192, 128, 64, 1000, [103, 1103, 25, 64]),
            (250, 128, 64, 1000, [103, 161, 25, 64]),
            (96, 128, 64, 1000, [52, 52, 12, 32]),
            (3, 128, 64, 0, [1, 1, 1, 1]),
            (20, 1, 1000, 5, [1, 1, 1, 18]),
            (20, 1, 1, 18, [1, 18, 1, 1]),
            (10, 10, 1, 0, [8, 8, 1, 1]),
            (20, usize::MAX, usize::MAX, usize::MAX, [8, 8, 2, 10]),
        ] {
            let data =
                CalibrationDataset::from_sequences((0..count).map(|i| vec![i, 7]).collect()).expect("one length");
            let counts = Counts { calibration, evaluation, further };
            let Parts { learn, tune, decide, held_out } = Parts::of(&data, counts).expect("enough");
            let all = [&learn, &tune, &decide, &held_out];
            assert_eq!(all.map(|part| part.sequences().len()), expected, "{count}");
            let of = |part: &CalibrationDataset| part.sequences().iter().map(|s| s[0]).collect::<Vec<u32>>();
            assert!(of(&learn).iter().all(|sequence| of(&tune).contains(sequence)));
            let mut seen = [of(&tune), of(&decide), of(&held_out)].concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
            let alone = |pair: &[u32]| pair[0] + 1 != pair[1];
            assert!(of(&held_out).windows(2).filter(|pair| alone(pair)).count() < STRETCHES, "{count}");
        }
        let two = CalibrationDataset::from_sequences(vec![vec![1], vec![2]]).expect("one length");
        assert!(Parts::of(&two, Counts { calibration: 1, evaluation: 1, further: 0 }).is_err());
    }
}
