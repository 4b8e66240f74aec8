//! Output folders that appear whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::config::CONFIG_FILE;
use crate::error::{Error, Result};

/// A folder that is filled under a temporary name beside its final one and renamed when it is complete. Dropped
/// before [`Self::commit`], it is removed with all it holds.
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
    folder: TempDir,
    destination: PathBuf,
    force: bool,
}

impl Staging {
    /// Prepares the folder that will be `destination`. With `force`, a model folder of that name may exist and is
    /// replaced when the new one is complete.
    ///
    /// # Errors
    /// [`Error::Config`] if the name is unusable, taken, or taken by something that is no model folder;
    /// [`Error::Io`] if the parent folder cannot be written.
    pub fn create(destination: &Path, force: bool) -> Result<Self> {
        let Some(name) = destination.file_name() else {
            let detail = format!("`{}` names no folder; give a name for the new one", destination.display());
            return Err(Error::config("output folder", detail));
        };
        check_destination(destination, force)?;
        let parent = parent(destination);
        if !parent.is_dir() {
            let detail = format!("its parent folder {} does not exist; create it first", parent.display());
            return Err(Error::config("output folder", detail));
        }
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".partial-");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        // The temporary folder becomes the final one, so it gets the permissions of any new folder.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let folder = builder.tempdir_in(parent).map_err(|e| Error::io(parent, e))?;
        Ok(Self { folder, destination: destination.to_path_buf(), force })
    }

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until the disk has all files, then gives the folder its final name. A folder that is replaced is put
    /// aside first and put back if the renaming fails.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] if the name was taken in the meantime.
    pub fn commit(self) -> Result<()> {
        sync_tree(self.path())?;
        check_destination(&self.destination, self.force)?;
        let replaced = self.destination.exists().then(|| self.replaced_path());
        if let Some(aside) = &replaced {
            fs::rename(&self.destination, aside).map_err(|e| Error::io(&self.destination, e))?;
        }
        if let Err(error) = fs::rename(self.path(), &self.destination) {
            if let Some(aside) = &replaced {
                fs::rename(aside, &self.destination).map_err(|e| Error::io(aside, e))?;
            }
            return Err(Error::io(&self.destination, error));
        }
        // Nothing is left under the temporary name.
        let _ = self.folder.keep();
        sync_folder(parent(&self.destination))?;
        if let Some(aside) = replaced
            && let Err(error) = fs::remove_dir_all(&aside)
        {
            tracing::warn!(folder = %aside.display(), %error, "the replaced folder could not be removed");
        }
        Ok(())
    }

    /// Where a replaced folder is put aside: the temporary name, whose random part keeps it unique, with an ending.
    fn replaced_path(&self) -> PathBuf {
        let mut path = self.path().as_os_str().to_os_string();
        path.push(".replaced");
        path.into()
    }
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Refuses a destination that exists, or with `force` one that is no model folder.
fn check_destination(destination: &Path, force: bool) -> Result<()> {
    let refuse = |detail: &str| Err(Error::config("output folder", format!("{} {detail}", destination.display())));
    let metadata = match fs::symlink_metadata(destination) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(destination, e)),
    };
    if metadata.is_symlink() {
        return refuse("is a symbolic link; give the folder itself");
    }
    if !metadata.is_dir() {
        return refuse("is a file; give another name");
    }
    if !force {
        return refuse("exists; give another name, or replace it with --force");
    }
    let (mut config, mut weights, mut empty) = (false, false, true);
    for entry in fs::read_dir(destination).map_err(|e| Error::io(destination, e))? {
        let name = entry.map_err(|e| Error::io(destination, e))?.file_name();
        config |= name == CONFIG_FILE;
        weights |= Path::new(&name).extension().is_some_and(|e| e == "safetensors");
        empty = false;
    }
    if empty || (config && weights) {
        return Ok(());
    }
    refuse("is no model folder (config.json and safetensors); --force does not delete it: remove it yourself")
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
fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io(folder, e))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
