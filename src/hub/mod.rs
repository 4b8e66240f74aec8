//! Models and datasets by name: fetched from the Hugging Face hub into the cache that all its clients share.
//!
//! ```no_run
//! use bitsmith::hub::Hub;
//! use bitsmith::progress::Silent;
//!
//! let folder = Hub::from_env().fetch_model(&"HuggingFaceTB/SmolLM-135M".parse()?, &mut Silent)?;
//! assert!(folder.join("config.json").exists());
//! # Ok::<(), bitsmith::Error>(())
//! ```
//!
//! Without the feature `hub` nothing is downloaded: what is in the cache is found all the same.

mod cache;
mod dataset;
mod files;
mod id;

#[cfg(feature = "hub")]
mod content;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod failure;
#[cfg(feature = "hub")]
mod relay;
#[cfg(feature = "hub")]
mod store;
#[cfg(feature = "hub")]
mod transfer;

use std::fmt;
use std::path::{Path, PathBuf};

pub use dataset::{DatasetId, Split};
pub use id::RepoId;

use crate::error::{Error, Result};
use crate::progress::Progress;
use cache::Cache;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// A hub, who asks it, and where its files are kept.
#[derive(Clone)]
pub struct Hub {
    cache_dir: Option<PathBuf>,
    offline: bool,
    endpoint: String,
    token: Option<String>,
}

impl Hub {
    /// As the environment says: the hub at `HF_ENDPOINT`, the token in `HF_TOKEN` (or where `hf auth login` has put it),
    /// the cache in `HF_HUB_CACHE` or `HF_HOME`, no network if `HF_HUB_OFFLINE` is 1.
    pub fn from_env() -> Self {
        let set =
            |name| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let yes = |value: &String| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str());
        Self {
            cache_dir: None,
            offline: set("HF_HUB_OFFLINE").is_some_and(|value| yes(&value)),
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            token: None,
        }
    }

    /// Keeps files in this folder.
    #[must_use]
    pub fn cache_dir(self, folder: impl Into<PathBuf>) -> Self {
        Self { cache_dir: Some(folder.into()), ..self }
    }

    /// Uses what is in the cache and nothing else.
    #[must_use]
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// Asks the hub at this address.
    #[must_use]
    pub fn endpoint(self, address: impl Into<String>) -> Self {
        Self { endpoint: address.into(), ..self }
    }

    /// Asks with this token.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// The folder of a model: configuration, tokenizer, licence and all safetensors files, never weights in other
    /// formats. Files that are in the cache are not fetched again, and a download that was interrupted goes on where it
    /// stopped. If the hub cannot be reached, a model that is whole in the cache is used, with a warning.
    ///
    /// Blocks until all is there; `progress` counts bytes and may cancel at any time.
    ///
    /// # Errors
    /// [`Error::Hub`] if the hub has no such model or revision, does not give it to whoever asks, has it in another
    /// format only, cannot be reached, or breaks off; [`Error::Format`] for an index that cannot be trusted;
    /// [`Error::Io`] if the cache cannot be written; [`Error::Config`] for an address that is none;
    /// [`Error::Cancelled`].
    pub fn fetch_model(&self, id: &RepoId, progress: &mut dyn Progress) -> Result<PathBuf> {
        self.fetch_one(id, Wanted::Model, progress)
    }

    /// One file of a dataset, given by its path there, on the same terms as [`Self::fetch_model`].
    ///
    /// # Errors
    /// As [`Self::fetch_model`]; [`Error::Config`] for a path that leads out of the repository.
    pub fn fetch_dataset_file(&self, id: &RepoId, file: &str, progress: &mut dyn Progress) -> Result<PathBuf> {
        if !files::is_plain(file) {
            return Err(Error::config("file", format!("`{file}` is no path within {id}; give it as folder/name")));
        }
        self.fetch_one(id, Wanted::DatasetFile(file), progress)
    }

    /// The files with the texts of a dataset, in order: parquet, JSON lines or plain text, as far as the dataset has
    /// them, of the split that is asked for. Where it has several files, the first ones as far as they have 256 MiB
    /// together, and always one. On the same terms as [`Self::fetch_model`].
    ///
    /// # Errors
    /// As [`Self::fetch_model`]; [`Error::Hub`] that lists what is there if nothing fits.
    pub fn fetch_dataset(&self, id: &DatasetId, split: Split, progress: &mut dyn Progress) -> Result<Vec<PathBuf>> {
        self.fetch(id.repository(), Wanted::Dataset(id, split), progress)
    }

    fn fetch_one(&self, id: &RepoId, wanted: Wanted<'_>, progress: &mut dyn Progress) -> Result<PathBuf> {
        let paths = self.fetch(id, wanted, progress)?;
        paths.into_iter().next().ok_or_else(|| Error::config("file", format!("nothing of {id} was asked for")))
    }

    fn fetch(&self, id: &RepoId, wanted: Wanted<'_>, progress: &mut dyn Progress) -> Result<Vec<PathBuf>> {
        let root = self.cache_dir.clone().unwrap_or_else(cache::default_root);
        let request = Request { id, wanted, cache: Cache::new(root, wanted, id) };
        if self.offline {
            return request.cached("fetch it once without --offline and HF_HUB_OFFLINE");
        }
        #[cfg(feature = "hub")]
        return relay::run(self, &request, progress);
        #[cfg(not(feature = "hub"))]
        {
            let _ = (progress, &self.endpoint, &self.token);
            request.cached("downloads are not part of this build (feature `hub`): fetch it with another program")
        }
    }
}

impl fmt::Debug for Hub {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cache_dir, offline, endpoint, .. } = self;
        let mut hub = f.debug_struct("Hub");
        hub.field("cache_dir", cache_dir).field("offline", offline).field("endpoint", endpoint).finish_non_exhaustive()
    }
}

/// What of a repository is to be fetched.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    Model,
    DatasetFile(&'a str),
    Dataset(&'a DatasetId, Split),
}

impl Wanted<'_> {
    /// What the repository is.
    fn kind(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::DatasetFile(_) | Self::Dataset(..) => "dataset",
        }
    }
}

/// What is wanted and where it is kept.
#[derive(Debug)]
struct Request<'a> {
    id: &'a RepoId,
    wanted: Wanted<'a>,
    cache: Cache,
}

impl Request<'_> {
    /// What is wanted, if the cache has all of it.
    fn cached(&self, remedy: &str) -> Result<Vec<PathBuf>> {
        let snapshot = self.cache.commit(self.id.revision()).map(|commit| self.cache.snapshot(&commit));
        let lacking = match snapshot.filter(|snapshot| snapshot.is_dir()) {
            None => "it is not".to_owned(),
            Some(snapshot) => match self.find(&snapshot)? {
                Ok(paths) => return Ok(paths),
                Err(file) => format!("its file {file} is not"),
            },
        };
        let detail = format!("{lacking} in the cache {}", self.cache.root().display());
        Err(Error::Hub { id: self.id.to_string(), detail, remedy: remedy.to_owned() })
    }

    /// What is wanted, in a snapshot; or a file that it lacks.
    fn find(&self, snapshot: &Path) -> Result<std::result::Result<Vec<PathBuf>, String>> {
        Ok(match self.wanted {
            Wanted::Model => match files::missing(snapshot)? {
                None => Ok(vec![snapshot.to_path_buf()]),
                Some(file) => Err(file),
            },
            Wanted::DatasetFile(file) => {
                let path = snapshot.join(file);
                if path.exists() { Ok(vec![path]) } else { Err(file.to_owned()) }
            }
            Wanted::Dataset(id, split) => match dataset::choose(id, split, &files::listing(snapshot)?) {
                Ok(chosen) => Ok(chosen.into_iter().map(|file| snapshot.join(file)).collect()),
                Err(_) => Err(format!("for the split {split}")),
            },
        })
    }
}
