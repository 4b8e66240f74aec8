//! A quantized model written in another format: the same codes, laid out and described otherwise.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::changes::Changes;
use super::companions::copy_companions;
use super::exported::Exported;
use super::model_part::Part;
use super::pipeline::HEAD;
use super::{Skip, linear_layers};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::bitnet::Unpacked;
use crate::export::{self, Container, DecodedLayer, Exporter, Fit, Importer, LayerSpec, WholeModel};
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
    /// Quantized layers and embeddings that are written in floating point.
    decoded: HashMap<String, DecodedLayer>,
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
        let decoded = importer.decoded(&checkpoint)?.into_iter().map(|decoded| (decoded.layer.path.clone(), decoded));
        let decoded = decoded.collect();
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        let name = if name.is_dir() { name.file_name() } else { name.file_stem() };
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let folder = folder.to_path_buf();
        let mut original = Self { folder, name, checkpoint, config, importer, layers, decoded, dtype: Dtype::F32 };
        let kept = |info: &&TensorInfo| matches!(original.part_of(info), Part::Kept(_));
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

    /// What a tensor is, or is part of.
    fn part_of<'a>(&'a self, info: &'a TensorInfo) -> Part<'a> {
        let decoded = info.name.rsplit_once('.').filter(|(_, part)| *part != "bias");
        match (self.layer_of(info), decoded.and_then(|(path, _)| self.decoded.get(path))) {
            (Some(layer), _) => Part::Layer(layer),
            (None, Some(decoded)) => Part::Decoded(decoded),
            (None, None) => Part::Kept(info),
        }
    }

    /// Kept tensors and quantized layers in the order of the files; a layer stands where its first tensor stood.
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let mut seen = HashSet::new();
        let parts = self.checkpoint.infos().map(|info| self.part_of(info));
        parts.filter(|part| matches!(part, Part::Kept(_)) || seen.insert(part.name().to_owned())).collect()
    }

    pub(super) fn layers(&self) -> impl Iterator<Item = &LayerSpec> {
        let layer = |part| match part {
            Part::Layer(layer) => Some(layer),
            Part::Kept(_) | Part::Decoded(_) => None,
        };
        self.parts().into_iter().filter_map(layer)
    }

    /// Every matrix that is not quantized, and the output head, which may share the tensor of the embedding.
    fn kept(&self) -> Result<Vec<String>> {
        let matrices = linear_layers(&self.checkpoint, &self.config, &mut Skip::new(&[])?).into_iter();
        let mut kept: Vec<String> =
            matrices.map(|layer| layer.path).filter(|path| !self.layers.contains_key(path)).collect();
        kept.extend(self.decoded.keys().filter(|path| !kept.contains(path)).cloned().collect::<BTreeSet<_>>());
        if !self.layers.contains_key(HEAD) && !kept.iter().any(|path| path == HEAD) {
            kept.push(HEAD.to_owned());
        }
        Ok(kept)
    }

    /// Refuses what the format cannot hold, and with `strict` what others would read otherwise; says what they do.
    pub(super) fn fit(&self, exporter: &dyn Exporter, strict: bool) -> Result<Vec<String>> {
        let (mut changes, mut others) = (Changes::new(exporter, strict), Vec::new());
        for part in self.parts() {
            let Part::Layer(layer) = part else {
                changes.keep(part.name());
                continue;
            };
            changes.add(&self.told(exporter, layer)?, is_conv1d(&self.config, &layer.path))?;
            if exporter.input(layer) != layer.input {
                others.push(&layer.path);
            }
        }
        let name = exporter.name();
        if let (Some(path), true) = (others.first(), strict) {
            let what = format!("{path} in {name}, whose readers round its input otherwise than those of the original");
            return Err(Error::Unsupported { what, remedy: "leave --strict out to write it all the same".to_owned() });
        }
        let mut notes = changes.notes()?;
        let decoded: Vec<DecodedLayer> = self.decoded.values().cloned().collect();
        notes
            .extend(DecodedLayer::notes(&decoded).into_iter().map(|note| format!("note: {note}; so they are written")));
        if let (Some(DecodedLayer { layer, reason }), true) = (decoded.first(), strict) {
            let what = format!("{} in {}: {reason}", layer.path, exporter.name());
            let remedy = format!("leave --strict out to write it in {}", self.dtype);
            return Err(Error::Unsupported { what, remedy });
        }
        let in_blocks = |part: &Part<'_>| matches!(part, Part::Kept(info) if info.dtype.block().is_some());
        let in_blocks: Vec<Part<'_>> = self.parts().into_iter().filter(in_blocks).collect();
        if let Some(first) = in_blocks.first() {
            if strict {
                let what = format!("{} in {name}: blocks that only GGUF has", first.name());
                let remedy = "leave --strict out to write it in floating point".to_owned();
                return Err(Error::Unsupported { what, remedy });
            }
            let count = in_blocks.len();
            notes.push(format!("note: {count} tensor(s) of blocks that only GGUF has are written in floating point"));
        }
        if !others.is_empty() {
            notes.push(format!(
                "note: readers of {name} round the inputs of {} layer(s) otherwise than those of the original",
                others.len()
            ));
        }
        Ok(notes)
    }

    /// The layer as a format is asked about it: scales that f16 has are f16, in whatever type they are.
    fn told(&self, exporter: &dyn Exporter, layer: &LayerSpec) -> Result<LayerSpec> {
        let half = LayerSpec { scheme: layer.scheme.with_scale_type(Dtype::F16), ..layer.clone() };
        let gained = exporter.fit(layer) != Fit::Exact && exporter.fit(&half) == Fit::Exact;
        let halves = |weight: &PackedTensor| weight.scales.iter().all(|scale| Dtype::F16.round(*scale) == *scale);
        Ok(if gained && halves(&self.weight(layer)?) { half } else { layer.clone() })
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
                Part::Decoded(decoded) => specs.extend(container.kept(&self.float(decoded))?),
                Part::Layer(layer) => specs.extend(exporter.tensors(layer, self.dtype)?),
            }
        }
        Ok(specs)
    }

    /// What a layer is that is written in floating point.
    fn float(&self, DecodedLayer { layer, .. }: &DecodedLayer) -> TensorInfo {
        let (name, shape) = (format!("{}.weight", layer.path), vec![layer.rows, layer.cols]);
        TensorInfo { name, dtype: self.dtype.into(), shape, range: 0..layer.rows * layer.cols * self.dtype.bytes() }
    }

    /// The name of a tensor in floating point, and its bytes in a container; none if it is left out.
    pub(super) fn converted<'a>(
        &'a self,
        part: &Part<'a>,
        container: &dyn Container,
    ) -> Result<Option<(String, Cow<'a, [u8]>)>> {
        let plain = match part {
            Part::Kept(info) => info.plain(),
            Part::Decoded(decoded) => self.float(decoded),
            Part::Layer(_) => return Ok(None),
        };
        if container.kept(&plain)?.is_none() {
            return Ok(None);
        }
        let bytes = match part {
            Part::Decoded(DecodedLayer { layer, .. }) => {
                self.dtype.encode(&self.importer.values(&layer.path, &self.checkpoint)?.to_f32()).into()
            }
            _ => self.checkpoint.plain(&plain.name)?,
        };
        let bytes = container.convert(&plain, bytes)?;
        Ok(Some((plain.name, bytes)))
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
                Part::Kept(_) | Part::Decoded(_) => {
                    if let Some((name, bytes)) = self.converted(&part, container)? {
                        writer.write(&name, &bytes)?;
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

    pub(super) fn weight(&self, layer: &LayerSpec) -> Result<PackedTensor> {
        let weight = self.importer.decode(&layer.path, &self.checkpoint)?;
        Ok(PackedTensor { scheme: layer.scheme, ..weight })
    }

    /// Lets the system take back the memory of what was read.
    pub(super) fn release(&self, part: &Part<'_>) {
        match part {
            Part::Kept(info) => self.checkpoint.release(&info.name),
            Part::Layer(_) | Part::Decoded(_) => {
                let of_layer = |info: &&TensorInfo| self.part_of(info).name() == part.name();
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
