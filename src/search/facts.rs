//! What a search found out, on disk: measurements, and codes that were made. A search that was killed asks the same
//! questions again and is given the same answers, so that it ends with the same result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Measured;
use super::codes_file::{read_codes, write_codes};
use crate::error::{Error, Result};
use crate::export::CodesFrom;
use crate::io::{Checksum, Digest, Journal, Recovered, sync_folder};
use crate::quant::{NamedLayer, QuantizedLayer};
use crate::scheme::Scheme;

/// The codes of a layer, as they lie on the disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    file: String,
    digest: Digest,
    /// What they mean.
    pub(super) scheme: Scheme,
    /// How they were chosen.
    pub(super) from: CodesFrom,
}

/// The codes of some layers of a model, by module path; all others are as in the original. To go back to an earlier state
/// is to keep it: files are never changed.
pub(super) type State = BTreeMap<String, Made>;

/// A checksum of the codes of layers that `chosen` picks.
pub(super) fn digest(state: &State, chosen: impl Fn(&str) -> bool) -> Digest {
    let mut checksum = Checksum::default();
    for (path, made) in state.iter().filter(|(path, _)| chosen(path)) {
        checksum.update(format!("{path} {}\n", made.digest).as_bytes());
    }
    checksum.finish()
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fact {
    Measured(Measured),
    Numbers(Vec<f64>),
    Codes(State),
}

/// A line of the journal: question and answer.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    fact: Fact,
}

/// All answers.
#[derive(Debug)]
pub(super) struct Facts {
    folder: PathBuf,
    journal: Journal,
    known: BTreeMap<String, Fact>,
    files: usize,
}

const JOURNAL: &str = "facts.journal";

impl Facts {
    /// Those in a folder, or with `resume` unset none. Whether they are of this search is for the caller to know.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn open(folder: &Path, resume: bool) -> Result<Self> {
        let path = folder.join(JOURNAL);
        if !resume && folder.exists() {
            std::fs::remove_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let Recovered { entries, .. } = Journal::read::<(), Line>(&path)?;
        // What the disk no longer holds as it was written is made again.
        let whole = |made: &Made| read_codes(&folder.join(&made.file), made.digest).is_ok();
        let entries: Vec<Line> = entries
            .into_iter()
            .filter(|line| !matches!(&line.fact, Fact::Codes(state) if !state.values().all(whole)))
            .collect();
        let journal = Journal::create(&path, &(), &entries)?;
        let files = 1 + std::fs::read_dir(folder).map_or(0, Iterator::count);
        let known = entries.into_iter().map(|line| (line.key, line.fact)).collect();
        Ok(Self { folder: folder.to_path_buf(), journal, known, files: 1000 * files })
    }

    /// Whether nothing was found out yet.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// A measurement, if it was made.
    pub(super) fn measured(&self, key: &str) -> Option<Measured> {
        match self.known.get(key) {
            Some(Fact::Measured(measured)) => Some(*measured),
            _ => None,
        }
    }

    /// Numbers, if they were computed.
    pub(super) fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        match self.known.get(key) {
            Some(Fact::Numbers(numbers)) => Some(numbers.clone()),
            _ => None,
        }
    }

    /// Codes, if they were made.
    pub(super) fn codes(&self, key: &str) -> Option<State> {
        match self.known.get(key) {
            Some(Fact::Codes(state)) => Some(state.clone()),
            _ => None,
        }
    }

    /// Keeps a measurement.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn keep_measured(&mut self, key: String, measured: Measured) -> Result<()> {
        self.keep(key, Fact::Measured(measured))
    }

    /// Keeps numbers.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn keep_numbers(&mut self, key: String, numbers: Vec<f64>) -> Result<()> {
        self.keep(key, Fact::Numbers(numbers))
    }

    /// Keeps codes; on return the disk has them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn keep_codes(&mut self, key: String, from: CodesFrom, layers: &[NamedLayer]) -> Result<State> {
        let mut state = State::new();
        for NamedLayer { path, layer } in layers {
            let file = format!("{}.codes", self.files);
            self.files += 1;
            let digest = write_codes(&self.folder.join(&file), layer)?;
            state.insert(path.clone(), Made { file, digest, scheme: layer.weight.scheme, from });
        }
        sync_folder(&self.folder)?;
        self.keep(key, Fact::Codes(state.clone()))?;
        self.journal.unsynced()?.sync()?;
        Ok(state)
    }

    fn keep(&mut self, key: String, fact: Fact) -> Result<()> {
        let line = Line { key, fact };
        self.journal.append(&line)?;
        self.known.insert(line.key, line.fact);
        Ok(())
    }

    /// The codes of a layer.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if the disk does not hold what was saved.
    pub(super) fn read(&self, made: &Made) -> Result<QuantizedLayer> {
        read_codes(&self.folder.join(&made.file), made.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::WeightError;
    use crate::{PackedTensor, QuantizedTensor};

    fn layer(codes: Vec<u8>) -> NamedLayer {
        let scheme = "w4g16s".parse().expect("a scheme");
        let weight = QuantizedTensor::new(scheme, 1, codes.len(), codes, vec![0.5], None).expect("it fits");
        let layer = QuantizedLayer { weight: PackedTensor::pack(&weight), error: WeightError::default() };
        NamedLayer { path: "a".into(), layer }
    }

    #[test]
    fn answers_outlive_the_process_and_damage_is_asked_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |resume| Facts::open(&folder.path().join("facts"), resume).expect("a place");
        let mut facts = open(false);
        let measured = Measured::of(&[1.0 / 3.0], &[0.25], &[0.125], 1);
        facts.keep_measured("m".into(), measured).expect("room");
        facts.keep_numbers("n".into(), vec![1.0 / 3.0]).expect("room");
        let first = facts.keep_codes("c".into(), CodesFrom::Rtn, &[layer(vec![8, 9])]).expect("room");
        let second = facts.keep_codes("d".into(), CodesFrom::Learned, &[layer(vec![3, 4])]).expect("room");
        assert_ne!(digest(&first, |_| true), digest(&second, |_| true));
        assert_eq!(digest(&first, |_| false), digest(&second, |_| false));
        drop(facts);
        let facts = open(true);
        assert_eq!((facts.measured("m"), facts.numbers("n")), (Some(measured), Some(vec![1.0 / 3.0])));
        assert_eq!((facts.codes("c"), facts.known.len(), facts.measured("n")), (Some(first.clone()), 4, None));
        assert_eq!(facts.read(&first["a"]).expect("it is whole").weight, layer(vec![8, 9]).layer.weight);
        std::fs::write(facts.folder.join(&second["a"].file), b"damaged").expect("room");
        drop(facts);
        let facts = open(true);
        assert_eq!((facts.codes("c").is_some(), facts.codes("d").is_none()), (true, true));
        drop(facts);
        assert_eq!(open(false).known.len(), 0);
    }
}
