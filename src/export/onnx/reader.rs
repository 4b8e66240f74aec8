//! Reads the written layers back, from the files alone, to compare them with what they should be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use prost::Message;

use super::files::OPERATOR;
use super::proto::{Model, Node, Tensor};
use super::{BIAS, BITS, BLOCKS, CODES, Layer, NAME, SCALES, ZEROS};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::export::layer_tensors::{LayerTensors, bytes_to_words, tensor_name};
use crate::export::{Importer, LayerSpec, Stored, TensorSource};
use crate::io::{Map, StoredDtype};
use crate::op::LayerInput;
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Bits, Scheme, Span, Zero};

/// Which input of a node its bias is.
const BIAS_INPUT: usize = 5;

/// Files that were opened.
#[derive(Debug)]
pub(super) struct Layers {
    layers: Vec<(Layer, Zero)>,
    data: BTreeMap<String, Map>,
    tensors: BTreeMap<String, Constant>,
}

/// A constant, and where it lies.
#[derive(Debug)]
struct Constant {
    dtype: StoredDtype,
    shape: Vec<usize>,
    file: String,
    range: Range<usize>,
}

impl Layers {
    /// Reads the files of these layers in a folder.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Format`] for a file that is no graph of one layer.
    pub(super) fn open(folder: &Path, layers: &[Layer]) -> Result<Self> {
        let mut all = Self { layers: Vec::new(), data: BTreeMap::new(), tensors: BTreeMap::new() };
        for layer in layers {
            all.add(folder, &folder.join(format!("{}.onnx", layer.path)))?;
        }
        Ok(all)
    }

    fn add(&mut self, folder: &Path, file: &Path) -> Result<()> {
        let wrong = |detail: &str| Error::format(file, detail);
        let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
        let model = Model::decode(&bytes[..]).map_err(|e| wrong(&format!("no ONNX file: {e}")))?;
        let graph = model.graph.ok_or_else(|| wrong("graph is missing"))?;
        let [node] = &graph.node[..] else { return Err(wrong("a file has one node")) };
        if node.op_type.as_deref() != Some(OPERATOR) {
            return Err(wrong(&format!("the node is no {OPERATOR}")));
        }
        let layer = layer(node).ok_or_else(|| wrong("the node's attributes are no layer"))?;
        for tensor in &graph.initializer {
            let (name, constant) = constant(tensor).ok_or_else(|| wrong("a constant has no place in another file"))?;
            let Constant { file, range, .. } = &constant;
            if !self.data.contains_key(file) {
                self.data.insert(file.clone(), Map::open(&folder.join(file))?);
            }
            if range.end > self.data[file].bytes().len() {
                return Err(wrong(&format!("{name} ends behind {file}")));
            }
            self.tensors.insert(name, constant);
        }
        // What the node takes is what it is computed with.
        let input = |at: usize| node.input.get(at).map(String::as_str).unwrap_or_default();
        let own = |part| tensor_name(&layer.path, part);
        let zero = if input(3).is_empty() { Zero::Symmetric } else { Zero::Stored };
        if input(1) != own(CODES) || input(2) != own(SCALES) || zero == Zero::Stored && input(3) != own(ZEROS) {
            return Err(wrong("the node takes other constants than those of its layer"));
        }
        if self.tensors.contains_key(&own(BIAS)) != (input(BIAS_INPUT) == own(BIAS)) {
            return Err(wrong("the node does not take the bias of its layer"));
        }
        self.layers.push((layer, zero));
        Ok(())
    }
}

fn layer(node: &Node) -> Option<Layer> {
    let number = |name: &str| {
        let attribute = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))?;
        usize::try_from(attribute.i?).ok()
    };
    let (rows, cols, block) = (number("N")?, number("K")?, number("block_size")?);
    let bits = u8::try_from(number("bits")?).ok()?;
    let layer = Layer { path: node.name.clone()?, rows, cols, bits, block };
    (BITS.contains(&bits) && BLOCKS.contains(&block) && rows > 0 && cols > 0).then_some(layer)
}

/// A constant and its name.
fn constant(tensor: &Tensor) -> Option<(String, Constant)> {
    let entry = |key: &str| {
        let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key))?;
        entry.value.clone()
    };
    let dtype = if tensor.data_type? == 1 { StoredDtype::F32 } else { StoredDtype::U8 };
    let shape = tensor.dims.iter().map(|extent| usize::try_from(*extent).ok()).collect::<Option<_>>()?;
    let start: usize = entry("offset")?.parse().ok()?;
    let end = start.checked_add(entry("length")?.parse().ok()?)?;
    Some((tensor.name.clone()?, Constant { dtype, shape, file: entry("location")?, range: start..end }))
}

impl TensorSource for Layers {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn find(&self, name: &str) -> Result<Option<Stored<'_>>> {
        let stored = |Constant { dtype, shape, file, range }: &Constant| {
            let bytes = self.data.get(file)?.bytes().get(range.clone())?;
            Some(Stored { dtype: dtype.name(), shape: shape.clone(), bytes })
        };
        Ok(self.tensors.get(name).and_then(stored))
    }
}

/// The reader of such files.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    layers: Vec<(Layer, Zero)>,
}

impl Reader {
    pub(super) fn new(folder: &Path, all: &Layers) -> Self {
        Self { folder: folder.to_path_buf(), layers: all.layers.clone() }
    }
}

impl Importer for Reader {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self, _: &dyn TensorSource) -> Result<Vec<LayerSpec>> {
        let spec = |(layer, zero): &(Layer, Zero)| {
            let span = Span::group(layer.block)?;
            let scheme = Scheme::new(Bits::new(layer.bits)?, span, *zero).with_scale_type(Dtype::F32);
            let &Layer { rows, cols, .. } = layer;
            Ok(LayerSpec { path: layer.path.clone(), scheme, rows, cols, input: LayerInput::Exact })
        };
        self.layers.iter().map(spec).collect()
    }

    fn decode(&self, path: &str, source: &dyn TensorSource) -> Result<PackedTensor> {
        let tensors = LayerTensors { folder: &self.folder, path, source };
        let found = self.layers(source)?.into_iter().zip(&self.layers).find(|(spec, _)| spec.path == path);
        let Some((LayerSpec { scheme, rows, cols, .. }, (layer, _))) = found else {
            return Err(Error::format(&self.folder, format!("there is no layer {path}")));
        };
        let (blocks, bits) = (layer.blocks(), scheme.bits());
        let (u8s, why) = ([StoredDtype::U8], format!("blocks of {}", layer.block));
        let codes = tensors.shaped(CODES, &u8s, &[rows, blocks, layer.block_bytes()], &why)?;
        let scales = tensors.shaped(SCALES, &[StoredDtype::F32], &[rows * blocks], &why)?;
        let words = Packing::Rows.words(1, cols, bits);
        let row = |row: &[u8]| bytes_to_words(&row[..words * 4]);
        let codes = codes.bytes.chunks(blocks * layer.block_bytes()).flat_map(row).collect();
        let zeros = match scheme.is_symmetric() {
            true => None,
            false => {
                let row_bytes = (blocks * usize::from(layer.bits)).div_ceil(8);
                let zeros = tensors.shaped(ZEROS, &u8s, &[rows * row_bytes], &why)?;
                let words = zeros.bytes.chunks(row_bytes).flat_map(|row| {
                    let mut row = row.to_vec();
                    row.resize(row_bytes.next_multiple_of(4), 0);
                    bytes_to_words(&row)
                });
                Some(Packing::Rows.unpack(&words.collect::<Vec<u32>>(), rows, blocks, bits)?)
            }
        };
        let scales = tensors.numbers(SCALES, &scales)?;
        Ok(PackedTensor { scheme, rows, cols, codes, scales, zeros, kept: None })
    }
}
