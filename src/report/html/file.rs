//! The file of a report: known to be writable before the work, whole when it appears.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::replace;

/// The setting that errors name.
const FIELD: &str = "report";
/// How every report begins.
const BEGINNING: &[u8] = b"<!DOCTYPE html>";

/// A place for a report, checked before the work that it will tell of.
///
/// ```
/// use bitsmith::report::html::ReportFile;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("report.html");
/// let file = ReportFile::check(&path)?;
/// // … the work …
/// file.write("<!DOCTYPE html><title>Done</title>")?;
/// assert!(path.exists());
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReportFile {
    path: PathBuf,
}

impl ReportFile {
    /// Makes sure that a report can be written to `path`. An earlier page of that name will be replaced; anything else
    /// will not.
    ///
    /// # Errors
    /// [`Error::Config`] for a folder, for a file that is no HTML page, and for a place where no file can be made.
    pub fn check(path: &Path) -> Result<Self> {
        let refuse = |detail: String| Err(Error::config(FIELD, format!("{} {detail}", path.display())));
        // A link leads to the file that is meant.
        let path = match fs::canonicalize(path) {
            Ok(target) => {
                if !target.is_file() {
                    return refuse("is no file; give the name of a file, such as report.html".to_owned());
                }
                if !is_page(&target).map_err(|e| Error::config(FIELD, format!("{}: {e}", path.display())))? {
                    return refuse("exists and is no HTML page; give another name".to_owned());
                }
                target
            }
            Err(e) if e.kind() == ErrorKind::NotFound => path.to_path_buf(),
            Err(e) => return refuse(format!("cannot be written: {e}")),
        };
        let folder = match path.parent() {
            _ if path.file_name().is_none() => return refuse("names no file".to_owned()),
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            return refuse(format!("cannot be written: there is no folder {}; create it first", folder.display()));
        }
        match tempfile::tempfile_in(&folder) {
            Ok(_) => Ok(Self { path }),
            Err(e) => refuse(format!("cannot be written: {e}")),
        }
    }

    /// Writes the page under a temporary name and renames it when the disk has it.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there before is still there then.
    pub fn write(&self, html: &str) -> Result<()> {
        replace(&self.path, html.as_bytes())
    }
}

/// Whether a file is empty or begins as a page does.
fn is_page(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(BEGINNING.len() as u64).read_to_end(&mut start)?;
    Ok(start.is_empty() || start.eq_ignore_ascii_case(BEGINNING))
}
