//! A quantized model folder into another format: the same codes, laid out and described otherwise.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::changes::Changes;
use super::parts::same;
use super::pipeline::{HEAD, copy_companions};
use super::{Skip, linear_layers};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::bitnet::Unpacked;
use crate::export::{self, DecodedLayer, Exporter, Importer, LayerSpec};
use crate::io::{
    CONFIG_FILE, Checkpoint, CheckpointWriter, ShardPlan, Staging, TensorInfo, TensorSpec, is_conv1d, read_config,
};
use crate::pack::PackedTensor;
use crate::progress::Progress;
use crate::scheme::{Bits, Scheme, Zero};

/// What to write anew and where to put it.
///
/// ```
/// use bitsmith::quant::{ExportRequest, QuantizeRequest, Rtn, RtnConfig, export_model, quantize_model};
/// use bitsmith::{Device, Error, progress::Silent};
/// # let folder = tempfile::tempdir().unwrap();
/// # let (packed, out) = (folder.path().join("packed"), folder.path().join("out"));
/// let rtn = Rtn::new(RtnConfig::default())?;
/// let request = QuantizeRequest::new("examples/tiny-llama", &packed);
/// pollster::block_on(quantize_model(&Device::cpu(), &rtn, &request, &mut Silent))?;
/// let done = export_model(&ExportRequest::new(&packed, &out, "compressed-tensors"), &mut Silent)?;
/// assert_eq!(done.layers, 4 * 7);
/// let four_bits = export_model(&ExportRequest::new(&packed, folder.path().join("b"), "bitnet"), &mut Silent);
/// assert!(matches!(four_bits, Err(Error::Unsupported { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExportRequest {
    /// Folder of the quantized model, or of a model in floating point whose layers are ternary.
    pub model: PathBuf,
    /// Folder to make.
    pub out: PathBuf,
    /// File format, one of [`export::FORMATS`].
    pub format: String,
    /// Replace an existing model folder.
    pub force: bool,
    /// Refuse what readers of the format would not load, or read with other numbers.
    pub strict: bool,
    /// Largest weight file in bytes.
    pub shard_size: u64,
}

impl ExportRequest {
    /// A request with the default shard size.
    pub fn new(model: impl Into<PathBuf>, out: impl Into<PathBuf>, format: &str) -> Self {
        let (model, out, format) = (model.into(), out.into(), format.to_owned());
        Self { model, out, format, force: false, strict: false, shard_size: 5_000_000_000 }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    /// The format.
    pub format: String,
    /// Number of quantized layers.
    pub layers: usize,
    /// Their weights.
    pub weights: u64,
    /// Their bytes in the files, without biases.
    pub layer_bytes: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Bytes of all tensors before.
    pub original_bytes: u64,
    /// Things a user should know, one a line.
    pub notes: Vec<String>,
}

/// Writes a quantized model in another format. One layer at a time is in memory. The new folder appears under its name only
/// when all of it was read back and found the same.
///
/// # Errors
/// [`Error::Unsupported`] that names the layer which the format cannot hold, or for a model without quantized layers; those
/// of reading and of writing.
pub fn export_model(request: &ExportRequest, progress: &mut dyn Progress) -> Result<Exported> {
    let exporter = export::exporter(&request.format)?;
    let original = Original::open(&request.model)?;
    let mut notes = original.fit(&*exporter, request.strict)?;
    let specs = original.tensors(&*exporter)?;
    let layer_bytes = original.layer_bytes(&*exporter)?;
    let mut config = original.config.clone();
    // Of the format that it was in.
    config.as_object_mut().map(|config| config.remove("quantization"));
    let quantization = exporter.config(&original.layers().cloned().collect::<Vec<_>>(), &original.kept()?)?;
    exporter.describe(&mut config, quantization);

    let staging = Staging::create(&request.out, request.force)?;
    notes.extend_from_slice(staging.notes());
    let shards = ShardPlan::new(specs, request.shard_size)?;
    let bytes = shards.total_size();
    original.write(&*exporter, CheckpointWriter::create(staging.path(), shards)?, progress)?;
    let file = staging.path().join(CONFIG_FILE);
    let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    std::fs::write(&file, text).map_err(|e| Error::io(&file, e))?;
    copy_companions(&request.model, staging.path())?;
    original.verify(&*exporter, staging.path(), &config["quantization_config"])?;
    staging.commit()?;
    Ok(Exported {
        format: request.format.clone(),
        layers: original.layers.len(),
        weights: original.layers.values().map(|layer| (layer.rows * layer.cols) as u64).sum(),
        layer_bytes,
        bytes,
        original_bytes: original.checkpoint.total_bytes(),
        notes,
    })
}

/// The model that is exported.
struct Original {
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
    fn open(folder: &Path) -> Result<Self> {
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
        let mut original = Self { checkpoint, config, importer, layers, decoded, dtype: Dtype::F32 };
        let kept = |info: &&TensorInfo| matches!(original.part_of(info), Part::Kept(_));
        let dtype = original.checkpoint.infos().filter(kept).find_map(|info| info.dtype.dtype());
        original.dtype = dtype.unwrap_or(Dtype::F32);
        Ok(original)
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
    fn parts(&self) -> Vec<Part<'_>> {
        let mut seen = HashSet::new();
        let parts = self.checkpoint.infos().map(|info| self.part_of(info));
        parts.filter(|part| matches!(part, Part::Kept(_)) || seen.insert(part.name().to_owned())).collect()
    }

    /// The numbers of a layer that is written in floating point.
    fn values(&self, decoded: &DecodedLayer) -> Result<Vec<u8>> {
        Ok(self.dtype.encode(&self.importer.values(&decoded.layer.path, &self.checkpoint)?.to_f32()))
    }

    fn layers(&self) -> impl Iterator<Item = &LayerSpec> {
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
    fn fit(&self, exporter: &dyn Exporter, strict: bool) -> Result<Vec<String>> {
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
        let decoded: Vec<DecodedLayer> = self.decoded.values().cloned().collect();
        notes
            .extend(DecodedLayer::notes(&decoded).into_iter().map(|note| format!("note: {note}; so they are written")));
        if let (Some(DecodedLayer { layer, reason }), true) = (decoded.first(), strict) {
            let what = format!("{} in {}: {reason}", layer.path, exporter.name());
            let remedy = format!("leave --strict out to write it in {}", self.dtype);
            return Err(Error::Unsupported { what, remedy });
        }
        if !others.is_empty() {
            notes.push(format!(
                "note: readers of {name} round the inputs of {} layer(s) otherwise than those of the original",
                others.len()
            ));
        }
        Ok(notes)
    }

    fn tensors(&self, exporter: &dyn Exporter) -> Result<Vec<TensorSpec>> {
        let mut specs = Vec::new();
        for part in self.parts() {
            match part {
                Part::Kept(info) => specs.push(TensorSpec::new(info.name.clone(), info.dtype, info.shape.clone())),
                Part::Layer(layer) => specs.extend(exporter.tensors(layer, self.dtype)?),
                Part::Decoded(DecodedLayer { layer, .. }) => {
                    let name = format!("{}.weight", layer.path);
                    specs.push(TensorSpec::new(name, self.dtype, [layer.rows, layer.cols]));
                }
            }
        }
        Ok(specs)
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

    fn write(&self, exporter: &dyn Exporter, mut writer: CheckpointWriter, progress: &mut dyn Progress) -> Result<()> {
        let parts = self.parts();
        progress.begin("exporting", parts.len() as u64);
        for part in parts {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            match part {
                Part::Kept(info) => writer.write(&info.name, self.checkpoint.raw(&info.name)?.bytes)?,
                Part::Layer(layer) => {
                    let weight = self.importer.decode(&layer.path, &self.checkpoint)?;
                    let weight = PackedTensor { scheme: layer.scheme, ..weight };
                    for (name, bytes) in exporter.encode(layer, &weight, self.dtype)? {
                        writer.write(&name, &bytes)?;
                    }
                }
                Part::Decoded(decoded) => {
                    writer.write(&format!("{}.weight", decoded.layer.path), &self.values(decoded)?)?;
                }
            }
            self.release(&part);
            progress.advance(1, part.name());
        }
        progress.end();
        writer.finish()
    }

    /// Opens the written folder as any reader does, and compares all of it with the original.
    fn verify(&self, exporter: &dyn Exporter, folder: &Path, config: &Value) -> Result<()> {
        let written = Checkpoint::open(folder)?;
        let reader = export::importer(config, folder)?;
        let found = reader.layers(&written)?;
        let wrong = |what: &str| Error::format(folder, format!("{what} does not read back as it was written"));
        let known = |layer: &LayerSpec| {
            self.layers.get(&layer.path).is_some_and(|original| original.input.columns() == layer.input.columns())
        };
        if found.len() != self.layers.len() || !found.iter().all(known) {
            return Err(wrong("the list of layers"));
        }
        for part in self.parts() {
            let equal = match part {
                Part::Kept(info) => written.raw(&info.name)?.bytes == self.checkpoint.raw(&info.name)?.bytes,
                Part::Layer(layer) => {
                    let [new, old] =
                        [reader.decode(&layer.path, &written)?, self.importer.decode(&layer.path, &self.checkpoint)?];
                    same(&new, &old, exporter.scale_error())
                }
                Part::Decoded(decoded) => {
                    written.raw(&format!("{}.weight", decoded.layer.path))?.bytes == self.values(decoded)?
                }
            };
            if !equal {
                return Err(wrong(part.name()));
            }
            self.release(&part);
        }
        Ok(())
    }

    /// Lets the system take back the memory of what was read.
    fn release(&self, part: &Part<'_>) {
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

/// What becomes of a tensor, or of several.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// It stays as it is.
    Kept(&'a TensorInfo),
    /// They are a layer that is written anew.
    Layer(&'a LayerSpec),
    /// They are a layer that is written in floating point.
    Decoded(&'a DecodedLayer),
}

impl Part<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Kept(info) => &info.name,
            Self::Layer(layer) => &layer.path,
            Self::Decoded(decoded) => &decoded.layer.path,
        }
    }
}
