//! Names of contents: git's for small files, SHA-256 for large ones, which git knows by a pointer.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::error::{Error, Result};

/// The SHA-256 of a file.
pub(super) fn sha256(path: &Path) -> Result<String> {
    digest(Sha256::new(), path)
}

/// What git calls a file of this length.
pub(super) fn git_name(path: &Path, length: u64) -> Result<String> {
    digest(Sha1::new_with_prefix(format!("blob {length}\0")), path)
}

/// What git calls the pointer to a large file.
pub(super) fn pointer_name(sha256: &str, length: u64) -> String {
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {length}\n");
    hex(&Sha1::new_with_prefix(format!("blob {}\0{pointer}", pointer.len())).finalize())
}

/// Whether this is a SHA-256 in hexadecimal.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

/// Whether this is a name that git gives.
pub(super) fn is_git_name(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// Whether a file begins as web pages do. A proxy or a login page answers with one, whatever it is asked.
pub(super) fn is_web_page(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    let begins = |text: &str| start.get(..text.len()).is_some_and(|s| s.eq_ignore_ascii_case(text.as_bytes()));
    begins("<!doctype html") || begins("<html")
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn digest(mut digest: impl Digest, path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|e| Error::io(path, e))? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `git hash-object` and `sha256sum` print them.
    #[test]
    fn names_are_those_of_git() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "hello\n").expect("a file");
        assert_eq!(git_name(&path, 6).expect("readable"), "ce013625030ba8dba906f756967f9e9ca394464a");
        let sha256 = sha256(&path).expect("readable");
        assert_eq!(sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        assert_eq!(pointer_name(&sha256, 6), "fa61e1ef71c9908c0926776a4aa3504b3a27f159");
    }

    #[test]
    fn web_pages_are_told_from_other_files() {
        assert!(is_web_page(b"\n <!DOCTYPE HTML><title>Sign in</title>") && is_web_page(b"<html>"));
        assert!(!is_web_page(b"{}") && !is_web_page(b"<") && !is_web_page(b""));
    }
}
