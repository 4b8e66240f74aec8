//! What a long piece of work has finished, one line at a time, so that it can go on after it was killed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checksum::Checksum;
use super::file::read_limited;
use super::unsynced::Unsynced;
use crate::error::{Error, Result};

/// A larger journal is refused unread: ten thousand finished layers make some 5 MB.
const MAX_BYTES: u64 = 256 << 20;

/// A file of lines, each `CHECKSUM JSON`: the head says what the work is, each entry says what of it is done. A line
/// that is cut off or damaged does not count.
///
/// An entry may be written before what it tells of has reached the disk, so it must name a checksum of that.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

/// What is left of a journal.
#[derive(Debug, PartialEq)]
pub struct Recovered<H, E> {
    /// What the work was; none if that line does not count.
    pub head: Option<H>,
    /// What is done, as far as lines count.
    pub entries: Vec<E>,
    /// Lines that do not count although others follow: damage, not a write that was cut off.
    pub damaged: usize,
}

impl Journal {
    /// Starts a journal at `path` with these lines; one that is there is replaced, in one step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create<E: Serialize>(path: &Path, head: &impl Serialize, entries: &[E]) -> Result<Self> {
        let mut text = line(path, head)?;
        for entry in entries {
            text.push_str(&line(path, entry)?);
        }
        let fresh = path.with_extension("new");
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|e| Error::io(&fresh, e))?;
        std::fs::rename(&fresh, path).map_err(|e| Error::io(path, e))?;
        let file = OpenOptions::new().append(true).open(path).map_err(|e| Error::io(path, e))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Reads what a journal holds. Without one there is nothing.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Limit`].
    pub fn read<H: DeserializeOwned, E: DeserializeOwned>(path: &Path) -> Result<Recovered<H, E>> {
        let bytes = match read_limited(path, MAX_BYTES) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let head = lines.next().and_then(content);
        let (mut entries, mut damaged, mut pending) = (Vec::new(), 0, 0);
        for line in lines {
            match content(line) {
                Some(entry) => {
                    entries.push(entry);
                    damaged += std::mem::take(&mut pending);
                }
                None => pending += 1,
            }
        }
        Ok(Recovered { head, entries, damaged })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, entry: &impl Serialize) -> Result<()> {
        let line = line(&self.path, entry)?;
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io(&self.path, e))
    }

    /// The lines so far, to wait for the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unsynced(&self) -> Result<Unsynced> {
        Unsynced::new(&self.path, &self.file)
    }
}

/// JSON has no line breaks outside strings, and inside they are escaped.
fn line(path: &Path, content: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(content).map_err(|e| Error::format(path, e.to_string()))?;
    Ok(format!("{} {json}\n", Checksum::of(json.as_bytes())))
}

/// The content of a line that is whole and undamaged.
fn content<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (checksum, json) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    if checksum.parse() != Ok(Checksum::of(json.as_bytes())) {
        return None;
    }
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_cut_off_or_damaged_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let read = || Journal::read::<String, f64>(&path).unwrap();
        assert_eq!(read(), Recovered { head: None, entries: vec![], damaged: 0 });

        // Numbers come back to the last bit.
        let values = [1.0 / 3.0, 2.225_073_858_507_201e-308, 123_456.789_012_345_67];
        let mut journal = Journal::create(&path, &"a\nhead", &values[..1]).unwrap();
        values[1..].iter().for_each(|value| journal.append(value).unwrap());
        journal.unsynced().unwrap().sync().unwrap();
        assert_eq!(read(), Recovered { head: Some("a\nhead".into()), entries: values.to_vec(), damaged: 0 });

        let bytes = std::fs::read(&path).unwrap();
        let ends: Vec<_> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count();
            let read = read();
            assert_eq!((read.head.is_some(), read.entries.len(), read.damaged), (whole > 0, whole.max(1) - 1, 0));
        }
        for at in ends[0]..ends[1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            let read = read();
            assert!(read.entries.len() < values.len() && read.entries.iter().all(|value| values[1..].contains(value)));
            assert_eq!(read.damaged, 1, "byte {at}");
        }
    }
}
