//! Small files, read and written whole.

use std::io::{Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// The content of `path`, which must be a regular file of at most `limit` bytes.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !metadata.is_file() {
        return Err(Error::format(path, "is not a regular file"));
    }
    let too_large = |wanted| Error::Limit { what: path.display().to_string(), wanted, allowed: limit };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut bytes = Vec::new();
    // A file may grow between the two calls.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// As [`read_limited`], for a file of UTF-8 text. The error names the byte where it stops being text.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    utf8(path, read_limited(path, limit)?)
}

/// The text that the content of a file is.
pub fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        Error::format(path, format!("is not UTF-8 text: byte {offset} begins no valid character"))
    })
}

/// Writes a file aside and gives it its name when the disk has it. What was there before is still there if that fails.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-");
    // The temporary file becomes the final one, so it gets the permissions of any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let write = || {
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|e: std::io::Error| Error::io(path, e))
}
