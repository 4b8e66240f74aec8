//! Blocks that an earlier run finished, read back from the files that it wrote.

use std::collections::HashMap;

use super::parts::Parts;
use super::run::Run;
use super::saved::Finished;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::Importer;
use crate::io::Written;
use crate::pack::PackedTensor;
use crate::scheme::Scheme;

/// The finished blocks of a run.
pub(super) struct Restore {
    finished: HashMap<usize, Finished>,
    written: Written,
    importer: Box<dyn Importer>,
}

impl Restore {
    /// The blocks among what is finished.
    pub(super) fn new(finished: Vec<Finished>, written: Written, importer: Box<dyn Importer>) -> Self {
        let blocks = finished.into_iter().filter_map(|entry| Some((entry.block.as_ref()?.index, entry)));
        Self { finished: blocks.collect(), written, importer }
    }

    /// Whether a block is finished.
    pub(super) fn has(&self, block: usize) -> bool {
        self.finished.contains_key(&block)
    }

    /// The codes of a finished block, as the method gave them; none for another.
    ///
    /// # Errors
    /// Those of reading, and [`Error::Io`] if the files do not hold what was written.
    pub(super) fn layers(&self, run: &Run<'_>, block: usize) -> Result<Option<Vec<(String, PackedTensor)>>> {
        let Some(entry) = self.finished.get(&block) else { return Ok(None) };
        let digests: HashMap<_, _> = entry.tensors.iter().map(|(name, digest)| (name.as_str(), *digest)).collect();
        let layer = |source: &String| {
            let wrong = |found: &str| Error::Shape {
                op: "resume",
                expected: format!("a quantized layer behind {source}"),
                found: found.to_owned(),
            };
            let (spec, dtype) = run.quantized(source)?.ok_or_else(|| wrong("none"))?;
            let tensors = run.exporter.tensors(&spec, dtype)?;
            let mut encoded = Vec::with_capacity(tensors.len());
            for tensor in &tensors {
                let digest = digests.get(tensor.name.as_str()).ok_or_else(|| wrong("one without a checksum"))?;
                encoded.push((tensor.name.clone(), self.written.read(&tensor.name, *digest)?));
            }
            let weight = self.importer.decode(&spec.path, &Parts::new(tensors, &encoded))?;
            let plain = |scheme: Scheme| scheme.carrier().with_scale_type(Dtype::F32);
            if plain(weight.scheme) != plain(spec.scheme) {
                return Err(wrong(&weight.scheme.to_string()));
            }
            // A format may store scales in a wider type, or know no three levels; the method had what the plan says.
            Ok((spec.path, PackedTensor { scheme: spec.scheme, ..weight }))
        };
        entry.sources.iter().map(layer).collect::<Result<_>>().map(Some)
    }
}
