//! The codes that a search accepted, on disk, and the journal of its steps: a kill costs one step.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codes_file::{read_codes, write_codes};
use crate::error::{Error, Result};
use crate::export::{SearchRecord, SearchStep};
use crate::io::{Digest, Journal, Recovered, sync_folder};
use crate::quant::{Fingerprint, NamedLayer, QuantizedLayer, STATE_JOURNAL, may_pass};
use crate::scheme::Scheme;

/// A folder with the codes of every layer as a search last accepted them, one file each, and the journal of all that it tried.
///
/// Codes are written under a new name, and the disk has them before the journal tells of them, so whatever a kill leaves is the
/// state after some step. Layers are read one at a time. A step that is rolled back leaves the files as they were.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path().join("state");
/// use bitsmith::op::WeightError;
/// use bitsmith::quant::{Fingerprint, NamedLayer, QuantizedLayer};
/// use bitsmith::search::AcceptedStore;
/// use bitsmith::{PackedTensor, QuantizedTensor};
/// # use bitsmith::export::{CodesFrom, Method, SearchPhase, SearchQuality, SearchStep};
/// # let method = Method { name: "gradual".into(), settings: serde_json::json!({}) };
/// # let (bitsmith, device, format, plan) = ("1".into(), "cpu".into(), "f".into(), Default::default());
/// # let config = bitsmith::io::Checksum::of(b"{}");
/// # let fingerprint = Fingerprint { bitsmith, method, plan, format, shard_size: 1, device, config, calibration: None, files: vec![] };
/// # let measured = SearchQuality::new(4.0, 0.01);
/// # let step = SearchStep { phase: SearchPhase::Walk, layers: vec!["a".into()], from: None, to: "w4g16s".parse()?,
/// #     codes: CodesFrom::Rtn, predicted: None, measured, bytes: 8, rolled_back: None };
/// let weight = PackedTensor::pack(&QuantizedTensor::new("w4g16s".parse()?, 1, 2, vec![8, 9], vec![0.5], None)?);
/// let layer = QuantizedLayer { weight: weight.clone(), error: WeightError::default() };
/// let mut store = AcceptedStore::open(&folder, &fingerprint, false)?;
/// store.accept(step, &[NamedLayer { path: "a".into(), layer }])?;
/// drop(store);
/// let store = AcceptedStore::open(&folder, &fingerprint, true)?;
/// assert_eq!((store.steps().len(), store.layer("a")?.unwrap().weight), (1, weight));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct AcceptedStore {
    folder: PathBuf,
    journal: Journal,
    /// File and checksum of each layer that was accepted.
    codes: BTreeMap<String, Codes>,
    steps: Vec<SearchStep>,
    finished: Option<SearchRecord>,
    notes: Vec<String>,
    /// Held as long as this lives.
    _lock: File,
}

/// Where the codes of a layer are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Codes {
    file: String,
    digest: Digest,
    scheme: Scheme,
}

/// A line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    /// Something was tried; codes are there if it was accepted.
    Step { step: Box<SearchStep>, codes: BTreeMap<String, Codes> },
    /// All of it is done.
    Finished(Box<SearchRecord>),
}

const LOCK: &str = "lock";
/// Ends of the names of files with codes.
const CODES: &str = "codes";

impl AcceptedStore {
    /// Starts a store in a folder, or with `resume` goes on with the one that is there. Without `resume`, what an earlier search
    /// left is thrown away.
    ///
    /// # Errors
    /// [`Error::Config`] if another process works in the folder, if the folder is not ours, or if what is to be gone on with has
    /// another fingerprint; [`Error::Format`] that names a file that is not as it was saved; [`Error::Io`].
    pub fn open(folder: &Path, fingerprint: &Fingerprint, resume: bool) -> Result<Self> {
        let path = folder.join(STATE_JOURNAL);
        if folder.exists() && !path.exists() && !is_empty(folder)? {
            let detail = "is not a folder that bitsmith left (it has no journal); remove it yourself";
            return Err(Error::config("output folder", format!("{} {detail}", folder.display())));
        }
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let lock = lock(folder)?;
        let mut notes = Vec::new();
        let (mut codes, mut steps, mut finished) = (BTreeMap::new(), Vec::new(), None);
        if resume && path.exists() {
            let Recovered { head, entries, damaged } = Journal::read::<Value, Entry>(&path)?;
            fingerprint.expect(head, folder)?;
            if damaged > 0 {
                // Steps build on each other: without one of them the rest cannot be trusted.
                let detail = format!("{damaged} lines are damaged; start again without --resume");
                return Err(Error::format(&path, detail));
            }
            for entry in &entries {
                match entry {
                    Entry::Step { step, codes: changed } => {
                        steps.push((**step).clone());
                        codes.extend(changed.clone());
                    }
                    Entry::Finished(record) => finished = Some((**record).clone()),
                }
            }
            for Codes { file, digest, .. } in codes.values() {
                read_codes(&folder.join(file), *digest)?;
            }
            // A last line that was cut off is not appended to.
            let journal = Journal::create(&path, fingerprint, &entries)?;
            let store = Self { folder: folder.to_path_buf(), journal, codes, steps, finished, notes, _lock: lock };
            store.sweep()?;
            return Ok(store);
        }
        if resume {
            notes.push("note: there was no search to resume; it started from the beginning".to_owned());
        }
        let journal = Journal::create::<Entry>(&path, fingerprint, &[])?;
        let store = Self { folder: folder.to_path_buf(), journal, codes, steps, finished, notes, _lock: lock };
        store.sweep()?;
        sync_folder(folder)?;
        Ok(store)
    }

    /// Saves the codes of layers that a step changed; those that they had go away. On return the disk has all of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn accept(&mut self, step: SearchStep, layers: &[NamedLayer]) -> Result<()> {
        let mut codes = BTreeMap::new();
        for (index, NamedLayer { path, layer }) in layers.iter().enumerate() {
            let file = format!("{}-{index}.{CODES}", self.steps.len());
            let digest = write_codes(&self.folder.join(&file), layer)?;
            codes.insert(path.clone(), Codes { file, digest, scheme: layer.weight.scheme });
        }
        sync_folder(&self.folder)?;
        self.append(&Entry::Step { step: Box::new(step.clone()), codes: codes.clone() })?;
        self.steps.push(step);
        for (path, codes) in codes {
            if let Some(old) = self.codes.insert(path, codes) {
                let old = self.folder.join(old.file);
                fs::remove_file(&old).map_err(|e| Error::io(&old, e))?;
            }
        }
        Ok(())
    }

    /// Notes a step that was rolled back.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reject(&mut self, step: SearchStep) -> Result<()> {
        self.append(&Entry::Step { step: Box::new(step.clone()), codes: BTreeMap::new() })?;
        self.steps.push(step);
        Ok(())
    }

    /// Notes that the search is done.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self, record: &SearchRecord) -> Result<()> {
        self.append(&Entry::Finished(Box::new(record.clone())))?;
        self.finished = Some(record.clone());
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<()> {
        self.journal.append(entry)?;
        self.journal.unsynced()?.sync()
    }

    /// The codes of a layer as they were last accepted; none for a layer that is as in the original.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if the disk does not hold what was saved.
    pub fn layer(&self, path: &str) -> Result<Option<QuantizedLayer>> {
        self.codes.get(path).map(|codes| read_codes(&self.folder.join(&codes.file), codes.digest)).transpose()
    }

    /// Paths and schemes of the layers that were accepted.
    pub fn schemes(&self) -> impl ExactSizeIterator<Item = (&str, Scheme)> {
        self.codes.iter().map(|(path, codes)| (path.as_str(), codes.scheme))
    }

    /// All that was tried.
    pub fn steps(&self) -> &[SearchStep] {
        &self.steps
    }

    /// The record of the search, if it was done before.
    pub fn finished(&self) -> Option<&SearchRecord> {
        self.finished.as_ref()
    }

    /// What a user should know, one a line.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How a search that failed ends: what may succeed later keeps the folder and says so; otherwise the folder goes. `total` is
    /// the number of layers to quantize.
    pub fn failed(self, cause: Error, total: usize) -> Error {
        if may_pass(&cause) {
            let (cause, finished) = (Box::new(cause), self.codes.len());
            return Error::Unfinished { cause, finished, total, folder: self.folder };
        }
        // Whatever may be left of it is replaced by the next search.
        let _ = fs::remove_dir_all(&self.folder);
        cause
    }

    /// Removes files of codes that the journal does not tell of.
    fn sweep(&self) -> Result<()> {
        let folder = &self.folder;
        for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let path = entry.map_err(|e| Error::io(folder, e))?.path();
            let known =
                self.codes.values().any(|codes| path.file_name().is_some_and(|name| name == codes.file.as_str()));
            if path.extension().is_some_and(|end| end == CODES) && !known {
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        Ok(())
    }
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(fs::read_dir(folder).map_err(|e| Error::io(folder, e))?.next().is_none())
}

/// Keeps other processes out of a folder.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| Error::io(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let detail = format!("another process searches in {}; wait for it, or give another name", folder.display());
            Err(Error::config("output folder", detail))
        }
        Err(TryLockError::Error(error)) => {
            tracing::warn!(path = %path.display(), %error, "cannot lock: do not start a second run here");
            Ok(file)
        }
    }
}
