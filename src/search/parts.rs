//! What the sequences of a search are for.

use crate::calib::CalibrationDataset;
use crate::error::{Error, Result};

/// Of the sequences that are quantized on, each of this number decides on steps instead.
const DECIDING: usize = 5;

/// Sequences by their use. None is in two parts.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// To learn codes from.
    pub(super) learn: CalibrationDataset,
    /// To measure single layers and steps on.
    pub(super) decide: CalibrationDataset,
    /// To measure whole models on.
    pub(super) held_out: CalibrationDataset,
}

impl Parts {
    /// Divides sequences so that each part lies evenly over the text: held out is the share that `evaluation` sequences
    /// are of `calibration + evaluation`.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than three sequences.
    pub(super) fn of(data: &CalibrationDataset, calibration: usize, evaluation: usize) -> Result<Self> {
        let count = data.sequences().len();
        if count < 3 {
            let detail = format!("{count}, but a search divides them into three parts; take at least 3, 192 are usual");
            return Err(Error::config("samples", detail));
        }
        // Counts as they are typed may be as large as numbers get.
        let [all, checked] = [calibration as u128 + evaluation as u128, evaluation as u128];
        let share = usize::try_from(count as u128 * checked / all.max(1)).unwrap_or(count);
        let held_out = share.clamp(1, count - 2);
        let (rest, held_out) = apart(data.sequences().to_vec(), held_out);
        let deciding = (rest.len() / DECIDING).max(1);
        let (learn, decide) = apart(rest, deciding);
        let of = CalibrationDataset::from_sequences;
        Ok(Self { learn: of(learn)?, decide: of(decide)?, held_out: of(held_out)? })
    }
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
        for (count, calibration, evaluation, expected) in [
            (192, 128, 64, [103, 25, 64]),
            (3, 128, 64, [1, 1, 1]),
            (20, 1, 1000, [1, 1, 18]),
            (10, 10, 1, [8, 1, 1]),
            (20, usize::MAX, usize::MAX, [8, 2, 10]),
        ] {
            let data =
                CalibrationDataset::from_sequences((0..count).map(|i| vec![i, 7]).collect()).expect("one length");
            let Parts { learn, decide, held_out } = Parts::of(&data, calibration, evaluation).expect("enough");
            let all = [&learn, &decide, &held_out];
            assert_eq!(all.map(|part| part.sequences().len()), expected, "{count}");
            let mut seen: Vec<u32> = all.iter().flat_map(|part| part.sequences()).map(|sequence| sequence[0]).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
        let two = CalibrationDataset::from_sequences(vec![vec![1], vec![2]]).expect("one length");
        assert!(Parts::of(&two, 1, 1).is_err());
    }
}
