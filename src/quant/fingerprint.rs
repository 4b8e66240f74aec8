//! What decides a result.

use std::collections::HashSet;
use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::export::Method;
use crate::io::{Digest, SourceFile};
use crate::scheme::Plan;

/// Everything that decides the bytes of a result. Where the text of an evaluation comes from is not part of it: that
/// is measured anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Version of this crate.
    pub bitsmith: String,
    /// Method and settings.
    pub method: Method,
    /// The scheme of each layer; what is not in it is kept.
    pub plan: Plan,
    /// File format.
    pub format: String,
    /// Largest weight file.
    pub shard_size: u64,
    /// Where it runs: codes are the same on every device, the last digits of errors are not.
    pub device: String,
    /// Of the model's config.json.
    pub config: Digest,
    /// Of the sequences that the method sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Digest>,
    /// The weights.
    pub files: Vec<SourceFile>,
}

impl Fingerprint {
    /// What is not the same now, one reason each.
    fn differences(&self, now: &Self) -> Vec<String> {
        fn changed<T: PartialEq + Display>(what: &str, was: &T, is: &T) -> Option<String> {
            (was != is).then(|| format!("{what} was {was} and is {is}"))
        }
        let mut reasons: Vec<String> = [
            changed("the version of bitsmith", &self.bitsmith, &now.bitsmith),
            changed("the method", &self.method.name, &now.method.name),
            changed("the format", &self.format, &now.format),
            changed("the shard size", &self.shard_size, &now.shard_size),
            changed("the device", &self.device, &now.device),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.method.name == now.method.name {
            reasons.extend(settings(&self.method.settings, &now.method.settings));
        }
        let kept = |plan: &Plan, path| plan.get(path).map_or_else(|| "kept".to_owned(), |scheme| scheme.to_string());
        let paths = self.plan.iter().chain(now.plan.iter()).map(|(path, _)| path);
        reasons.extend(paths.filter_map(|path| changed(path, &kept(&self.plan, path), &kept(&now.plan, path))).take(1));
        if self.config != now.config {
            reasons.push("config.json of the model was changed".to_owned());
        }
        if self.calibration != now.calibration {
            reasons.push("the calibration data is another".to_owned());
        }
        reasons.extend(files(&self.files, &now.files));
        reasons
    }

    /// Refuses to go on with work of other settings or another model: `head` is the fingerprint of what lies in `folder`, as
    /// its journal has it.
    ///
    /// # Errors
    /// [`Error::Config`] that says what is not the same.
    pub fn expect(&self, head: Option<Value>, folder: &Path) -> Result<()> {
        const REMEDY: &str = "repeat the command of that run with --resume, or start again without";
        let refuse = |why: String| Err(Error::config("resume", format!("{}: {why}; {REMEDY}", folder.display())));
        let Some(head) = head else {
            return refuse("the first line of its journal is damaged".to_owned());
        };
        let Ok(was) = serde_json::from_value::<Self>(head) else {
            return refuse("another version of bitsmith made it".to_owned());
        };
        match &was.differences(self)[..] {
            [] => Ok(()),
            reasons => refuse(reasons.join(", ")),
        }
    }
}

/// What results may depend on: the processor counts as one device, however many threads it has.
pub(crate) fn identity(device: &Device) -> String {
    let caps = device.caps();
    match caps.kind {
        DeviceKind::Cpu => format!("cpu, {}", caps.driver),
        DeviceKind::Gpu | DeviceKind::Software => format!("{}, {}, {}", caps.backend, caps.name, caps.driver),
    }
}

/// The settings of a method that differ.
fn settings(was: &Value, is: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (was, is) = (was.as_object().unwrap_or(&empty), is.as_object().unwrap_or(&empty));
    let names: HashSet<_> = was.keys().chain(is.keys()).collect();
    let mut reasons: Vec<_> = names
        .into_iter()
        .filter(|name| was.get(*name) != is.get(*name))
        .map(|name| {
            let [was, is] = [was, is].map(|all| all.get(name).cloned().unwrap_or_default());
            format!("{name} was {was} and is {is}")
        })
        .collect();
    reasons.sort();
    reasons
}

/// The first file that is not as it was.
fn files(was: &[SourceFile], is: &[SourceFile]) -> Option<String> {
    if let Some((old, _)) = was.iter().zip(is).find(|(old, new)| old != new) {
        return Some(format!("{} of the model was changed", old.name));
    }
    (was.len() != is.len()).then(|| format!("the model had {} weight files and has {}", was.len(), is.len()))
}
