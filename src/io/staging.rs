//! Output folders that appear whole or not at all, and outlive the program that fills them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::destination::check_destination;
use crate::error::{Error, Result};

/// A folder that is filled beside its final name and renamed when it is complete. For the destination `NAME` it lies
/// in `.NAME.partial`, with
///
/// | name | what |
/// | --- | --- |
/// | `model` | the folder to fill |
/// | `journal` | what of it is finished, for whoever keeps a [`super::Journal`] |
/// | `state` | files that the journal tells of and the finished folder does not hold, if there are any |
/// | `lock` | held by the one process at work; it marks the folder as ours |
/// | `replaced` | the folder that had the name, from when it is put aside until the new one has its place |
///
/// `model` is made before the journal and goes away by its renaming only, so a journal without it tells that the
/// folder has its final name. Dropped before [`Self::commit`], all of it is removed unless it is to be kept.
///
/// ```no_run
/// use bitsmith::io::Staging;
/// let staging = Staging::create("out/model-w4".as_ref(), false)?;
/// std::fs::write(staging.path().join("config.json"), "{}").unwrap();
/// staging.commit()?;
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Debug)]
pub struct Staging {
    partial: PathBuf,
    model: PathBuf,
    destination: PathBuf,
    /// The file of the folder that alone becomes `destination`, if it is not the whole folder.
    file: Option<&'static str>,
    force: bool,
    keep: bool,
    notes: Vec<String>,
    /// Held as long as this lives.
    lock: Option<File>,
}

const MODEL: &str = "model";
const JOURNAL: &str = "journal";
const STATE: &str = "state";
const LOCK: &str = "lock";
const REPLACED: &str = "replaced";

impl Staging {
    /// Prepares the folder that will be `destination`; what an earlier process left unfinished is thrown away. With
    /// `force`, a model folder of that name may exist and is replaced when the new one is complete.
    ///
    /// # Errors
    /// [`Error::Config`] if the name is unusable, taken, taken by something that is no model folder, or being made by
    /// another process; [`Error::Io`] if the parent folder cannot be written.
    pub fn create(destination: &Path, force: bool) -> Result<Self> {
        Self::create_for(destination, None, force)
    }

    /// As [`Self::create`], but of all that is put into the folder only this file remains, under the name of `destination`;
    /// with `force` a file that begins with the same four bytes may have the name.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_file(destination: &Path, file: &'static str, force: bool) -> Result<Self> {
        Self::create_for(destination, Some(file), force)
    }

    fn create_for(destination: &Path, file: Option<&'static str>, force: bool) -> Result<Self> {
        let mut staging = Self::open(destination, file, force)?;
        if staging.journal().exists() {
            staging.notes.push(format!("note: an unfinished run in {} was thrown away", staging.partial.display()));
            remove(&staging.journal())?;
            sync_folder(&staging.partial)?;
        }
        remove(&staging.state())?;
        remove(&staging.model)?;
        staging.make()
    }

    /// As [`Self::create`], but goes on with what an earlier process left, and keeps it when dropped; whether there is
    /// something is for the journal to say.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn resume(destination: &Path, force: bool) -> Result<Self> {
        let mut staging = Self::open(destination, None, force)?;
        staging.keep = staging.journal().exists();
        staging.make()
    }

    fn make(self) -> Result<Self> {
        fs::create_dir_all(&self.model).map_err(|e| Error::io(&self.model, e))?;
        self.sync()?;
        Ok(self)
    }

    /// Waits until the disk has the names of all files in it; their content is for whoever writes them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        [self.model.as_path(), self.partial.as_path(), parent(&self.destination)].into_iter().try_for_each(sync_folder)
    }

    /// Takes the lock, then repairs what a process left that was killed while it renamed.
    fn open(destination: &Path, file: Option<&'static str>, force: bool) -> Result<Self> {
        let Some(name) = destination.file_name() else {
            let detail = format!("`{}` names no folder; give a name for the new one", destination.display());
            return Err(Error::config("output folder", detail));
        };
        let parent = parent(destination);
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let partial = parent.join(hidden);
        if !partial.exists() {
            check_destination(destination, file, force)?;
            if !parent.is_dir() {
                let detail = format!("its parent folder {} does not exist; create it first", parent.display());
                return Err(Error::config("output folder", detail));
            }
        }
        let lock = lock(&partial, destination)?;
        let mut staging = Self {
            model: partial.join(MODEL),
            destination: destination.to_path_buf(),
            file,
            force,
            keep: true,
            notes: Vec::new(),
            lock: Some(lock),
            partial,
        };
        staging.repair()?;
        // From here on an error leaves what an earlier process saved, and removes what is empty.
        staging.keep = staging.journal().exists();
        check_destination(destination, file, force)?;
        Ok(staging)
    }

    fn repair(&mut self) -> Result<()> {
        let replaced = self.partial.join(REPLACED);
        let (made, old, name) = (self.model.exists(), replaced.exists(), self.destination.exists());
        let published = !made && (name || !self.journal().exists());
        if published {
            return self.clear();
        }
        if old && name {
            let detail = format!(
                "a killed run put an earlier result aside to {}, and something else has its name {}; move it to where \
                 you want it",
                replaced.display(),
                self.destination.display()
            );
            return Err(Error::config("output folder", detail));
        }
        if old {
            fs::rename(&replaced, &self.destination).map_err(|e| Error::io(&replaced, e))?;
            sync_folder(parent(&self.destination))?;
            tracing::warn!("{} was put back: a run was killed while it replaced it", self.destination.display());
        }
        Ok(())
    }

    /// Removes all but the lock; the journal goes first, so that a kill in between leaves nothing to put back.
    fn clear(&self) -> Result<()> {
        remove(&self.journal())?;
        sync_folder(&self.partial)?;
        remove(&self.journal().with_extension("new"))?;
        remove(&self.state())?;
        remove(&self.partial.join(REPLACED))?;
        remove(&self.model)
    }

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        &self.model
    }

    /// The file for a journal.
    pub fn journal(&self) -> PathBuf {
        self.partial.join(JOURNAL)
    }

    /// The folder for what a later process needs to go on and the finished folder does not hold; whoever uses it makes it.
    pub fn state(&self) -> PathBuf {
        self.partial.join(STATE)
    }

    /// The folder that holds all of it until it is complete.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// What was done with what an earlier process left, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether what is there stays when this is dropped.
    pub fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// Waits until the disk has all files, then gives the folder its final name. A folder that is replaced is put
    /// aside first and put back if the renaming fails; if the program is killed between the two, the next one to work
    /// on this destination puts it back.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] if the name was taken in the meantime.
    pub fn commit(mut self) -> Result<()> {
        sync_tree(&self.model)?;
        check_destination(&self.destination, self.file, self.force)?;
        if let Some(file) = self.file {
            fs::rename(self.model.join(file), &self.destination).map_err(|e| Error::io(&self.destination, e))?;
            self.keep = false;
            return sync_folder(parent(&self.destination));
        }
        let aside = self.partial.join(REPLACED);
        let (replaces, keep) = (self.destination.exists(), self.keep);
        if replaces {
            // Until one of the two has its place, nothing may remove the one that was put aside.
            self.keep = true;
            fs::rename(&self.destination, &aside).map_err(|e| Error::io(&self.destination, e))?;
        }
        if let Err(error) = fs::rename(&self.model, &self.destination) {
            if replaces {
                fs::rename(&aside, &self.destination).map_err(|e| Error::io(&aside, e))?;
            }
            self.keep = keep;
            return Err(Error::io(&self.destination, error));
        }
        sync_folder(parent(&self.destination))?;
        self.keep = false;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // The lock goes last: whoever waits for it must not find half of the rest.
        let lock = self.partial.join(LOCK);
        let removed = self.clear().and_then(|()| {
            #[cfg(windows)]
            drop(self.lock.take());
            remove(&lock)?;
            fs::remove_dir(&self.partial).map_err(|e| Error::io(&self.partial, e))
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "an unfinished folder could not be removed");
        }
        self.lock = None;
    }
}

/// Takes the lock in `partial`, which is made where it is missing.
fn lock(partial: &Path, destination: &Path) -> Result<File> {
    /// Each time the holder may have finished and removed the folder under us.
    const ATTEMPTS: usize = 100;
    let path = partial.join(LOCK);
    for _ in 0..ATTEMPTS {
        match fs::create_dir(partial) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let mut entries = fs::read_dir(partial).map_err(|e| Error::io(partial, e))?;
                if !path.exists() && entries.next().is_some() {
                    let detail = "is not a folder that bitsmith left (it has no `lock`); remove it yourself";
                    return Err(Error::config("output folder", format!("{} {detail}", partial.display())));
                }
            }
            made => made.map_err(|e| Error::io(partial, e))?,
        }
        let file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            opened => opened.map_err(|e| Error::io(&path, e))?,
        };
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(path = %path.display(), %error, "cannot lock: do not start a second run here");
                return Ok(file);
            }
        }
    }
    let detail =
        format!("{} is being made by another process; wait for it, or give another name", destination.display());
    Err(Error::config("output folder", detail))
}

/// Whether `path` still names the file that was opened there.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (held, named) = (file.metadata().map(identity).ok(), fs::metadata(path).map(identity).ok());
        held.is_some() && held == named
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Removes a file or a folder with all it holds, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Waits until the disk has every file below `folder`.
fn sync_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            // Windows wants a writable handle for this; elsewhere a copied file may be read-only.
            let file = fs::OpenOptions::new().read(true).write(cfg!(windows)).open(&path);
            let file = file.map_err(|e| Error::io(&path, e))?;
            file.sync_all().map_err(|e| Error::io(&path, e))?;
        }
    }
    sync_folder(folder)
}

/// Waits until the disk has the entries of `folder`, where the system can do that.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io(folder, e))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
