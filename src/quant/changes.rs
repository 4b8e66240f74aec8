//! What a format changes for readers other than this one, told before any work is done.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::export::{Exporter, Fit, LayerSpec};

/// The changes to the layers of a model.
pub(super) struct Changes<'a> {
    exporter: &'a dyn Exporter,
    strict: bool,
    /// Layers by what others do with them, and why.
    unread: BTreeMap<String, usize>,
    rounded: BTreeMap<String, usize>,
}

impl<'a> Changes<'a> {
    /// None yet; `strict` makes each an error.
    pub(super) fn new(exporter: &'a dyn Exporter, strict: bool) -> Self {
        Self { exporter, strict, unread: BTreeMap::new(), rounded: BTreeMap::new() }
    }

    /// Notes what becomes of a layer.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the format cannot hold it, or holds it otherwise and that is not wanted.
    pub(super) fn add(&mut self, layer: &LayerSpec, conv1d: bool) -> Result<()> {
        let fit = if conv1d { self.exporter.fit_conv1d(layer) } else { self.exporter.fit(layer) };
        let what = || format!("{} as {} in {}", layer.path, layer.scheme, self.exporter.name());
        let (changes, why) = match fit {
            Fit::Exact => return Ok(()),
            Fit::Refused(remedy) => return Err(Error::Unsupported { what: what(), remedy }),
            Fit::OwnReader(why) => (&mut self.unread, why),
            Fit::Rounded(why) => (&mut self.rounded, why),
        };
        if self.strict {
            let remedy = format!("{why}; leave --strict out to write it all the same");
            return Err(Error::Unsupported { what: what(), remedy });
        }
        *changes.entry(why).or_default() += 1;
        Ok(())
    }

    /// One line for each kind of change.
    pub(super) fn notes(self) -> Vec<String> {
        let name = self.exporter.name();
        let line = |changes: BTreeMap<String, usize>, what: String| {
            // A reason may be several; each is named once.
            let mut reasons: Vec<&str> = Vec::new();
            for reason in changes.keys().flat_map(|why| why.split("; ")) {
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            let layers: usize = changes.values().sum();
            (layers > 0).then(|| format!("note: {layers} layer(s) {what}: {}", reasons.join("; ")))
        };
        let unread = line(self.unread, format!("load in bitsmith, not in every {name} reader"));
        let rounded = line(self.rounded, format!("are read with other last digits by {name} readers"));
        unread.into_iter().chain(rounded).collect()
    }
}
