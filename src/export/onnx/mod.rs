//! ONNX: each quantized layer as a file `{path}.onnx` of its own, with one node `MatMulNBits` of ONNX Runtime's domain
//! `com.microsoft`, one input `[tokens, in]` and one output `[tokens, out]`, f32. The weights lie in `weights-00001.data` and
//! those that follow, as external data at multiples of a page, so that readers can map them. With `b` bits, `[out, in]` the
//! shape of a layer and `K = ceil(in / block)`, the constants of a node are
//!
//! | name | type | shape |
//! | --- | --- | --- |
//! | `{path}.codes` | U8 | `[out, K, block*b/8]`, lowest bits first |
//! | `{path}.scales` | F32 | `[out*K]` |
//! | `{path}.zeros` | U8 | `[out*ceil(K*b/8)]`; symmetric layers have none, their zero point is the middle code |
//! | `{path}.bias` | F32 | `[out]`, where the layer has one |
//!
//! Blocks are powers of two from 16 to 256; a larger group, or a scale for a whole row, is repeated. What is not quantized is
//! in no file: these are layers for programs that have the rest of the model.

mod files;
mod proto;
mod reader;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::files::Files;
use super::layer_tensors::{by_row, other_input, tensor_name, words_to_bytes, zeros_by_row};
use super::{Container, Exporter, Fit, LayerSpec, WholeModel};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::io::{StoredDtype, TensorSpec};
use crate::pack::{PackedTensor, Packing};
use crate::scheme::{Scheme, Span};

/// The name of the format on the command line.
pub const NAME: &str = "onnx";

const CODES: &str = "codes";
const SCALES: &str = "scales";
const ZEROS: &str = "zeros";
const BIAS: &str = "bias";

/// The widths that ONNX Runtime multiplies with.
const BITS: [u8; 3] = [2, 4, 8];
/// The block sizes that there are.
const BLOCKS: [usize; 5] = [256, 128, 64, 32, 16];

/// The exporter.
///
/// ```
/// use bitsmith::Dtype;
/// use bitsmith::export::{Exporter, Fit, LayerSpec, onnx::Onnx};
/// let layer = |scheme: &str| Ok(LayerSpec {
///     path: "q_proj".into(), scheme: scheme.parse()?, rows: 64, cols: 96, input: Default::default(),
/// });
/// assert_eq!(Onnx.fit(&layer("w4g32a")?), Fit::Exact);
/// assert_eq!(Onnx.tensors(&layer("w4g32a")?, Dtype::F16)?[0].shape, [64, 3, 16]);
/// assert!(matches!(Onnx.fit(&layer("w3g32s")?), Fit::Refused(_)));
/// # Ok::<(), bitsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Onnx;

/// What a node says of its layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Layer {
    path: String,
    rows: usize,
    cols: usize,
    bits: u8,
    block: usize,
}

impl Layer {
    /// The node of a layer that the format does not refuse.
    fn of(layer: &LayerSpec) -> Self {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        let block = block(scheme, cols).unwrap_or(BLOCKS[0]);
        Self { path: layer.path.clone(), rows, cols, bits: scheme.bits().get(), block }
    }

    /// Blocks of a row.
    const fn blocks(&self) -> usize {
        self.cols.div_ceil(self.block)
    }

    /// Bytes of the codes of a block.
    const fn block_bytes(&self) -> usize {
        self.block * self.bits as usize / 8
    }
}

/// The largest block that no group ends in; where a row has one scale, one that fills it, if there is one.
fn block(scheme: Scheme, cols: usize) -> Option<usize> {
    let filling = |size: usize| BLOCKS.into_iter().find(|block| size.is_multiple_of(*block));
    match scheme.span() {
        Span::Group(size) => filling(size.into()),
        Span::Channel | Span::Tensor => filling(cols).or(Some(BLOCKS[0])),
    }
}

/// Whether a file can have a layer's name, on any system.
fn is_file_name(path: &str) -> bool {
    !path.is_empty() && !path.contains(['/', '\\', ':', '\0'])
}

impl Exporter for Onnx {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fit(&self, layer: &LayerSpec) -> Fit {
        let &LayerSpec { scheme, rows, cols, .. } = layer;
        if rows == 0 || cols == 0 {
            return Fit::Refused(format!("a weight of shape [{rows}, {cols}] has no elements"));
        }
        if !is_file_name(&layer.path) {
            return Fit::Refused("each layer is a file of its name, and this is no name of a file".to_owned());
        }
        if let Some(refused) = other_input(&layer.input) {
            return refused;
        }
        if block(scheme, cols).is_none() {
            return Fit::Refused("blocks are of 16, 32, 64, 128 or 256; use such a --group-size".to_owned());
        }
        match BITS.contains(&scheme.bits().get()) {
            true => Fit::Exact,
            false => Fit::Refused("ONNX Runtime multiplies with 2, 4 and 8 bits; use one of these".to_owned()),
        }
    }

    /// A node does not know what the layer was in its model.
    fn fit_conv1d(&self, layer: &LayerSpec) -> Fit {
        self.fit(layer)
    }

    fn tensors(&self, layer: &LayerSpec, _: Dtype) -> Result<Vec<TensorSpec>> {
        layer.refuse(self)?;
        let node = Layer::of(layer);
        let (rows, blocks) = (node.rows, node.blocks());
        let name = |name| tensor_name(&layer.path, name);
        let mut tensors = vec![
            TensorSpec::new(name(CODES), StoredDtype::U8, [rows, blocks, node.block_bytes()]),
            TensorSpec::new(name(SCALES), StoredDtype::F32, [rows * blocks]),
        ];
        if !layer.scheme.is_symmetric() {
            let bytes = rows * (blocks * usize::from(node.bits)).div_ceil(8);
            tensors.push(TensorSpec::new(name(ZEROS), StoredDtype::U8, [bytes]));
        }
        Ok(tensors)
    }

    fn encode(&self, layer: &LayerSpec, weight: &PackedTensor, model_dtype: Dtype) -> Result<Vec<(String, Vec<u8>)>> {
        weight.check()?;
        layer.check(weight)?;
        let names = self.tensors(layer, model_dtype)?.into_iter().map(|tensor| tensor.name);
        let (node, &PackedTensor { scheme, rows, cols, .. }) = (Layer::of(layer), weight);
        let blocks = node.blocks();
        // The words of a row are its codes without a gap; what a last block lacks is zero.
        let words = Packing::Rows.words(1, cols, scheme.bits());
        let row = |words: &[u32]| {
            let mut row = words_to_bytes(words);
            row.resize(blocks * node.block_bytes(), 0);
            row
        };
        let codes = weight.codes.chunks(words).flat_map(row).collect();
        let (scales, zeros) = (by_row(&weight.scales, scheme, rows), zeros_by_row(weight));
        let (groups, size) = (scales.len() / rows, scheme.groups(rows, cols).size());
        let places = || (0..rows).flat_map(|row| (0..blocks).map(move |k| row * groups + k * node.block / size));
        let scales: Vec<f32> = places().map(|at| scales[at]).collect();
        let zeros: Vec<u8> = places().map(|at| zeros[at]).collect();
        let row_bytes = (blocks * usize::from(node.bits)).div_ceil(8);
        let packed = Packing::Rows.pack(&zeros, rows, blocks, scheme.bits())?;
        let packed = packed.chunks(Packing::Rows.words(1, blocks, scheme.bits()));
        let packed = packed.flat_map(|words| words_to_bytes(words).into_iter().take(row_bytes)).collect();
        Ok(names.zip([codes, Dtype::F32.encode(&scales), packed]).collect())
    }

    fn config(&self, layers: &[LayerSpec], _: &[String]) -> Result<Value> {
        if layers.is_empty() {
            return Err(Error::config("plan", "no layer is quantized; plan at least one"));
        }
        layers.iter().try_for_each(|layer| layer.refuse(self))?;
        Ok(json!(layers.iter().map(Layer::of).collect::<Vec<_>>()))
    }

    fn is_model(&self) -> bool {
        false
    }

    fn container(&self, model: &WholeModel<'_>) -> Result<Box<dyn Container>> {
        Ok(Box::new(Files::new(model)?))
    }

    fn notes(&self, layers: &[LayerSpec]) -> Vec<String> {
        vec![format!("note: the files hold the {} quantized layer(s) and their biases, no other tensor", layers.len())]
    }
}
