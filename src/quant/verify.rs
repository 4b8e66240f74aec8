//! What was written of a model, compared with the original.

use std::collections::HashSet;
use std::path::Path;

use super::model_part::Part;
use super::parts::same;
use super::reencode::Original;
use super::rounded::Rounded;
use crate::error::{Error, Result};
use crate::export::{self, Container, Exporter, Importer, LayerSpec, ReadBack, TensorSource};
use crate::io::{Checkpoint, is_conv1d, read_config};

impl Original {
    /// Opens the written folder as any reader does, and compares all of it with the original. What it returns tells how
    /// far weights are from what they were, where the format rounds them.
    pub(super) fn verify(
        &self,
        exporter: &dyn Exporter,
        container: &dyn Container,
        folder: &Path,
    ) -> Result<Option<String>> {
        if let Some((reader, written)) = container.opened(folder)? {
            self.verify_layers(exporter, &*reader, &*written, folder)?;
            return self.verify_kept(container, &*written, folder).map(|()| None);
        }
        let written = Checkpoint::open(folder)?;
        let reader = export::importer(&read_config(folder)?["quantization_config"], folder)?;
        // A module's name is that of its tensors without their last part.
        let path_of = |path: &str| {
            let name = container.read_name(&format!("{path}.weight"));
            name.strip_suffix(".weight").map_or_else(|| path.to_owned(), str::to_owned)
        };
        self.verify_list(exporter, &*reader, &written, folder, &path_of)?;
        let mut rounded = Rounded::default();
        for part in self.parts() {
            let equal = match part {
                Part::Kept(_) | Part::Decoded(_) => match self.converted(&part, container)? {
                    Some((name, bytes)) => written.raw(&container.read_name(&name))?.bytes == &bytes[..],
                    None => true,
                },
                Part::Layer(layer) => match exporter.read_back(layer) {
                    ReadBack::Codes => {
                        let meant = exporter.as_read(layer, self.weight(layer)?)?;
                        same(&reader.decode(&path_of(&layer.path), &written)?, &meant, exporter.scale_error())
                    }
                    ReadBack::Values(limit) => {
                        let tensor = written.tensor(&format!("{}.weight", path_of(&layer.path)))?;
                        let conv1d = is_conv1d(self.config(), &layer.path);
                        let values = if conv1d { tensor.transposed().to_f32() } else { tensor.to_f32() };
                        rounded.add(&values, &self.weight(layer)?.unpack()?.dequantize()) <= limit.into()
                    }
                },
            };
            if !equal {
                return Err(wrong(folder, part.name()));
            }
            self.release(&part);
        }
        Ok(rounded.note())
    }

    /// Compares the layers of a file that holds nothing else.
    fn verify_layers(
        &self,
        exporter: &dyn Exporter,
        reader: &dyn Importer,
        written: &dyn TensorSource,
        folder: &Path,
    ) -> Result<()> {
        self.verify_list(exporter, reader, written, folder, &str::to_owned)?;
        for layer in self.layers() {
            if !same(&reader.decode(&layer.path, written)?, &self.weight(layer)?, exporter.scale_error()) {
                return Err(wrong(folder, &layer.path));
            }
            self.release(&Part::Layer(layer));
        }
        Ok(())
    }

    /// Compares what such a file holds beside codes: biases.
    fn verify_kept(&self, container: &dyn Container, written: &dyn TensorSource, folder: &Path) -> Result<()> {
        for part in self.parts() {
            let Some((name, bytes)) = self.converted(&part, container)? else { continue };
            if written.find(&name)?.is_none_or(|stored| stored.bytes != &bytes[..]) {
                return Err(wrong(folder, &name));
            }
        }
        Ok(())
    }

    /// Whether the layers that are read are those that were written, each with its columns in the same order.
    fn verify_list(
        &self,
        exporter: &dyn Exporter,
        reader: &dyn Importer,
        written: &dyn TensorSource,
        folder: &Path,
        path_of: &dyn Fn(&str) -> String,
    ) -> Result<()> {
        let found = reader.layers(written)?;
        let key = |layer: &LayerSpec| (layer.path.clone(), layer.input.columns().map(<[u32]>::to_vec));
        let found: HashSet<_> = found.iter().map(key).collect();
        let codes = |layer: &&LayerSpec| exporter.read_back(layer) == ReadBack::Codes;
        let meant = |layer: &LayerSpec| (path_of(&layer.path), layer.input.columns().map(<[u32]>::to_vec));
        if found != self.layers().filter(codes).map(meant).collect() {
            return Err(wrong(folder, "the list of layers"));
        }
        Ok(())
    }
}

fn wrong(folder: &Path, what: &str) -> Error {
    Error::format(folder, format!("{what} does not read back as it was written"))
}
