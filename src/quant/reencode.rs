//! A quantized model written in another format: the same codes, laid out and described otherwise.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::changes::Changes;
use super::companions::copy_companions;
use super::exported::Exported;
use super::parts::same;
use super::pipeline::HEAD;
use super::rounded::Rounded;
use super::{Skip, linear_layers};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::bitnet::Unpacked;
use crate::export::{self, Container, Exporter, Importer, LayerSpec, ReadBack, WholeModel};
use crate::io::{Checkpoint, CheckpointWriter, Staging, TensorInfo, TensorSpec, is_conv1d, read_config};
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::scheme::{Bits, Scheme, Zero};

/// The model that is exported.
pub(super) struct Original {
    folder: PathBuf,
    /// What a file of it calls it.
    name: String,
    checkpoint: Checkpoint,
    config: Value,
    importer: Box<dyn Importer>,
    layers: HashMap<String, LayerSpec>,
    /// The type of its other tensors.
    dtype: Dtype,
}

impl Original {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let config = read_config(folder)?;
        let importer: Box<dyn Importer> = match config.get("quantization_config").filter(|q| !q.is_null()) {
            Some(quantization) => export::importer(quantization, folder)?,
            None => Box::new(Unpacked::new(&config, folder)),
        };
        let mut layers = HashMap::new();
        for layer in importer.layers(&checkpoint)? {
            let scheme = ternary(&layer, &*importer, &checkpoint)?.unwrap_or(layer.scheme);
            layers.insert(layer.path.clone(), LayerSpec { scheme, ..layer });
        }
        if layers.is_empty() {
            let what = format!("{}: a model without quantized or ternary layers", folder.display());
            return Err(Error::Unsupported { what, remedy: "quantize it with `bitsmith quantize`".into() });
        }
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        let name = name.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = folder.to_path_buf();
        let mut original = Self { folder, name, checkpoint, config, importer, layers, dtype: Dtype::F32 };
        let kept = |info: &&TensorInfo| original.layer_of(info).is_none();
        let dtype = original.checkpoint.infos().filter(kept).find_map(|info| info.dtype.dtype());
        original.dtype = dtype.unwrap_or(Dtype::F32);
        Ok(original)
    }

    /// The same model under another name.
    pub(super) fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The whole config.json.
    pub(super) fn config(&self) -> &Value {
        &self.config
    }

    /// Bytes that a layer takes in a format.
    pub(super) fn bytes_of(&self, exporter: &dyn Exporter, path: &str) -> Option<u64> {
        let tensors = exporter.tensors(self.layers.get(path)?, self.dtype).ok()?;
        tensors.iter().map(|tensor| tensor.bytes().ok()).sum()
    }

    /// The quantized layer that a tensor is part of: any but its bias.
    fn layer_of(&self, info: &TensorInfo) -> Option<&LayerSpec> {
        let (path, part) = info.name.rsplit_once('.')?;
        self.layers.get(path).filter(|_| part != "bias")
    }

    /// Kept tensors and quantized layers in the order of the files; a layer stands where its first tensor stood.
    fn parts(&self) -> Vec<Part<'_>> {
        let mut seen = HashSet::new();
        let part = |info| match self.layer_of(info) {
            None => Some(Part::Kept(info)),
            Some(layer) => seen.insert(layer.path.as_str()).then_some(Part::Layer(layer)),
        };
        self.checkpoint.infos().filter_map(part).collect()
    }

    fn layers(&self) -> impl Iterator<Item = &LayerSpec> {
        let layer = |part| match part {
            Part::Layer(layer) => Some(layer),
            Part::Kept(_) => None,
        };
        self.parts().into_iter().filter_map(layer)
    }

    /// Every matrix that is not quantized, and the output head, which may share the tensor of the embedding.
    fn kept(&self) -> Result<Vec<String>> {
        let matrices = linear_layers(&self.checkpoint, &self.config, &mut Skip::new(&[])?).into_iter();
        let mut kept: Vec<String> =
            matrices.map(|layer| layer.path).filter(|path| !self.layers.contains_key(path)).collect();
        if !self.layers.contains_key(HEAD) && !kept.iter().any(|path| path == HEAD) {
            kept.push(HEAD.to_owned());
        }
        Ok(kept)
    }

    /// Refuses what the format cannot hold, and with `strict` what others would read otherwise; says what they do.
    pub(super) fn fit(&self, exporter: &dyn Exporter, strict: bool) -> Result<Vec<String>> {
        let (mut changes, mut others) = (Changes::new(exporter, strict), Vec::new());
        for layer in self.layers() {
            changes.add(layer, is_conv1d(&self.config, &layer.path))?;
            if exporter.input(layer) != layer.input {
                others.push(&layer.path);
            }
        }
        let name = exporter.name();
        if let (Some(path), true) = (others.first(), strict) {
            let what = format!("{path} in {name}, whose readers round its input otherwise than those of the original");
            return Err(Error::Unsupported { what, remedy: "leave --strict out to write it all the same".to_owned() });
        }
        let mut notes = changes.notes();
        if !others.is_empty() {
            notes.push(format!(
                "note: readers of {name} round the inputs of {} layer(s) otherwise than those of the original",
                others.len()
            ));
        }
        Ok(notes)
    }

    /// Writes the model in a format, into a folder, and compares what it holds with the original.
    pub(super) fn written(
        &self,
        exporter: &dyn Exporter,
        staging: &Staging,
        shard_size: u64,
        progress: &mut dyn Progress,
    ) -> Result<Exported> {
        let mut config = self.config.clone();
        // Of the format that it was in.
        config.as_object_mut().map(|config| config.remove("quantization"));
        let layers: Vec<LayerSpec> = self.layers().cloned().collect();
        let quantization = exporter.config(&layers, &self.kept()?)?;
        exporter.describe(&mut config, quantization);
        let model = WholeModel { folder: &self.folder, name: &self.name, config: &config, shard_size };
        let container = exporter.container(&model)?;
        let specs = self.tensors(exporter, &*container)?;
        let writer = CheckpointWriter::create_files(staging.path(), container.files(&specs)?)?;
        self.write(exporter, &*container, writer, progress)?;
        if container.companions() {
            copy_companions(&self.folder, staging.path())?;
        }
        let mut notes = exporter.notes(&layers);
        notes.extend(container.notes());
        notes.extend(self.verify(exporter, &*container, staging.path())?);
        Ok(Exported {
            format: exporter.name().to_owned(),
            layers: layers.len(),
            weights: layers.iter().map(|layer| (layer.rows * layer.cols) as u64).sum(),
            layer_bytes: self.layer_bytes(exporter)?,
            bytes: specs.iter().map(TensorSpec::bytes).sum::<Result<u64>>()?,
            original_bytes: self.checkpoint.total_bytes(),
            notes,
        })
    }

    fn tensors(&self, exporter: &dyn Exporter, container: &dyn Container) -> Result<Vec<TensorSpec>> {
        let mut specs = Vec::new();
        for part in self.parts() {
            match part {
                Part::Kept(info) => specs.extend(container.kept(&info.plain())?),
                Part::Layer(layer) => specs.extend(exporter.tensors(layer, self.dtype)?),
            }
        }
        Ok(specs)
    }

    /// The bytes of a kept tensor in a container; none if it is left out.
    fn converted(&self, info: &TensorInfo, container: &dyn Container) -> Result<Option<Cow<'_, [u8]>>> {
        let plain = info.plain();
        match container.kept(&plain)? {
            Some(_) => container.convert(&plain, self.checkpoint.plain(&info.name)?).map(Some),
            None => Ok(None),
        }
    }

    fn layer_bytes(&self, exporter: &dyn Exporter) -> Result<u64> {
        let mut bytes = 0;
        for layer in self.layers() {
            for tensor in exporter.tensors(layer, self.dtype)? {
                bytes += tensor.bytes()?;
            }
        }
        Ok(bytes)
    }

    fn write(
        &self,
        exporter: &dyn Exporter,
        container: &dyn Container,
        mut writer: CheckpointWriter,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let parts = self.parts();
        progress.begin("exporting", parts.len() as u64);
        for part in parts {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            match part {
                Part::Kept(info) => {
                    if let Some(bytes) = self.converted(info, container)? {
                        writer.write(&info.name, &bytes)?;
                    }
                }
                Part::Layer(layer) => {
                    for (name, bytes) in exporter.encode(layer, &self.weight(layer)?, self.dtype)? {
                        writer.write(&name, &bytes)?;
                    }
                }
            }
            self.release(&part);
            progress.advance(1, part.name());
        }
        progress.end();
        writer.finish()
    }

    fn weight(&self, layer: &LayerSpec) -> Result<PackedTensor> {
        let weight = self.importer.decode(&layer.path, &self.checkpoint)?;
        Ok(PackedTensor { scheme: layer.scheme, ..weight })
    }

    /// Opens the written folder as any reader does, and compares all of it with the original. What it returns tells how
    /// far weights are from what they were, where the format rounds them.
    fn verify(&self, exporter: &dyn Exporter, container: &dyn Container, folder: &Path) -> Result<Option<String>> {
        let written = Checkpoint::open(folder)?;
        let reader = export::importer(&read_config(folder)?["quantization_config"], folder)?;
        let found: HashSet<String> = reader.layers(&written)?.into_iter().map(|layer| layer.path).collect();
        let wrong = |what: &str| Error::format(folder, format!("{what} does not read back as it was written"));
        let codes = |layer: &&LayerSpec| exporter.read_back(layer) == ReadBack::Codes;
        // A module's name is that of its tensors without their last part.
        let path_of = |layer: &LayerSpec| {
            let name = container.read_name(&format!("{}.weight", layer.path));
            name.strip_suffix(".weight").map_or_else(|| layer.path.clone(), str::to_owned)
        };
        if found != self.layers().filter(codes).map(path_of).collect() {
            return Err(wrong("the list of layers"));
        }
        let mut rounded = Rounded::default();
        for part in self.parts() {
            let equal = match part {
                Part::Kept(info) => match self.converted(info, container)? {
                    Some(bytes) => written.raw(&container.read_name(&info.name))?.bytes == &bytes[..],
                    None => true,
                },
                Part::Layer(layer) => match exporter.read_back(layer) {
                    ReadBack::Codes => {
                        let meant = exporter.as_read(layer, self.weight(layer)?)?;
                        same(&reader.decode(&path_of(layer), &written)?, &meant, exporter.scale_error())
                    }
                    ReadBack::Values(limit) => {
                        let tensor = written.tensor(&format!("{}.weight", path_of(layer)))?;
                        let conv1d = is_conv1d(&self.config, &layer.path);
                        let values = if conv1d { tensor.transposed().to_f32() } else { tensor.to_f32() };
                        rounded.add(&values, &self.weight(layer)?.unpack()?.dequantize()) <= limit.into()
                    }
                },
            };
            if !equal {
                return Err(wrong(part.name()));
            }
            self.release(&part);
        }
        Ok(rounded.note())
    }

    /// Lets the system take back the memory of what was read.
    fn release(&self, part: &Part<'_>) {
        match part {
            Part::Kept(info) => self.checkpoint.release(&info.name),
            Part::Layer(layer) => {
                let of_layer = |info: &&TensorInfo| self.layer_of(info).is_some_and(|other| other.path == layer.path);
                self.checkpoint.infos().filter(of_layer).for_each(|info| self.checkpoint.release(&info.name));
            }
        }
    }
}

/// The scheme of three levels of a layer whose 2-bit codes are -1, 0 and 1 only: a format that knows no three levels holds
/// them so.
fn ternary(layer: &LayerSpec, importer: &dyn Importer, checkpoint: &Checkpoint) -> Result<Option<Scheme>> {
    let scheme = layer.scheme;
    if scheme.bits().get() != 2 || scheme.bits().is_ternary() || !scheme.is_symmetric() {
        return Ok(None);
    }
    let weight = importer.decode(&layer.path, checkpoint)?.unpack()?;
    let unused = weight.codes().iter().all(|code| *code >= Bits::TERNARY.min_code());
    let three = Scheme::new(Bits::TERNARY, scheme.span(), Zero::Symmetric).with_scale_type(scheme.scale_type());
    Ok(unused.then_some(three))
}

/// What becomes of a tensor, or of several.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// It stays as it is.
    Kept(&'a TensorInfo),
    /// They are a layer that is written anew.
    Layer(&'a LayerSpec),
}

impl Part<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Kept(info) => &info.name,
            Self::Layer(layer) => &layer.path,
        }
    }
}
