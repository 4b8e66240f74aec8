//! One file from the hub into the cache, resumed where an earlier attempt stopped.
//!
//! hf-hub's own download to the cache begins again after an interruption and does not look at the status of the answer
//! that it stores, so only its streams are used here.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use hf_hub::RepoType;

use super::content::{git_name, is_sha256, is_web_page, pointer_name, sha256};
use super::download::{Download, Entry};
use super::failure::{PATIENCE, is_break, patiently};
use super::relay::Event;
use super::store::make_parent;
use crate::error::{Error, Result};

/// How often a file is taken up again after its connection broke, before it is left to the next run.
const RETRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// How often it is looked whether another program has finished the same download.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Why a stream ended early.
enum Fault {
    /// Going on from there may help.
    Broken(Error),
    Final(Error),
}

impl<T: RepoType> Download<'_, T> {
    /// Fetches a file, unless its content is in the cache, and gives it its name there.
    pub(super) async fn transfer(&self, commit: &str, entry: &Entry) -> Result<()> {
        let name = match self.known(entry)? {
            Some(name) => {
                self.tell(Event::Advance(entry.size, entry.path.clone()));
                name
            }
            None => self.download(commit, entry).await?,
        };
        self.request.cache.link(&name, commit, &entry.path)
    }

    /// The name of the content in the cache, if it is there.
    fn known(&self, entry: &Entry) -> Result<Option<String>> {
        let blobs = self.request.cache.blobs();
        let fits = |path: &Path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == entry.size);
        if !entry.pointer {
            return Ok(fits(&blobs.join(&entry.git_name)).then(|| entry.git_name.clone()));
        }
        // Weights often stay as they are from commit to commit.
        let there = match fs::read_dir(&blobs) {
            Ok(there) => there,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(blobs, e)),
        };
        let names =
            there.flatten().filter(|blob| fits(&blob.path())).filter_map(|blob| blob.file_name().into_string().ok());
        Ok(names.into_iter().find(|name| is_sha256(name) && pointer_name(name, entry.size) == entry.git_name))
    }

    /// The name of the content, once it is in the cache.
    async fn download(&self, commit: &str, entry: &Entry) -> Result<String> {
        let cache = &self.request.cache;
        let partial = cache.blobs().join(format!("{}.incomplete", entry.git_name));
        make_parent(&partial)?;
        let _locked = self.lock(entry).await?;
        if let Some(name) = self.known(entry)? {
            return Ok(name);
        }
        let failed = |e| Error::io(&partial, e);
        let mut file = OpenOptions::new().create(true).append(true).open(&partial).map_err(failed)?;
        let name = loop {
            let resumed = self.complete(commit, entry, &mut file, &partial).await?;
            let (name, proven) = self.name(entry, &partial)?;
            // A pointer can be written in other ways, so that a whole download proves itself.
            if proven || (entry.pointer && !resumed) {
                break name;
            }
            file.set_len(0).map_err(failed)?;
            if !resumed {
                let remedy = "run the same again; if it stays so, the hub or a proxy gives out another file";
                return Err(self.asked(Some(&entry.path)).error("what came is not what the hub had announced", remedy));
            }
        };
        file.sync_all().map_err(failed)?;
        drop(file);
        let blob = cache.blobs().join(&name);
        fs::rename(&partial, &blob).map_err(|e| Error::io(&blob, e))?;
        Ok(name)
    }

    /// What the hub calls the content of a complete file, and whether that is proven.
    fn name(&self, entry: &Entry, partial: &Path) -> Result<(String, bool)> {
        let name =
            if entry.pointer || is_sha256(&entry.git_name) { sha256(partial)? } else { git_name(partial, entry.size)? };
        let proven = if entry.pointer { pointer_name(&name, entry.size) } else { name.clone() } == entry.git_name;
        Ok((name, proven))
    }

    /// Waits until no other program fetches this content.
    async fn lock(&self, entry: &Entry) -> Result<File> {
        let path = self.request.cache.lock(&entry.git_name);
        make_parent(&path)?;
        let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(error)) => {
                    // Some network drives have no locks.
                    tracing::debug!(%error, path = %path.display(), "no lock");
                    return Ok(file);
                }
            }
        }
    }

    /// Goes on until the file has its size; whether it is made of more than one piece.
    async fn complete(&self, commit: &str, entry: &Entry, file: &mut File, partial: &Path) -> Result<bool> {
        let (mut told, mut tries, mut resumed) = (0, 0, false);
        loop {
            resumed |= length(file, partial)? > 0;
            match self.append(commit, entry, file, partial, &mut told).await {
                Ok(()) => return Ok(resumed),
                Err(Fault::Broken(error)) if tries < RETRIES => {
                    tries += 1;
                    tracing::debug!(%error, tries, "going on");
                    tokio::time::sleep(PAUSE * tries).await;
                }
                Err(Fault::Broken(error) | Fault::Final(error)) => return Err(error),
            }
        }
    }

    /// Asks for what is missing and writes it as it comes.
    async fn append(
        &self,
        commit: &str,
        entry: &Entry,
        file: &mut File,
        partial: &Path,
        told: &mut u64,
    ) -> std::result::Result<(), Fault> {
        let asked = self.asked(Some(&entry.path));
        let failed = |e| Fault::Final(Error::io(partial, e));
        let broken = |error| match is_break(&error) {
            true => Fault::Broken(asked.failed(error)),
            false => Fault::Final(asked.failed(error)),
        };
        let mut have = length(file, partial).map_err(Fault::Final)?;
        if have > entry.size {
            file.set_len(0).map_err(failed)?;
            have = 0;
        }
        self.tell_up_to(have, entry, told);
        if have == entry.size {
            return Ok(());
        }
        let range = (have > 0).then_some(have..entry.size);
        let stream = self.repository.download_file_stream().filename(&entry.path).revision(commit).maybe_range(range);
        let (announced, mut stream) = patiently(stream.send()).await.map_err(broken)?;
        if have > 0 && announced != Some(entry.size - have) {
            // The server sends the whole file, whatever part is asked for, or does not say what it sends.
            file.set_len(0).map_err(failed)?;
            have = 0;
            if announced != Some(entry.size) {
                return Err(Fault::Broken(asked.broken("the server cannot go on in the middle of a file")));
            }
        }
        loop {
            let Ok(chunk) = tokio::time::timeout(PATIENCE, stream.next()).await else {
                return Err(Fault::Broken(asked.broken(&format!("silence for {} seconds", PATIENCE.as_secs()))));
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(broken)?;
            if have == 0 && is_web_page(&chunk) {
                return Err(Fault::Final(asked.no_hub("a web page came")));
            }
            have += chunk.len() as u64;
            if have > entry.size {
                return Err(Fault::Final(asked.no_hub("more came than it had announced")));
            }
            file.write_all(&chunk).map_err(failed)?;
            self.tell_up_to(have, entry, told);
        }
        if have < entry.size {
            return Err(Fault::Broken(asked.broken(&format!("after {have} of {} bytes", entry.size))));
        }
        Ok(())
    }

    /// Tells of bytes that were not told of before.
    fn tell_up_to(&self, have: u64, entry: &Entry, told: &mut u64) {
        if have > *told {
            self.tell(Event::Advance(have - *told, entry.path.clone()));
            *told = have;
        }
    }
}

fn length(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(|e| Error::io(path, e))?.len())
}
