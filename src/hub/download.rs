//! Which files are fetched, in which order.

use std::path::PathBuf;
use std::sync::mpsc::Sender;

use futures::TryStreamExt;
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFRepository, HFResult, RepoType};

use super::cache::is_commit;
use super::content::{is_git_name, is_sha256};
use super::dataset::choose;
use super::failure::{Asked, is_unreachable, patiently};
use super::files::{is_companion, is_plain};
use super::relay::Event;
use super::{DatasetId, Hub, Request, Split, Wanted};
use crate::error::{Error, Result};
use crate::io::{INDEX_FILE, Index, SINGLE_FILE};

/// Tries after the first, with growing pauses, where a server is busy or cannot be reached.
const RETRIES: usize = 4;
/// More files than any model has in one folder.
const MAX_FILES: usize = 20_000;

/// Fetches what is wanted and tells of it.
pub(super) async fn fetch(hub: &Hub, request: &Request<'_>, events: Sender<Event>) -> Result<Vec<PathBuf>> {
    let client = client(hub)?;
    let (owner, name, revision) = (request.id.owner(), request.id.name(), request.id.revision());
    match request.wanted {
        Wanted::Model => {
            let repository = client.model(owner, name);
            let info = patiently(repository.info().revision(revision).send()).await;
            Download { repository, request, events }.run(info.map(|info| info.sha)).await
        }
        Wanted::DatasetFile(_) | Wanted::Dataset(..) => {
            let repository = client.dataset(owner, name);
            let info = patiently(repository.info().revision(revision).send()).await;
            Download { repository, request, events }.run(info.map(|info| info.sha)).await
        }
    }
}

fn client(hub: &Hub) -> Result<HFClient> {
    let address = &hub.endpoint;
    let no_address = |why: &str| Error::config("HF_ENDPOINT", format!("`{address}` is no address of a hub: {why}"));
    if !["http://", "https://"].iter().any(|scheme| address.starts_with(scheme)) {
        return Err(no_address("it begins with https://"));
    }
    let client = HFClient::builder().endpoint(address).cache_enabled(false).retry_max_attempts(RETRIES);
    let client = client.user_agent(concat!("bitsmith/", env!("CARGO_PKG_VERSION")));
    // Where none is set, hf-hub looks for one itself.
    let client = match &hub.token {
        Some(token) => client.token(token),
        None => client,
    };
    client.build().map_err(|e| no_address(&e.to_string()))
}

/// A file of the repository.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) size: u64,
    /// What git calls the file, or its pointer.
    pub(super) git_name: String,
    /// Whether git has only a pointer to it.
    pub(super) pointer: bool,
}

/// A repository from which something is fetched.
pub(super) struct Download<'a, T: RepoType> {
    pub(super) repository: HFRepository<T>,
    pub(super) request: &'a Request<'a>,
    pub(super) events: Sender<Event>,
}

impl<T: RepoType> Download<'_, T> {
    /// Given what the hub says of the revision.
    async fn run(&self, commit: HFResult<Option<String>>) -> Result<Vec<PathBuf>> {
        let commit = match commit {
            Ok(commit) => commit.unwrap_or_default(),
            Err(error) => {
                let unreachable = is_unreachable(&error);
                let error = self.asked(None).failed(error);
                return match self.request.cached("") {
                    Ok(paths) if unreachable => {
                        tracing::warn!("{error}; the cache has it and is used");
                        Ok(paths)
                    }
                    _ => Err(error),
                };
            }
        };
        if !is_commit(&commit) {
            return Err(self.asked(None).no_hub("it names no commit"));
        }
        let snapshot = self.request.cache.snapshot(&commit);
        let paths = match self.request.wanted {
            Wanted::Model => {
                self.model(&commit).await?;
                vec![snapshot]
            }
            Wanted::DatasetFile(file) => {
                self.file(&commit, file).await?;
                vec![snapshot.join(file)]
            }
            Wanted::Dataset(id, split) => {
                let files = self.dataset(&commit, id, split).await?;
                files.into_iter().map(|file| snapshot.join(file)).collect()
            }
        };
        self.request.cache.set_commit(self.request.id.revision(), &commit)?;
        Ok(paths)
    }

    async fn model(&self, commit: &str) -> Result<()> {
        let listed = self.list(commit, None, false).await?;
        let find = |name: &str| listed.iter().find(|entry| entry.path == name).cloned();
        let mut wanted: Vec<Entry> = listed.iter().filter(|entry| is_companion(&entry.path)).cloned().collect();
        if let Some(weights) = find(SINGLE_FILE) {
            wanted.push(weights);
        } else if let Some(index) = find(INDEX_FILE) {
            self.get(commit, &[index]).await?;
            let index = Index::read(&self.request.cache.snapshot(commit).join(INDEX_FILE))?;
            for shard in index.files() {
                wanted.push(find(shard).ok_or_else(|| {
                    let detail = format!("{INDEX_FILE} names {shard}, which the repository does not hold");
                    self.asked(None).error(detail, "another revision may be whole: name it as ID@REVISION")
                })?);
            }
        } else {
            return Err(self.no_safetensors(&listed));
        }
        self.get(commit, &wanted).await
    }

    async fn file(&self, commit: &str, file: &str) -> Result<()> {
        let folder = file.rsplit_once('/').map(|(folder, _)| folder);
        let listed = self.list(commit, folder, false).await?;
        let Some(entry) = listed.into_iter().find(|entry| entry.path == file) else {
            let asked = self.asked(Some(file));
            return Err(
                asked.error("the dataset has no such file", format!("its files are listed at {}", asked.page()))
            );
        };
        self.get(commit, &[entry]).await
    }

    /// Names of the files that were chosen and fetched.
    async fn dataset(&self, commit: &str, id: &DatasetId, split: Split) -> Result<Vec<String>> {
        let listed = self.list(commit, None, true).await?;
        let names: Vec<(String, u64)> = listed.iter().map(|entry| (entry.path.clone(), entry.size)).collect();
        let chosen = choose(id, split, &names).map_err(|detail| {
            let remedy = "name a folder of it as OWNER/NAME:FOLDER; most datasets have parquet files in the revision \
                          refs/convert/parquet, named as OWNER/NAME@refs/convert/parquet";
            self.asked(None).error(detail, remedy)
        })?;
        let wanted: Vec<Entry> = listed.into_iter().filter(|entry| chosen.contains(&entry.path)).collect();
        self.get(commit, &wanted).await?;
        Ok(chosen)
    }

    /// The files in a folder of the repository, by name, or in all folders in it. What has a name that leads elsewhere is
    /// left out.
    async fn list(&self, commit: &str, folder: Option<&str>, deep: bool) -> Result<Vec<Entry>> {
        let failed = |error| self.asked(None).failed(error);
        let entries =
            self.repository.list_tree().revision(commit).maybe_path_in_repo(folder).recursive(deep).limit(MAX_FILES);
        let entries = patiently(async { entries.send()?.try_collect::<Vec<_>>().await }).await.map_err(failed)?;
        let mut files = Vec::new();
        for entry in entries {
            let RepoTreeEntry::File { oid, size, path, lfs, .. } = entry else { continue };
            if !is_plain(&path) {
                continue;
            }
            if !is_git_name(&oid) && !is_sha256(&oid) {
                return Err(self.asked(Some(&path)).no_hub("it has no proper name for the content"));
            }
            files.push(Entry { path, size, pointer: lfs.is_some() && is_git_name(&oid), git_name: oid });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Fetches the files that the snapshot does not have yet, one after the other.
    async fn get(&self, commit: &str, files: &[Entry]) -> Result<()> {
        let snapshot = self.request.cache.snapshot(commit);
        let missing: Vec<&Entry> = files.iter().filter(|file| !snapshot.join(&file.path).exists()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let total = missing.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        self.tell(Event::Begin(format!("downloading {}", self.request.id), total));
        for file in missing {
            self.transfer(commit, file).await?;
        }
        Ok(())
    }

    fn no_safetensors(&self, listed: &[Entry]) -> Error {
        let weights =
            |path: &str| [".bin", ".gguf", ".safetensors", ".pt", ".pth", ".onnx"].iter().any(|e| path.ends_with(e));
        let there: Vec<&str> = listed.iter().map(|e| e.path.as_str()).filter(|path| weights(path)).take(3).collect();
        let there = if there.is_empty() { String::new() } else { format!(" (but {})", there.join(", ")) };
        self.asked(None).error(
            format!("it has no {SINGLE_FILE}{there}"),
            "look for the same model in safetensors; some have it in a proposed change, named as ID@refs/pr/1",
        )
    }

    pub(super) fn asked<'b>(&'b self, file: Option<&'b str>) -> Asked<'b> {
        Asked {
            endpoint: self.repository.client().endpoint(),
            id: self.request.id,
            kind: self.request.wanted.kind(),
            file,
        }
    }

    pub(super) fn tell(&self, event: Event) {
        // Whoever listened may be gone; the download is stopped then.
        let _ = self.events.send(event);
    }
}
