//! What a format changes for readers other than this one, told before any work is done.

use std::collections::BTreeMap;

use super::fused;
use crate::error::{Error, Result};
use crate::export::{Exporter, Fit, LayerSpec};
use crate::scheme::Scheme;

/// The changes to the layers of a model.
pub(super) struct Changes<'a> {
    exporter: &'a dyn Exporter,
    strict: bool,
    /// Layers by what others do with them, and why.
    unread: BTreeMap<String, usize>,
    rounded: BTreeMap<String, usize>,
    /// All layers, and the schemes of those that are not kept.
    layers: Vec<(String, Option<Scheme>)>,
}

impl<'a> Changes<'a> {
    /// None yet; `strict` makes each an error.
    pub(super) fn new(exporter: &'a dyn Exporter, strict: bool) -> Self {
        Self { exporter, strict, unread: BTreeMap::new(), rounded: BTreeMap::new(), layers: Vec::new() }
    }

    /// Notes what becomes of a layer.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the format cannot hold it, or holds it otherwise and that is not wanted.
    pub(super) fn add(&mut self, layer: &LayerSpec, conv1d: bool) -> Result<()> {
        self.layers.push((layer.path.clone(), Some(layer.scheme)));
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

    /// Notes a tensor that is kept as it is.
    pub(super) fn keep(&mut self, name: &str) {
        self.layers.push((name.strip_suffix(".weight").unwrap_or(name).to_owned(), None));
    }

    /// What a reader of the format that fuses layers finds apart.
    fn apart(&self) -> Option<String> {
        let reader = self.exporter.fused_by()?;
        let mut groups = fused(self.layers.iter().map(|(path, _)| path.as_str()));
        groups.retain(|group| group.iter().any(|at| self.layers[*at].1 != self.layers[group[0]].1));
        let first = groups.first()?.iter().map(|at| {
            let (path, scheme) = &self.layers[*at];
            format!("{path} {}", scheme.map_or_else(|| "kept".to_owned(), |scheme| scheme.to_string()))
        });
        let (count, first) = (groups.len(), first.collect::<Vec<_>>().join(", "));
        Some(format!("{reader} fuses layers that differ here, {count} time(s): {first}"))
    }

    /// One line for each kind of change.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where a reader fuses layers of different schemes, and that is not wanted.
    pub(super) fn notes(self) -> Result<Vec<String>> {
        let name = self.exporter.name();
        let apart = self.apart();
        if let (Some(what), true) = (&apart, self.strict) {
            let remedy = "give them one scheme (gradual: --tied), or leave --strict out".to_owned();
            return Err(Error::Unsupported { what: format!("{name}: {what}"), remedy });
        }
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
        Ok(unread.into_iter().chain(rounded).chain(apart.map(|what| format!("note: {what}"))).collect())
    }
}
