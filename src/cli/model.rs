//! MODEL arguments: folders, and names of models on the hub.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bitsmith::hub::{Hub, RepoId};
use bitsmith::{Error, Result};

use super::bar::Bar;
use super::interrupt;

/// A model that was typed.
#[derive(Clone, Debug)]
pub(super) struct ModelArg(OsString);

/// A model that is on this machine.
#[derive(Debug)]
pub(super) struct Model {
    /// Folder or file.
    pub(super) path: PathBuf,
    /// Its name, where it is one of the hub.
    pub(super) id: Option<RepoId>,
}

/// Where models and texts come from that are not on this machine.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct HubArgs {
    /// Keep downloads here [default: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR", help_heading = "Download")]
    cache_dir: Option<PathBuf>,
    /// Download nothing: a model that is no folder, and a text that is no file, must be in the cache
    #[arg(long, help_heading = "Download")]
    offline: bool,
}

impl HubArgs {
    /// The hub that they describe.
    pub(super) fn hub(&self) -> Hub {
        let mut hub = Hub::from_env();
        if let Some(folder) = &self.cache_dir {
            hub = hub.cache_dir(folder);
        }
        if self.offline { hub.offline() } else { hub }
    }
}

impl ModelArg {
    /// The folder or file of this name, or else the model on the hub, downloaded if it is not there yet.
    pub(super) fn find(&self, hub: &HubArgs, quiet: bool) -> Result<Model> {
        let path = PathBuf::from(&self.0);
        if path.exists() {
            return Ok(Model { path, id: None });
        }
        let name = match self.0.to_str() {
            Some(name) if !is_path(name) => name,
            _ => return Err(Error::format(path, "there is no such folder or file")),
        };
        let id: RepoId = name.parse().map_err(|error| match error {
            Error::Config { field, detail } => {
                Error::Config { field, detail: format!("{detail}; nor is it a folder here") }
            }
            other => other,
        })?;
        // `examples/tiny-lama` beside `examples/tiny-llama` is a slip, no name on the hub.
        if !id.has_revision() && !id.owner().is_empty() && Path::new(id.owner()).is_dir() {
            let detail = format!(
                "there is no such folder or file in {}; if you mean the model of this name on the hub, type {id}@main",
                id.owner()
            );
            return Err(Error::format(path, detail));
        }
        interrupt::listen();
        let path = hub.hub().fetch_model(&id, &mut Bar::new(quiet)).map_err(|error| match error {
            // A name without an owner is more often that of a folder.
            Error::Hub { id: text, detail, remedy } if id.owner().is_empty() => Error::Hub {
                id: text,
                detail: format!("there is no such folder here; as a name on the hub: {detail}"),
                remedy,
            },
            other => other,
        })?;
        Ok(Model { path, id: Some(id) })
    }
}

impl From<OsString> for ModelArg {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

/// Whether what was typed is meant as a path, there or not.
fn is_path(name: &str) -> bool {
    let path = name.split('@').next().unwrap_or_default();
    let file = [".safetensors", ".json", ".gguf"].iter().any(|ending| path.ends_with(ending));
    let folder = path.starts_with(['.', '/', '~']) || path.ends_with('/') || path.contains(['\\', ':']);
    file || folder || path.matches('/').count() > 1
}
